/* embed.c - the public functions: argument checks, and the calls below them */
#include "embed.h"

#include "backend/backend.h"
#include "backend/cpu_features.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/version.h"
#include "model/instance.h"
#include "model/model.h"
#include "model/plan.h"
#include "model/token_batch.h"
#include "service/cache.h"
#include "service/metrics_text.h"
#include "service/pool.h"

#include <stdio.h>
#include <string.h>

/* ---- structs that begin with their size ---------------------------------------------------- */

/* Copies the caller's options over the defaults: what an older program does not know stays as it
 * is, and a newer program may set only what we know. NULL: all defaults. */
static embed_status take_options(void *options, size_t size, const void *caller, const char *what)
{
    if (caller == NULL) return EMBED_OK;
    size_t given;
    memcpy(&given, caller, sizeof given);
    if (given < sizeof given || given > 4096)
        return fail(EMBED_INVALID_ARGUMENT, "%s: size is %zu; set it with its EMBED_..._INIT", what,
                    given);
    const unsigned char *bytes = caller;
    for (size_t i = size; i < given; i++) {
        if (bytes[i] != 0)
            return fail(EMBED_INVALID_ARGUMENT,
                        "%s: an option is set that this version of the library does not know", what);
    }
    memcpy(options, caller, given < size ? given : size);
    return EMBED_OK;
}

/* The other way: as much as the caller's struct has room for, its size left as it was. */
static embed_status give_struct(void *caller, const void *filled, size_t size, const char *what)
{
    size_t given = 0;
    if (caller != NULL) memcpy(&given, caller, sizeof given);
    if (given < sizeof given || given > 4096)
        return fail(EMBED_INVALID_ARGUMENT, "%s: NULL, or size not set with its EMBED_..._INIT",
                    what);
    size_t copied = given < size ? given : size;
    memcpy((char *)caller + sizeof given, (const char *)filled + sizeof given,
           copied - sizeof given);
    return EMBED_OK;
}

#define REQUIRE(pointer)                                                                         \
    do {                                                                                         \
        if ((pointer) == NULL) return fail(EMBED_INVALID_ARGUMENT, "%s: " #pointer " is NULL",   \
                                           __func__);                                            \
    } while (0)

static embed_status check_texts(const embed_text *texts, size_t n)
{
    if (texts == NULL && n > 0) return fail(EMBED_INVALID_ARGUMENT, "texts is NULL");
    for (size_t i = 0; i < n; i++) {
        if (texts[i].data == NULL && texts[i].ids == NULL && texts[i].length > 0)
            return fail(EMBED_INVALID_ARGUMENT, "text %zu: data and ids are NULL", i);
    }
    return EMBED_OK;
}

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
        log_message(EMBED_LOG_INFO, "no device cuda: %s", error_message());
    size_t all = 1 + (size_t)gpus;
    char *place = (char *)out; /* an older program's elements are smaller than ours */
    for (size_t i = 0; i < all && i < capacity; i++) {
        embed_device_info info = EMBED_DEVICE_INFO_INIT;
        TRY(i == 0 ? describe_cpu(&info) : backend_gpu_info(&info, (int)i - 1));
        TRY(give_struct(place, &info, sizeof info, "embed_device_info"));
        place += out->size;
    }
    *count = all;
    return EMBED_OK;
}

/* ---- model --------------------------------------------------------------------------------- */

#define MAX_THREADS 1024

static embed_status take_model_options(embed_model_options *all, const embed_model_options *options)
{
    *all = (embed_model_options)EMBED_MODEL_OPTIONS_INIT;
    TRY(take_options(all, sizeof *all, options, "embed_model_options"));
    if (all->threads > MAX_THREADS)
        return fail(EMBED_INVALID_ARGUMENT, "threads is %u, must be at most %d", all->threads,
                    MAX_THREADS);
    if (all->threads == 0) all->threads = cpu_count() < MAX_THREADS ? cpu_count() : MAX_THREADS;
    return EMBED_OK;
}

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
    return give_struct(info, &all, sizeof all, "embed_model_info");
}

/* ---- tokens -------------------------------------------------------------------------------- */

