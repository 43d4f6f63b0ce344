/* embed.c - public functions: models and instances */
#include "embed.h"

#include "arguments.h"
#include "backend/backend.h"
#include "backend/cpu_features.h"
#include "backend/cuda_plugin.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/version.h"
#include "model/fingerprint.h"
#include "model/instance.h"
#include "model/model.h"
#include "model/plan.h"
#include "model/token_batch.h"
#include "model/trace.h"

#include <stdio.h>
#include <string.h>

/* ---- status, version, log, devices --------------------------------------------------------- */

const char *embed_status_string(embed_status status)
{
    switch (status) {
    case EMBED_OK: return "ok";
    case EMBED_INVALID_ARGUMENT: return "invalid argument";
    case EMBED_OUT_OF_MEMORY: return "out of memory";
    case EMBED_IO: return "file cannot be read";
    case EMBED_BAD_FILE: return "bad file";
    case EMBED_UNSUPPORTED: return "not supported";
    case EMBED_NO_DEVICE: return "device not usable";
    case EMBED_NOT_FINITE: return "result not finite";
    case EMBED_SYSTEM: return "refused by the operating system";
    case EMBED_DEVICE_FAILED: return "device failed";
    case EMBED_DEVICE_LOST: return "device lost";
    case EMBED_BUSY: return "busy";
    case EMBED_PENDING: return "not completed yet";
    case EMBED_EXPIRED: return "deadline passed";
    case EMBED_CANCELLED: return "cancelled";
    case EMBED_CLOSED: return "closed";
    }
    return "unknown status";
}

const char *embed_error_message(void)
{
    return error_message();
}

const char *embed_version(void)
{
    return VERSION_TEXT;
}

void embed_log_set(embed_log_callback callback, void *user, embed_log_level level)
{
    log_set(callback, user, level);
}

static embed_status describe_cpu(embed_device_info *info)
{
    const struct cpu_kernels *kernels;
    TRY(cpu_kernels_choose(&kernels, EMBED_DTYPE_AUTO));
    info->device = EMBED_DEVICE_CPU;
    cpu_name(info->name, sizeof info->name);
    snprintf(info->details, sizeof info->details, "%s", kernels->name);
    info->threads = cpu_count();
    info->memory_bytes = cpu_memory_bytes();
    return EMBED_OK;
}

embed_status embed_device_list(embed_device_info *out, size_t capacity, size_t *count)
{
    REQUIRE(count);
    if (capacity > 0) REQUIRE(out);
    int gpus = 0;
    if (backend_gpu_count(&gpus) != EMBED_OK)
        log_message(cuda_plugin_log_level(), "no device cuda: %s", error_message());
    size_t all = 1 + (size_t)gpus;
    char *place = (char *)out; /* an older program's elements are smaller than ours */
    for (size_t i = 0; i < all && i < capacity; i++) {
        embed_device_info info = EMBED_DEVICE_INFO_INIT;
        TRY(i == 0 ? describe_cpu(&info) : backend_gpu_info(&info, (int)i - 1));
        TRY(give_struct(place, &info, sizeof info, __func__, "an element of out"));
        place += out->size;
    }
    *count = all;
    return EMBED_OK;
}

/* ---- model --------------------------------------------------------------------------------- */

embed_status embed_model_open(embed_model **model, const char *folder,
                              const embed_model_options *options)
{
    REQUIRE(model);
    REQUIRE(folder);
    embed_model_options all;
    TRY(take_model_options(&all, options));
    return model_open(model, folder, &all);
}

void embed_model_close(embed_model *model)
{
    model_release(model);
}

embed_status embed_model_get_info(const embed_model *model, embed_model_info *info)
{
    REQUIRE(model);
    embed_model_info all = EMBED_MODEL_INFO_INIT;
    model_get_info(model, &all);
    return GIVE_STRUCT(info, all);
}

