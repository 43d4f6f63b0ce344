/* request.h - texts that a pool has accepted, from their tokens to their completion
 *
 * Life: tokenized by the thread that submits; queued; its texts go into one batch or several, which
 * may be computed at the same time; completed once, by whoever ends the last of them. What the pool's
 * lock guards is said below; the rest does not change once the request is queued.
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
    size_t first; /* in ids */
    size_t count;
    size_t invalid_bytes;
    bool truncated;
    size_t skipped;        /* first tokens that are not pooled */
    size_t summary, piece; /* that a document is of */
};

/* What a request has besides that wants summaries. */
struct request_summaries {
    struct summaries of_texts;
    struct generation_rules rules;
    size_t number; /* of the first text, for `done` */
    embed_generate_options options; /* of which `done` is called */
    atomic_bool is_called_off;      /* by `done`, which is not called again */
    embed_strings *strings;         /* the caller's */
};

/* A ticket is the caller's hold on a request: the same thing by another name. */
struct request {
    atomic_uint holders;
    struct embed_pool *pool; /* held too: a ticket may outlive the caller's hold on the pool */

    size_t n;
    struct request_text *texts; /* (n); where summaries are wanted, documents */
    int32_t *ids;
    struct request_summaries *summaries; /* NULL: rows are wanted, to which the next four belong */
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

/* Tokenizes the texts of `given`, which has been checked, whose options are complete, and which was
 * submitted at `now`, with a batch that no other thread uses; messages number them from `number`. The
 * caller holds it. */
embed_status request_create(struct request **request, const embed_request *given, size_t number,
                            uint64_t now, const struct embed_model *model,
                            struct token_batch *batch);

void request_hold(struct request *request);
void request_release(struct request *request); /* NULL is fine */

/* Notes a failure of one of its texts; this thread's message is its sentence. Pool's lock. */
void request_note(struct request *request, embed_status status);

/* How it ends, when its last text has: a failure of a text, or results that are not finite. Summaries
 * are the caller's from then on. */
embed_status request_settle(struct request *request);

/* For the one who has settled it, without the pool's lock: calls `done`, wakes those who wait, and
 * gives the pool's hold back. */
void request_complete(struct request *request);

/* The status it ended with, whose sentence becomes this thread's; EMBED_PENDING after so many
 * milliseconds. */
embed_status request_wait(struct request *request, unsigned milliseconds);

/* Tokens of all its texts. */
size_t request_tokens(const struct request *request);

/* ---- summaries: request_summaries.c --------------------------------------------------------- */

embed_status request_create_summaries(struct request *request, const embed_request *given,
                                      size_t number, const struct embed_model *model,
                                      struct token_batch *batch);
void request_free_summaries(struct request *request);

/* Its document i has ended: so has its text's summary where *is_last says so. */
embed_status request_end_document(struct request *request, size_t i,
                                  const struct generator_result *result,
                                  const struct tokenizer *tokenizer, bool *is_last);

/* Tells the caller of the summary that document i was the last of. Before the document counts as ended
 * in the pool: `done` of the request comes after it. EMBED_CANCELLED where the caller calls the rest off. */
embed_status request_tell(const struct request *request, size_t i);

#endif
