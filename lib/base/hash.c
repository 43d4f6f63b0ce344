/* hash.c - a 128-bit hash of bytes
 *
 * Four independent lanes take eight bytes each in turn: their multiplications overlap, and hashing
 * keeps up with memory. Every step is invertible, so inputs of the same length that differ in a
 * single 8-byte word never have the same hash.
 */
#include "base/hash.h"

#include <stdio.h>
#include <string.h>

#define LANES 4

/* Odd constants without a bit pattern: bits of the golden ratio and the square roots of 2, 3, 5 and
 * 7. */
#define FACTOR_IN   0x9E3779B97F4A7C15u
#define FACTOR_LONG 0xBB67AE8584CAA73Bu
static const uint64_t starts[LANES] = {0x6A09E667F3BCC909u, 0xBB67AE8584CAA73Bu,
                                       0x3C6EF372FE94F82Bu, 0xA54FF53A5F1D36F1u};

static uint64_t rotate(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

static uint64_t step(uint64_t state, uint64_t word)
{
    return rotate(state ^ word * FACTOR_IN, 29) * FACTOR_LONG;
}

static void step_all(uint64_t lanes[LANES], const uint64_t words[LANES])
{
    for (int i = 0; i < LANES; i++) lanes[i] = step(lanes[i], words[i]);
}

/* Makes every bit of the result depend on every bit of the state. */
static uint64_t finish(uint64_t state)
{
    state = (state ^ state >> 32) * FACTOR_IN;
    state = (state ^ state >> 29) * FACTOR_LONG;
    return state ^ state >> 32;
}

struct hash hash_bytes(uint64_t seed, const void *bytes, size_t count)
{
    const unsigned char *from = bytes;
    uint64_t lanes[LANES], words[LANES];
    for (int i = 0; i < LANES; i++) lanes[i] = starts[i] ^ seed;
    size_t left = count;
    for (; left >= sizeof words; left -= sizeof words, from += sizeof words) {
        memcpy(words, from, sizeof words);
        step_all(lanes, words);
    }
    if (left > 0) {
        memset(words, 0, sizeof words);
        memcpy(words, from, left);
        step_all(lanes, words);
    }
    uint64_t forwards = count, backwards = ~(uint64_t)count;
    for (int i = 0; i < LANES; i++) {
        forwards = step(forwards, lanes[i]);
        backwards = step(backwards, lanes[LANES - 1 - i]);
    }
    return (struct hash){{finish(forwards), finish(backwards)}};
}

void hash_text(char out[HASH_DIGITS + 1], struct hash hash)
{
    snprintf(out, HASH_DIGITS + 1, "%016llx%016llx", (unsigned long long)hash.words[0],
             (unsigned long long)hash.words[1]);
}
