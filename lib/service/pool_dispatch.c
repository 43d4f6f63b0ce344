/* pool_dispatch.c - members join and leave, and take batches from the queue */
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "model/instance.h"
#include "service/member.h"
#include "service/pool.h"

#include <stdio.h>
#include <string.h>

/* The longest wait for company, in nanoseconds. */
#define LONGEST_COMPANY UINT64_C(500000)

/* ---- the rule ------------------------------------------------------------------------------ */

/* Returns how long to wait for company. Callers whose batch was just delivered come back one by
 * one: the first waits for the others, for up to a sixteenth of the time of that batch. Without
 * this, eight callers each waiting for single texts got batches of one and of seven in turn, and 12
 * % less throughput. */
static uint64_t company(const struct embed_pool *pool)
{
    uint64_t wait = pool->last_nanoseconds / 16;
    if (pool->queue.texts >= pool->last_texts) return 0;
    return wait < LONGEST_COMPANY ? wait : LONGEST_COMPANY;
}

/* Returns when to compute the queue's head, even if the batch is not full; UINT64_MAX if nothing is
 * queued. */
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
    /* Wait at most half the time to the deadline, and leave twice the batch's expected time. */
    uint64_t queued = queue->first->queued, left = queue->urgent > queued ? queue->urgent - queued : 0;
    uint64_t needed = (uint64_t)(2 * batch_time_expected(&pool->batch_time, (double)queue->tokens));
    uint64_t spare = needed < left ? left - needed : 0, wait = left / 2 < spare ? left / 2 : spare;
    return queued + wait < full ? queued + wait : full;
}

/* The fallback forms batches only when no other member has an instance. */
static bool may_form(const struct embed_pool *pool, const struct member *member)
{
    if (member_is_fallback(member)) return pool->running == 0;
    return member->state == MEMBER_RUNNING;
}

/* Returns the list of passed-on batches that the member is to take from before the queue; NULL if
 * there is none. */
static struct batch **orphans_for(struct embed_pool *pool, const struct member *member)
{
    if (member_is_fallback(member) && pool->for_the_cpu != NULL) return &pool->for_the_cpu;
    return may_form(pool, member) && pool->orphans != NULL ? &pool->orphans : NULL;
}

static bool has_work(struct embed_pool *pool, const struct member *member, uint64_t now)
{
    return orphans_for(pool, member) != NULL ||
           (may_form(pool, member) && due(pool, member) <= now);
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

/* ---- from the queue ------------------------------------------------------------------------ */

/* One unusually slow batch must not make every request expire: no batch would be computed any more
 * to correct the expected time. */
static void doubt(struct embed_pool *pool, const struct batch *batch, const struct request *expired)
{
    if (batch->texts == 0 && expired != NULL) batch_time_doubt(&pool->batch_time);
}

/* Returns the tokens of the batch that would be formed next. */
static size_t next_tokens(const struct embed_pool *pool, const struct member *member)
{
    const struct request *head = pool->queue.first;
    if (pool_generates(pool)) return head->texts[head->waiting].count;
    return pool->queue.tokens < member->batch_tokens ? pool->queue.tokens : member->batch_tokens;
}

/* Forms a batch from the queue's head, or returns NULL. If `num_beams` is not 0, takes only
 * documents with that many beams. */
static struct batch *form(struct embed_pool *pool, struct member *member, int32_t num_beams,
                          uint64_t now, struct request **expired)
{
    struct batch *batch = member->free;
    double time = batch_time_expected(&pool->batch_time, (double)next_tokens(pool, member));
    batch_clear(batch, num_beams);
    request_queue_form(&pool->queue, batch, member->batch_tokens, now + (uint64_t)time, expired);
    doubt(pool, batch, *expired);
    pthread_cond_broadcast(&pool->room);
    if (batch->texts == 0) return NULL;
    member->free = batch->next;
    member->free_count--;
    batch->formed = now;
    pool->computing_batches++;
    pool->computing_texts += batch->texts;
    pool->computing_tokens += batch->tokens;
    return batch;
}

/* Takes a batch passed on by another member, or forms one from the queue. Returns NULL if there is
 * none now, or none with `num_beams` beams. */
static struct batch *take(struct embed_pool *pool, struct member *member, int32_t num_beams,
                          uint64_t now, struct request **expired)
{
    struct batch **orphans = orphans_for(pool, member), *batch = NULL;
    if (orphans == NULL) {
        batch = form(pool, member, num_beams, now, expired);
    } else if (num_beams == 0 || num_beams == (*orphans)->num_beams) {
        batch = *orphans;
        *orphans = batch->next;
    }
    member->under_way += batch != NULL;
    return batch;
}

static bool is_draining(const struct embed_pool *pool)
{
    return pool->is_closing && pool->queue.first != NULL;
}

/* Waits until there may be work, or it is time to look at the memory or to end draining. */
static void wait_for_work(struct embed_pool *pool, struct member *member)
{
    uint64_t until = may_form(pool, member) ? due(pool, member) : UINT64_MAX;
    if (member->look_at < until && !pool->is_closing) until = member->look_at;
    if (is_draining(pool) && pool->drain_end < until) until = pool->drain_end;
    member->is_idle = true;
    condition_wait(&member->wake, &pool->lock, until);
    member->is_idle = false;
}

/* Completes the requests of `list`. Requires the lock; releases it while callbacks run. */
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
    while (batch == NULL && !pool_is_done(pool)) {
        uint64_t now = clock_nanoseconds();
        struct request *ended = NULL;
        if (is_draining(pool) && now >= pool->drain_end) {
            ended = pool_drop_all(pool, fail(EMBED_CANCELLED, "the pool was closed"));
        } else if (now >= member->look_at && !pool->is_closing) {
            pool_wake(pool, SOME_TIME); /* looking may take a while: another member may have to
                                           do this one's work */
            pthread_mutex_unlock(&pool->lock);
            member_look(member);
            pthread_mutex_lock(&pool->lock);
            continue;
        } else if (has_work(pool, member, now)) {
            batch = take(pool, member, 0, now, &ended);
        } else {
            wait_for_work(pool, member);
        }
        complete_unlocked(pool, ended);
    }
    if (batch != NULL) pool_wake(pool, SOME_TIME); /* for the rest of the queue, due or not */
    else pool_wake_all(pool);                      /* they end too */
    pthread_mutex_unlock(&pool->lock);
    return batch;
}

