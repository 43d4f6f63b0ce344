/* embedding_pipeline.c - what sentence-transformers does around the transformer
 *
 * Sources of file names, keys and their meaning: sentence-transformers' documentation, "Creating
 * Custom Models", and the files of published models.
 */
#include "description/embedding_pipeline.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/status.h"
#include "description/config_file.h"
#include "formats/folder.h"
#include "formats/unicode.h"

#include <string.h>

/* ---- modules ------------------------------------------------------------------------------- */

static embed_status read_transformer(struct embedding_pipeline *pipeline, const char *folder,
                                     const char *path)
{
    if (path[0] == '\0') return EMBED_OK;
    memory_free(pipeline->transformer_folder);
    pipeline->transformer_folder = folder_path(folder, path);
    return pipeline->transformer_folder != NULL ? EMBED_OK : EMBED_OUT_OF_MEMORY;
}

/* Reads a module after pooling. Dense and Normalize may alternate in any order; Dropout is skipped,
 * as it acts in training only. */
static embed_status read_step(struct embedding_pipeline *pipeline, const char *folder,
                              const char *path, const char *class)
{
    if (strcmp(class, "Dropout") == 0) return EMBED_OK;
    struct pipeline_step *step = &pipeline->steps[pipeline->step_count++];
    step->dense = pipeline->dense_count;
    step->kind = strcmp(class, "Dense") == 0 ? STEP_DENSE : STEP_NORMALIZE;
    return step->kind == STEP_DENSE ? dense_config_read(pipeline, folder, path)
                                    : normalize_config_read(folder, path);
}

static bool follows_pooling(const struct embedding_pipeline *pipeline, const char *class)
{
    if (strcmp(class, "Dense") == 0 && pipeline->dense_count == MOST_DENSE) return false;
    return pipeline->step_count < MOST_STEPS &&
           (strcmp(class, "Dense") == 0 || strcmp(class, "Normalize") == 0 ||
            strcmp(class, "Dropout") == 0);
}

static embed_status read_module(struct embedding_pipeline *pipeline, const char *folder,
                                const struct config_file *file, size_t i)
{
    const struct config_object *module;
    const char *type = NULL, *path = NULL;
    TRY(config_file_element(file, i, &module));
    TRY(config_text(file, module, "type", true, &type));
    TRY(config_text(file, module, "path", true, &path));
    if (*path != '\0' && !folder_is_plain_name(path))
        return fail(EMBED_BAD_FILE, "%s: \"path\" is \"%.*s\", must be the name of a folder",
                    config_file_path(file), utf8_shown(path, strlen(path)), path);

    /* Old files say sentence_transformers.models.Pooling, new ones
     * sentence_transformers.sentence_transformer.modules.pooling.Pooling: both end in the class. */
    const char *dot = strrchr(type, '.');
    const char *class = dot != NULL ? dot + 1 : type;
    if (i == 0 && strcmp(class, "Transformer") == 0)
        return read_transformer(pipeline, folder, path);
    if (i == 1 && strcmp(class, "Pooling") == 0)
        return pooling_config_read(pipeline, folder, path);
    if (i > 1 && follows_pooling(pipeline, class)) return read_step(pipeline, folder, path, class);
    return fail(
        EMBED_UNSUPPORTED,
        "%s: module %zu is \"%.*s\"; this version supports Transformer, Pooling and then Dense "
        "and Normalize, up to %d of them and %d Dense",
        config_file_path(file), i, utf8_shown(type, strlen(type)), type, MOST_STEPS, MOST_DENSE);
}

static embed_status read_modules(struct embedding_pipeline *pipeline, const char *folder)
{
    struct config_file *file;
    TRY(config_file_open(&file, folder, "modules.json", false));
    if (file == NULL) {
        log_message(EMBED_LOG_INFO, "%s: no modules.json, so mean pooling and no normalisation",
                    folder);
        return EMBED_OK;
    }
    pipeline->has_modules = true;
    size_t count = 0;
    embed_status status = config_file_array(file, &count);
    if (status == EMBED_OK && count < 2)
        status = fail(EMBED_UNSUPPORTED,
                      "%s: %zu modules; an embedder has at least Transformer and Pooling",
                      config_file_path(file), count);
    for (size_t i = 0; i < count && status == EMBED_OK; i++)
        status = read_module(pipeline, folder, file, i);
    config_file_close(file);
    return status;
}

