/* thread.h - threads of the library's own */
#ifndef LIB_BASE_THREAD_H
#define LIB_BASE_THREAD_H

#include <pthread.h>

/* As pthread_create. Signals are the program's business: none is delivered to the thread. */
int thread_start(pthread_t *thread, void *(*run)(void *argument), void *argument);

#endif
