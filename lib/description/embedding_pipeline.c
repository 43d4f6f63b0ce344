/* embedding_pipeline.c - what sentence-transformers does around the transformer
 *
 * File names, keys and their meaning: sentence-transformers' documentation, "Creating Custom
 * Models", and what the files of models in the wild hold.
 */
#include "description/embedding_pipeline.h"

#include "base/memory.h"
#include "base/status.h"
#include "description/config_file.h"
#include "formats/folder.h"

#include <string.h>

/* ---- pooling ------------------------------------------------------------------------------- */

static const struct {
    const char *mode; /* since sentence-transformers 5.4: "pooling_mode": MODE */
    const char *key;  /* before: KEY: true */
    enum pooling pooling;
    bool supported;
} pooling_modes[] = {
    {"cls", "pooling_mode_cls_token", POOLING_CLS, true},
    {"max", "pooling_mode_max_tokens", POOLING_MAX, true},
    {"mean", "pooling_mode_mean_tokens", POOLING_MEAN, true},
    {"mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", POOLING_MEAN_SQRT_LENGTH, true},
    {"weightedmean", "pooling_mode_weightedmean_tokens", POOLING_MEAN, false},
    {"lasttoken", "pooling_mode_lasttoken", POOLING_LAST, true},
};

#define MODES (sizeof pooling_modes / sizeof *pooling_modes)

static embed_status pooling_by_name(struct embedding_pipeline *pipeline,
                                    const struct config_file *file, const char *mode)
{
    for (size_t i = 0; i < MODES; i++) {
        if (strcmp(mode, pooling_modes[i].mode) != 0 || !pooling_modes[i].supported) continue;
        pipeline->pooling = pooling_modes[i].pooling;
        return EMBED_OK;
    }
    return fail(EMBED_UNSUPPORTED, "%s: \"pooling_mode\" is \"%s\", which this version does not run",
                config_file_path(file), mode);
}

static embed_status pooling_by_flags(struct embedding_pipeline *pipeline,
                                     const struct config_file *file,
                                     const struct config_object *object)
{
    size_t chosen = 0;
    for (size_t i = 0; i < MODES; i++) {
        bool on = false;
        TRY(config_boolean(file, object, pooling_modes[i].key, false, &on));
        if (!on) continue;
        if (!pooling_modes[i].supported)
            return fail(EMBED_UNSUPPORTED, "%s: \"%s\", which this version does not run",
                        config_file_path(file), pooling_modes[i].key);
        pipeline->pooling = pooling_modes[i].pooling;
        chosen++;
    }
    if (chosen > 1)
        return fail(EMBED_UNSUPPORTED, "%s: %zu pooling modes at once, this version runs one",
                    config_file_path(file), chosen);
    return EMBED_OK; /* none: mean */
}

static embed_status read_pooling(struct embedding_pipeline *pipeline, const char *folder,
                                 const char *path)
{
    char *name = folder_path(path, "config.json");
    if (name == NULL) return EMBED_OUT_OF_MEMORY;
    struct config_file *file;
    embed_status status = config_file_open(&file, folder, name, true);
    memory_free(name);
    if (status != EMBED_OK) return status;

    const struct config_object *object;
    const char *mode = NULL;
    bool include_prompt = true;
    status = config_file_object(file, &object);
    if (status == EMBED_OK) status = config_text(file, object, "pooling_mode", false, &mode);
    if (status == EMBED_OK)
        status = mode != NULL ? pooling_by_name(pipeline, file, mode)
                              : pooling_by_flags(pipeline, file, object);
    if (status == EMBED_OK)
        status = config_boolean(file, object, "include_prompt", false, &include_prompt);
    if (status == EMBED_OK && !include_prompt)
        status = fail(EMBED_UNSUPPORTED,
                      "%s: \"include_prompt\" is false, which this version does not run",
                      config_file_path(file));
    config_file_close(file);
    return status;
}

/* ---- modules ------------------------------------------------------------------------------- */

/* A module's path comes from a file: it may name a folder below the model's, nothing else. */
static bool plain_name(const char *path)
{
    return strchr(path, '/') == NULL && strcmp(path, "..") != 0 && strcmp(path, ".") != 0;
}

