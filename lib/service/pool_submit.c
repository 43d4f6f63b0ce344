/* pool_submit.c - puts requests into a pool's queue */
#include "base/clock.h"
#include "base/status.h"
#include "service/member.h"
#include "service/pool.h"

#include <stdio.h>

/* ---- lists of tokens ----------------------------------------------------------------------- */

/* Gets a token batch for this thread: one that another has left, or a new one. */
static embed_status take_token_batch(struct embed_pool *pool, struct token_batch **batch)
{
    *batch = NULL;
    pthread_mutex_lock(&pool->lock);
    if (pool->spares > 0 && !pool->is_closing) *batch = pool->spare[--pool->spares];
    pthread_mutex_unlock(&pool->lock);
    return *batch != NULL ? EMBED_OK : token_batch_create(batch, 1);
}

static void leave_token_batch(struct embed_pool *pool, struct token_batch *batch)
{
    pthread_mutex_lock(&pool->lock);
    bool is_kept = pool->spares < SPARE_TOKEN_BATCHES && !pool->is_closing;
    if (is_kept) pool->spare[pool->spares++] = batch;
    pthread_mutex_unlock(&pool->lock);
    if (!is_kept) token_batch_destroy(batch);
}

/* ---- admission ----------------------------------------------------------------------------- */

/* Returns whether a request of `tokens` tokens fits the queue; an empty queue takes any. Requires
 * the lock. */
static bool has_room(const struct embed_pool *pool, size_t tokens)
{
    const struct request_queue *queue = &pool->queue;
    return queue->requests == 0 ||
           (queue->requests < pool->options.queue_requests &&
            queue->tokens <= pool->options.queue_tokens &&
            tokens <= pool->options.queue_tokens - queue->tokens);
}

static embed_status busy(const struct embed_pool *pool)
{
    return fail(EMBED_BUSY, "the queue is full: %zu requests with %zu tokens are waiting",
                pool->queue.requests, pool->queue.tokens);
}

/* Checks for room without waiting; fails if others already wait for it. Requires the lock. */
static embed_status check_room(const struct embed_pool *pool, size_t tokens)
{
    if (pool->is_closing) return fail(EMBED_CLOSED, "the pool is closed");
    return pool->waiters == NULL && has_room(pool, tokens) ? EMBED_OK : busy(pool);
}

/* Waits for its turn and for room, until `deadline`. Requires the lock. */
static embed_status wait_for_room(struct embed_pool *pool, size_t tokens, uint64_t deadline)
{
    struct room_waiter waiter = {NULL}, **place = &pool->waiters;
    while (*place != NULL) place = &(*place)->next;
    *place = &waiter;
    bool in_time = true;
    while (in_time && !pool->is_closing && !(pool->waiters == &waiter && has_room(pool, tokens)))
        in_time = condition_wait(&pool->room, &pool->lock, deadline);
    for (place = &pool->waiters; *place != &waiter;) place = &(*place)->next;
    *place = waiter.next;
    pthread_cond_broadcast(&pool->room); /* the next one's turn */
    if (pool->is_closing) return fail(EMBED_CLOSED, "the pool is closed");
    return in_time ? EMBED_OK : busy(pool);
}

/* Returns the expected nanoseconds until `ahead` tokens and the request's own are computed, as full
 * batches one after another on the members there are now. Requires the lock. */
static double batches_time(const struct embed_pool *pool, const struct request *request, size_t ahead)
{
    double members = pool->running > 0 ? (double)pool->running : 1;
    double batches = (double)(ahead + request->waiting_tokens) / (double)pool->batch_tokens;
    double each = batch_time_expected(&pool->batch_time, (double)pool->batch_tokens);
    return batches < 1 ? batch_time_expected(&pool->batch_time, (double)ahead)
                       : batches * each / members;
}

/* Does so for documents, which begin as others end. */
static double documents_time(const struct embed_pool *pool, const struct request *request,
                             size_t ahead)
{
    size_t members = pool->running > 0 ? pool->running : 1;
    size_t before = pool->queue.texts + pool->computing_texts;
    double rounds = (double)(before + request->n) / (double)(members * pool->documents);
    double each = batch_time_expected(&pool->batch_time, (double)ahead / (double)before);
    return rounds > 1 ? rounds * each : each;
}

/* Rejects a request that would wait past its deadline behind what is already there. Requires the
 * lock. */
