/* fuzz_pipeline.c - modules.json and the other files of sentence-transformers
 *
 * An input contains all of them; see fuzz_write_files.
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
                                    "3_Normalize/config.json",
                                    NULL};

/* Returns true if `path` is the folder or directly inside it. */
static bool is_of_folder(const char *path)
{
    const char *folder = fuzz_folder(), *below = path + strlen(folder);
    return strncmp(path, folder, strlen(folder)) == 0 &&
           (*below == '\0' || (*below == '/' && strchr(below + 1, '/') == NULL &&
                               strcmp(below + 1, "..") != 0));
}

static void check(const struct embedding_pipeline *pipeline)
{
    const size_t C = 64, most = MOST_IN_A_FILE;
    fuzz_claim(is_of_folder(pipeline->transformer_folder));
    fuzz_claim(pipeline->max_tokens <= most && pipeline->tokenizer_max_tokens <= most);
    fuzz_claim(pipeline->dimensions <= most);
    fuzz_claim(pipeline->pooling_modes >= 1 && pipeline->pooling_modes <= MOST_POOLING_MODES);
    fuzz_claim(pipeline->dense_count <= MOST_DENSE && pipeline->step_count <= MOST_STEPS);
    for (size_t i = 0; i < pipeline->step_count; i++)
        if (pipeline->steps[i].kind == STEP_DENSE)
            fuzz_claim(pipeline->steps[i].dense < pipeline->dense_count);
    for (size_t i = 0; i < pipeline->dense_count; i++) {
        const struct dense_config *dense = &pipeline->dense[i];
        fuzz_claim(is_of_folder(dense->folder));
        fuzz_claim(dense->I >= 1 && dense->I <= most && dense->O >= 1 && dense->O <= most);
    }
    if (embedding_pipeline_check(pipeline, C) == EMBED_OK)
        fuzz_claim(embedding_pipeline_width(pipeline, C) >= 1);
    else
        fuzz_claim(strstr(error_message(), ": ") != NULL);
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
