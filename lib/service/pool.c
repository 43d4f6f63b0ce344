/* pool.c - creates, closes and inspects pools */
#include "service/pool.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/status.h"
#include "model/plan.h"
#include "service/batch_profile.h"
#include "service/member.h"

#include <stdio.h>
#include <string.h>

/* Defaults of options that are 0, and a limit of batch_texts. */
enum {
    QUEUE_REQUESTS = 4096,
    QUEUE_BATCHES = 64,
    WARM_UP_PASSES = 10,
    MOST_BATCH_TEXTS = 1 << 16
};
#define RESERVE_ON_A_GPU (UINT64_C(256) << 20)

/* ---- create -------------------------------------------------------------------------------- */

static embed_status check_alike(const struct embed_model *a, const struct embed_model *b)
{
    if (strcmp(a->folder, b->folder) != 0 || a->weights->parameters != b->weights->parameters)
        return fail(EMBED_INVALID_ARGUMENT,
                    "all models of a pool must come from one folder; these are from %s and %s",
                    a->folder, b->folder);
    if (a->backend->dtype != b->backend->dtype)
        return fail(EMBED_INVALID_ARGUMENT,
                    "all models of a pool must have one dtype; these have %s and %s",
                    dtype_name(a->backend->dtype), dtype_name(b->backend->dtype));
    return EMBED_OK;
}

static embed_status read_profile(struct embed_pool *pool, const char *path)
{
    embed_pool_options *options = &pool->options;
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    struct batch_profile profile;
    model_get_info(pool->models[0], &info);
    TRY(batch_profile_read(&profile, path, &info));
    pool->chunk_tokens = profile.chunk_tokens;
    if (options->batch_tokens == 0) options->batch_tokens = profile.batch_tokens;
    if (options->batch_texts == 0) options->batch_texts = profile.batch_texts;
    if (options->instances == 0 && options->max_instances == 0)
        options->max_instances = (unsigned)profile.instances;
    if (options->max_delay_microseconds == 0)
        options->max_delay_microseconds = (unsigned)profile.delay_microseconds;
    return EMBED_OK;
}

/* Completes the options with the profile and then the defaults. */
static embed_status complete_options(struct embed_pool *pool, const embed_pool_options *given)
{
    embed_pool_options *options = &pool->options;
    bool on_gpu = pool->models[0]->backend->device != EMBED_DEVICE_CPU;
    *options = *given;
    if (options->profile != NULL) TRY(read_profile(pool, options->profile));
    options->profile = NULL;
    if (options->max_instances == 0) options->max_instances = on_gpu ? INSTANCES_ON_A_GPU : 1;
    if (options->reserve_bytes == 0 && on_gpu) options->reserve_bytes = RESERVE_ON_A_GPU;
    if (options->queue_requests == 0) options->queue_requests = QUEUE_REQUESTS;
    if (options->warm_up_passes == 0) options->warm_up_passes = WARM_UP_PASSES;
    if (!on_gpu) options->fallback = EMBED_FALLBACK_NONE;
    const struct generation_rules *rules = &pool->models[0]->generation;
    if (options->num_beams == 0) options->num_beams = (unsigned)rules->num_beams;
    if (options->max_length == 0) options->max_length = (size_t)rules->max_length;
    return EMBED_OK;
}

static void init_sync(struct embed_pool *pool)
{
    pthread_mutex_init(&pool->lock, NULL);
    condition_init(&pool->room);
    condition_init(&pool->closed);
}

/* Allocates all members, none of which has an instance yet. */
static embed_status create_members(struct embed_pool *pool)
{
    const embed_pool_options *options = &pool->options;
    size_t each = options->instances > 0 ? options->instances : options->max_instances;
    bool has_fallback = options->fallback != EMBED_FALLBACK_NONE;
    if (each * pool->model_count > MOST_INSTANCES)
        return fail(EMBED_INVALID_ARGUMENT, "%zu instances requested; a pool may have at most %d",
                    each * pool->model_count, MOST_INSTANCES);
    size_t count = each * pool->model_count + has_fallback;
    pool->members = memory_allocate(count, sizeof *pool->members, "a pool's instances");
    if (pool->members == NULL) return EMBED_OUT_OF_MEMORY;
    pool->member_count = count;
    if (has_fallback) pool->fallback = &pool->members[count - 1];
    for (unsigned i = 0; i < count; i++)
        member_init(&pool->members[i], pool, i,
                    i < each * pool->model_count ? pool->models[i / each] : NULL);

    pool->batch_tokens = pool->members[0].batch_tokens;
    pool->documents = member_documents(&pool->members[0]);
    pool->most_texts = pool_generates(pool)       ? 1
                       : options->batch_texts > 0 ? options->batch_texts
                                                  : pool->batch_tokens;
    if (pool->most_texts > MOST_BATCH_TEXTS) pool->most_texts = MOST_BATCH_TEXTS;
    if (pool->options.queue_tokens == 0) pool->options.queue_tokens = pool->batch_tokens * QUEUE_BATCHES;
    /* The fallback forms a batch before it has an instance. */
    return has_fallback ? member_create_batches(pool->fallback) : EMBED_OK;
}

