/* request_queue.h - requests that wait, first come first served, and how batches are made of them
 *
 * No lock of its own: the pool's.
 */
#ifndef LIB_SERVICE_REQUEST_QUEUE_H
#define LIB_SERVICE_REQUEST_QUEUE_H

#include "service/batch.h"

struct request_queue {
    struct request *first, *last;
    size_t requests, texts, tokens; /* that wait */
    uint64_t urgent; /* the earliest deadline of those since it was empty; UINT64_MAX: none */
};

void request_queue_push(struct request_queue *queue, struct request *request);

/* Takes a request out whose waiting texts will not be computed: they end with `status`, whose sentence
 * is this thread's message. True where no other text of it is under way: then the caller completes it. */
bool request_queue_drop(struct request_queue *queue, struct request *request, embed_status status);

/* Fills an empty batch from the queue's head, up to so many tokens and texts; one text may have more.
 * It ends where results of another kind are wanted. Requests whose deadline is before `end`, when the
 * batch will be done, are dropped with EMBED_EXPIRED; those to complete are linked in *expired. */
void request_queue_form(struct request_queue *queue, struct batch *batch, size_t most_tokens,
                        uint64_t end, struct request **expired);

#endif
