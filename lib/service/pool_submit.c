/* pool_submit.c - requests into a pool's queue */
#include "base/clock.h"
#include "base/status.h"
#include "service/member.h"
#include "service/pool.h"

#include <stdio.h>

/* ---- lists of tokens ----------------------------------------------------------------------- */

/* What this thread tokenizes with: one that another has left, or a new one. */
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

/* With the lock: may so many more tokens wait? Alone, any number may. */
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
    return fail(EMBED_BUSY, "the queue is full: %zu requests of %zu tokens wait",
                pool->queue.requests, pool->queue.tokens);
}

/* With the lock: who does not wait is refused, also while others do. */
static embed_status check_room(const struct embed_pool *pool, size_t tokens)
{
    if (pool->is_closing) return fail(EMBED_CLOSED, "the pool is closed");
    return pool->waiters == NULL && has_room(pool, tokens) ? EMBED_OK : busy(pool);
}

/* With the lock: waits for its turn and for room, until the deadline. */
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

/* With the lock: would it wait past its deadline behind what is there already? */
static embed_status check_deadline(const struct embed_pool *pool, const struct request *request)
{
    size_t ahead = pool->queue.tokens + pool->computing_tokens;
    if (request->deadline == UINT64_MAX || ahead == 0) return EMBED_OK;
    /* Whole batches of the members that there are, one after another. */
    double members = pool->running > 0 ? (double)pool->running : 1;
    double batches = (double)(ahead + request->waiting_tokens) / (double)pool->batch_tokens;
    double each = batch_time_expected(&pool->batch_time, (double)pool->batch_tokens);
    double wait = batches < 1 ? batch_time_expected(&pool->batch_time, (double)ahead)
                              : batches * each / members;
    uint64_t now = clock_nanoseconds();
    if (now < request->deadline && wait < (double)(request->deadline - now)) return EMBED_OK;
    return fail(EMBED_BUSY, "%zu tokens wait, which take %.0f ms: longer than the deadline", ahead,
                wait * 1e-6);
}

/* With the lock: nobody would compute it. */
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
        request->queued = clock_nanoseconds();
        request_queue_push(&pool->queue, request);
        pool_wake(pool, pool->queue.requests == 1 ? SOME_TIME : request->queued);
    }
    pthread_mutex_unlock(&pool->lock);
    return status;
}

/* ---- submit -------------------------------------------------------------------------------- */

static embed_status create(struct embed_pool *pool, const embed_request *given,
                           const embed_encode_options *options, size_t number, bool waits,
                           struct request **request)
{
    uint64_t now = clock_nanoseconds();
    /* Before the work of tokenizing: to be refused costs nothing. Each text has a token. */
    pthread_mutex_lock(&pool->lock);
    embed_status status = waits ? EMBED_OK : check_room(pool, given->n);
    pthread_mutex_unlock(&pool->lock);
    if (status != EMBED_OK) return status;

    struct token_batch *batch;
    TRY(take_token_batch(pool, &batch));
    status = request_create(request, given, options, number, now, pool->models[0], batch);
    leave_token_batch(pool, batch);
    return status;
}