/* Opens the first instance of each model, smaller if necessary, and as many of the others as memory
 * and device allow. Members left without an instance try again from time to time. */
static embed_status open_members(struct embed_pool *pool)
{
    const struct embed_model *model = NULL;
    embed_status failure = EMBED_OK;
    for (size_t i = 0; i < pool->member_count; i++) {
        struct member *member = &pool->members[i];
        if (member_is_fallback(member)) break;
        embed_status status = member_open(member, member->model != model);
        model = member->model;
        if (status == EMBED_OK) continue;
        if (status != EMBED_OUT_OF_MEMORY && status != EMBED_DEVICE_LOST &&
            status != EMBED_DEVICE_FAILED)
            return status;
        failure = status;
    }
    bool falls_back = pool->running == 0 && pool->fallback != NULL;
    if (failure != EMBED_OK && (pool->options.instances > 0 || pool->running == 0))
        log_message(EMBED_LOG_WARNING, "a pool has %zu instances%s: %s", pool->running,
                    falls_back ? ", and computes on the CPU" : "", error_message());
    if (pool->running == 0 && !falls_back) return failure;
    pool->running_at_first = pool->running;
    if (falls_back) {
        pool->reason = failure;
        snprintf(pool->reason_text, sizeof pool->reason_text, "%s", error_message());
    }
    if (falls_back || pool->options.fallback == EMBED_FALLBACK_READY)
        return member_open(pool->fallback, true);
    return EMBED_OK;
}

static embed_status start_members(struct embed_pool *pool)
{
    for (size_t i = 0; i < pool->member_count; i++) TRY(member_start(&pool->members[i]));
    return EMBED_OK;
}

static embed_status fill_pool(struct embed_pool *pool, struct embed_model *const *models, size_t n,
                              const embed_pool_options *options)
{
    pool->models = memory_allocate(n, sizeof *pool->models, "a pool's models");
    if (pool->models == NULL) return EMBED_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++) {
        TRY(check_alike(models[0], models[i]));
        model_hold(models[i]);
        pool->models[pool->model_count++] = models[i];
    }
    TRY(metrics_create(&pool->metrics));
    TRY(complete_options(pool, options));
    TRY(create_members(pool));
    TRY(open_members(pool));
    return start_members(pool);
}

embed_status pool_create(struct embed_pool **out, struct embed_model *const *models, size_t n,
                         const embed_pool_options *options)
{
    struct embed_pool *pool = memory_allocate(1, sizeof *pool, "a pool");
    if (pool == NULL) return EMBED_OUT_OF_MEMORY;
    atomic_init(&pool->holders, 1);
    init_sync(pool);
    embed_status status = fill_pool(pool, models, n, options);
    if (status != EMBED_OK) {
        pool_close(pool, 0);
        pool_release(pool);
        return status;
    }
    *out = pool;
    return EMBED_OK;
}

void pool_hold(struct embed_pool *pool)
{
    atomic_fetch_add(&pool->holders, 1);
}

/* The pool must be closed before its last reference is released. */
void pool_release(struct embed_pool *pool)
{
    if (pool == NULL || atomic_fetch_sub(&pool->holders, 1) != 1) return;
    for (size_t i = 0; i < pool->member_count; i++) member_destroy(&pool->members[i]);
    for (size_t i = 0; i < pool->model_count; i++) model_release(pool->models[i]);
    metrics_destroy(pool->metrics);
    pthread_cond_destroy(&pool->room);
    pthread_cond_destroy(&pool->closed);
    pthread_mutex_destroy(&pool->lock);
    memory_free(pool->members);
    memory_free(pool->models);
    memory_free(pool);
}

/* ---- close --------------------------------------------------------------------------------- */

static void join_members(struct embed_pool *pool)
{
    for (size_t i = 0; i < pool->member_count; i++) {
        if (pool->members[i].has_thread) pthread_join(pool->members[i].thread, NULL);
    }
    for (size_t i = 0; i < pool->member_count; i++) member_close(&pool->members[i]);
    pthread_mutex_lock(&pool->lock); /* a submitting thread may be looking for one */
    while (pool->spares > 0) token_batch_destroy(pool->spare[--pool->spares]);
    pthread_mutex_unlock(&pool->lock);
}

