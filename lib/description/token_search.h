/* token_search.h - finds added tokens in a text, from left to right, no further than is needed
 *
 * For texts whose white space counts: a token with lstrip or rstrip takes that beside it.
 * (Where words are split at white space, it makes no difference: see added_tokens.h.)
 */
#ifndef LIB_DESCRIPTION_TOKEN_SEARCH_H
#define LIB_DESCRIPTION_TOKEN_SEARCH_H

#include "description/added_tokens.h"
#include "description/gpt2_unicode.h"

#include <stdbool.h>
#include <stddef.h>

/* A part of a text. Unless it is final, it does not end with white space, and what follows it is
 * not known yet. */
struct text_part {
    size_t start, end;
    bool is_final;
};

struct token_search {
    const struct added_tokens *set;
    const struct gpt2_classes *classes;
    const char *text;
    size_t first;    /* byte of the text that belongs to what is searched */
    size_t searched; /* no other token begins in text[..searched) */

    /* The text before the next token, as far as it is sure to be that. */
    struct text_part piece;
    const struct added_token *token; /* the next one, NULL where none has been found yet */
    size_t token_end;                /* behind the token and the white space it takes */
};

/* Searches a text that begins at text[start]. */
void token_search_begin(struct token_search *search, const struct added_tokens *set,
                        const struct gpt2_classes *classes, const char *text, size_t start);

/* Searches further, for some KiB and at least as far again as the piece is long. `whole` is the
 * text to be searched, as far as it is known. Returns false, and changes nothing, where more of
 * it has to be known, or the piece is final. */
bool token_search_more(struct token_search *search, struct text_part whole);

/* Goes behind the token that was found. */
void token_search_pass(struct token_search *search);

#endif
