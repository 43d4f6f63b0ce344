/* vocabulary.h - token texts to ids: a hash table
 *
 * Open addressing with linear probing, at most half full. It serves to read files; words are cut
 * with the token_trie that is made of it.
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

#endif
