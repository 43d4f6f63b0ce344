/* pool_deliver.c - takes batches back from members and completes their requests */
#include "base/clock.h"
#include "base/status.h"
#include "service/member.h"
#include "service/pool.h"

#include <string.h>

/* ---- completion ---------------------------------------------------------------------------- */

/* The callbacks that this thread is in, the innermost first: one may cancel a request of another
 * pool, whose `done` is then called within it. */
struct callback {
    const struct embed_pool *pool;
    const struct callback *outer;
};
static _Thread_local const struct callback *innermost;

bool pool_is_completing(const struct embed_pool *pool)
{
    const struct callback *callback = innermost;
    while (callback != NULL && callback->pool != pool) callback = callback->outer;
    return callback != NULL;
}

bool pool_any_is_completing(void)
{
    return innermost != NULL;
}

void pool_complete(struct embed_pool *pool, struct request *list)
{
    const struct callback mine = {pool, innermost};
    innermost = &mine;
    for (struct request *next; list != NULL; list = next) {
        next = list->next;
        list->next = NULL;
        metrics_request_completed(pool->metrics, request_settle(list),
                                  (clock_nanoseconds() - list->submitted) / 1000);
        request_complete(list);
    }
    innermost = mine.outer;
}

bool pool_call_off(struct embed_pool *pool, struct request *request, embed_status status)
{
    if (!request->is_queued) {
        request_note(request, status);
        return false;
    }
    pthread_cond_broadcast(&pool->room);
    return request_queue_drop(&pool->queue, request, status);
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

/* ---- batches ------------------------------------------------------------------------------- */

static uint32_t microseconds(uint64_t from, uint64_t to)
{
    uint64_t time = to > from ? (to - from) / 1000 : 0;
    return time < UINT32_MAX ? (uint32_t)time : UINT32_MAX;
}

/* Describes the batch's text i, which is text `at` of its request, in its item. */
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

/* Describes what happened to each text. Called before the batch's requests may be completed.
 * Returns the path bits of all texts together. */
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

/* Ends the batch's parts. Returns the requests that this completes as a list. Requires the lock. */
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

/* Returns the batch to the member's free ones, or destroys it if the member has enough. Requires
 * the lock. */
static void keep_or_destroy(struct member *member, struct batch *batch)
{
    member->under_way--;
    if (member->free_count + member->under_way >= member->most_batches) {
        batch_destroy(batch);
        return;
    }
    batch->next = member->free;
    member->free = batch;
    member->free_count++;
}

/* Passes the summary that the batch completes, if any, to its caller. */
static void tell(struct embed_pool *pool, const struct batch *batch)
{
    const struct batch_part *document = &batch->part[0];
    if (document->request->summaries == NULL || batch->unfinished > 0 ||
        (batch->item[0].status != EMBED_OK && batch->item[0].status != EMBED_NOT_FINITE))
        return;
    const struct callback mine = {pool, innermost};
    innermost = &mine;
    embed_status status = request_tell(document->request, document->first);
    innermost = mine.outer;
    if (status == EMBED_OK) return;
    pthread_mutex_lock(&pool->lock);
    pool_call_off(pool, document->request, status); /* cannot complete it: this batch is still
                                                       part of it */
    pthread_mutex_unlock(&pool->lock);
}

void pool_deliver(struct embed_pool *pool, struct member *member, struct batch *batch)
{
    batch->computed = clock_nanoseconds();
    unsigned paths = describe_all(pool, batch, member->index);
    metrics_batch(pool->metrics, batch->texts - batch->unfinished, batch->tokens, batch->generated,
                  (batch->computed - batch->formed) / 1000);
    tell(pool, batch);

    pthread_mutex_lock(&pool->lock);
    struct request *ended = end_parts(batch);
    pool->last_texts = batch->texts;
    pool->last_nanoseconds = batch->computed - batch->formed;
    if (paths == 0) /* nothing unusual happened */
        batch_time_learn(&pool->batch_time, (double)batch->tokens,
                         (double)(batch->computed - batch->formed));
    pool->computing_batches--;
    pool->computing_texts -= batch->texts;
    pool->computing_tokens -= batch->tokens;
    keep_or_destroy(member, batch);
    if (pool_is_done(pool)) pool_wake_all(pool);
    pthread_mutex_unlock(&pool->lock);
    pool_complete(pool, ended);
}

void pool_fail_batch(struct embed_pool *pool, struct member *member, struct batch *batch,
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
    if (has_heir) {
        member->under_way--;
        append_batch(to_the_cpu ? &pool->for_the_cpu : &pool->orphans, batch);
        if (to_the_cpu) pthread_cond_signal(&pool->fallback->wake);
        else pool_wake(pool, SOME_TIME);
    }
    pthread_mutex_unlock(&pool->lock);
    if (!has_heir) pool_fail_batch(pool, member, batch, status, reason);
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
