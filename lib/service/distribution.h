/* distribution.h - how whole numbers are distributed: counted by any threads, without a lock
 *
 * A histogram whose buckets grow with the values: those below 16 have one each, and each power of
 * two above is cut into 8. A value is at most 1/16 of itself from the middle of its bucket, so that
 * any percentile of any 64-bit values is told to 6.25% by 4 KB of counters.
 */
#ifndef LIB_SERVICE_DISTRIBUTION_H
#define LIB_SERVICE_DISTRIBUTION_H

#include "embed.h"

#include <stdatomic.h>
#include <stdint.h>

#define DISTRIBUTION_BUCKETS 496 /* 8 below 8, then 8 for each of the powers 2^3 to 2^63 */

/* Starts zeroed. */
struct distribution {
    _Atomic uint64_t buckets[DISTRIBUTION_BUCKETS];
    _Atomic uint64_t sum, largest;
};

void distribution_record(struct distribution *distribution, uint64_t value);

/* The percentile of p is the smallest value that at least p% are not above. What is counted in *out
 * is also in its sum and largest; these may have, of values recorded meanwhile, more. */
void distribution_read(const struct distribution *distribution, embed_distribution *out);

#endif
