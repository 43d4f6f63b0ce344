/* fuzz_pipeline.c - modules.json and the other files of sentence-transformers
 *
 * An input is all of them; see fuzz_write_files.
 */
#include "description/embedding_pipeline.h"

#include "base/status.h"
#include "fuzz.h"

static const char *const names[] = {"modules.json",
                                    "sentence_bert_config.json",
                                    "tokenizer_config.json",
                                    "config_sentence_transformers.json",
                                    "1_Pooling/config.json",
                                    "0_Transformer/tokenizer_config.json",
                                    "0_Transformer/sentence_bert_config.json",
                                    "2_Dense/config.json",
                                    NULL};

static void check(const struct embedding_pipeline *pipeline)
{
    /* The transformer's folder is this one or directly below it. */
    const char *folder = fuzz_folder(), *below = pipeline->transformer_folder + strlen(folder);
    fuzz_claim(strncmp(pipeline->transformer_folder, folder, strlen(folder)) == 0);
    fuzz_claim(*below == '\0' || (*below == '/' && strchr(below + 1, '/') == NULL &&
                                  strcmp(below + 1, "..") != 0));
    fuzz_claim(pipeline->max_tokens <= (size_t)1 << 20);
    for (size_t i = 0; i < pipeline->prompt_count; i++) {
        const char *name = pipeline->prompts[i].name;
        fuzz_claim(embedding_pipeline_prompt(pipeline, name) == pipeline->prompts[i].text);
    }
    fuzz_claim(embedding_pipeline_prefix(pipeline, NULL) != NULL);
}

static void fuzz_input(const uint8_t *input, size_t length)
{
    struct embedding_pipeline pipeline;
    fuzz_write_files(input, length, names);
    embed_status status = embedding_pipeline_read(&pipeline, fuzz_folder());
    if (status == EMBED_OK)
        check(&pipeline);
    else
        fuzz_claim_message(error_message(), fuzz_folder());
    embedding_pipeline_release(&pipeline);
}
