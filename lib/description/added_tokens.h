/* added_tokens.h - texts that become one token wherever they stand, such as [MASK]
 *
 * A tokenizer has two sets: one whose texts are looked for in the raw text, and one whose texts
 * are normalized and looked for in what normalizing leaves of the rest. The longest wins.
 *
 * The reference also lets a token swallow the white space on its left (lstrip) or right
 * (rstrip). That makes no difference to ids where words are split at white space anyway; where
 * it could, added_tokens_add refuses the token. Where white space counts, see token_search.h.
 */
#ifndef LIB_DESCRIPTION_ADDED_TOKENS_H
#define LIB_DESCRIPTION_ADDED_TOKENS_H

#include "description/normalizer.h"
#include "description/vocabulary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADDED_TOKEN_MAX_NORMALIZED 256 /* bytes of a text of the normalized set */

#define ADDED_TOKENS_FEW_STARTS    4

struct added_token {
    int32_t id;
    bool single_word; /* not matched next to a word character */
    bool lstrip, rstrip;
};

/* Starts zeroed; release with added_tokens_free. */
struct added_tokens {
    struct vocabulary texts; /* to indices of tokens[] */
    struct added_token *tokens;
    size_t *lengths; /* of the texts, each once, longest first */
    size_t count, length_count, capacity;
    bool starts[256]; /* with which bytes the texts start */
    unsigned char start_bytes[ADDED_TOKENS_FEW_STARTS]; /* which, where these are few */
    size_t start_count;
};

/* Adds a token; to the normalized set with the normalizer, if there is one. What cannot be matched
 * as the reference does it is EMBED_UNSUPPORTED; `file` is for messages. */
embed_status added_tokens_add(struct added_tokens *set, const char *file, const char *text,
                              size_t length, struct added_token token,
                              const struct normalizer *normalizer);
/* Leaves out those with this id or a larger one. */
embed_status added_tokens_limit(struct added_tokens *set, const char *file, int32_t id);
void added_tokens_free(struct added_tokens *set);

/* Where in text[0..length) the first byte is that a token may start with; `length` if nowhere. */
size_t added_tokens_find_start(const struct added_tokens *set, const char *text, size_t length);

/* The token with the longest text that text[0..available) begins with, and that text's length;
 * NULL where there is none. */
const struct added_token *added_tokens_match(const struct added_tokens *set, const char *text,
                                             size_t available, size_t *length);

#endif
