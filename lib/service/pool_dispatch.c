/* pool_dispatch.c - batches out of the queue to members, and back from them */
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "model/instance.h"
#include "service/member.h"
#include "service/pool.h"

#include <stdio.h>
#include <string.h>

/* Nanoseconds. */
#define LONGEST_COMPANY UINT64_C(500000)

/* ---- the rule ------------------------------------------------------------------------------ */

/* Those whose batch was just delivered come again one by one: the first is not computed before the
 * others are there, for up to a sixteenth of what that batch took. Without it, eight callers that wait
 * for single texts had batches of one and of seven in turn, and 12 % less throughput. */
static uint64_t company(const struct embed_pool *pool)
{
    uint64_t wait = pool->last_nanoseconds / 16;
    if (pool->queue.texts >= pool->last_texts) return 0;
    return wait < LONGEST_COMPANY ? wait : LONGEST_COMPANY;
}

/* When the queue's head is to be computed, full or not; UINT64_MAX: nothing waits. */
static uint64_t due(const struct embed_pool *pool, const struct member *member)
{
    const struct request_queue *queue = &pool->queue;
    if (queue->first == NULL) return UINT64_MAX;
    if (pool->is_closing || queue->tokens >= member->batch_tokens ||
        queue->texts >= pool->most_texts)
        return 0;
    uint64_t delay = pool->options.max_delay_microseconds * UINT64_C(1000);
    if (delay < company(pool)) delay = company(pool);
    uint64_t full = queue->first->queued + delay;
    if (queue->urgent == UINT64_MAX) return full;
    /* Company is worth half the time until a deadline, and leaves twice what the batch should take. */
    uint64_t queued = queue->first->queued, left = queue->urgent > queued ? queue->urgent - queued : 0;
    uint64_t needed = (uint64_t)(2 * batch_time_expected(&pool->batch_time, (double)queue->tokens));
    uint64_t spare = needed < left ? left - needed : 0, wait = left / 2 < spare ? left / 2 : spare;
    return queued + wait < full ? queued + wait : full;
}

/* The fallback computes when nobody else can. */
static bool may_form(const struct embed_pool *pool, const struct member *member)
{
    if (member_is_fallback(member)) return pool->running == 0;
    return member->state == MEMBER_RUNNING;
}

static struct batch *take_orphan(struct embed_pool *pool, const struct member *member)
{
    struct batch **list = member_is_fallback(member) && pool->for_the_cpu != NULL
                              ? &pool->for_the_cpu
                              : &pool->orphans;
    if (list == &pool->orphans && !may_form(pool, member)) return NULL;
    struct batch *batch = *list;
    if (batch != NULL) *list = batch->next;
    return batch;
}

static bool has_work(const struct embed_pool *pool, const struct member *member, uint64_t now)
{
    if (member_is_fallback(member) && pool->for_the_cpu != NULL) return true;
    return may_form(pool, member) && (pool->orphans != NULL || due(pool, member) <= now);
}

void pool_wake_all(struct embed_pool *pool)
{
    for (size_t i = 0; i < pool->member_count; i++) pthread_cond_signal(&pool->members[i].wake);
}

void pool_wake(struct embed_pool *pool, uint64_t by)
{
    for (size_t i = 0; i < pool->member_count; i++) {
        struct member *member = &pool->members[i];
        if (!member->is_idle || !has_work(pool, member, by)) continue;
        member->is_idle = false;
        pthread_cond_signal(&member->wake);
        return;
    }
}

/* ---- out of the queue ---------------------------------------------------------------------- */

/* A batch that takes longer than usual once must not make every request expire: then none would be
 * computed that could tell it from usual. */
static void doubt(struct embed_pool *pool, const struct batch *batch, const struct request *expired)
{
    if (batch->texts == 0 && expired != NULL) batch_time_doubt(&pool->batch_time);
}

