/* vocabulary.h - token texts to ids: a hash table
 *
 * Open addressing with linear probing, at most half full. The hash is FNV-1a, which takes one
 * byte after another, so that the hashes of all prefixes of a word cost as much as that of the
 * word.
 */
#ifndef LIB_DESCRIPTION_VOCABULARY_H
#define LIB_DESCRIPTION_VOCABULARY_H

#include "embed.h"

#include <stddef.h>
#include <stdint.h>

#define VOCABULARY_MAX_TOKENS ((size_t)1 << 21)
#define VOCABULARY_MAX_BYTES  4096 /* of one token */

struct vocabulary_slot {
    uint32_t tag; /* of the hash; 0: nothing is here */
    uint32_t offset, length;
    int32_t id;
};

/* Starts zeroed; release with vocabulary_free. */
struct vocabulary {
    struct vocabulary_slot *slots;
    unsigned slot_bits; /* there are 2^slot_bits slots */
    size_t count;
    size_t longest;     /* bytes of the longest token */
    int32_t largest_id; /* 0 where there is none */
    char *text;         /* of all tokens; slots say where */
    size_t text_length, text_capacity;
};

/* Adds a token; the last id given to a text counts. EMBED_BAD_FILE, naming `file`, where the
 * limits above are exceeded; `id` must not be negative. */
embed_status vocabulary_add(struct vocabulary *vocabulary, const char *file, const char *text,
                            size_t length, int32_t id);
void vocabulary_free(struct vocabulary *vocabulary);

/* The id of a text, -1 where it is no token. */
int32_t vocabulary_find(const struct vocabulary *vocabulary, const char *text, size_t length);

#define VOCABULARY_HASH_START UINT64_C(0xCBF29CE484222325)

static inline uint64_t vocabulary_hash_byte(uint64_t hash, char byte)
{
    return (hash ^ (unsigned char)byte) * UINT64_C(0x100000001B3);
}

static inline uint64_t vocabulary_hash(uint64_t hash, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) hash = vocabulary_hash_byte(hash, text[i]);
    return hash;
}

/* As vocabulary_find, for the text that is `head` and then `tail`, whose hash is known. */
int32_t vocabulary_find_hashed(const struct vocabulary *vocabulary, uint64_t hash,
                               const char *head, size_t head_length, const char *tail,
                               size_t tail_length);

#endif
