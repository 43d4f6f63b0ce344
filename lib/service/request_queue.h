/* request_queue.h - a FIFO queue of requests, from which batches are formed
 *
 * Has no lock of its own: the pool's lock guards it.
 */
#ifndef LIB_SERVICE_REQUEST_QUEUE_H
#define LIB_SERVICE_REQUEST_QUEUE_H

#include "service/batch.h"

struct request_queue {
    struct request *first, *last;
    size_t requests, texts, tokens; /* waiting */
    uint64_t urgent; /* the earliest deadline pushed since the queue was last empty; UINT64_MAX:
                        none */
};

void request_queue_push(struct request_queue *queue, struct request *request);

/* Removes a request whose waiting texts will not be computed: they end with `status` and this
 * thread's error message. Returns true if none of its texts is in a batch: the caller is then to
 * complete it. */
bool request_queue_drop(struct request_queue *queue, struct request *request, embed_status status);

/* Fills an empty batch from the head of the queue, with at most `most_tokens` tokens (a single text
 * may have more) and batch->most_texts texts. Stops at a request whose results are of another kind.
 * Drops requests whose deadline is before `end`, the expected end of the batch, with EMBED_EXPIRED;
 * those to complete are linked into *expired. */
void request_queue_form(struct request_queue *queue, struct batch *batch, size_t most_tokens,
                        uint64_t end, struct request **expired);

#endif