/* Appends n spans to *out, whose arrays are large enough for `texts` and grow for ids. */
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
                                      max_tokens, first};
        TRY(token_batch_fill(batch, spans, texts + first, count, &source, model->team));
        TRY(append_spans(out, &capacity, spans, count));
    }
    return EMBED_OK;
}

embed_status embed_tokenize(const embed_model *model, const embed_text *texts, size_t n,
                            const embed_tokenize_options *options, embed_tokens *out)
{
    REQUIRE(model);
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
    if (status == EMBED_OK) status = give_struct(out, &tokens, sizeof tokens, "embed_tokens");
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

/* Offsets into a chunk are 32 bits. */
#define MAX_BATCH_TOKENS ((size_t)1 << 24)

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
    return give_struct(estimate, &memory, sizeof memory, "embed_memory");
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
    TRY(plan_instance(&plan, &model->encoder.config, model->max_tokens, model->backend, &all));
    return plan_instances_that_fit(count, &plan, model->backend, reserve_bytes);
}

void embed_instance_destroy(embed_instance *instance)
{
    instance_destroy(instance);
}

static embed_status check_switch(embed_switch value, const char *name)
{
    if (value == EMBED_AS_MODEL || value == EMBED_ON || value == EMBED_OFF) return EMBED_OK;
    return fail(EMBED_INVALID_ARGUMENT, "%s is %d, must be an embed_switch", name, (int)value);
}

/* Zeros become what they stand for; limits are checked against the model. */
static embed_status complete(embed_encode_options *options, const embed_model *model)
{
    size_t width = model->encoder.config.C, least = tokenizer_added_tokens(model->tokenizer);
    if (options->max_tokens == 0) options->max_tokens = model->max_tokens;
    if (options->max_tokens < least || options->max_tokens > model->max_tokens)
        return fail(EMBED_INVALID_ARGUMENT, "max_tokens is %zu, must be from %zu to the model's %zu",
                    options->max_tokens, least, model->max_tokens);
    if (options->dimensions == 0) options->dimensions = width;
    if (options->dimensions > width)
        return fail(EMBED_INVALID_ARGUMENT, "dimensions is %zu, the model has %zu",
                    options->dimensions, width);
    TRY(check_switch(options->normalize, "normalize"));
    const char *name = options->prompt_name;
    if (name != NULL && *name != '\0' &&
        embedding_pipeline_prompt(&model->pipeline, name) == NULL)
        return fail(EMBED_INVALID_ARGUMENT, "prompt \"%s\": the model folder has none of that name",
                    name);
    return EMBED_OK;
}

/* What is the same for an instance and a pool: options completed, texts and the room for their rows
 * checked. */
static embed_status take_encode(embed_encode_options *all, const embed_encode_options *options,
                                const embed_model *model, const embed_text *texts, size_t n,
                                const float *out, size_t capacity)
{
    *all = (embed_encode_options)EMBED_ENCODE_OPTIONS_INIT;
    TRY(take_options(all, sizeof *all, options, "embed_encode_options"));
    TRY(complete(all, model));
    if (n == 0) return EMBED_OK;
    if (out == NULL) return fail(EMBED_INVALID_ARGUMENT, "out is NULL");
    if (n > capacity / all->dimensions)
        return fail(EMBED_INVALID_ARGUMENT, "capacity is %zu floats, %zu rows of %zu need more",
                    capacity, n, all->dimensions);
    return check_texts(texts, n); /* after the room for their rows: a wild n reads nothing */
}

embed_status embed_instance_encode(embed_instance *instance, const embed_text *texts, size_t n,
                                   const embed_encode_options *options, float *out,
                                   size_t capacity, embed_item *items)
{
    REQUIRE(instance);
    embed_encode_options all;
    TRY(take_encode(&all, options, instance_model(instance), texts, n, out, capacity));
    const struct row_places rows = {.out = out, .D = all.dimensions};
    return n == 0 ? EMBED_OK : instance_encode(instance, texts, n, &all, &rows, items);
}