/* Returns whether the member has less than its share of all documents, and a free slot for one
 * more. */
static bool is_short(const struct embed_pool *pool, const struct member *member)
{
    size_t documents = pool->queue.texts + pool->computing_texts;
    return may_form(pool, member) && member->under_way * pool->running < documents &&
           member->under_way * pool->models[0]->max_tokens < member->batch_tokens;
}

/* Members fill up to their shares first: otherwise one would take all documents that arrive
 * together, and the others would have none. */
static bool may_take_more(const struct embed_pool *pool, const struct member *member)
{
    if (is_short(pool, member)) return true;
    for (size_t i = 0; i < pool->member_count; i++)
        if (is_short(pool, &pool->members[i])) return false;
    return true;
}

struct batch *pool_next_document(struct embed_pool *pool, struct member *member, int32_t num_beams)
{
    struct batch *batch = NULL;
    struct request *ended = NULL;
    uint64_t now = clock_nanoseconds();
    pthread_mutex_lock(&pool->lock);
    bool looks = now >= member->look_at && !pool->is_closing;
    pthread_mutex_unlock(&pool->lock);
    if (looks && !member_may_stay(member)) return NULL; /* it finishes its own, then looks */

    pthread_mutex_lock(&pool->lock);
    if (is_draining(pool) && now >= pool->drain_end)
        ended = pool_drop_all(pool, fail(EMBED_CANCELLED, "the pool was closed"));
    else if (has_work(pool, member, now) && may_take_more(pool, member))
        batch = take(pool, member, num_beams, now, &ended);
    pthread_mutex_unlock(&pool->lock);
    pool_complete(pool, ended);
    return batch;
}

/* ---- members join and leave ---------------------------------------------------------------- */

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
    snprintf(reason, sizeof reason, "%s", error_message()); /* `done` may overwrite it */
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
        for (const struct batch *batch = orphans; batch != NULL; batch = batch->next)
            member->under_way++;
    }
    pool_wake(pool, SOME_TIME);
    pthread_mutex_unlock(&pool->lock);
    log_message(EMBED_LOG_WARNING, "gave up instance %u of a pool: %s", member->index, reason);
    pool_complete(pool, ended);
    for (struct batch *batch = orphans, *next; batch != NULL; batch = next) {
        next = batch->next;
        pool_fail_batch(pool, member, batch, status, reason);
    }
}
