/* request.c - texts accepted by a pool, from tokenizing to completion */
#include "service/request.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "model/prompt_tokens.h"
#include "service/pool.h"

#include <stdio.h>
#include <string.h>

/* ---- tokens -------------------------------------------------------------------------------- */

/* Appends n spans, of the texts from `first` on, to the request's ids, which grow as needed. */
static embed_status append(struct request *request, size_t first, size_t n,
                           const struct token_span *spans, size_t *used, size_t *capacity)
{
    size_t needed = *used;
    for (size_t i = 0; i < n; i++) needed += spans[i].count;
    if (needed > *capacity) {
        bool is_last = first + n == request->n;
        *capacity = is_last ? needed : needed + needed / 2;
        int32_t *ids = memory_resize(request->ids, *capacity, sizeof *ids, "a request's tokens");
        if (ids == NULL) return EMBED_OUT_OF_MEMORY;
        request->ids = ids;
    }
    for (size_t i = 0; i < n; i++) {
        const struct token_span *span = &spans[i];
        request->texts[first + i] =
            (struct request_text){*used, span->count, span->invalid_bytes, span->truncated,
                                  span->skipped, 0, 0};
        memcpy(request->ids + *used, span->ids, span->count * sizeof(int32_t));
        *used += span->count;
    }
    return EMBED_OK;
}

static embed_status tokenize(struct request *request, const embed_request *given, size_t number,
                             const struct embed_model *model, struct token_batch *batch)
{
    enum { PIECE = 256 };
    const embed_encode_options *options = given->options;
    const char *prompt = embedding_pipeline_prefix(&model->pipeline, options->prompt_name);
    struct token_span spans[PIECE];
    size_t used = 0, capacity = 0, count, of_prompt;
    TRY(prompt_tokens(&of_prompt, model, prompt, options->max_tokens));
    request->texts = memory_allocate(given->n, sizeof *request->texts, "a request's texts");
    if (request->texts == NULL) return EMBED_OUT_OF_MEMORY;
    for (size_t first = 0; first < given->n; first += count) {
        count = given->n - first < PIECE ? given->n - first : PIECE;
        struct token_source source = {model->tokenizer, prompt, options->max_tokens,
                                      model->encoder.config.V, options->max_tokens, number + first,
                                      of_prompt, NULL};
        TRY(token_batch_fill(batch, spans, given->texts + first, count, &source, NULL));
        TRY(append(request, first, count, spans, &used, &capacity));
    }
    return EMBED_OK;
}

static embed_status create_rows(struct request *request, const embed_request *given, size_t number,
                                const struct embed_model *model, struct token_batch *batch)
{
    request->n = given->n;
    request->dimensions = given->options->dimensions;
    request->normalize = given->options->normalize;
    request->out = given->out;
    request->items = given->items;
    return tokenize(request, given, number, model, batch);
}

embed_status request_create(struct request **out, const embed_request *given, size_t number,
                            uint64_t now, const struct embed_model *model,
                            struct token_batch *batch)
{
    struct request *request = memory_allocate(1, sizeof *request, "a request");
    if (request == NULL) return EMBED_OUT_OF_MEMORY;
    atomic_init(&request->holders, 1);
    pthread_mutex_init(&request->lock, NULL);
    condition_init(&request->completed);

    request->done = given->done;
    request->user = given->user;
    request->submitted = now;
    request->deadline = given->deadline_milliseconds == 0
                            ? UINT64_MAX
                            : now + (uint64_t)given->deadline_milliseconds * 1000000u;
    embed_status status = given->generate != NULL
                              ? request_create_summaries(request, given, number, model, batch)
                              : create_rows(request, given, number, model, batch);
    if (status != EMBED_OK) {
        request_release(request);
        return status;
    }
    request->waiting_tokens = request_tokens(request);
    request->queued = clock_nanoseconds();
    *out = request;
    return EMBED_OK;
}

size_t request_tokens(const struct request *request)
{
    const struct request_text *last = &request->texts[request->n - 1];
    return last->first + last->count;
}

/* ---- holders ------------------------------------------------------------------------------- */

void request_hold(struct request *request)
{
    atomic_fetch_add(&request->holders, 1);
}

void request_release(struct request *request)
{
    if (request == NULL || atomic_fetch_sub(&request->holders, 1) != 1) return;
    pthread_cond_destroy(&request->completed);
    pthread_mutex_destroy(&request->lock);
    pool_release(request->pool);
    request_free_summaries(request);
    memory_free(request->texts);
    memory_free(request->ids);
    memory_free(request);
}

/* ---- completion ---------------------------------------------------------------------------- */

void request_note(struct request *request, embed_status status)
{
    if (request->status != EMBED_OK) return;
    request->status = status;
    snprintf(request->message, sizeof request->message, "%s", error_message());
}

embed_status request_settle(struct request *request)
{
    struct request_summaries *summaries = request->summaries;
    size_t n = summaries == NULL ? request->n : summaries->of_texts.n;
    if (request->status != EMBED_OK) return request->status;
    if (summaries != NULL) {
        request->not_finite = summaries_count_not_finite(&summaries->of_texts);
        summaries_give(&summaries->of_texts, summaries->strings);
    }
    if (request->not_finite > 0) {
        request->status = EMBED_NOT_FINITE;
        snprintf(request->message, sizeof request->message,
                 summaries == NULL ? "%zu of %zu embeddings hold NaN or infinity"
                                   : "%zu of %zu summaries hit NaN or infinity",
                 request->not_finite, n);
    }
    return request->status;
}

void request_complete(struct request *request)
{
    /* `done` comes first: a thread that has waited may release what it uses. */
    if (request->done != NULL) request->done(request->user, request->status, request->message);
    pthread_mutex_lock(&request->lock);
    request->is_completed = true;
    pthread_cond_broadcast(&request->completed);
    pthread_mutex_unlock(&request->lock);
    request_release(request);
}

embed_status request_wait(struct request *request, unsigned milliseconds)
{
    uint64_t end = milliseconds == EMBED_WAIT_FOREVER
                       ? UINT64_MAX
                       : clock_nanoseconds() + (uint64_t)milliseconds * 1000000u;
    pthread_mutex_lock(&request->lock);
    bool in_time = milliseconds > 0;
    while (!request->is_completed && in_time)
        in_time = condition_wait(&request->completed, &request->lock, end);
    bool is_completed = request->is_completed;
    pthread_mutex_unlock(&request->lock);
    if (!is_completed) return fail(EMBED_PENDING, "the request is not completed yet");
    return request->status == EMBED_OK ? EMBED_OK : fail(request->status, "%s", request->message);
}
