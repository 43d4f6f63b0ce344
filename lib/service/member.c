/* member.c - a member's life cycle: creates, shrinks, grows and destroys its instance */
#include "service/member.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "base/thread.h"
#include "model/instance.h"
#include "model/plan.h"
#include "model/warm_up.h"

#include <stdio.h>
#include <string.h>

/* How often a member checks the free memory: a query takes some 10 us. */
#define LOOK_NANOSECONDS UINT64_C(1000000000)
/* The longest pause between attempts to grow, which become rarer as they fail. */
#define LONGEST_PAUSE UINT64_C(64000000000)

/* ---- room ---------------------------------------------------------------------------------- */

/* What the pool uses on the member's device besides this member. */
struct others {
    uint64_t bytes;  /* weights and instances */
    uint64_t graphs; /* bytes that the instances may still take for CUDA graphs */
    size_t running;  /* on any device */
};

static struct others look_at_others(const struct member *member)
{
    struct embed_pool *pool = member->pool;
    struct others others = {.bytes = member->model->weights->bytes};
    pthread_mutex_lock(&pool->lock);
    others.running = pool->running - (member->state == MEMBER_RUNNING && pool->running > 0);
    for (size_t i = 0; i < pool->member_count; i++) {
        const struct member *other = &pool->members[i];
        if (other == member || other->model != member->model) continue;
        others.bytes += other->memory.own;
        others.graphs += other->memory.graphs;
    }
    pthread_mutex_unlock(&pool->lock);
    return others;
}

/* Checks whether an instance of `tier` fits if `freed` more bytes become free. If no other instance
 * is running, the smallest tier may use the reserve. */
static embed_status check_room(const struct member *member, unsigned tier, uint64_t freed)
{
    const embed_pool_options *options = &member->pool->options;
    const embed_instance_options sizes = member_instance_options(member, tier);
    const struct others others = look_at_others(member);
    bool is_last_resort = others.running == 0 && member_is_smallest(member, tier);
    uint64_t needed, free_bytes, kept = is_last_resort ? 0 : options->reserve_bytes + others.graphs;
    if (kept < others.graphs && !is_last_resort) kept = UINT64_MAX; /* reserve_bytes may be any */
    TRY(plan_instance_bytes(&needed, member->model, &sizes));
    TRY(plan_free_bytes(&free_bytes, member->model));
    if (options->instance_bytes > 0) needed = options->instance_bytes;
    free_bytes += freed;
    if (free_bytes < needed || free_bytes - needed < kept)
        return fail(EMBED_OUT_OF_MEMORY,
                    "an instance takes %llu bytes; %llu are free, of which %llu are reserved",
                    (unsigned long long)needed, (unsigned long long)free_bytes,
                    (unsigned long long)kept);
    if (options->memory_limit_bytes > 0 && others.bytes + needed > options->memory_limit_bytes)
        return fail(EMBED_OUT_OF_MEMORY,
                    "an instance takes %llu bytes beside %llu; the pool's limit is %llu",
                    (unsigned long long)needed, (unsigned long long)others.bytes,
                    (unsigned long long)options->memory_limit_bytes);
    return EMBED_OK;
}

/* ---- the instance -------------------------------------------------------------------------- */

static void close_instance(struct member *member)
{
    instance_destroy(member->instance);
    member->instance = NULL;
}

static embed_status open_instance(struct member *member)
{
    const embed_pool_options *pool = &member->pool->options;
    const embed_instance_options options = member_instance_options(member, member->tier);
    TRY(check_room(member, member->tier, 0));
    TRY(instance_create(&member->instance, member->model, &options));
    if (pool->warm_up == EMBED_OFF) return EMBED_OK;
    embed_status status = instance_warm_up(member->instance, pool->warm_up_passes);
    if (status != EMBED_OK) close_instance(member);
    return status;
}

/* Opens the folder on the CPU as the fallback's own model; in F32 if the pool's models are. */
static embed_status open_fallback_model(struct member *member)
{
    const struct embed_model *other = member->pool->models[0];
    bool is_f32 = other->backend->dtype == EMBED_DTYPE_F32;
    struct embed_model *model;
    TRY(model_open_on_cpu(&model, other, is_f32 ? EMBED_DTYPE_F32 : EMBED_DTYPE_AUTO));
    pthread_mutex_lock(&member->pool->lock);
    member->model = model;
    pthread_mutex_unlock(&member->pool->lock);
    member->least_tokens = plan_least_batch_tokens(member->model);
    return EMBED_OK;
}

embed_status member_create_batches(struct member *member)
{
    while (member->free_count + member->under_way < member->most_batches) {
        struct batch *batch;
        TRY(batch_create(&batch, member->pool->most_texts));
        batch->next = member->free;
        member->free = batch;
        member->free_count++;
    }
    return EMBED_OK;
}

embed_status member_open(struct member *member, bool may_be_smaller)
{
    if (member->model == NULL) TRY(open_fallback_model(member));
    embed_status status;
    while ((status = open_instance(member)) == EMBED_OUT_OF_MEMORY && may_be_smaller &&
           !member_is_smallest(member, member->tier))
        member->tier++;
    if (status != EMBED_OK) return status;
    const embed_instance_options options = member_instance_options(member, member->tier);
    if (options.documents > 0) member->most_batches = options.documents;
    status = member_create_batches(member);
    if (status != EMBED_OK) {
        close_instance(member);
        return status;
    }
    member->failures = 0;
    pool_member_joins(member->pool, member, member_batch_tokens(member));
    return EMBED_OK;
}

