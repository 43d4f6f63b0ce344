/* thread.h - the library's own threads */
#ifndef LIB_BASE_THREAD_H
#define LIB_BASE_THREAD_H

#include <pthread.h>

/* Like pthread_create, but blocks all signals in the thread: they are the program's business. */
int thread_start(pthread_t *thread, void *(*run)(void *argument), void *argument);

#endif