embed_status embed_instance_get_memory(const embed_instance *instance, embed_memory *memory)
{
    REQUIRE(instance);
    embed_memory all = EMBED_MEMORY_INIT;
    instance_get_memory(instance, &all);
    return give_struct(memory, &all, sizeof all, "embed_memory");
}

/* ---- generation ---------------------------------------------------------------------------- */

embed_status embed_model_get_generation(const embed_model *model, embed_generate_options *options)
{
    REQUIRE(model);
    REQUIRE(options);
    return fail(EMBED_UNSUPPORTED, "this version does not generate text");
}

embed_status embed_instance_generate(embed_instance *instance, const embed_text *texts, size_t n,
                                     const embed_generate_options *options, embed_strings *out)
{
    REQUIRE(instance);
    (void)texts, (void)n, (void)options, (void)out;
    return fail(EMBED_UNSUPPORTED, "this version does not generate text");
}

void embed_strings_free(embed_strings *strings)
{
    (void)strings;
}

embed_status embed_pool_generate(embed_pool *pool, const embed_text *texts, size_t n,
                                 const embed_generate_options *options, embed_strings *out)
{
    REQUIRE(pool);
    (void)texts, (void)n, (void)options, (void)out;
    return fail(EMBED_UNSUPPORTED, "this version does not generate text");
}

/* ---- pool ---------------------------------------------------------------------------------- */

static embed_status take_pool_options(embed_pool_options *all, const embed_pool_options *options)
{
    *all = (embed_pool_options)EMBED_POOL_OPTIONS_INIT;
    TRY(take_options(all, sizeof *all, options, "embed_pool_options"));
    if (all->batch_tokens > MAX_BATCH_TOKENS)
        return fail(EMBED_INVALID_ARGUMENT, "batch_tokens is %zu, must be at most %zu",
                    all->batch_tokens, MAX_BATCH_TOKENS);
    if (all->fallback != EMBED_FALLBACK_LAZY && all->fallback != EMBED_FALLBACK_NONE &&
        all->fallback != EMBED_FALLBACK_READY)
        return fail(EMBED_INVALID_ARGUMENT, "fallback is %d, must be an embed_fallback",
                    (int)all->fallback);
    return check_switch(all->warm_up, "warm_up");
}

embed_status embed_pool_create(embed_pool **pool, embed_model *const *models, size_t n,
                               const embed_pool_options *options)
{
    REQUIRE(pool);
    REQUIRE(models);
    if (n == 0) return fail(EMBED_INVALID_ARGUMENT, "a pool needs a model");
    for (size_t i = 0; i < n; i++) REQUIRE(models[i]);
    embed_pool_options all;
    TRY(take_pool_options(&all, options));
    return pool_create(pool, models, n, &all);
}

embed_status embed_pool_encode(embed_pool *pool, const embed_text *texts, size_t n,
                               const embed_encode_options *options, float *out, size_t capacity,
                               embed_item *items)
{
    REQUIRE(pool);
    embed_encode_options all;
    TRY(take_encode(&all, options, pool->models[0], texts, n, out, capacity));
    return n == 0 ? EMBED_OK : pool_encode(pool, texts, n, &all, out, items);
}

embed_status embed_pool_submit(embed_pool *pool, const embed_request *request,
                               embed_ticket **ticket)
{
    REQUIRE(pool);
    REQUIRE(request);
    embed_request given = EMBED_REQUEST_INIT;
    embed_encode_options all;
    TRY(take_options(&given, sizeof given, request, "embed_request"));
    if (given.n == 0) return fail(EMBED_INVALID_ARGUMENT, "a request has no texts");
    if (ticket == NULL && given.done == NULL)
        return fail(EMBED_INVALID_ARGUMENT, "a request has neither a ticket nor `done`");
    TRY(take_encode(&all, given.options, pool->models[0], given.texts, given.n, given.out,
                    given.capacity));
    return pool_submit(pool, &given, &all, 0, (struct request **)ticket);
}

/* A ticket is a request by another name. */
embed_status embed_ticket_wait(embed_ticket *ticket, unsigned milliseconds)
{
    REQUIRE(ticket);
    return request_wait((struct request *)ticket, milliseconds);
}

