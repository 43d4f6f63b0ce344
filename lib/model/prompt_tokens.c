/* prompt_tokens.c - counts the first tokens of a text that are its prompt's and are not pooled */
#include "model/prompt_tokens.h"

#include "base/status.h"

#include <string.h>

embed_status prompt_tokens(size_t *count, const struct embed_model *model, const char *prompt,
                           size_t max_tokens)
{
    struct token_list list = {0};
    struct tokenizer_facts facts;
    *count = 0;
    if (model->pipeline.include_prompt || prompt[0] == '\0') return EMBED_OK;
    embed_status status = tokenizer_encode(model->tokenizer, NULL, prompt, strlen(prompt),
                                           max_tokens, &list, &facts);
    token_list_free(&list);
    if (status != EMBED_OK) return status;
    *count = facts.tokens - (tokenizer_ends_texts(model->tokenizer) ? 1 : 0);
    return EMBED_OK;
}
