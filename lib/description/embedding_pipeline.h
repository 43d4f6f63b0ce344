/* embedding_pipeline.h - what sentence-transformers does around the transformer: its folder, the
 * token limit, prompts, pooling, and what follows pooling */
#ifndef LIB_DESCRIPTION_EMBEDDING_PIPELINE_H
#define LIB_DESCRIPTION_EMBEDDING_PIPELINE_H

#include "embed.h"
#include "kernels/kernels.h"

#include <stdbool.h>
#include <stddef.h>

/* No model that is known has more than three modes, or more than two Dense modules. */
#define MOST_POOLING_MODES 8
#define MOST_DENSE         8
#define MOST_STEPS         16

struct prompt {
    char *name, *text;
};

/* A Dense module: y (O) = activation(x (I) @ weight (O, I)^T + bias (O)) */
struct dense_config {
    char *folder; /* of its config.json and its weights */
    size_t I, O;
    bool has_bias;
    enum activation activation;
};

/* What is done with a pooled row, in this order. */
struct pipeline_step {
    enum step_kind { STEP_DENSE, STEP_NORMALIZE } kind;
    size_t dense; /* which of pipeline->dense */
};

/* Files are paths below the folder, for people to read; NULL: no file says so. */
struct embedding_pipeline {
    char *transformer_folder; /* of config.json, the tokenizer and the weights */
    bool has_modules;         /* modules.json is there */

    enum pooling pooling[MOST_POOLING_MODES]; /* rows side by side, in this order */
    size_t pooling_modes;
    size_t pooling_width;  /* what its file says the transformer's is; 0: nothing */
    bool include_prompt;   /* in pooling */
    char *pooling_file;

    struct dense_config dense[MOST_DENSE];
    size_t dense_count;
    struct pipeline_step steps[MOST_STEPS];
    size_t step_count;
    bool normalize;    /* at the end, after rows are cut to their dimensions */
    size_t dimensions; /* rows are cut to; 0: they are not */

    size_t max_tokens;           /* by max_seq_length; 0: not set */
    size_t tokenizer_max_tokens; /* by model_max_length, where that is not; 0: not set */
    const char *max_tokens_file; /* of max_seq_length, a constant; NULL: not set */
    const char *settings_file;   /* sentence_bert_config.json, under its name here; likewise */
    bool lowercase;              /* of texts, before the tokenizer: do_lower_case */

    struct prompt *prompts;
    size_t prompt_count;
    const char *default_prompt; /* a prompt's text, or NULL */
};

/* Reads modules.json, the files of its modules, sentence_bert_config.json, tokenizer_config.json
 * and config_sentence_transformers.json of FOLDER, as far as they are there, as they are written
 * by sentence-transformers before and from 5.4. Without modules.json: mean pooling and no
 * normalisation, as sentence-transformers does, and sentence_bert_config.json is not read. A
 * module or a setting that this version does not run is EMBED_UNSUPPORTED and named. Release with
 * embedding_pipeline_release, also after a failure. */
embed_status embedding_pipeline_read(struct embedding_pipeline *pipeline, const char *folder);
void embedding_pipeline_release(struct embedding_pipeline *pipeline);

/* Numbers in a row after pooling, where the transformer's width is C, and at the end. What the
 * modules say of each other's widths has been checked by embedding_pipeline_check. */
size_t embedding_pipeline_pooled_width(const struct embedding_pipeline *pipeline, size_t C);
size_t embedding_pipeline_width(const struct embedding_pipeline *pipeline, size_t C);

/* EMBED_BAD_FILE where a module's width is not that of what comes before it. */
embed_status embedding_pipeline_check(const struct embedding_pipeline *pipeline, size_t C);

/* The text of a prompt by name; NULL where there is none of that name. sentence-transformers knows
 * "query" and "document" of any model, empty where the folder says nothing. */
const char *embedding_pipeline_prompt(const struct embedding_pipeline *pipeline,
                                      const char *name);

/* What goes before each text, for the prompt_name of embed_encode_options, which exists. */
const char *embedding_pipeline_prefix(const struct embedding_pipeline *pipeline,
                                      const char *prompt_name);

/* ---- for the files that read one file each ------------------------------------------------- */

/* N_Pooling/config.json, N_Dense/config.json and N_Normalize/config.json; `path` names the module's
 * folder below `folder`. */
embed_status pooling_config_read(struct embedding_pipeline *pipeline, const char *folder,
                                 const char *path);
embed_status dense_config_read(struct embedding_pipeline *pipeline, const char *folder,
                               const char *path);
embed_status normalize_config_read(const char *folder, const char *path);

/* sentence_bert_config.json, where there is modules.json, and tokenizer_config.json. */
embed_status transformer_settings_read(struct embedding_pipeline *pipeline);

/* Numbers above this are no width and no length. */
#define MOST_IN_A_FILE ((size_t)1 << 20)

#endif
