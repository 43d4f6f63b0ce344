/* pool_call.c - blocking calls: submits many texts in pieces and waits for their results
 *
 * A piece is a request of about one batch. Enough pieces are in flight to keep all members busy,
 * and other callers get their turn between them.
 */
#include "base/memory.h"
#include "base/status.h"
#include "service/member.h"
#include "service/pool.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct piece {
    struct request *request;
    size_t first; /* index of its first text */
    embed_strings strings;
};

struct call {
    struct embed_pool *pool;
    embed_request whole; /* the call as a single request, from which pieces are made; its `done`
                            is NULL */
    embed_generated *summaries; /* (n), if summaries are requested */
    const embed_generate_options *generate; /* the caller's; whole.generate->done is tell() */
    atomic_bool is_called_off;
    struct piece under_way[2 * MOST_INSTANCES + 2]; /* a ring of `most` slots */
    size_t most, first, count;
    size_t not_finite;
    embed_status status; /* the first failure other than EMBED_NOT_FINITE */
    char message[256];
};

static void note(struct call *call, embed_status status)
{
    if (status == EMBED_OK || call->status != EMBED_OK) return;
    call->status = status;
    snprintf(call->message, sizeof call->message, "%s", error_message());
}

/* Waits for the oldest piece and takes its results. */
static void finish_oldest(struct call *call)
{
    struct piece *piece = &call->under_way[call->first];
    call->first = (call->first + 1) % call->most;
    call->count--;
    embed_status status = request_wait(piece->request, EMBED_WAIT_FOREVER);
    if (status == EMBED_NOT_FINITE) call->not_finite += piece->request->not_finite;
    else note(call, status);
    request_release(piece->request);
    if (piece->strings.count == 0) return;
    memcpy(call->summaries + piece->first, piece->strings.items,
           piece->strings.count * sizeof *call->summaries);
    memory_free(piece->strings.items);
}

/* Returns the number of texts of the next piece: about a batch's tokens, if the last piece had
 * `tokens` tokens in `texts` texts. For documents it is twice what an instance has in flight, so
 * that slots that free up early need not wait for the last document of the oldest piece. */
static size_t piece_texts(const struct embed_pool *pool, size_t left, size_t tokens, size_t texts)
{
    size_t wanted = pool->batch_tokens * texts / tokens;
    if (wanted > pool->most_texts) wanted = pool->most_texts;
    if (pool_generates(pool)) wanted = 2 * pool->documents;
    if (wanted == 0) wanted = 1;
    return wanted < left ? wanted : left;
}

/* Submits texts [first, first + count) of the call as a piece. */
static embed_status submit_piece(struct call *call, struct piece *piece, size_t first, size_t count)
{
    const embed_request *whole = &call->whole;
    embed_request request = *whole;
    *piece = (struct piece){.first = first, .strings = EMBED_STRINGS_INIT};
    request.texts = whole->texts + first;
    request.n = count;
    if (whole->out != NULL) request.out = whole->out + first * whole->options->dimensions;
    if (whole->items != NULL) request.items = whole->items + first;
    if (whole->generate != NULL) request.strings = &piece->strings;
    embed_ticket *ticket = NULL;
    embed_status status = pool_submit(call->pool, &request, first, &ticket);
    piece->request = (struct request *)ticket;
    return status;
}

static void cancel_all(struct call *call)
{
    for (size_t i = 0; i < call->count; i++)
        pool_cancel(call->pool, call->under_way[(call->first + i) % call->most].request);
}

static void submit_pieces(struct call *call)
{
    size_t n = call->whole.n, tokens = 256, texts = 1, count = 0; /* small at first: texts may be
                                                                     long */
    for (size_t first = 0; first < n && call->status == EMBED_OK; first += count) {
        count = piece_texts(call->pool, n - first, tokens, texts);
        struct piece *piece = &call->under_way[(call->first + call->count) % call->most];
        note(call, submit_piece(call, piece, first, count));
        if (call->status != EMBED_OK) break;
        tokens = request_tokens(piece->request);
        texts = count;
        if (++call->count == call->most) finish_oldest(call);
        if (atomic_load(&call->is_called_off)) break;
    }
    while (call->count > 0) {
        if (atomic_load(&call->is_called_off)) cancel_all(call);
        finish_oldest(call);
    }
}

static embed_status run(struct call *call, const char *not_finite)
{
    call->most = 2 * call->pool->member_count;
    call->whole.wait_for_room = 1;
    submit_pieces(call);
    if (atomic_load(&call->is_called_off)) /* not the status that the cancelled pieces ended with */
        return summaries_called_off();
    if (call->status != EMBED_OK) return fail(call->status, "%s", call->message);
    if (call->not_finite > 0)
        return fail(EMBED_NOT_FINITE, not_finite, call->not_finite, call->whole.n);
    return EMBED_OK;
}

embed_status pool_encode(struct embed_pool *pool, const embed_text *texts, size_t n,
                         const embed_encode_options *options, float *out, embed_item *items)
{
    struct call call = {.pool = pool, .whole = EMBED_REQUEST_INIT};
    call.whole.texts = texts;
    call.whole.n = n;
    call.whole.options = options;
    call.whole.out = out;
    call.whole.items = items;
    return run(&call, "%zu of %zu embeddings hold NaN or infinity");
}

/* Calls the caller's `done` for a summary of any piece. Once the caller stops one piece, all of
 * them stop. */
static int tell(void *user, size_t i, const embed_generated *summary)
{
    struct call *call = user;
    if (atomic_load(&call->is_called_off)) return 0;
    if (call->generate->done(call->generate->user, i, summary) != 0) return 1;
    atomic_store(&call->is_called_off, true);
    return 0;
}

embed_status pool_generate(struct embed_pool *pool, const embed_text *texts, size_t n,
                           const embed_generate_options *options, embed_strings *strings)
{
    struct call call = {.pool = pool, .whole = EMBED_REQUEST_INIT};
    call.whole.texts = texts;
    call.whole.n = n;
    embed_generate_options mine = *options;
    if (options->done != NULL) mine.done = tell;
    mine.user = &call;
    call.generate = options;
    call.whole.generate = &mine;
    call.summaries = memory_allocate(n, sizeof *call.summaries, "summaries");
    if (call.summaries == NULL) return EMBED_OUT_OF_MEMORY;
    embed_status status = run(&call, "%zu of %zu summaries hit NaN or infinity");
    if (status == EMBED_OK || status == EMBED_NOT_FINITE) {
        strings->items = call.summaries;
        strings->count = n;
        return status;
    }
    for (size_t i = 0; i < n; i++) memory_free(call.summaries[i].text);
    memory_free(call.summaries);
    return status;
}
