/* distribution.c - a log-linear histogram of atomic counters */
#include "service/distribution.h"

/* Each power of two has 2^PARTS_BITS buckets. */
#define PARTS_BITS 3
#define PARTS      (1u << PARTS_BITS)

static unsigned exponent_of(uint64_t value)
{
    return 63u - (unsigned)__builtin_clzll(value);
}

static unsigned bucket_of(uint64_t value)
{
    if (value < PARTS) return (unsigned)value;
    unsigned exponent = exponent_of(value);
    unsigned part = (unsigned)(value >> (exponent - PARTS_BITS)) & (PARTS - 1);
    return (exponent - PARTS_BITS + 1) * PARTS + part;
}

/* Returns the smallest value of a bucket, and the number of its values in *width. */
static uint64_t bucket_start(unsigned bucket, uint64_t *width)
{
    unsigned shift = bucket < PARTS ? 0 : bucket / PARTS - 1;
    *width = UINT64_C(1) << shift;
    return bucket < PARTS ? bucket : (uint64_t)(PARTS + bucket % PARTS) << shift;
}

void distribution_record(struct distribution *distribution, uint64_t value)
{
    uint64_t largest = atomic_load_explicit(&distribution->largest, memory_order_relaxed);
    while (value > largest &&
           !atomic_compare_exchange_weak_explicit(&distribution->largest, &largest, value,
                                                  memory_order_relaxed, memory_order_relaxed)) {}
    atomic_fetch_add_explicit(&distribution->sum, value, memory_order_relaxed);
    /* Last and with release: a reader that sees the count sees the two updates above. */
    atomic_fetch_add_explicit(&distribution->buckets[bucket_of(value)], 1, memory_order_release);
}

/* ---- reading ------------------------------------------------------------------------------- */

/* A copy of the counters, which no longer changes. */
struct snapshot {
    uint64_t buckets[DISTRIBUTION_BUCKETS], count, largest;
};

static double percentile(const struct snapshot *snapshot, unsigned percent)
{
    /* count * percent / 100, rounded up; the product itself could overflow. */
    uint64_t rank = snapshot->count / 100 * percent + (snapshot->count % 100 * percent + 99) / 100;
    unsigned bucket = 0;
    for (uint64_t seen = snapshot->buckets[0]; seen < rank; seen += snapshot->buckets[bucket])
        bucket++;
    uint64_t width, start = bucket_start(bucket, &width), middle = start + (width - 1) / 2;
    return (double)(middle < snapshot->largest ? middle : snapshot->largest);
}

/* Returns the bucket of embed_distribution (one per power of two) that contains our `bucket`. */
static unsigned public_bucket(unsigned bucket)
{
    uint64_t width, start = bucket_start(bucket, &width);
    unsigned index = start == 0 ? 0 : exponent_of(start) + 1;
    return index < EMBED_BUCKETS ? index : EMBED_BUCKETS - 1;
}

void distribution_read(const struct distribution *distribution, embed_distribution *out)
{
    struct snapshot snapshot = {.count = 0};
    *out = (embed_distribution)EMBED_DISTRIBUTION_NONE;
    for (unsigned i = 0; i < DISTRIBUTION_BUCKETS; i++) {
        uint64_t count = atomic_load_explicit(&distribution->buckets[i], memory_order_acquire);
        snapshot.buckets[i] = count;
        snapshot.count += count;
        out->buckets[public_bucket(i)] += count;
    }
    if (snapshot.count == 0) return;
    snapshot.largest = atomic_load_explicit(&distribution->largest, memory_order_relaxed);
    out->count = snapshot.count;
    out->sum = (double)atomic_load_explicit(&distribution->sum, memory_order_relaxed);
    out->p50 = percentile(&snapshot, 50);
    out->p95 = percentile(&snapshot, 95);
    out->p99 = percentile(&snapshot, 99);
    out->largest = (double)snapshot.largest;
}
