/* distribution.h - lock-free histogram of integers, recorded by any thread
 *
 * Buckets widen with the values: each value below 16 has its own, and each power of two from there
 * on is divided into 8. A value differs from the middle of its bucket by at most 1/16 of itself, so
 * any percentile of 64-bit values is exact to 6.25% with 4 KB of counters.
 */
#ifndef LIB_SERVICE_DISTRIBUTION_H
#define LIB_SERVICE_DISTRIBUTION_H

#include "embed.h"

#include <stdatomic.h>
#include <stdint.h>

#define DISTRIBUTION_BUCKETS 496 /* 8 below 8, then 8 for each of the powers 2^3 to 2^63 */

/* Must be zeroed before use. */
struct distribution {
    _Atomic uint64_t buckets[DISTRIBUTION_BUCKETS];
    _Atomic uint64_t sum, largest;
};

void distribution_record(struct distribution *distribution, uint64_t value);

/* Percentile p is the smallest value that at least p% of the values do not exceed. The sum and
 * the largest value in *out cover every value counted there, and may cover values recorded
 * meanwhile. */
void distribution_read(const struct distribution *distribution, embed_distribution *out);

#endif
