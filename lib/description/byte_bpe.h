/* byte_bpe.h - byte-level BPE: merges the bytes of a word into tokens
 *
 * Of all neighbours that may be merged, those with the lowest rank are first, and of these the
 * leftmost; until no two may be.
 */
#ifndef LIB_DESCRIPTION_BYTE_BPE_H
#define LIB_DESCRIPTION_BYTE_BPE_H

#include "description/merge_table.h"
#include "description/token_list.h"

#include <stddef.h>
#include <stdint.h>

/* Immutable. No two tokens have the same id. */
struct byte_bpe {
    int32_t bytes[256]; /* the token of each byte; -1: it has none, and is left out */
    struct merge_table merges;
};

/* Appends the tokens of a word: O(n log n) for n bytes, and 28 n bytes of memory meanwhile. */
embed_status byte_bpe_encode(const struct byte_bpe *model, const char *word, size_t length,
                             struct token_list *list);

#endif