static embed_status read_module(struct embedding_pipeline *pipeline, const char *folder,
                                const struct config_file *file, size_t i)
{
    const struct config_object *module;
    const char *type = NULL, *path = NULL;
    TRY(config_file_element(file, i, &module));
    TRY(config_text(file, module, "type", true, &type));
    TRY(config_text(file, module, "path", true, &path));
    if (!plain_name(path))
        return fail(EMBED_BAD_FILE, "%s: \"path\" is \"%s\", must be the name of a folder",
                    config_file_path(file), path);

    /* Old files say sentence_transformers.models.Pooling, new ones sentence_transformers.
     * sentence_transformer.modules.pooling.Pooling: the class at the end is the same. */
    const char *dot = strrchr(type, '.');
    const char *class = dot != NULL ? dot + 1 : type;
    const char *const order[] = {"Transformer", "Pooling", "Normalize"};
    if (i >= 3 || strcmp(class, order[i]) != 0)
        return fail(EMBED_UNSUPPORTED,
                    "%s: module %zu is \"%s\"; this version runs Transformer, Pooling and, "
                    "optionally, Normalize, in this order",
                    config_file_path(file), i, type);
    if (i == 0 && path[0] != '\0') {
        memory_free(pipeline->transformer_folder);
        pipeline->transformer_folder = folder_path(folder, path);
        if (pipeline->transformer_folder == NULL) return EMBED_OUT_OF_MEMORY;
    }
    if (i == 1) return read_pooling(pipeline, folder, path);
    if (i == 2) pipeline->normalize = true;
    return EMBED_OK;
}

static embed_status read_modules(struct embedding_pipeline *pipeline, const char *folder)
{
    struct config_file *file;
    TRY(config_file_open(&file, folder, "modules.json", false));
    if (file == NULL) return EMBED_OK;
    size_t count = 0;
    embed_status status = config_file_array(file, &count);
    if (status == EMBED_OK && count < 2)
        status = fail(EMBED_UNSUPPORTED, "%s: %zu modules, an embedder has at least Transformer "
                      "and Pooling", config_file_path(file), count);
    for (size_t i = 0; i < count && status == EMBED_OK; i++)
        status = read_module(pipeline, folder, file, i);
    config_file_close(file);
    return status;
}

/* ---- token limit --------------------------------------------------------------------------- */

#define MAX_TOKENS ((size_t)1 << 20)

/* tokenizer_config.json writes "no limit" as 1e30, an integer of 31 digits or a real. */
static embed_status read_model_max_length(struct embedding_pipeline *pipeline,
                                          const struct config_file *file)
{
    const struct config_object *object;
    double limit = 1e30;
    TRY(config_file_object(file, &object));
    TRY(config_number(file, object, "model_max_length", 0, 1e300, false, &limit));
    if (limit <= (double)MAX_TOKENS) pipeline->max_tokens = (size_t)limit;
    return EMBED_OK;
}

static embed_status read_max_seq_length(struct embedding_pipeline *pipeline,
                                        const struct config_file *file)
{
    const struct config_object *object;
    bool lower = false;
    TRY(config_file_object(file, &object));
    TRY(config_size(file, object, "max_seq_length", 1, MAX_TOKENS, false, &pipeline->max_tokens));
    TRY(config_boolean(file, object, "do_lower_case", false, &lower));
    if (lower)
        return fail(EMBED_UNSUPPORTED,
                    "%s: \"do_lower_case\" is true, which this version does not run",
                    config_file_path(file));
    return EMBED_OK;
}

static embed_status read_max_tokens(struct embedding_pipeline *pipeline)
{
    /* The later one wins: max_seq_length, where there is one, sets the limit by itself. */
    static const struct {
        const char *name;
        embed_status (*read)(struct embedding_pipeline *, const struct config_file *);
    } files[] = {{"tokenizer_config.json", read_model_max_length},
                 {"sentence_bert_config.json", read_max_seq_length}};
    for (size_t i = 0; i < 2; i++) {
        struct config_file *file;
        TRY(config_file_open(&file, pipeline->transformer_folder, files[i].name, false));
        if (file == NULL) continue;
        embed_status status = files[i].read(pipeline, file);
        config_file_close(file);
        TRY(status);
    }
    return EMBED_OK;
}

