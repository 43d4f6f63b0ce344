/* rate.c - a ring of counters, one per second */
#include "service/rate.h"

#define SECOND UINT64_C(1000000) /* in microseconds */

static uint64_t second_of(uint64_t slot)
{
    return slot >> 32;
}

static uint64_t count_of(uint64_t slot)
{
    return slot & UINT32_MAX;
}

void rate_record(struct rate *rate, uint64_t microseconds, uint64_t count)
{
    uint64_t second = microseconds / SECOND;
    _Atomic uint64_t *slot = &rate->slots[second % RATE_SLOTS];
    uint64_t old = atomic_load_explicit(slot, memory_order_relaxed), sum;
    do {
        if (second_of(old) > second) return; /* too late: the ring has wrapped around meanwhile */
        uint64_t before = second_of(old) == second ? count_of(old) : 0;
        sum = count < UINT32_MAX - before ? before + count : UINT32_MAX;
    } while (!atomic_compare_exchange_weak_explicit(slot, &old, second << 32 | sum,
                                                    memory_order_relaxed, memory_order_relaxed));
}

static double count_in(const struct rate *rate, uint64_t second)
{
    uint64_t slot = atomic_load_explicit(&rate->slots[second % RATE_SLOTS], memory_order_relaxed);
    return second_of(slot) == second ? (double)count_of(slot) : 0;
}

double rate_read(const struct rate *rate, uint64_t microseconds)
{
    if (microseconds == 0) return 0;
    uint64_t now = microseconds / SECOND;
    double total = 0, passed = (double)(microseconds % SECOND) / (double)SECOND;
    for (uint64_t ago = 0; ago < RATE_SECONDS && ago <= now; ago++)
        total += count_in(rate, now - ago);
    if (now < RATE_SECONDS) return total * (double)SECOND / (double)microseconds;
    total += (1 - passed) * count_in(rate, now - RATE_SECONDS);
    return total / RATE_SECONDS;
}