/* Turns Normalize modules at the end into pipeline->normalize, which a call can override. If the
 * folder sets truncate_dim, they stay steps: rows are cut after them and not normalized again. */
static void settle_normalize(struct embedding_pipeline *pipeline)
{
    if (pipeline->dimensions > 0) return;
    size_t *count = &pipeline->step_count;
    for (; *count > 0 && pipeline->steps[*count - 1].kind == STEP_NORMALIZE; --*count)
        pipeline->normalize = true;
}

/* ---- widths -------------------------------------------------------------------------------- */

size_t embedding_pipeline_pooled_width(const struct embedding_pipeline *pipeline, size_t C)
{
    return pipeline->pooling_modes * C;
}

size_t embedding_pipeline_width(const struct embedding_pipeline *pipeline, size_t C)
{
    size_t dense = pipeline->dense_count;
    return dense > 0 ? pipeline->dense[dense - 1].O : embedding_pipeline_pooled_width(pipeline, C);
}

embed_status embedding_pipeline_check(const struct embedding_pipeline *pipeline, size_t C)
{
    size_t width = embedding_pipeline_pooled_width(pipeline, C);
    if (pipeline->pooling_width > 0 && pipeline->pooling_width != C)
        return fail(EMBED_BAD_FILE,
                    "%s: the embedding dimension is %zu, but the transformer's width is %zu",
                    pipeline->pooling_file, pipeline->pooling_width, C);
    for (size_t i = 0; i < pipeline->dense_count; i++) {
        const struct dense_config *dense = &pipeline->dense[i];
        if (dense->I != width)
            return fail(EMBED_BAD_FILE,
                        "%s/config.json: \"in_features\" is %zu, but its input has %zu",
                        dense->folder, dense->I, width);
        width = dense->O;
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
    TRY(config_file_object(file, &object));
    TRY(config_child(file, object, "prompts", &prompts));
    if (prompts != NULL) TRY(config_each_text(file, prompts, add_prompt, pipeline));
    TRY(config_text(file, object, "default_prompt_name", false, &name));
    TRY(config_size(file, object, "truncate_dim", 1, MOST_IN_A_FILE, false,
                    &pipeline->dimensions));
    TRY(config_must_be(file, object, "model_type", "SentenceTransformer"));
    if (name == NULL) return EMBED_OK;
    pipeline->default_prompt = embedding_pipeline_prompt(pipeline, name);
    if (pipeline->default_prompt == NULL)
        return fail(EMBED_BAD_FILE,
                    "%s: \"default_prompt_name\" is \"%.*s\", not one of \"prompts\"",
                    config_file_path(file), utf8_shown(name, strlen(name)), name);
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
    return strcmp(name, "query") == 0 || strcmp(name, "document") == 0 ? "" : NULL;
}

const char *embedding_pipeline_prefix(const struct embedding_pipeline *pipeline,
                                      const char *prompt_name)
{
    if (prompt_name == NULL)
        return pipeline->default_prompt != NULL ? pipeline->default_prompt : "";
    return *prompt_name == '\0' ? "" : embedding_pipeline_prompt(pipeline, prompt_name);
}

/* ---- entry point --------------------------------------------------------------------------- */

embed_status embedding_pipeline_read(struct embedding_pipeline *pipeline, const char *folder)
{
    *pipeline = (struct embedding_pipeline){
        .pooling = {POOLING_MEAN}, .pooling_modes = 1, .include_prompt = true};
    TRY(folder_check(folder));
    pipeline->transformer_folder = memory_copy_text(folder, strlen(folder), "a path");
    if (pipeline->transformer_folder == NULL) return EMBED_OUT_OF_MEMORY;
    TRY(read_modules(pipeline, folder));
    TRY(transformer_settings_read(pipeline));
    TRY(read_prompts(pipeline, folder));
    settle_normalize(pipeline);
    return EMBED_OK;
}

void embedding_pipeline_release(struct embedding_pipeline *pipeline)
{
    for (size_t i = 0; i < pipeline->prompt_count; i++) {
        memory_free(pipeline->prompts[i].name);
        memory_free(pipeline->prompts[i].text);
    }
    memory_free(pipeline->prompts);
    for (size_t i = 0; i < pipeline->dense_count; i++) memory_free(pipeline->dense[i].folder);
    memory_free(pipeline->pooling_file);
    memory_free(pipeline->transformer_folder);
    *pipeline = (struct embedding_pipeline){0};
}
