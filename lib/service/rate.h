/* rate.h - how many a second, over the last ten seconds: counted without a lock, by any number of threads
 *
 * One counter a second, in a ring. Time is the caller's, in microseconds since the rate was made, and
 * comes from a clock that is never set.
 */
#ifndef LIB_SERVICE_RATE_H
#define LIB_SERVICE_RATE_H

#include <stdatomic.h>
#include <stdint.h>

#define RATE_SECONDS 10 /* that it is of */
#define RATE_SLOTS   16 /* a power of two: 11 are read, the others are where late threads may still write */

/* Starts zeroed. A slot is a second in its upper 32 bits, and what that second had in its lower ones, so
 * that a slot's next second replaces the last one in the same step that counts. */
struct rate {
    _Atomic uint64_t slots[RATE_SLOTS];
};

/* A second's count stays at 2^32 - 1. */
void rate_record(struct rate *rate, uint64_t microseconds, uint64_t count);

/* Of the second ten seconds ago, the part that is within them counts. Where there were no ten seconds
 * yet, those that there were. */
double rate_read(const struct rate *rate, uint64_t microseconds);

#endif
