/* token_trie.h - finds the longest token that a text begins with
 *
 * A trie of bytes whose nodes are the slots of one hash table: the child of a node is where the
 * pair of the node and a byte is found. What a walk needs of a node is 8 bytes, and nothing has
 * to be compared with the texts of tokens.
 */
#ifndef LIB_DESCRIPTION_TOKEN_TRIE_H
#define LIB_DESCRIPTION_TOKEN_TRIE_H

#include "description/vocabulary.h"

#include <stddef.h>
#include <stdint.h>

#define TOKEN_TRIE_ROOT 1u /* the node of the empty text */
#define TOKEN_TRIE_NONE UINT32_MAX

struct token_node {
    uint32_t key; /* parent, not 0, and byte; 0: nothing is here */
    int32_t id;   /* -1: no token ends here */
};

/* Starts zeroed; release with token_trie_free. */
struct token_trie {
    struct token_node *nodes;
    unsigned bits; /* there are 2^bits */
};

/* EMBED_UNSUPPORTED, naming `file`, where tokens have millions of different beginnings. */
embed_status token_trie_create(struct token_trie *trie, const struct vocabulary *vocabulary,
                               const char *file);
void token_trie_free(struct token_trie *trie);

/* The node of a text; TOKEN_TRIE_NONE where no token begins with it. */
uint32_t token_trie_walk(const struct token_trie *trie, const char *text, size_t length);

/* The longest token that begins with the text of the node `head` and goes on with
 * text[0..length) or a part of it: returns how many bytes of `text` it takes, and writes *id; 0
 * where there is none, or no node. */
size_t token_trie_longest(const struct token_trie *trie, uint32_t head, const char *text,
                          size_t length, int32_t *id);

#endif
