/* folder_facts.c - how a model folder was understood, and from which files */
#include "model/folder_facts.h"

#include "base/memory.h"
#include "base/status.h"
#include "formats/folder.h"

#include <stdio.h>
#include <string.h>

#define MODULES "modules.json"
#define PROMPTS "config_sentence_transformers.json"

static char *copy(const char *text)
{
    return memory_copy_text(text, strlen(text), "a model's description");
}

/* Appends copies of the strings. file is NULL if no file says so. */
static embed_status add(struct folder_facts *facts, const char *name, const char *value,
                        const char *file)
{
    embed_fact *items = memory_resize(facts->items, facts->count + 1, sizeof *items,
                                      "a model's description");
    if (items == NULL) return EMBED_OUT_OF_MEMORY;
    facts->items = items;
    embed_fact *fact = &items[facts->count++];
    *fact = (embed_fact){copy(name), copy(value), file != NULL ? copy(file) : NULL};
    return fact->name != NULL && fact->value != NULL && (file == NULL || fact->file != NULL)
               ? EMBED_OK
               : EMBED_OUT_OF_MEMORY;
}

static embed_status add_number(struct folder_facts *facts, const char *name, size_t number,
                               const char *file)
{
    char text[32];
    snprintf(text, sizeof text, "%zu", number);
    return add(facts, name, text, file);
}

static const char *after_last_slash(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* ---- the facts ----------------------------------------------------------------------------- */

static const char *pooling_name(enum pooling pooling)
{
    switch (pooling) {
    case POOLING_MEAN: break;
    case POOLING_MEAN_SQRT_LENGTH: return "mean_sqrt_length";
    case POOLING_WEIGHTED_MEAN: return "weighted_mean";
    case POOLING_MAX: return "max";
    case POOLING_CLS: return "cls";
    case POOLING_LAST: return "last_token";
    }
    return "mean";
}

static embed_status add_pooling(struct folder_facts *facts,
                                const struct embedding_pipeline *pipeline)
{
    char text[MOST_POOLING_MODES * 24] = "";
    for (size_t i = 0; i < pipeline->pooling_modes; i++) {
        size_t length = strlen(text);
        snprintf(text + length, sizeof text - length, "%s%s", i > 0 ? ", " : "",
                 pooling_name(pipeline->pooling[i]));
    }
    TRY(add(facts, "pooling", text, pipeline->pooling_file));
    if (pipeline->include_prompt) return EMBED_OK;
    return add(facts, "pools_prompt", "no", pipeline->pooling_file);
}

static const char *activation_name(enum activation activation)
{
    switch (activation) {
    case ACTIVATION_NONE: break;
    case ACTIVATION_GELU: return "gelu";
    case ACTIVATION_TANH: return "tanh";
    case ACTIVATION_RELU: return "relu";
    case ACTIVATION_SIGMOID: return "sigmoid";
    }
    return "no activation";
}

static embed_status add_dense(struct folder_facts *facts, const struct dense_config *dense)
{
    char text[96];
    snprintf(text, sizeof text, "%zu to %zu, %s, %s", dense->I, dense->O,
             dense->has_bias ? "bias" : "no bias", activation_name(dense->activation));
    char *file = folder_path(after_last_slash(dense->folder), "config.json");
    if (file == NULL) return EMBED_OUT_OF_MEMORY;
    embed_status status = add(facts, "dense", text, file);
    memory_free(file);
    return status;
}

static embed_status add_steps(struct folder_facts *facts,
                              const struct embedding_pipeline *pipeline)
{
    for (size_t i = 0; i < pipeline->step_count; i++) {
        const struct pipeline_step *step = &pipeline->steps[i];
        TRY(step->kind == STEP_DENSE ? add_dense(facts, &pipeline->dense[step->dense])
                                     : add(facts, "normalization", "yes, before what follows here",
                                           MODULES));
    }
    if (pipeline->dimensions > 0)
        TRY(add_number(facts, "dimensions", pipeline->dimensions, PROMPTS));
    size_t last = pipeline->step_count;
    if (last > 0 && pipeline->steps[last - 1].kind == STEP_NORMALIZE) return EMBED_OK; /* added */
    return add(facts, "normalization", pipeline->normalize ? "yes" : "no",
               pipeline->has_modules ? MODULES : NULL);
}

static embed_status add_prompts(struct folder_facts *facts,
                                const struct embedding_pipeline *pipeline)
{
    for (size_t i = 0; i < pipeline->prompt_count; i++) {
        const struct prompt *prompt = &pipeline->prompts[i];
        bool is_default = pipeline->default_prompt == prompt->text;
        char *name = folder_path(is_default ? "default prompt" : "prompt", prompt->name);
        if (name == NULL) return EMBED_OUT_OF_MEMORY;
        *strchr(name, '/') = ' ';
        embed_status status = add(facts, name, prompt->text, PROMPTS);
        memory_free(name);
        if (status != EMBED_OK) return status;
    }
    return EMBED_OK;
}

static embed_status add_max_tokens(struct folder_facts *facts,
                                   const struct embedding_pipeline *pipeline, size_t max_tokens)
{
    bool is_tokenizers = max_tokens == pipeline->tokenizer_max_tokens;
    const char *file = pipeline->max_tokens > 0 ? pipeline->max_tokens_file
                       : is_tokenizers          ? "tokenizer_config.json"
                                                : "config.json";
    TRY(add_number(facts, "max_tokens", max_tokens, file));
    if (!pipeline->lowercase) return EMBED_OK;
    return add(facts, "lower_case", "yes", pipeline->settings_file);
}

/* Adds the dtypes of a file's tensors, each once. */
static embed_status add_weights(struct folder_facts *facts, const struct safetensors *file)
{
    char text[128] = "";
    bool seen[SAFETENSORS_DTYPE_COUNT] = {false};
    for (size_t i = 0; i < safetensors_count(file); i++) {
        enum safetensors_dtype dtype = safetensors_at(file, i)->dtype;
        size_t length = strlen(text);
        if (seen[dtype]) continue;
        seen[dtype] = true;
        snprintf(text + length, sizeof text - length, "%s%s", length > 0 ? ", " : "",
                 safetensors_dtype_name(dtype));
    }
    const char *path = safetensors_path(file), *name = after_last_slash(path), *start = name;
    if (strstr(path, "_Dense/") != NULL) /* gives N_Dense/model.safetensors */
        for (start = name - 1; start > path && start[-1] != '/';) start--;
    return add(facts, "weights", text, start);
}

embed_status folder_facts_make(struct folder_facts *facts,
                               const struct embedding_pipeline *pipeline,
                               const struct tokenizer *tokenizer, const struct weight_files *files,
                               size_t max_tokens, bool generates)
{
    TRY(add(facts, "tokenizer", tokenizer_kind(tokenizer),
            after_last_slash(tokenizer_file(tokenizer))));
    TRY(add_max_tokens(facts, pipeline, max_tokens));
    if (!generates) {
        TRY(add_prompts(facts, pipeline));
        TRY(add_pooling(facts, pipeline));
        TRY(add_steps(facts, pipeline));
    }
    for (size_t i = 0; i < weight_files_count(files); i++)
        TRY(add_weights(facts, weight_files_at(files, i)));
    return EMBED_OK;
}

void folder_facts_free(struct folder_facts *facts)
{
    for (size_t i = 0; i < facts->count; i++) {
        memory_free((char *)facts->items[i].name);
        memory_free((char *)facts->items[i].value);
        memory_free((char *)facts->items[i].file);
    }
    memory_free(facts->items);
    *facts = (struct folder_facts){0};
}
