/* request.h - texts accepted by a pool, from tokenizing to completion
 *
 * A request is tokenized by the submitting thread and queued; its texts go into one or more
 * batches, which may be computed at the same time; it is completed once, by the thread that ends
 * its last text. Fields guarded by a lock are marked below; the others do not change once the
 * request is queued.
 */
#ifndef LIB_SERVICE_REQUEST_H
#define LIB_SERVICE_REQUEST_H

#include "embed.h"
#include "model/summaries.h"
#include "service/condition.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct request_text {
    size_t first; /* index of its first token in ids */
    size_t count;
    size_t invalid_bytes;
    bool truncated;
    size_t skipped;        /* leading tokens excluded from pooling */
    size_t summary, piece; /* that the document belongs to */
};

/* What a request for summaries has in addition. */
struct request_summaries {
    struct summaries of_texts;
    struct generation_rules rules;
    size_t number; /* number of the first text, for `done` and messages */
    embed_generate_options options; /* whose `done` is called */
    atomic_bool is_called_off;      /* by `done`, which is then not called again */
    embed_strings *strings;         /* the caller's */
};

/* A ticket is the caller's reference to a request: an embed_ticket is a struct request. */
struct request {
    atomic_uint holders;
    struct embed_pool *pool; /* referenced: a ticket may outlive the caller's reference to it */

    size_t n;
    struct request_text *texts; /* (n); documents if summaries are requested */
    int32_t *ids;
    struct request_summaries *summaries; /* NULL: rows are requested; the next four fields are
                                            for rows */
    size_t dimensions;
    embed_switch normalize;
    float *out;        /* (n, dimensions), the caller's */
    embed_item *items; /* (n), the caller's; NULL: not requested */
    void (*done)(void *user, embed_status status, const char *message);
    void *user;
    uint64_t submitted, queued; /* clock_nanoseconds */
    uint64_t deadline;          /* clock_nanoseconds; UINT64_MAX: none */

    /* Guarded by the pool's lock. */
    struct request *previous, *next; /* in the queue */
    bool is_queued;
    size_t waiting;        /* the first text not yet in a batch */
    size_t waiting_tokens; /* of that text and those after it */
    size_t computing;      /* texts in batches */
    size_t not_finite;
    embed_status status; /* the first failure of its texts */
    char message[256];

    pthread_mutex_t lock; /* guards the fields below */
    pthread_cond_t completed;
    bool is_completed;
};

/* Creates a request from `given`, which has been checked and has complete options, and tokenizes
 * its texts with `batch`, which no other thread may use meanwhile. `now` is the time of submission;
 * messages number the texts from `number`. The caller owns a reference. */
embed_status request_create(struct request **request, const embed_request *given, size_t number,
                            uint64_t now, const struct embed_model *model,
                            struct token_batch *batch);

void request_hold(struct request *request);
void request_release(struct request *request); /* NULL is fine */

/* Records a failure of one of its texts, described by this thread's error message; only the first
 * is kept. Requires the pool's lock. */
void request_note(struct request *request, embed_status status);

/* Determines and returns how the request ends, once its last text has ended: the first
 * recorded failure, EMBED_NOT_FINITE or EMBED_OK. In the latter two cases the summaries are the
 * caller's from then on. */
embed_status request_settle(struct request *request);

/* Calls `done`, wakes waiting threads and drops the pool's reference. Called by the thread that has
 * settled the request, without the pool's lock. */
void request_complete(struct request *request);

/* Waits for completion, for up to `milliseconds`. Returns the final status and makes its message
 * this thread's; EMBED_PENDING on timeout. */
embed_status request_wait(struct request *request, unsigned milliseconds);

/* Returns the number of tokens of all its texts. */
size_t request_tokens(const struct request *request);

/* ---- summaries: request_summaries.c --------------------------------------------------------- */

embed_status request_create_summaries(struct request *request, const embed_request *given,
                                      size_t number, const struct embed_model *model,
                                      struct token_batch *batch);
void request_free_summaries(struct request *request);

/* Ends document i with `result`. Sets *is_last if that completes the summary of its text. */
embed_status request_end_document(struct request *request, size_t i,
                                  const struct generator_result *result,
                                  const struct tokenizer *tokenizer, bool *is_last);

/* Passes the summary that document i completed to the caller's `done` for summaries. Called before
 * the document counts as ended in the pool, so that the `done` of the request comes later. Returns
 * EMBED_CANCELLED if the caller stops the rest. */
embed_status request_tell(const struct request *request, size_t i);

#endif
