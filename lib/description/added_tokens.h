/* added_tokens.h - texts that become one token wherever they occur, such as [MASK]
 *
 * A tokenizer has two sets. Tokens of the raw set are searched for in the text as it is; those of
 * the normalized set are normalized and searched for in the normalized remainder. The longest wins.
 *
 * In the reference, a token can also swallow the white space on its left (lstrip) or right
 * (rstrip). If words are split at white space anyway, this does not affect ids; added_tokens_add
 * rejects the tokens for which it could. For tokenizers that keep white space, see token_search.h.
 */
#ifndef LIB_DESCRIPTION_ADDED_TOKENS_H
#define LIB_DESCRIPTION_ADDED_TOKENS_H

#include "description/normalizer.h"
#include "description/vocabulary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADDED_TOKEN_MAX_NORMALIZED 256 /* bytes of a normalized text */

#define ADDED_TOKENS_FEW_STARTS    4

struct added_token {
    int32_t id;
    bool single_word; /* not matched next to a word character */
    bool lstrip, rstrip;
};

/* Starts zeroed; release with added_tokens_free. */
struct added_tokens {
    struct vocabulary texts; /* text to index in tokens[] */
    struct added_token *tokens;
    size_t *lengths; /* the distinct lengths of the texts, longest first */
    size_t count, length_count, capacity;
    bool starts[256]; /* starts[b]: some text starts with byte b */
    unsigned char start_bytes[ADDED_TOKENS_FEW_STARTS]; /* the bytes, if these are few */
    size_t start_count;
};

/* Adds a token, normalizing its text if `normalizer` is not NULL. Fails with EMBED_UNSUPPORTED if
 * the token cannot be matched exactly as the reference does; `file` is for messages. */
embed_status added_tokens_add(struct added_tokens *set, const char *file, const char *text,
                              size_t length, struct added_token token,
                              const struct normalizer *normalizer);
/* Removes the tokens whose id is `id` or larger. */
embed_status added_tokens_limit(struct added_tokens *set, const char *file, int32_t id);
void added_tokens_free(struct added_tokens *set);

/* Returns the position in text[0..length) of the first byte that a token may start with, or
 * `length` if there is none. */
size_t added_tokens_find_start(const struct added_tokens *set, const char *text, size_t length);

/* Returns the longest token that text[0..available) begins with and sets *length to its length in
 * bytes; returns NULL if there is none. */
const struct added_token *added_tokens_match(const struct added_tokens *set, const char *text,
                                             size_t available, size_t *length);

#endif
