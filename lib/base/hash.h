/* hash.h - 128 bits for bytes, to see whether they are the same as others
 *
 * Against accidents, not against people: whoever wants to can make two inputs with one hash.
 */
#ifndef LIB_BASE_HASH_H
#define LIB_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash {
    uint64_t words[2];
};

/* The same on every machine that has its low bytes first, as all that are supported do. */
struct hash hash_bytes(uint64_t seed, const void *bytes, size_t count);

/* Of several in no order: the sum of their hashes, which must not be alike. */
static inline void hash_add(struct hash *sum, struct hash hash)
{
    sum->words[0] += hash.words[0];
    sum->words[1] += hash.words[1];
}

#define HASH_DIGITS 32

/* In hexadecimal, with a NUL after it. */
void hash_text(char out[HASH_DIGITS + 1], struct hash hash);

#endif
