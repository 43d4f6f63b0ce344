/* token_trie.h - finds the longest token that a text begins with
 *
 * A trie of bytes whose nodes are the slots of one hash table: a node's child is found under the
 * pair of the node and a byte. A walk reads 8 bytes per node and never compares the texts of
 * tokens.
 */
#ifndef LIB_DESCRIPTION_TOKEN_TRIE_H
#define LIB_DESCRIPTION_TOKEN_TRIE_H

#include "description/vocabulary.h"

#include <stddef.h>
#include <stdint.h>

#define TOKEN_TRIE_ROOT 1u /* the node of the empty text */
#define TOKEN_TRIE_NONE UINT32_MAX

struct token_node {
    uint32_t key; /* parent << 8 | byte; parents are not 0; 0: empty slot */
    int32_t id;   /* -1: no token ends here */
};

/* Starts zeroed; release with token_trie_free. */
struct token_trie {
    struct token_node *nodes;
    unsigned bits; /* there are 2^bits slots */
};

/* Fails with EMBED_UNSUPPORTED, naming `file`, if the tokens have millions of distinct prefixes. */
embed_status token_trie_create(struct token_trie *trie, const struct vocabulary *vocabulary,
                               const char *file);
void token_trie_free(struct token_trie *trie);

/* Returns the node of a text, or TOKEN_TRIE_NONE if no token begins with it. */
uint32_t token_trie_walk(const struct token_trie *trie, const char *text, size_t length);

/* Finds the longest token that consists of the text of the node `head` followed by a beginning of
 * text[0..length). Sets *id and returns the number of bytes of `text` that the token covers;
 * returns 0 if there is none or `head` is TOKEN_TRIE_NONE. */
size_t token_trie_longest(const struct token_trie *trie, uint32_t head, const char *text,
                          size_t length, int32_t *id);

#endif
