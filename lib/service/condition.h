/* condition.h - condition variables on the clock of clock_nanoseconds */
#ifndef LIB_SERVICE_CONDITION_H
#define LIB_SERVICE_CONDITION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

static inline void condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

/* Waits for a signal, or until `until` (clock_nanoseconds; UINT64_MAX: no limit), and then returns
 * false. May also wake spuriously. */
static inline bool condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t until)
{
    if (until == UINT64_MAX) return pthread_cond_wait(condition, lock) == 0;
    struct timespec time = {(time_t)(until / 1000000000u), (long)(until % 1000000000u)};
    return pthread_cond_timedwait(condition, lock, &time) == 0;
}

#endif