/* ---- prompts ------------------------------------------------------------------------------- */

static embed_status add_prompt(void *context, const char *name, const char *text)
{
    struct embedding_pipeline *pipeline = context;
    size_t count = pipeline->prompt_count + 1;
    struct prompt *prompts =
        memory_resize(pipeline->prompts, count, sizeof *prompts, "the model's prompts");
    if (prompts == NULL) return EMBED_OUT_OF_MEMORY;
    pipeline->prompts = prompts;
    struct prompt *prompt = &prompts[pipeline->prompt_count];
    prompt->name = memory_copy_text(name, strlen(name), "a prompt");
    prompt->text = memory_copy_text(text, strlen(text), "a prompt");
    pipeline->prompt_count = count;
    return prompt->name != NULL && prompt->text != NULL ? EMBED_OK : EMBED_OUT_OF_MEMORY;
}

static embed_status read_prompt_file(struct embedding_pipeline *pipeline,
                                     const struct config_file *file)
{
    const struct config_object *object, *prompts;
    const char *name = NULL;
    size_t truncated = 0; /* not set, or null */
    TRY(config_file_object(file, &object));
    TRY(config_child(file, object, "prompts", &prompts));
    if (prompts != NULL) TRY(config_each_text(file, prompts, add_prompt, pipeline));
    TRY(config_text(file, object, "default_prompt_name", false, &name));
    TRY(config_size(file, object, "truncate_dim", 1, MAX_TOKENS, false, &truncated));
    if (truncated != 0)
        return fail(EMBED_UNSUPPORTED,
                    "%s: \"truncate_dim\" is %zu, which this version does not run",
                    config_file_path(file), truncated);
    if (name == NULL) return EMBED_OK;
    pipeline->default_prompt = embedding_pipeline_prompt(pipeline, name);
    if (pipeline->default_prompt == NULL)
        return fail(EMBED_BAD_FILE, "%s: \"default_prompt_name\" is \"%s\", not one of \"prompts\"",
                    config_file_path(file), name);
    return EMBED_OK;
}

static embed_status read_prompts(struct embedding_pipeline *pipeline, const char *folder)
{
    struct config_file *file;
    TRY(config_file_open(&file, folder, "config_sentence_transformers.json", false));
    if (file == NULL) return EMBED_OK;
    embed_status status = read_prompt_file(pipeline, file);
    config_file_close(file);
    return status;
}

const char *embedding_pipeline_prompt(const struct embedding_pipeline *pipeline, const char *name)
{
    for (size_t i = 0; i < pipeline->prompt_count; i++) {
        if (strcmp(pipeline->prompts[i].name, name) == 0) return pipeline->prompts[i].text;
    }
    return NULL;
}

const char *embedding_pipeline_prefix(const struct embedding_pipeline *pipeline,
                                      const char *prompt_name)
{
    if (prompt_name == NULL)
        return pipeline->default_prompt != NULL ? pipeline->default_prompt : "";
    return *prompt_name == '\0' ? "" : embedding_pipeline_prompt(pipeline, prompt_name);
}

/* ---- all of it ----------------------------------------------------------------------------- */

embed_status embedding_pipeline_read(struct embedding_pipeline *pipeline, const char *folder)
{
    *pipeline = (struct embedding_pipeline){.pooling = POOLING_MEAN};
    pipeline->transformer_folder = memory_copy_text(folder, strlen(folder), "a path");
    if (pipeline->transformer_folder == NULL) return EMBED_OUT_OF_MEMORY;
    TRY(read_modules(pipeline, folder));
    TRY(read_max_tokens(pipeline));
    return read_prompts(pipeline, folder);
}

void embedding_pipeline_release(struct embedding_pipeline *pipeline)
{
    for (size_t i = 0; i < pipeline->prompt_count; i++) {
        memory_free(pipeline->prompts[i].name);
        memory_free(pipeline->prompts[i].text);
    }
    memory_free(pipeline->prompts);
    memory_free(pipeline->transformer_folder);
    *pipeline = (struct embedding_pipeline){0};
}