void pool_close(struct embed_pool *pool, unsigned drain_milliseconds)
{
    pthread_mutex_lock(&pool->lock);
    uint64_t end = clock_nanoseconds() + (uint64_t)drain_milliseconds * 1000000u;
    if (!pool->is_closing || end < pool->drain_end) pool->drain_end = end;
    pool->is_closing = true;
    pthread_cond_broadcast(&pool->room);
    pool_wake_all(pool);
    if (pool_is_completing(pool)) {
        pthread_mutex_unlock(&pool->lock);
        return;
    }
    bool joins = !pool->is_joining;
    pool->is_joining = true;
    while (!joins && !pool->is_closed) pthread_cond_wait(&pool->closed, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    if (!joins) return;

    join_members(pool);
    pthread_mutex_lock(&pool->lock);
    while (pool->cancelling > 0) pthread_cond_wait(&pool->closed, &pool->lock);
    pool->running = 0;
    pool->is_closed = true;
    pthread_cond_broadcast(&pool->closed);
    pthread_mutex_unlock(&pool->lock);
}

/* ---- inspect ------------------------------------------------------------------------------- */

/* Adds `memory` to `sum`. What exists once per device is added for its first instance only. */
static void add_memory(embed_memory *sum, const embed_memory *memory, bool is_first_of_device)
{
    sum->activations += memory->activations;
    sum->workspace += memory->workspace;
    sum->batch += memory->batch;
    sum->graphs += memory->graphs;
    sum->kv += memory->kv;
    sum->pinned += memory->pinned;
    sum->own += memory->own;
    sum->total += memory->own;
    if (!is_first_of_device) return;
    sum->weights += memory->weights;
    sum->total += memory->weights;
    sum->library += memory->library;
    sum->context += memory->context;
    sum->measured |= memory->measured;
}

/* Requires the lock. */
static void sum_memory(const struct embed_pool *pool, embed_memory *sum)
{
    const struct embed_model *model = NULL;
    for (size_t i = 0; i < pool->member_count; i++) {
        const struct member *member = &pool->members[i];
        if (member->memory.total == 0) continue;
        add_memory(sum, &member->memory, member->model != model);
        model = member->model;
    }
}

void pool_get_memory(const struct embed_pool *pool, embed_memory *memory)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&pool->lock;
    pthread_mutex_lock(lock);
    sum_memory(pool, memory);
    pthread_mutex_unlock(lock);
}

uint64_t pool_absent_bytes(const struct embed_pool *pool)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&pool->lock;
    uint64_t bytes = 0, largest = 0;
    pthread_mutex_lock(lock);
    for (size_t i = 0; i < pool->member_count; i++) {
        const struct member *member = &pool->members[i];
        if (!member_is_fallback(member) && member->memory.own > largest) largest = member->memory.own;
    }
    for (size_t i = 0; i < pool->member_count; i++) {
        const struct member *member = &pool->members[i];
        if (!member_is_fallback(member) && member->memory.own == 0) bytes += largest;
    }
    pthread_mutex_unlock(lock);
    return bytes;
}

/* Adds the memory of the GPUs that can still be queried. */
static void add_devices(const struct embed_pool *pool, embed_metrics *metrics)
{
    for (size_t i = 0; i < pool->model_count; i++) {
        embed_device_info info = EMBED_DEVICE_INFO_INIT;
        uint64_t free_bytes;
        const struct backend *backend = pool->models[i]->backend;
        if (backend->device == EMBED_DEVICE_CPU ||
            backend_gpu_info(&info, backend->device_index) != EMBED_OK ||
            plan_free_bytes(&free_bytes, pool->models[i]) != EMBED_OK)
            continue;
        metrics->device_bytes += info.memory_bytes;
        metrics->device_free_bytes += free_bytes;
    }
}

void pool_get_metrics(const struct embed_pool *pool, embed_metrics *metrics)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&pool->lock;
    embed_memory memory = EMBED_MEMORY_INIT;
    metrics_read(pool->metrics, metrics);
    add_devices(pool, metrics);
    pthread_mutex_lock(lock);
    sum_memory(pool, &memory);
    metrics->state = pool->is_closing           ? EMBED_POOL_CLOSED
                     : pool->reason != EMBED_OK ? EMBED_POOL_DEGRADED
                                                : EMBED_POOL_READY;
    if (pool->reason != EMBED_OK) memcpy(metrics->reason, pool->reason_text, sizeof metrics->reason);
    metrics->queued_requests = pool->queue.requests;
    metrics->queued_tokens = pool->queue.tokens;
    metrics->computing_texts = pool->computing_texts;
    metrics->instances = (unsigned)pool->running;
    metrics->instances_at_first = (unsigned)pool->running_at_first;
    for (size_t i = 0; i < pool->member_count; i++) {
        const struct member *member = &pool->members[i];
        if (member->memory.total > 0 && member->batch_tokens > metrics->instance_batch_tokens)
            metrics->instance_batch_tokens = member->batch_tokens;
    }
    metrics->instance_bytes = memory.own;
    metrics->weight_bytes = memory.weights;
    pthread_mutex_unlock(lock);
}