static struct batch *form(struct embed_pool *pool, struct member *member, uint64_t now,
                          struct request **expired)
{
    struct batch *batch = member->batch;
    size_t tokens = pool->queue.tokens < member->batch_tokens ? pool->queue.tokens
                                                              : member->batch_tokens;
    batch_clear(batch);
    request_queue_form(&pool->queue, batch, member->batch_tokens,
                       now + (uint64_t)batch_time_expected(&pool->batch_time, (double)tokens),
                       expired);
    doubt(pool, batch, *expired);
    pthread_cond_broadcast(&pool->room);
    if (batch->texts == 0) return NULL;
    batch->formed = now;
    pool->computing_batches++;
    pool->computing_texts += batch->texts;
    pool->computing_tokens += batch->tokens;
    return batch;
}

static bool is_draining(const struct embed_pool *pool)
{
    return pool->is_closing && pool->queue.first != NULL;
}

static bool is_done(const struct embed_pool *pool)
{
    return pool->is_closing && pool->queue.first == NULL && pool->computing_batches == 0;
}

/* Waits until there is something to do, or to look at. */
static void wait_for_work(struct embed_pool *pool, struct member *member)
{
    uint64_t until = may_form(pool, member) ? due(pool, member) : UINT64_MAX;
    if (member->look_at < until && !pool->is_closing) until = member->look_at;
    if (is_draining(pool) && pool->drain_end < until) until = pool->drain_end;
    member->is_idle = true;
    condition_wait(&member->wake, &pool->lock, until);
    member->is_idle = false;
}

/* With the lock, which it gives back for a while where others' code is called. */
static void complete_unlocked(struct embed_pool *pool, struct request *list)
{
    if (list == NULL) return;
    pthread_mutex_unlock(&pool->lock);
    pool_complete(pool, list);
    pthread_mutex_lock(&pool->lock);
}

struct batch *pool_next_batch(struct embed_pool *pool, struct member *member)
{
    struct batch *batch = NULL;
    pthread_mutex_lock(&pool->lock);
    while (batch == NULL && !is_done(pool)) {
        uint64_t now = clock_nanoseconds();
        struct request *ended = NULL;
        if (is_draining(pool) && now >= pool->drain_end) {
            ended = pool_drop_all(pool, fail(EMBED_CANCELLED, "the pool was closed"));
        } else if (now >= member->look_at && !pool->is_closing) {
            pool_wake(pool, SOME_TIME); /* it may take a while, and this one may be waited for */
            pthread_mutex_unlock(&pool->lock);
            member_look(member);
            pthread_mutex_lock(&pool->lock);
            continue;
        } else if (has_work(pool, member, now)) {
            batch = take_orphan(pool, member);
            if (batch == NULL) batch = form(pool, member, now, &ended);
        } else {
            wait_for_work(pool, member);
        }
        complete_unlocked(pool, ended);
    }
    if (batch != NULL) pool_wake(pool, SOME_TIME); /* for what is left, due or not */
    else pool_wake_all(pool);                      /* they end too */
    pthread_mutex_unlock(&pool->lock);
    return batch;
}

/* ---- back from members --------------------------------------------------------------------- */

static uint32_t microseconds(uint64_t from, uint64_t to)
{
    uint64_t time = to > from ? (to - from) / 1000 : 0;
    return time < UINT32_MAX ? (uint32_t)time : UINT32_MAX;
}

/* What is known of the batch's text i, which is text `at` of its request. */
static void describe(const struct batch *batch, size_t i, const struct request *request, size_t at,
                     unsigned instance)
{
    const struct request_text *text = &request->texts[at];
    embed_item *item = &batch->item[i];
    item->tokens = text->count;
    item->invalid_bytes = text->invalid_bytes;
    item->truncated = text->truncated;
    item->path |= batch->path[i];
    item->instance = instance;
    item->batch_texts = (uint32_t)batch->texts;
    item->batch_tokens = (uint32_t)batch->tokens;
    item->tokenize_microseconds = microseconds(request->submitted, request->queued);
    item->queued_microseconds = microseconds(request->queued, batch->formed);
    item->compute_microseconds = microseconds(batch->formed, batch->computed);
    if (request->items != NULL) request->items[at] = *item;
}

