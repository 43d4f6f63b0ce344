/* embedding_pipeline.h - what sentence-transformers does around the transformer: its folder, the
 * token limit, pooling, normalisation, prompts */
#ifndef LIB_DESCRIPTION_EMBEDDING_PIPELINE_H
#define LIB_DESCRIPTION_EMBEDDING_PIPELINE_H

#include "embed.h"
#include "kernels/kernels.h"

#include <stdbool.h>
#include <stddef.h>

struct prompt {
    char *name, *text;
};

struct embedding_pipeline {
    char *transformer_folder; /* of config.json, the tokenizer and the weights */
    enum pooling pooling;
    bool normalize;
    size_t max_tokens; /* 0: the folder sets no limit */
    struct prompt *prompts;
    size_t prompt_count;
    const char *default_prompt; /* a prompt's text, or NULL */
};

/* Reads modules.json, N_Pooling/config.json, sentence_bert_config.json, tokenizer_config.json and
 * config_sentence_transformers.json of FOLDER, as far as they are there. Without modules.json:
 * mean pooling and no normalisation, as sentence-transformers does. A module or a setting that
 * this version does not run is EMBED_UNSUPPORTED and named. Release with
 * embedding_pipeline_release, also after a failure. */
embed_status embedding_pipeline_read(struct embedding_pipeline *pipeline, const char *folder);
void embedding_pipeline_release(struct embedding_pipeline *pipeline);

/* The text of a prompt by name; NULL where there is none of that name. */
const char *embedding_pipeline_prompt(const struct embedding_pipeline *pipeline,
                                      const char *name);

/* What goes before each text, for the prompt_name of embed_encode_options, which exists. */
const char *embedding_pipeline_prefix(const struct embedding_pipeline *pipeline,
                                      const char *prompt_name);

#endif