static embed_status submit(struct embed_pool *pool, const embed_request *given,
                           const embed_encode_options *options, size_t number,
                           struct request **ticket)
{
    struct request *request, *before = ticket != NULL ? *ticket : NULL;
    bool waits = given->wait_for_room && !pool_is_completing(pool);
    TRY(create(pool, given, options, number, waits, &request));
    pool_hold(pool);
    request->pool = pool;
    if (ticket != NULL) {
        request_hold(request);
        *ticket = request; /* `done` may be called before this function returns */
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

embed_status pool_submit(struct embed_pool *pool, const embed_request *given,
                         const embed_encode_options *options, size_t number,
                         struct request **ticket)
{
    embed_status status = submit(pool, given, options, number, ticket);
    if (status != EMBED_OK) metrics_request_refused(pool->metrics, status);
    return status;
}

void pool_cancel(struct embed_pool *pool, struct request *request)
{
    struct request *ended = NULL;
    pthread_mutex_lock(&pool->lock);
    bool is_under_way = request->is_queued || request->computing > 0;
    embed_status status =
        is_under_way ? fail(EMBED_CANCELLED, "the request was cancelled") : EMBED_OK;
    if (request->is_queued) {
        if (request_queue_drop(&pool->queue, request, status)) ended = request;
        pthread_cond_broadcast(&pool->room);
    } else if (is_under_way) {
        request_note(request, status);
    }
    pool->cancelling++;
    pthread_mutex_unlock(&pool->lock);
    pool_complete(pool, ended);
    pthread_mutex_lock(&pool->lock);
    pool->cancelling--;
    pthread_cond_broadcast(&pool->closed);
    pthread_mutex_unlock(&pool->lock);
}

/* ---- many texts, by and by ----------------------------------------------------------------- */

/* A piece is about a batch; there are as many under way as keep all members busy. */
struct pieces {
    struct embed_pool *pool;
    const embed_encode_options *options;
    struct request *under_way[2 * MOST_INSTANCES + 2]; /* a ring, of which `most` are used */
    size_t most, first, count;
    size_t not_finite;
    embed_status status; /* the first failure besides */
    char message[256];
};

static void note(struct pieces *pieces, embed_status status)
{
    if (status == EMBED_OK || pieces->status != EMBED_OK) return;
    pieces->status = status;
    snprintf(pieces->message, sizeof pieces->message, "%s", error_message());
}

/* Waits for the oldest piece. */
static void finish_oldest(struct pieces *pieces)
{
    struct request *request = pieces->under_way[pieces->first];
    pieces->first = (pieces->first + 1) % pieces->most;
    pieces->count--;
    embed_status status = request_wait(request, EMBED_WAIT_FOREVER);
    if (status == EMBED_NOT_FINITE) pieces->not_finite += request->not_finite;
    else note(pieces, status);
    request_release(request);
}

/* Texts of about a batch's tokens, where the last piece's had so many. */
static size_t piece_texts(const struct embed_pool *pool, size_t left, size_t tokens, size_t texts)
{
    size_t wanted = pool->batch_tokens * texts / tokens;
    if (wanted > pool->most_texts) wanted = pool->most_texts;
    if (wanted == 0) wanted = 1;
    return wanted < left ? wanted : left;
}

static void submit_pieces(struct pieces *pieces, const embed_text *texts, size_t n, float *out,
                          embed_item *items)
{
    size_t tokens = 256, in_texts = 1, count = 0; /* the first piece is small: texts may be long */
    for (size_t first = 0; first < n && pieces->status == EMBED_OK; first += count) {
        count = piece_texts(pieces->pool, n - first, tokens, in_texts);
        embed_request request = EMBED_REQUEST_INIT;
        request.texts = texts + first;
        request.n = count;
        request.out = out + first * pieces->options->dimensions;
        request.items = items == NULL ? NULL : items + first;
        request.wait_for_room = 1;
        size_t place = (pieces->first + pieces->count) % pieces->most;
        embed_status status =
            pool_submit(pieces->pool, &request, pieces->options, first, &pieces->under_way[place]);
        note(pieces, status);
        if (status != EMBED_OK) break;
        tokens = request_tokens(pieces->under_way[place]);
        in_texts = count;
        if (++pieces->count == pieces->most) finish_oldest(pieces);
    }
    while (pieces->count > 0) finish_oldest(pieces);
}

embed_status pool_encode(struct embed_pool *pool, const embed_text *texts, size_t n,
                         const embed_encode_options *options, float *out, embed_item *items)
{
    struct pieces pieces = {.pool = pool, .options = options, .most = 2 * pool->member_count};
    submit_pieces(&pieces, texts, n, out, items);
    if (pieces.status != EMBED_OK) return fail(pieces.status, "%s", pieces.message);
    if (pieces.not_finite > 0)
        return fail(EMBED_NOT_FINITE, "%zu of %zu embeddings hold NaN or infinity",
                    pieces.not_finite, n);
    return EMBED_OK;
}