embed_status embed_model_get_facts(const embed_model *model, embed_fact *out, size_t capacity,
                                   size_t *count)
{
    REQUIRE(model);
    REQUIRE(count);
    if (out == NULL && capacity > 0) return fail(EMBED_INVALID_ARGUMENT, "out is NULL");
    *count = model->facts.count;
    for (size_t i = 0; i < capacity && i < *count; i++) out[i] = model->facts.items[i];
    return EMBED_OK;
}

embed_status embed_model_get_fingerprint(embed_model *model, embed_fingerprint_part part,
                                         char out[EMBED_FINGERPRINT_SIZE])
{
    REQUIRE(model);
    REQUIRE(out);
    if (part < EMBED_FINGERPRINT_ALL || part > EMBED_FINGERPRINT_PIPELINE)
        return fail(EMBED_INVALID_ARGUMENT, "part is %d, must be an embed_fingerprint_part",
                    (int)part);
    struct hash hash;
    TRY(fingerprint(&hash, model, part));
    hash_text(out, hash);
    return EMBED_OK;
}

/* ---- tokens -------------------------------------------------------------------------------- */

/* Appends n spans to *out: its offsets have room for all texts, and its ids grow as needed. */
static embed_status append_spans(embed_tokens *out, size_t *capacity, const struct token_span *spans,
                                 size_t n)
{
    size_t used = out->offsets[out->count], needed = used;
    for (size_t i = 0; i < n; i++) needed += spans[i].count;
    if (needed > *capacity) {
        size_t larger = needed + needed / 2;
        int32_t *ids = memory_resize(out->ids, larger, sizeof *ids, "token ids");
        if (ids == NULL) return EMBED_OUT_OF_MEMORY;
        out->ids = ids;
        *capacity = larger;
    }
    for (size_t i = 0; i < n; i++) {
        memcpy(out->ids + used, spans[i].ids, spans[i].count * sizeof *out->ids);
        used += spans[i].count;
        out->offsets[++out->count] = used;
    }
    return EMBED_OK;
}

static embed_status tokenize_all(embed_tokens *out, const embed_model *model,
                                 const embed_text *texts, size_t n, size_t max_tokens,
                                 struct token_batch *batch, struct token_span *spans)
{
    size_t capacity = 0;
    for (size_t first = 0, count; first < n; first += count) {
        count = n - first < TOKEN_BATCH_TEXTS ? n - first : TOKEN_BATCH_TEXTS;
        struct token_source source = {model->tokenizer, "", max_tokens, model->encoder.config.V,
                                      max_tokens, first, 0, NULL};
        TRY(token_batch_fill(batch, spans, texts + first, count, &source, model->team));
        TRY(append_spans(out, &capacity, spans, count));
    }
    return EMBED_OK;
}

embed_status embed_tokenize(const embed_model *model, const embed_text *texts, size_t n,
                            const embed_tokenize_options *options, embed_tokens *out)
{
    REQUIRE(model);
    TRY(check_tokens(out, __func__, "out"));
    TRY(check_texts(texts, n));
    embed_tokenize_options all = EMBED_TOKENIZE_OPTIONS_INIT;
    TRY(take_options(&all, sizeof all, options, "embed_tokenize_options"));
    size_t offsets;
    if (!size_add(n, 1, &offsets)) return fail(EMBED_INVALID_ARGUMENT, "n is %zu", n);

    struct token_batch *batch;
    TRY(token_batch_create(&batch, thread_team_size(model->team)));
    struct token_span *spans =
        memory_allocate(n < TOKEN_BATCH_TEXTS ? n : TOKEN_BATCH_TEXTS, sizeof *spans, "spans");
    embed_tokens tokens = EMBED_TOKENS_INIT;
    tokens.offsets = memory_allocate(offsets, sizeof *tokens.offsets, "token offsets");
    embed_status status = spans != NULL && tokens.offsets != NULL ? EMBED_OK : EMBED_OUT_OF_MEMORY;
    if (status == EMBED_OK)
        status = tokenize_all(&tokens, model, texts, n, all.max_tokens, batch, spans);
    if (status == EMBED_OK) status = GIVE_STRUCT(out, tokens);
    token_batch_destroy(batch);
    memory_free(spans);
    if (status != EMBED_OK) embed_tokens_free(&tokens);
    return status;
}

