/* byte_bpe.h - byte-level BPE: merges the bytes of a word into tokens
 *
 * Repeatedly merges the adjacent pair with the lowest rank, the leftmost of equals, until no pair
 * can be merged.
 */
#ifndef LIB_DESCRIPTION_BYTE_BPE_H
#define LIB_DESCRIPTION_BYTE_BPE_H

#include "description/merge_table.h"
#include "description/token_list.h"

#include <stddef.h>
#include <stdint.h>

/* Immutable. No two tokens have the same id. */
struct byte_bpe {
    int32_t bytes[256]; /* the token of each byte; -1: none, the byte is dropped */
    struct merge_table merges;
};

/* Appends the tokens of a word of n bytes, in O(n log n) time and up to 28 n bytes of temporary
 * memory. */
embed_status byte_bpe_encode(const struct byte_bpe *model, const char *word, size_t length,
                             struct token_list *list);

#endif
