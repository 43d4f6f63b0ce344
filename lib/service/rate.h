/* rate.h - how many a second, over the last ten seconds: counted by any threads, without a lock
 *
 * One counter a second, in a ring. Time is the caller's, in microseconds since the rate was made,
 * and comes from a clock that is never set.
 */
#ifndef LIB_SERVICE_RATE_H
#define LIB_SERVICE_RATE_H

#include <stdatomic.h>
#include <stdint.h>

#define RATE_SECONDS 10 /* that it is of */
#define RATE_SLOTS   16 /* 11 are read; a thread may be late by five seconds and still count */

/* Starts zeroed. A slot is a second in its upper 32 bits, and what that second had in its lower
 * ones, so that a slot's next second replaces the last one in the same step that counts. */
struct rate {
    _Atomic uint64_t slots[RATE_SLOTS];
};

/* A second's count stays at 2^32 - 1. */
void rate_record(struct rate *rate, uint64_t microseconds, uint64_t count);

/* Of the oldest second, the part that is within the ten counts. Before there were ten, it is over
 * those that there were. */
double rate_read(const struct rate *rate, uint64_t microseconds);

#endif
