/* prompt_tokens.h - counts the first tokens of a text that are its prompt's and are not pooled */
#ifndef LIB_MODEL_PROMPT_TOKENS_H
#define LIB_MODEL_PROMPT_TOKENS_H

#include "model/model.h"

/* Counts as sentence-transformers does: the tokens of the prompt as a text of its own, cut to
 * max_tokens, including special tokens except the one at the end. *count is 0 if the prompt is
 * empty or is pooled with the text. If a token spans the boundary between prompt and text, the
 * count may be one too high; it may reach the number of the text's tokens. */
embed_status prompt_tokens(size_t *count, const struct embed_model *model, const char *prompt,
                           size_t max_tokens);

#endif
