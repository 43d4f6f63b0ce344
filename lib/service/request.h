/* request.h - texts that a pool has accepted, from their tokens to their completion
 *
 * Life: tokenized by the thread that submits; queued; its texts go into one batch or several, which
 * may be computed at the same time; completed once, by whoever ends the last of them. What the pool's
 * lock guards is said below; the rest does not change once the request is queued.
 */
#ifndef LIB_SERVICE_REQUEST_H
#define LIB_SERVICE_REQUEST_H

#include "embed.h"
#include "model/model.h"
#include "model/token_batch.h"
#include "service/condition.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct request_text {
    size_t first; /* in ids */
    size_t count;
    size_t invalid_bytes;
    bool truncated;
};

/* A ticket is the caller's hold on a request: the same thing by another name. */
struct request {
    atomic_uint holders;
    struct embed_pool *pool; /* held too: a ticket may outlive the caller's hold on the pool */

    size_t n;
    struct request_text *texts; /* (n) */
    int32_t *ids;
    size_t dimensions;
    embed_switch normalize;
    float *out;        /* (n, dimensions), the caller's */
    embed_item *items; /* (n), the caller's; NULL: not wanted */
    void (*done)(void *user, embed_status status, const char *message);
    void *user;
    uint64_t submitted, queued; /* nanoseconds */
    uint64_t deadline;          /* nanoseconds; UINT64_MAX: none */

    /* Under the pool's lock. */
    struct request *previous, *next; /* in the queue */
    bool is_queued;
    size_t waiting;        /* the first text that is in no batch yet */
    size_t waiting_tokens; /* of that text and those after it */
    size_t computing;      /* texts in batches */
    size_t not_finite;
    embed_status status; /* the first failure of its texts */
    char message[256];

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t completed;
    bool is_completed;
};

/* Tokenizes the texts of `given`, whose options and room have been checked and which was submitted at
 * `now`, with a batch that no other thread uses; messages number them from `number`. The caller holds
 * it. */
embed_status request_create(struct request **request, const embed_request *given,
                            const embed_encode_options *options, size_t number, uint64_t now,
                            const struct embed_model *model, struct token_batch *batch);

void request_hold(struct request *request);
void request_release(struct request *request); /* NULL is fine */

/* Notes a failure of one of its texts; this thread's message is its sentence. Pool's lock. */
void request_note(struct request *request, embed_status status);

/* How it ends, when its last text has: a failure of a text, or rows that are not finite. */
embed_status request_settle(struct request *request);

/* For the one who has settled it, without the pool's lock: calls `done`, wakes those who wait, and
 * gives the pool's hold back. */
void request_complete(struct request *request);

/* The status it ended with, whose sentence becomes this thread's; EMBED_PENDING after so many
 * milliseconds. */
embed_status request_wait(struct request *request, unsigned milliseconds);

/* Tokens of all its texts. */
size_t request_tokens(const struct request *request);

#endif
