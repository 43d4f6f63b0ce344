/* wordpiece.h - WordPiece: cuts a word into the longest tokens, from left to right
 *
 * A piece that does not begin the word is looked up with a prefix ("##") before it. Where no
 * token fits, or the word has too many characters, the whole word becomes the unknown token.
 */
#ifndef LIB_DESCRIPTION_WORDPIECE_H
#define LIB_DESCRIPTION_WORDPIECE_H

#include "description/token_list.h"
#include "description/vocabulary.h"

#include <stddef.h>
#include <stdint.h>

/* Words and their hashes lie on the stack: 36 KiB in all. */
#define WORDPIECE_MAX_CHARACTERS 1024 /* that max_characters may be */
#define WORDPIECE_MAX_BYTES      (4 * WORDPIECE_MAX_CHARACTERS)

/* Immutable; `vocabulary` and `prefix` belong to the caller. */
struct wordpiece {
    const struct vocabulary *vocabulary;
    const char *prefix;
    size_t prefix_length;
    uint64_t prefix_hash; /* vocabulary_hash of the prefix */
    int32_t unknown_id;
    size_t max_characters; /* longer words are unknown: the caller's to see to */
};

/* Appends the tokens of a word, of at most WORDPIECE_MAX_BYTES of UTF-8. */
embed_status wordpiece_encode(const struct wordpiece *model, const char *word, size_t length,
                              struct token_list *list);

#endif
