/* prompt_tokens.h - how many of a text's first tokens are its prompt's, and not pooled */
#ifndef LIB_MODEL_PROMPT_TOKENS_H
#define LIB_MODEL_PROMPT_TOKENS_H

#include "model/model.h"

/* As sentence-transformers counts them: the tokens of the prompt as a text of its own, cut to
 * max_tokens, special tokens included, but not the one at the end. 0 where the prompt is empty, or
 * is pooled with the text. Where a token spans the border of prompt and text, it may be one too
 * many, and up to all of the text's. */
embed_status prompt_tokens(size_t *count, const struct embed_model *model, const char *prompt,
                           size_t max_tokens);

#endif