void embed_tokens_free(embed_tokens *tokens)
{
    if (tokens == NULL) return;
    memory_free(tokens->ids);
    memory_free(tokens->offsets);
    tokens->ids = NULL;
    tokens->offsets = NULL;
    tokens->count = 0;
}

/* ---- instance ------------------------------------------------------------------------------ */

static embed_status take_instance_options(embed_instance_options *all,
                                          const embed_instance_options *options)
{
    *all = (embed_instance_options)EMBED_INSTANCE_OPTIONS_INIT;
    TRY(take_options(all, sizeof *all, options, "embed_instance_options"));
    if (all->batch_tokens > MAX_BATCH_TOKENS)
        return fail(EMBED_INVALID_ARGUMENT, "batch_tokens is %zu, must be at most %zu",
                    all->batch_tokens, MAX_BATCH_TOKENS);
    return EMBED_OK;
}

embed_status embed_plan(const char *folder, const embed_model_options *model_options,
                        const embed_instance_options *instance_options, embed_memory *estimate)
{
    REQUIRE(folder);
    embed_model_options model_all;
    embed_instance_options instance_all;
    embed_memory memory = EMBED_MEMORY_INIT;
    TRY(take_model_options(&model_all, model_options));
    TRY(take_instance_options(&instance_all, instance_options));
    TRY(plan_folder(&memory, folder, &model_all, &instance_all));
    return GIVE_STRUCT(estimate, memory);
}

embed_status embed_instance_create(embed_instance **instance, embed_model *model,
                                   const embed_instance_options *options)
{
    REQUIRE(instance);
    REQUIRE(model);
    embed_instance_options all;
    TRY(take_instance_options(&all, options));
    return instance_create(instance, model, &all);
}

embed_status embed_instances_that_fit(const embed_model *model,
                                      const embed_instance_options *options,
                                      size_t reserve_bytes, size_t *count)
{
    REQUIRE(model);
    REQUIRE(count);
    embed_instance_options all;
    struct instance_plan plan;
    TRY(take_instance_options(&all, options));
    TRY(plan_instance(&plan, &model->encoder.config, &model->generation, &model->pipeline,
                      model->max_tokens, model->backend, &all));
    return plan_instances_that_fit(count, &plan, model->backend, reserve_bytes);
}

void embed_instance_destroy(embed_instance *instance)
{
    instance_destroy(instance);
}

embed_status embed_instance_encode(embed_instance *instance, const embed_text *texts, size_t n,
                                   const embed_encode_options *options, float *out,
                                   size_t capacity, embed_item *items)
{
    REQUIRE(instance);
    embed_encode_options all;
    TRY(take_encode(&all, options, instance_model(instance), texts, n, out, capacity));
    const struct row_places rows = {.out = out, .D = all.dimensions};
    return n == 0 ? EMBED_OK : instance_encode(instance, texts, n, &all, NULL, &rows, items);
}

embed_status embed_instance_trace(embed_instance *instance, const embed_text *text,
                                  const embed_encode_options *options,
                                  embed_trace_callback traced, void *user)
{
    REQUIRE(instance);
    REQUIRE(text);
    REQUIRE(traced);
    embed_encode_options all;
    TRY(take_encode(&all, options, instance_model(instance), NULL, 0, NULL, 0));
    TRY(check_texts(text, 1));
    return instance_trace(instance, text, &all, traced, user);
}

embed_status embed_instance_get_memory(const embed_instance *instance, embed_memory *memory)
{
    REQUIRE(instance);
    embed_memory all = EMBED_MEMORY_INIT;
    instance_get_memory(instance, &all);
    return GIVE_STRUCT(memory, all);
}
