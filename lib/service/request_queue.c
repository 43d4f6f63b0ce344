/* request_queue.c - a FIFO queue of requests, from which batches are formed */
#include "service/request_queue.h"

#include "base/status.h"

void request_queue_push(struct request_queue *queue, struct request *request)
{
    if (queue->first == NULL || request->deadline < queue->urgent)
        queue->urgent = request->deadline;
    request->previous = queue->last;
    request->next = NULL;
    if (queue->last != NULL) queue->last->next = request;
    else queue->first = request;
    queue->last = request;
    request->is_queued = true;
    queue->requests++;
    queue->texts += request->n;
    queue->tokens += request->waiting_tokens;
}

static void unlink_request(struct request_queue *queue, struct request *request)
{
    if (request->previous != NULL) request->previous->next = request->next;
    else queue->first = request->next;
    if (request->next != NULL) request->next->previous = request->previous;
    else queue->last = request->previous;
    request->previous = request->next = NULL;
    request->is_queued = false;
    queue->requests--;
}

bool request_queue_drop(struct request_queue *queue, struct request *request, embed_status status)
{
    unlink_request(queue, request);
    queue->texts -= request->n - request->waiting;
    queue->tokens -= request->waiting_tokens;
    request_note(request, status);
    for (size_t i = request->waiting; i < request->n && request->items != NULL; i++)
        request->items[i] = (embed_item){.tokens = request->texts[i].count, .status = status};
    request->waiting = request->n;
    request->waiting_tokens = 0;
    return request->computing == 0;
}

/* Returns how many of the request's waiting texts fit the batch. */
static size_t count_fitting(const struct request *request, const struct batch *batch,
                            size_t most_tokens)
{
    size_t count = 0, tokens = batch->tokens, room = batch->most_texts - batch->texts;
    for (size_t i = request->waiting; i < request->n && count < room; i++, count++) {
        tokens += request->texts[i].count;
        if (tokens > most_tokens && batch->texts + count > 0) break;
    }
    return count;
}

static void take(struct request_queue *queue, struct batch *batch, struct request *request,
                 size_t count)
{
    size_t before = batch->tokens;
    batch_append(batch, request, request->waiting, count);
    size_t tokens = batch->tokens - before;
    request->waiting += count;
    request->waiting_tokens -= tokens;
    request->computing += count;
    queue->texts -= count;
    queue->tokens -= tokens;
    if (request->waiting == request->n) unlink_request(queue, request);
}

void request_queue_form(struct request_queue *queue, struct batch *batch, size_t most_tokens,
                        uint64_t end, struct request **expired)
{
    struct request *request;
    while ((request = queue->first) != NULL) {
        if (request->deadline < end) {
            embed_status status =
                fail(EMBED_EXPIRED, "the deadline passed before the request's turn");
            if (!request_queue_drop(queue, request, status)) continue;
            request->next = *expired;
            *expired = request;
            continue;
        }
        size_t count =
            batch_fits(batch, request) ? count_fitting(request, batch, most_tokens) : 0;
        if (count == 0) return;
        take(queue, batch, request, count);
        if (request->is_queued) return; /* the batch is full */
    }
}