/* Before its requests may be completed: what happened to each text. Returns the paths of all. */
static unsigned describe_all(struct embed_pool *pool, const struct batch *batch, unsigned instance)
{
    size_t i = 0;
    unsigned paths = 0;
    for (size_t p = 0; p < batch->parts; p++) {
        const struct batch_part *part = &batch->part[p];
        for (size_t at = part->first; at < part->first + part->count; at++, i++) {
            describe(batch, i, part->request, at, instance);
            metrics_text(pool->metrics, batch->item[i].queued_microseconds, batch->item[i].path,
                         batch->item[i].status);
            paths |= batch->item[i].path;
        }
    }
    return paths;
}

static size_t count_not_finite(const struct batch *batch, size_t first, size_t count)
{
    size_t found = 0;
    for (size_t i = first; i < first + count; i++)
        found += batch->item[i].status == EMBED_NOT_FINITE;
    return found;
}

/* With the lock: the batch's parts are ended; returns the requests that are complete by that. */
static struct request *end_parts(struct batch *batch)
{
    struct request *ended = NULL;
    for (size_t p = 0, i = 0; p < batch->parts; i += batch->part[p++].count) {
        struct request *request = batch->part[p].request;
        request->not_finite += count_not_finite(batch, i, batch->part[p].count);
        request->computing -= batch->part[p].count;
        if (request->computing > 0 || request->is_queued) continue;
        request->next = ended;
        ended = request;
    }
    return ended;
}

/* With the lock: the batch is the member's again, or nobody's. */
static void keep_or_destroy(struct member *member, struct batch *batch)
{
    if (batch == member->batch) return;
    if (member->batch == NULL) member->batch = batch;
    else batch_destroy(batch);
}

void pool_deliver(struct embed_pool *pool, struct member *member, struct batch *batch)
{
    batch->computed = clock_nanoseconds();
    unsigned paths = describe_all(pool, batch, member->index);
    metrics_batch(pool->metrics, batch->texts, batch->tokens,
                  (batch->computed - batch->formed) / 1000);

    pthread_mutex_lock(&pool->lock);
    struct request *ended = end_parts(batch);
    pool->last_texts = batch->texts;
    pool->last_nanoseconds = batch->computed - batch->formed;
    if (paths == 0) /* as usual */
        batch_time_learn(&pool->batch_time, (double)batch->tokens,
                         (double)(batch->computed - batch->formed));
    pool->computing_batches--;
    pool->computing_texts -= batch->texts;
    pool->computing_tokens -= batch->tokens;
    keep_or_destroy(member, batch);
    if (is_done(pool)) pool_wake_all(pool);
    pthread_mutex_unlock(&pool->lock);
    pool_complete(pool, ended);
}

/* Without a member that could take it: its texts fail for the reason that there is none. */
static void fail_batch(struct embed_pool *pool, struct member *member, struct batch *batch,
                       embed_status status, const char *reason)
{
    pool_fail_pending(pool, batch, fail(status, "%s", reason));
    pool_deliver(pool, member, batch);
}

static void append_batch(struct batch **list, struct batch *batch)
{
    while (*list != NULL) list = &(*list)->next;
    batch->next = NULL;
    *list = batch;
}

void pool_pass_on(struct embed_pool *pool, struct member *member, struct batch *batch,
                  bool to_the_cpu)
{
    pthread_mutex_lock(&pool->lock);
    bool has_heir = pool->running > 0 || pool->fallback != NULL;
    embed_status status = pool->reason;
    char reason[sizeof pool->reason_text];
    memcpy(reason, pool->reason_text, sizeof reason);
    if (batch == member->batch) member->batch = NULL;
    if (has_heir) {
        append_batch(to_the_cpu ? &pool->for_the_cpu : &pool->orphans, batch);
        if (to_the_cpu) pthread_cond_signal(&pool->fallback->wake);
        else pool_wake(pool, SOME_TIME);
    }
    pthread_mutex_unlock(&pool->lock);
    if (!has_heir) fail_batch(pool, member, batch, status, reason);
}

