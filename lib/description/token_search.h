/* token_search.h - finds added tokens in a text, from left to right, no further than needed
 *
 * For tokenizers that keep white space: a token with lstrip or rstrip swallows the white space next
 * to it. (If words are split at white space, this makes no difference: see added_tokens.h.)
 */
#ifndef LIB_DESCRIPTION_TOKEN_SEARCH_H
#define LIB_DESCRIPTION_TOKEN_SEARCH_H

#include "description/added_tokens.h"
#include "description/gpt2_unicode.h"

#include <stdbool.h>
#include <stddef.h>

/* A part of a text. If it is not final, what follows it is not known yet, and it does not end with
 * white space. */
struct text_part {
    size_t start, end;
    bool is_final;
};

struct token_search {
    const struct added_tokens *set;
    const struct gpt2_classes *classes;
    const char *text;
    size_t first;    /* byte of the text to be searched */
    size_t searched; /* no further token begins before this */

    /* The text before the next token, as far as it is certain. */
    struct text_part piece;
    const struct added_token *token; /* the next token; NULL: not found yet */
    size_t token_end;                /* after the token and white space it swallows */
};

/* Begins to search the text that starts at text[start]. */
void token_search_begin(struct token_search *search, const struct added_tokens *set,
                        const struct gpt2_classes *classes, const char *text, size_t start);

/* Extends the search by some KiB, and at least by the length searched since the piece began.
 * `whole` is the text to be searched, as far as it is known. Returns false, and leaves the piece
 * unchanged, if more of `whole` has to be known first or the piece is final. */
bool token_search_more(struct token_search *search, struct text_part whole);

/* Continues after the token that was found. */
void token_search_pass(struct token_search *search);

#endif
