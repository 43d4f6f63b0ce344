/* vocabulary.h - a hash table that maps the texts of tokens to their ids
 *
 * Open addressing with linear probing, at most half full. Used to read files; words are cut with
 * the token_trie that is built from it.
 */
#ifndef LIB_DESCRIPTION_VOCABULARY_H
#define LIB_DESCRIPTION_VOCABULARY_H

#include "embed.h"

#include <stddef.h>
#include <stdint.h>

#define VOCABULARY_MAX_TOKENS ((size_t)1 << 21)
#define VOCABULARY_MAX_BYTES  4096 /* of one token */

struct vocabulary_slot {
    uint32_t tag; /* from the hash; 0: the slot is empty */
    uint32_t offset, length;
    int32_t id;
};

/* Starts zeroed; release with vocabulary_free. */
struct vocabulary {
    struct vocabulary_slot *slots;
    unsigned slot_bits; /* there are 2^slot_bits slots */
    size_t count;
    int32_t largest_id; /* 0 if there is none */
    char *text;         /* of all tokens; slots have offsets into it */
    size_t text_length, text_capacity;
};

/* Adds a token, replacing the id of an equal one. `id` must not be negative. Fails with
 * EMBED_BAD_FILE, naming `file`, if a limit above is exceeded or too many tokens collide. */
embed_status vocabulary_add(struct vocabulary *vocabulary, const char *file, const char *text,
                            size_t length, int32_t id);
void vocabulary_free(struct vocabulary *vocabulary);

/* Returns the id of a text, or -1 if it is not a token. */
int32_t vocabulary_find(const struct vocabulary *vocabulary, const char *text, size_t length);

#endif
