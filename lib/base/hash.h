/* hash.h - a 128-bit hash of bytes, to compare inputs for equality
 *
 * It guards against accidents, not adversaries: anyone who tries can construct two inputs with the
 * same hash.
 */
#ifndef LIB_BASE_HASH_H
#define LIB_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash {
    uint64_t words[2];
};

/* Returns the hash of bytes[0..count). It is the same on every little-endian machine, as all
 * supported ones are. */
struct hash hash_bytes(uint64_t seed, const void *bytes, size_t count);

/* Adds a hash to *sum, to combine several regardless of order. The combined hashes must be
 * distinct. */
static inline void hash_add(struct hash *sum, struct hash hash)
{
    sum->words[0] += hash.words[0];
    sum->words[1] += hash.words[1];
}

#define HASH_DIGITS 32

/* Writes the hash in hexadecimal, with a terminating NUL. */
void hash_text(char out[HASH_DIGITS + 1], struct hash hash);

#endif
