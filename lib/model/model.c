/* model.c - everything read from a model folder */
#include "model/model.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/status.h"
#include "description/generation_config.h"
#include "model/fingerprint.h"
#include "model/int8_check.h"
#include "model/plan.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Prepares the tokenizer of a model that generates: added tokens without a row in the word table
 * become ordinary text. facebook/bart-large-cnn has no row for its tokenizer's <mask>; transformers
 * fails on a text that contains "<mask>", which is no reason to reject other texts. */
static embed_status fit_tokenizer(struct tokenizer *tokenizer, size_t V)
{
    struct text_buffer none = {0};
    TRY(tokenizer_decode(tokenizer, NULL, 0, true, &none)); /* fails if it cannot decode */
    return tokenizer_limit_added(tokenizer, V);
}

/* Checks once that the files agree on sizes: ids index the word table and positions the position
 * table, and no text may read past either. */
static embed_status check_limits(struct embed_model *model)
{
    const char *folder = model->pipeline.transformer_folder;
    const struct transformer_config *config = &model->encoder.config;
    if (config->decoder.L > 0) TRY(fit_tokenizer(model->tokenizer, config->V));
    size_t ids = tokenizer_id_limit(model->tokenizer);
    if (ids > config->V)
        return fail(EMBED_BAD_FILE,
                    "%s: the tokenizer has token id %zu, but config.json has \"vocab_size\" %zu",
                    folder, ids - 1, config->V);

    TRY(plan_max_tokens(&model->max_tokens, &model->pipeline, config));
    size_t added = tokenizer_added_tokens(model->tokenizer);
    if (added == 0)
        return fail(EMBED_UNSUPPORTED,
                    "%s: the tokenizer adds no special tokens; an empty text would have no tokens",
                    folder);
    if (model->max_tokens < added)
        return fail(EMBED_BAD_FILE, "%s: texts of up to %zu tokens leave no room for special tokens",
                    folder, model->max_tokens);
    return EMBED_OK;
}

static embed_status open_weights(struct embed_model *model, const embed_model_options *options,
                                 const struct weight_files *files)
{
    TRY(backend_open(&model->backend, options, model->team));
    TRY(plan_check_dtype(&model->encoder.config, model->backend, model->folder));
    return shared_weights_open(&model->weights, &model->encoder.config, model->backend, files,
                               model->team);
}

/* Opens the weights on the device. Falls back to the CPU if the GPU has too little memory, fails,
 * or has an f16 too small for the weights, unless the GPU was requested by name. */
static embed_status open_device(struct embed_model *model, const embed_model_options *options,
                                const struct weight_files *files)
{
    embed_status status = open_weights(model, options, files);
    bool other = status == EMBED_OUT_OF_MEMORY || status == EMBED_DEVICE_FAILED ||
                 status == EMBED_DEVICE_LOST || status == EMBED_UNSUPPORTED;
    if (!other || options->device != EMBED_DEVICE_AUTO || model->backend == NULL ||
        model->backend->device != EMBED_DEVICE_CUDA)
        return status;
    log_message(EMBED_LOG_WARNING, "computing on the CPU: %s", error_message());
    backend_release(model->backend);
    model->backend = NULL;
    embed_model_options cpu = *options;
    cpu.device = EMBED_DEVICE_CPU;
    cpu.device_index = 0;
    return open_weights(model, &cpu, files);
}

static embed_status load(struct embed_model *model, const char *folder,
                         const embed_model_options *options)
{
    char path[PATH_MAX]; /* no symlinks: they may lead elsewhere when the folder is reopened */
    const char *found = realpath(folder, path);
    if (found == NULL && errno != ENOENT && errno != ENOTDIR)
        return fail(EMBED_IO, "%s: %s", folder, strerror(errno));
    if (found == NULL) found = folder; /* the first file to be read reports it */
    model->folder = memory_copy_text(found, strlen(found), "a model's folder");
    if (model->folder == NULL) return EMBED_OUT_OF_MEMORY;
    TRY(embedding_pipeline_read(&model->pipeline, folder));
    const char *transformer = model->pipeline.transformer_folder;
    TRY(transformer_config_read(&model->encoder.config, transformer));
    if (model->encoder.config.decoder.L > 0)
        TRY(generation_config_read(&model->generation, &model->encoder.config, transformer));
    TRY(embedding_pipeline_check(&model->pipeline, model->encoder.config.C));
    TRY(model->pipeline.lowercase ? tokenizer_open_lowercase(&model->tokenizer, transformer)
                                  : tokenizer_open(&model->tokenizer, transformer));
    TRY(check_limits(model));

    struct weight_files files;
    TRY(thread_team_create(&model->team, options->threads));
    embed_status status = weight_files_open(&files, &model->pipeline);
    if (status == EMBED_OK) status = open_device(model, options, &files);
    if (status == EMBED_OK)
        status = folder_facts_make(&model->facts, &model->pipeline, model->tokenizer, &files,
                                   model->max_tokens, model->encoder.config.decoder.L > 0);
    weight_files_close(&files);
    if (status != EMBED_OK) return status;
    struct transformer_config config = model->encoder.config;
    model->encoder = model->weights->encoder;
    model->encoder.config = config;
    model->decoder = model->weights->decoder;
    return EMBED_OK;
}

