/* rate.h - lock-free rate per second over the last ten seconds, recorded by any thread
 *
 * A ring with one counter per second. The caller passes the time, in microseconds since the rate
 * was created, from a clock that is never set.
 */
#ifndef LIB_SERVICE_RATE_H
#define LIB_SERVICE_RATE_H

#include <stdatomic.h>
#include <stdint.h>

#define RATE_SECONDS 10 /* the window */
#define RATE_SLOTS   16 /* 11 are read; a thread up to five seconds late still counts */

/* Must be zeroed before use. A slot holds a second in its upper 32 bits and that second's count in
 * its lower 32, so that one atomic operation replaces an old second and counts. */
struct rate {
    _Atomic uint64_t slots[RATE_SLOTS];
};

/* Adds `count` to the current second, whose count saturates at 2^32 - 1. */
void rate_record(struct rate *rate, uint64_t microseconds, uint64_t count);

/* Returns the mean rate per second. The oldest second counts in proportion to its part inside the
 * window. During the first ten seconds, the mean is over the time passed so far. */
double rate_read(const struct rate *rate, uint64_t microseconds);

#endif