void pool_fail_text(struct embed_pool *pool, struct batch *batch, size_t i, embed_status status)
{
    size_t p = 0, before = 0;
    while (i >= before + batch->part[p].count) before += batch->part[p++].count;
    batch->item[i] = (embed_item){.status = status};
    pthread_mutex_lock(&pool->lock);
    request_note(batch->part[p].request, status);
    pthread_mutex_unlock(&pool->lock);
}

void pool_fail_pending(struct embed_pool *pool, struct batch *batch, embed_status status)
{
    for (size_t i = 0; i < batch->texts; i++)
        if (batch->item[i].status == EMBED_PENDING) pool_fail_text(pool, batch, i, status);
}

struct request *pool_drop_all(struct embed_pool *pool, embed_status status)
{
    struct request *ended = NULL;
    while (pool->queue.first != NULL) {
        struct request *request = pool->queue.first;
        if (!request_queue_drop(&pool->queue, request, status)) continue;
        request->next = ended;
        ended = request;
    }
    pthread_cond_broadcast(&pool->room);
    return ended;
}

/* The pool whose request this thread completes. */
static _Thread_local const struct embed_pool *completing;

bool pool_is_completing(const struct embed_pool *pool)
{
    return completing == pool;
}

void pool_complete(struct embed_pool *pool, struct request *list)
{
    const struct embed_pool *before = completing;
    completing = pool;
    for (struct request *next; list != NULL; list = next) {
        next = list->next;
        list->next = NULL;
        metrics_request_completed(pool->metrics, request_settle(list),
                                  (clock_nanoseconds() - list->submitted) / 1000);
        request_complete(list);
    }
    completing = before;
}

/* ---- members come and go ------------------------------------------------------------------- */

void pool_member_joins(struct embed_pool *pool, struct member *member, size_t batch_tokens)
{
    embed_memory memory = EMBED_MEMORY_INIT;
    instance_get_memory(member->instance, &memory);
    pthread_mutex_lock(&pool->lock);
    member->memory = memory;
    member->batch_tokens = batch_tokens;
    if (member->state != MEMBER_RUNNING && !member_is_fallback(member)) pool->running++;
    member->state = MEMBER_RUNNING;
    if (pool->running > 0 && pool->running >= pool->running_at_first) pool->reason = EMBED_OK;
    pthread_mutex_unlock(&pool->lock);
}

void pool_member_leaves(struct embed_pool *pool, struct member *member, embed_status status)
{
    struct request *ended = NULL;
    struct batch *orphans = NULL;
    char reason[sizeof pool->reason_text];
    snprintf(reason, sizeof reason, "%s", error_message()); /* `done` may fail with another */
    pthread_mutex_lock(&pool->lock);
    if (member->state == MEMBER_RUNNING && !member_is_fallback(member)) pool->running--;
    member->state = status == EMBED_DEVICE_LOST ? MEMBER_LOST : MEMBER_RESTING;
    member->memory = (embed_memory)EMBED_MEMORY_INIT;
    pool->reason = status;
    memcpy(pool->reason_text, reason, sizeof reason);
    if (pool->running == 0 && pool->fallback == NULL) {
        ended = pool_drop_all(pool, status);
        orphans = pool->orphans;
        pool->orphans = NULL;
    }
    pool_wake(pool, SOME_TIME);
    pthread_mutex_unlock(&pool->lock);
    log_message(EMBED_LOG_WARNING, "instance %u of a pool is given up: %s", member->index, reason);
    pool_complete(pool, ended);
    for (struct batch *batch = orphans, *next; batch != NULL; batch = next) {
        next = batch->next;
        fail_batch(pool, member, batch, status, reason);
    }
}
