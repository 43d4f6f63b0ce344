/* embedding_pipeline.h - what sentence-transformers does around the transformer: its folder, the
 * token limit, prompts, pooling, and what follows pooling */
#ifndef LIB_DESCRIPTION_EMBEDDING_PIPELINE_H
#define LIB_DESCRIPTION_EMBEDDING_PIPELINE_H

#include "embed.h"
#include "kernels/kernels.h"

#include <stdbool.h>
#include <stddef.h>

/* No known model has more than three pooling modes or two Dense modules. */
#define MOST_POOLING_MODES 8
#define MOST_DENSE         8
#define MOST_STEPS         16

struct prompt {
    char *name, *text;
};

/* A Dense module: y (O) = activation(x (I) @ weight (O, I)^T + bias (O)) */
struct dense_config {
    char *folder; /* of its config.json and weights */
    size_t I, O;
    bool has_bias;
    enum activation activation;
};

/* One step applied to a pooled row after pooling. */
struct pipeline_step {
    enum step_kind { STEP_DENSE, STEP_NORMALIZE } kind;
    size_t dense; /* index in pipeline->dense */
};

/* Files are paths relative to the folder, for display; NULL if no file sets the value. */
struct embedding_pipeline {
    char *transformer_folder; /* of config.json, the tokenizer and the weights */
    bool has_modules;         /* modules.json exists */

    enum pooling pooling[MOST_POOLING_MODES]; /* their rows are concatenated, in this order */
    size_t pooling_modes;
    size_t pooling_width;  /* the transformer's, according to pooling_file; 0: not set */
    bool include_prompt;   /* the prompt's tokens are pooled too */
    char *pooling_file;

    struct dense_config dense[MOST_DENSE];
    size_t dense_count;
    struct pipeline_step steps[MOST_STEPS];
    size_t step_count;
    bool normalize;    /* at the end, after rows are cut to size */
    size_t dimensions; /* rows are cut to this width (truncate_dim); 0: not cut */

    size_t max_tokens;           /* max_seq_length; 0: not set */
    size_t tokenizer_max_tokens; /* model_max_length, if that is not set; 0: not set */
    const char *max_tokens_file; /* of max_seq_length, a static string; NULL: not set */
    const char *settings_file;   /* sentence_bert_config.json, by its name here; likewise */
    bool lowercase;              /* texts are lower-cased before the tokenizer (do_lower_case) */

    struct prompt *prompts;
    size_t prompt_count;
    const char *default_prompt; /* text of one of `prompts`, or NULL */
};

/* Reads modules.json, the files of its modules, sentence_bert_config.json, tokenizer_config.json
 * and config_sentence_transformers.json of FOLDER, those that exist, in the formats of
 * sentence-transformers before and since 5.4. Without modules.json, uses mean pooling and no
 * normalisation, as sentence-transformers does, and does not read sentence_bert_config.json. Fails
 * with EMBED_UNSUPPORTED and names the module or setting if this version does not run it. Release
 * with embedding_pipeline_release, also after a failure. */
embed_status embedding_pipeline_read(struct embedding_pipeline *pipeline, const char *folder);
void embedding_pipeline_release(struct embedding_pipeline *pipeline);

/* Return the width of a row after pooling and after the last module, for a transformer of width C.
 * Assume that embedding_pipeline_check has succeeded. */
size_t embedding_pipeline_pooled_width(const struct embedding_pipeline *pipeline, size_t C);
size_t embedding_pipeline_width(const struct embedding_pipeline *pipeline, size_t C);

/* Fails with EMBED_BAD_FILE if a module's input width is not the width of the step before it. */
embed_status embedding_pipeline_check(const struct embedding_pipeline *pipeline, size_t C);

/* Returns the text of a prompt by name, or NULL if there is none of that name. As in
 * sentence-transformers, every model has "query" and "document", empty unless the folder sets
 * them. */
const char *embedding_pipeline_prompt(const struct embedding_pipeline *pipeline,
                                      const char *name);

/* Returns the text to put before each text, for the prompt_name of embed_encode_options, which must
 * exist. */
const char *embedding_pipeline_prefix(const struct embedding_pipeline *pipeline,
                                      const char *prompt_name);

/* ---- for the readers of single files ------------------------------------------------------- */

/* Read N_Pooling/config.json, N_Dense/config.json and N_Normalize/config.json; `path` is the
 * module's folder, relative to `folder`. */
embed_status pooling_config_read(struct embedding_pipeline *pipeline, const char *folder,
                                 const char *path);
embed_status dense_config_read(struct embedding_pipeline *pipeline, const char *folder,
                               const char *path);
embed_status normalize_config_read(const char *folder, const char *path);

/* Reads tokenizer_config.json and, if there is modules.json, sentence_bert_config.json. */
embed_status transformer_settings_read(struct embedding_pipeline *pipeline);

/* Upper bound of any width or length in a file. */
#define MOST_IN_A_FILE ((size_t)1 << 20)

#endif
