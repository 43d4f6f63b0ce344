/* wordpiece.h - WordPiece: cuts a word into the longest tokens, from left to right
 *
 * A piece that does not begin the word is looked up with a prefix ("##"). If no token matches, or
 * the word has too many characters, the whole word becomes the unknown token.
 */
#ifndef LIB_DESCRIPTION_WORDPIECE_H
#define LIB_DESCRIPTION_WORDPIECE_H

#include "description/token_list.h"
#include "description/token_trie.h"

#include <stddef.h>
#include <stdint.h>

/* These bound a word, as it is kept on the stack. */
#define WORDPIECE_MAX_CHARACTERS 1024 /* upper bound of max_characters */
#define WORDPIECE_MAX_BYTES      (4 * WORDPIECE_MAX_CHARACTERS)

/* Immutable. */
struct wordpiece {
    const struct token_trie *trie; /* owned by the caller */
    uint32_t continuation;         /* the node of the prefix, or TOKEN_TRIE_NONE */
    int32_t unknown_id;
    size_t max_characters; /* longer words are unknown; enforced by the caller */
};

/* Appends the tokens of a word of 1 to WORDPIECE_MAX_BYTES bytes of UTF-8. */
embed_status wordpiece_encode(const struct wordpiece *model, const char *word, size_t length,
                              struct token_list *list);

#endif