static void destroy(struct embed_model *model)
{
    shared_weights_close(model->weights);
    backend_release(model->backend);
    thread_team_destroy(model->team);
    tokenizer_close(model->tokenizer);
    embedding_pipeline_release(&model->pipeline);
    folder_facts_free(&model->facts);
    memory_free(model->folder);
    memory_free(model);
}

embed_status model_open(struct embed_model **out, const char *folder,
                        const embed_model_options *options)
{
    uint64_t start = clock_nanoseconds();
    struct embed_model *model = memory_allocate(1, sizeof *model, "a model");
    if (model == NULL) return EMBED_OUT_OF_MEMORY;
    atomic_init(&model->references, 1);
    embed_status status = load(model, folder, options);
    if (status == EMBED_OK && model->backend->dtype == EMBED_DTYPE_INT8) status = int8_check(model);
    if (status != EMBED_OK) {
        destroy(model);
        return status;
    }
    model->load_seconds = 1e-9 * (double)(clock_nanoseconds() - start);
    log_message(EMBED_LOG_INFO, "%s: %zu layer%s of width %zu on %s (%s), %.3f s", folder,
                model->encoder.config.L, model->encoder.config.L == 1 ? "" : "s",
                model->encoder.config.C, model->backend->device_name,
                model->backend->instruction_set, model->load_seconds);
    *out = model;
    return EMBED_OK;
}

/* Checks that a model was opened again from the files and settings that it was opened from first:
 * it gets texts that were checked, and tokenized, for the first. */
static embed_status check_again(const struct embed_model *again, const struct embed_model *model)
{
    bool same;
    if (!shared_weights_same_files(again->weights, model->weights))
        return fail(EMBED_BAD_FILE, "%s: the weight files have changed since the model was opened",
                    model->folder);
    TRY(fingerprint_same_settings(&same, again, model));
    if (same) return EMBED_OK;
    return fail(EMBED_BAD_FILE, "%s: the settings have changed since the model was opened",
                model->folder);
}

embed_status model_open_on_cpu(struct embed_model **out, const struct embed_model *model,
                               embed_dtype dtype)
{
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    struct embed_model *again;
    options.device = EMBED_DEVICE_CPU;
    options.dtype = dtype;
    options.threads = thread_team_size(model->team);
    TRY(model_open(&again, model->folder, &options));
    embed_status status = check_again(again, model);
    if (status == EMBED_OK) *out = again;
    else model_release(again);
    return status;
}

void model_hold(struct embed_model *model)
{
    atomic_fetch_add(&model->references, 1);
}

void model_release(struct embed_model *model)
{
    if (model != NULL && atomic_fetch_sub(&model->references, 1) == 1) destroy(model);
}

static embed_pooling public_pooling(enum pooling pooling)
{
    switch (pooling) {
    case POOLING_MEAN: return EMBED_POOLING_MEAN;
    case POOLING_MEAN_SQRT_LENGTH: return EMBED_POOLING_MEAN_SQRT_LENGTH;
    case POOLING_MAX: return EMBED_POOLING_MAX;
    case POOLING_CLS: return EMBED_POOLING_CLS;
    case POOLING_WEIGHTED_MEAN: return EMBED_POOLING_WEIGHTED_MEAN;
    case POOLING_LAST: break;
    }
    return EMBED_POOLING_LAST_TOKEN;
}

size_t model_width(const struct embed_model *model)
{
    size_t width = embedding_pipeline_width(&model->pipeline, model->encoder.config.C);
    size_t wanted = model->pipeline.dimensions;
    return wanted > 0 && wanted < width ? wanted : width;
}

void model_get_info(const struct embed_model *model, embed_model_info *info)
{
    const struct transformer_config *config = &model->encoder.config;
    const struct backend *backend = model->backend;
    snprintf(info->family, sizeof info->family, "%s", config->family);
    info->device = backend->device;
    info->device_index = backend->device_index;
    snprintf(info->device_name, sizeof info->device_name, "%s", backend->device_name);
    snprintf(info->instruction_set, sizeof info->instruction_set, "%s", backend->instruction_set);
    info->dtype = backend->dtype;
    info->threads = thread_team_size(model->team);
    info->width = model_width(model);
    info->max_tokens = model->max_tokens;
    info->layers = config->L;
    info->heads = config->NH;
    info->feed_forward = config->F;
    info->vocabulary = config->V;
    info->pooling = model->pipeline.pooling_modes > 1 ? EMBED_POOLING_SEVERAL
                                                      : public_pooling(model->pipeline.pooling[0]);
    info->normalizes = model->pipeline.normalize;
    info->parameters = model->weights->parameters;
    info->weight_bytes = model->weights->bytes;
    info->load_seconds = model->load_seconds;
    info->generates = config->decoder.L > 0;
    info->decoder_layers = config->decoder.L;
    info->decoder_heads = config->decoder.NH;
    info->decoder_feed_forward = config->decoder.F;
    info->max_length = info->generates ? transformer_config_max_tokens(config) : 0;
}