void embed_ticket_cancel(embed_ticket *ticket)
{
    struct request *request = (struct request *)ticket;
    if (request != NULL) pool_cancel(request->pool, request);
}

void embed_ticket_free(embed_ticket *ticket)
{
    request_release((struct request *)ticket);
}

embed_model *embed_pool_model(const embed_pool *pool)
{
    return pool == NULL ? NULL : pool->models[0];
}

embed_status embed_pool_get_memory(const embed_pool *pool, embed_memory *memory)
{
    REQUIRE(pool);
    embed_memory all = EMBED_MEMORY_INIT;
    pool_get_memory(pool, &all);
    return give_struct(memory, &all, sizeof all, "embed_memory");
}

embed_status embed_pool_close(embed_pool *pool, unsigned drain_milliseconds)
{
    REQUIRE(pool);
    pool_close(pool, drain_milliseconds);
    return EMBED_OK;
}

void embed_pool_destroy(embed_pool *pool)
{
    if (pool == NULL) return;
    pool_close(pool, 0);
    pool_release(pool);
}

embed_status embed_pool_get_metrics(const embed_pool *pool, embed_metrics *metrics)
{
    REQUIRE(pool);
    embed_metrics all = EMBED_METRICS_INIT;
    pool_get_metrics(pool, &all);
    return give_struct(metrics, &all, sizeof all, "embed_metrics");
}

/* ---- cache --------------------------------------------------------------------------------- */

embed_status embed_cache_create(embed_cache **cache, const embed_cache_options *options)
{
    REQUIRE(cache);
    embed_cache_options all = EMBED_CACHE_OPTIONS_INIT;
    embed_model_options model;
    embed_pool_options pool;
    TRY(take_options(&all, sizeof all, options, "embed_cache_options"));
    TRY(take_model_options(&model, all.model));
    TRY(take_pool_options(&pool, all.pool));
    all.model = &model;
    all.pool = &pool;
    return cache_create(cache, &all);
}

embed_status embed_cache_acquire(embed_cache *cache, const char *folder, embed_pool **pool)
{
    REQUIRE(cache);
    REQUIRE(folder);
    REQUIRE(pool);
    return cache_acquire(cache, folder, pool);
}

void embed_cache_release(embed_cache *cache, embed_pool *pool)
{
    if (cache != NULL && pool != NULL) cache_release(cache, pool);
}

embed_status embed_cache_pin(embed_cache *cache, const char *folder)
{
    REQUIRE(cache);
    REQUIRE(folder);
    return cache_pin(cache, folder);
}

void embed_cache_unpin(embed_cache *cache, const char *folder)
{
    if (cache != NULL && folder != NULL) cache_unpin(cache, folder);
}

embed_status embed_cache_get_metrics(const embed_cache *cache, embed_cache_metrics *metrics)
{
    REQUIRE(cache);
    embed_cache_metrics all = EMBED_CACHE_METRICS_INIT;
    cache_get_metrics(cache, &all);
    return give_struct(metrics, &all, sizeof all, "embed_cache_metrics");
}

void embed_cache_destroy(embed_cache *cache)
{
    cache_destroy(cache);
}

/* ---- metrics ------------------------------------------------------------------------------- */

embed_status embed_metrics_text(const embed_metrics *metrics, const char *labels, char *out,
                                size_t capacity, size_t *length)
{
    REQUIRE(metrics);
    REQUIRE(length);
    if (capacity > 0) REQUIRE(out);
    embed_metrics all = EMBED_METRICS_INIT;
    TRY(take_options(&all, sizeof all, metrics, "embed_metrics"));
    return metrics_write_text(&all, labels, out, capacity, length);
}

embed_status embed_cache_metrics_text(const embed_cache_metrics *metrics, const char *labels,
                                      char *out, size_t capacity, size_t *length)
{
    REQUIRE(metrics);
    REQUIRE(length);
    if (capacity > 0) REQUIRE(out);
    embed_cache_metrics all = EMBED_CACHE_METRICS_INIT;
    TRY(take_options(&all, sizeof all, metrics, "embed_cache_metrics"));
    return cache_metrics_write_text(&all, labels, out, capacity, length);
}