static embed_status check_deadline(const struct embed_pool *pool, const struct request *request)
{
    size_t ahead = pool->queue.tokens + pool->computing_tokens;
    if (request->deadline == UINT64_MAX || ahead == 0) return EMBED_OK;
    double wait = pool_generates(pool) ? documents_time(pool, request, ahead)
                                       : batches_time(pool, request, ahead);
    uint64_t now = clock_nanoseconds();
    if (now < request->deadline && wait < (double)(request->deadline - now)) return EMBED_OK;
    return fail(EMBED_BUSY, "%zu tokens are ahead and take about %.0f ms, longer than the deadline",
                ahead, wait * 1e-6);
}

/* Fails if there is nobody to compute a request. Requires the lock. */
static embed_status check_members(const struct embed_pool *pool)
{
    if (pool->running > 0 || pool->fallback != NULL) return EMBED_OK;
    return fail(pool->reason, "no instance is left: %s", pool->reason_text);
}

static embed_status enqueue(struct embed_pool *pool, struct request *request, bool waits)
{
    pthread_mutex_lock(&pool->lock);
    embed_status status = waits ? wait_for_room(pool, request->waiting_tokens, request->deadline)
                                : check_room(pool, request->waiting_tokens);
    if (status == EMBED_OK) status = check_members(pool);
    if (status == EMBED_OK) status = check_deadline(pool, request);
    if (status == EMBED_OK) {
        /* A member that waits for company has to look again: its time to begin is earlier now. */
        bool is_urgent = request->deadline < pool->queue.urgent;
        request->queued = clock_nanoseconds();
        request_queue_push(&pool->queue, request);
        pool_wake(pool, is_urgent || pool->queue.requests == 1 ? SOME_TIME : request->queued);
    }
    pthread_mutex_unlock(&pool->lock);
    return status;
}

/* ---- submit -------------------------------------------------------------------------------- */

static embed_status create(struct embed_pool *pool, const embed_request *given, size_t number,
                           bool waits, struct request **request)
{
    uint64_t now = clock_nanoseconds();
    /* Before tokenizing, so that a rejection costs nothing. Each text has at least one token. */
    pthread_mutex_lock(&pool->lock);
    embed_status status = waits ? EMBED_OK : check_room(pool, given->n);
    pthread_mutex_unlock(&pool->lock);
    if (status != EMBED_OK) return status;

    struct token_batch *batch;
    TRY(take_token_batch(pool, &batch));
    status = request_create(request, given, number, now, pool->models[0], batch);
    leave_token_batch(pool, batch);
    return status;
}

static embed_status submit(struct embed_pool *pool, const embed_request *given, size_t number,
                           embed_ticket **ticket)
{
    struct request *request;
    embed_ticket *before = ticket != NULL ? *ticket : NULL;
    /* Not in another pool's `done` either: two pools might wait for each other. */
    bool waits = given->wait_for_room && !pool_any_is_completing();
    TRY(create(pool, given, number, waits, &request));
    pool_hold(pool);
    request->pool = pool;
    if (ticket != NULL) {
        request_hold(request);
        *ticket = (embed_ticket *)request; /* `done` may be called before this function returns */
    }
    embed_status status = enqueue(pool, request, waits);
    if (status == EMBED_OK) return EMBED_OK;
    if (ticket != NULL) {
        *ticket = before;
        request_release(request);
    }
    request_release(request);
    return status;
}

embed_status pool_submit(struct embed_pool *pool, const embed_request *given, size_t number,
                         embed_ticket **ticket)
{
    embed_status status = submit(pool, given, number, ticket);
    if (status != EMBED_OK && status != EMBED_INVALID_ARGUMENT)
        metrics_request_refused(pool->metrics, status);
    return status;
}

void pool_cancel(struct embed_pool *pool, struct request *request)
{
    struct request *ended = NULL;
    char before[1024]; /* cancelling is no failure of this thread's */
    snprintf(before, sizeof before, "%s", error_message());
    pthread_mutex_lock(&pool->lock);
    bool is_under_way = request->is_queued || request->computing > 0;
    embed_status status =
        is_under_way ? fail(EMBED_CANCELLED, "the request was cancelled") : EMBED_OK;
    if (is_under_way && pool_call_off(pool, request, status)) ended = request;
    pool->cancelling++;
    pthread_mutex_unlock(&pool->lock);
    if (is_under_way) fail(status, "%s", before);
    pool_complete(pool, ended);
    pthread_mutex_lock(&pool->lock);
    pool->cancelling--;
    pthread_cond_broadcast(&pool->closed);
    pthread_mutex_unlock(&pool->lock);
}