/* Schedules the next look; each failed attempt makes the pause longer. */
static void look_again(struct member *member, bool has_failed)
{
    bool is_whole = member->instance != NULL && member->tier == 0;
    bool on_gpu = member->model != NULL && member->model->backend->device != EMBED_DEVICE_CPU;
    uint64_t pause = LOOK_NANOSECONDS;
    if (has_failed) {
        member->pause = member->pause * 2 < LONGEST_PAUSE ? member->pause * 2 : LONGEST_PAUSE;
        pause = member->pause;
    }
    bool never = member_is_fallback(member) || (is_whole && !on_gpu);
    pthread_mutex_lock(&member->pool->lock);
    if (member->state == MEMBER_LOST) never = true;
    member->look_at = never ? UINT64_MAX : clock_nanoseconds() + pause;
    pthread_mutex_unlock(&member->pool->lock);
}

embed_status member_leave(struct member *member, embed_status status)
{
    pool_member_leaves(member->pool, member, status);
    close_instance(member);
    look_again(member, true);
    return status;
}

static void tell_size(const struct member *member, const char *reason)
{
    const embed_instance_options options = member_instance_options(member, member->tier);
    bool generates = options.documents > 0;
    log_message(EMBED_LOG_WARNING, "instance %u of a pool now computes %zu %s at a time: %s",
                member->index, generates ? options.documents : options.batch_tokens,
                generates ? "documents" : "tokens", reason);
}

embed_status member_shrink(struct member *member)
{
    char reason[256];
    snprintf(reason, sizeof reason, "%s", error_message());
    if (member_is_smallest(member, member->tier)) return member_leave(member, EMBED_OUT_OF_MEMORY);
    member->tier++;
    close_instance(member);
    embed_status status = member_open(member, true);
    if (status != EMBED_OK) return member_leave(member, status);
    look_again(member, true);
    tell_size(member, reason);
    return EMBED_OK;
}

/* ---- free memory, checked periodically ----------------------------------------------------- */

/* Returns whether the member should give memory back: the pool chooses its instances, less than the
 * reserve is free on the GPU, and there is something to give. */
static bool is_scarce(const struct member *member)
{
    const embed_pool_options *options = &member->pool->options;
    uint64_t free_bytes;
    return options->instances == 0 && member->model->backend->device != EMBED_DEVICE_CPU &&
           (!member_is_smallest(member, member->tier) || look_at_others(member).running > 0) &&
           plan_free_bytes(&free_bytes, member->model) == EMBED_OK &&
           free_bytes < options->reserve_bytes;
}

static bool can_grow(const struct member *member)
{
    const embed_instance_options options = member_instance_options(member, member->tier);
    uint64_t freed;
    return member->tier > 0 &&
           plan_instance_bytes(&freed, member->model, &options) == EMBED_OK &&
           check_room(member, member->tier - 1, freed) == EMBED_OK;
}

static void grow(struct member *member)
{
    unsigned before = member->tier--;
    close_instance(member);
    embed_status status = member_open(member, true);
    if (status == EMBED_OK) look_again(member, member->tier == before);
    else member_leave(member, status);
}

bool member_may_stay(struct member *member)
{
    if (is_scarce(member) || can_grow(member)) return false;
    look_again(member, false);
    return true;
}

void member_look(struct member *member)
{
    if (member->instance == NULL) {
        embed_status status = member_open(member, false);
        if (status == EMBED_DEVICE_LOST) pool_member_leaves(member->pool, member, status);
        look_again(member, status != EMBED_OK);
    } else if (is_scarce(member)) {
        fail(EMBED_OUT_OF_MEMORY, "other users of the device need the memory");
        member_shrink(member);
    } else if (can_grow(member)) {
        grow(member);
    } else {
        look_again(member, false);
    }
}

/* ---- the thread ---------------------------------------------------------------------------- */

static void *run(void *argument)
{
    struct member *member = argument;
    struct batch *batch;
    while ((batch = pool_next_batch(member->pool, member)) != NULL) {
        if (pool_generates(member->pool)) member_generate(member, batch);
        else member_compute(member, batch);
        if (member->instance != NULL && member_create_batches(member) != EMBED_OK)
            member_leave(member, EMBED_OUT_OF_MEMORY);
    }
    return NULL;
}

embed_status member_start(struct member *member)
{
    int error = thread_start(&member->thread, run, member);
    if (error != 0)
        return fail(EMBED_SYSTEM, "an instance's thread cannot be started: %s", strerror(error));
    member->has_thread = true;
    return EMBED_OK;
}

void member_init(struct member *member, struct embed_pool *pool, unsigned index,
                 struct embed_model *model)
{
    condition_init(&member->wake);
    member->pool = pool;
    member->index = index;
    member->model = model;
    member->memory = (embed_memory)EMBED_MEMORY_INIT;
    member->pause = SHORTEST_PAUSE;
    member->most_batches = 1;
    member->look_at = model == NULL ? UINT64_MAX : clock_nanoseconds() + SHORTEST_PAUSE;
    if (model == NULL) return;
    member->least_tokens = plan_least_batch_tokens(model);
    member->batch_tokens = member_batch_tokens(member);
}

void member_destroy(struct member *member)
{
    pthread_cond_destroy(&member->wake);
}

void member_close(struct member *member)
{
    close_instance(member);
    for (struct batch *batch = member->free, *next; batch != NULL; batch = next) {
        next = batch->next;
        batch_destroy(batch);
    }
    member->free = NULL;
    member->free_count = 0;
    struct embed_model *own = member_is_fallback(member) ? member->model : NULL;
    pthread_mutex_lock(&member->pool->lock);
    member->memory = (embed_memory)EMBED_MEMORY_INIT;
    if (own != NULL) member->model = NULL;
    pthread_mutex_unlock(&member->pool->lock);
    model_release(own); /* without the lock: it waits for other models that are being loaded */
}
