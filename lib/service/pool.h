/* pool.h - instances behind one queue
 *
 * Each instance belongs to a member, which is a thread: it forms a batch from the queue, computes it,
 * delivers it, and looks for the next. Whoever submits tokenizes. One lock guards the queue and the
 * members' states; nothing is computed, allocated on a device or called back under it.
 *
 *   pool.c            create, close, inspect
 *   pool_submit.c     requests in
 *   pool_call.c       calls that wait for their results
 *   pool_dispatch.c   members come and go, and take batches out of the queue
 *   pool_deliver.c    batches back from members, and requests that are complete by them
 *   member.c          a member's life: its instance made, shrunk, grown, given up
 *   member_size.c     how large its instance and its batches are
 *   member_compute.c  a batch computed, whatever fails
 *   member_generate.c documents through an instance that generates, whatever fails
 */
#ifndef LIB_SERVICE_POOL_H
#define LIB_SERVICE_POOL_H

#include "service/batch_time.h"
#include "service/metrics.h"
#include "service/request_queue.h"

enum {
    MOST_INSTANCES = 256,
    INSTANCES_ON_A_GPU = 4 /* unless wished: one computes, one copies, one is filled; more only wait */
};

struct member;

/* A thread that waits for room in the queue. */
struct room_waiter {
    struct room_waiter *next;
};

/* The lists of tokens of threads that submit, kept for the next: up to 300 KiB each, nearly all of it
 * the cache of words. */
enum { SPARE_TOKEN_BATCHES = 8 };

struct embed_pool {
    atomic_uint holders; /* the caller, and each request */
    embed_pool_options options; /* with zeros replaced, but for documents; profile is not kept */
    size_t chunk_tokens; /* embed_instance_options.batch_tokens of a whole instance; 0: no wish */
    size_t batch_tokens; /* in a batch of a whole instance, or all documents under way in it */
    size_t documents;    /* that a whole instance has under way; 0: the model does not generate */
    size_t most_texts;   /* in a batch */
    struct embed_model **models;
    size_t model_count;
    struct member *members; /* of models[0], of models[1], ..., then the fallback */
    size_t member_count;
    struct member *fallback; /* NULL: none */
    struct metrics *metrics;

    pthread_mutex_t lock; /* of all that follows */
    struct request_queue queue;
    struct room_waiter *waiters; /* for room: first come, first served */
    struct batch *orphans;     /* batches whose member could not go on; for any member */
    struct batch *for_the_cpu; /* with texts that no GPU could compute; for the fallback */
    pthread_cond_t room;       /* in the queue; or the pool closes */
    size_t running;            /* members with an instance, besides the fallback */
    size_t running_at_first;
    embed_status reason; /* why there are fewer now; EMBED_OK: there are not */
    char reason_text[256];
    size_t computing_batches, computing_texts, computing_tokens;
    struct batch_time batch_time;
    size_t last_texts;        /* of the batch that was delivered last */
    uint64_t last_nanoseconds; /* that it took */
    unsigned cancelling; /* threads that complete what they have cancelled */
    struct token_batch *spare[SPARE_TOKEN_BATCHES];
    size_t spares;

    bool is_closing;
    uint64_t drain_end;
    pthread_cond_t closed;
    bool is_joining, is_closed;
};

/* For embed.h's functions of the same names, with arguments that have been checked. */
embed_status pool_create(struct embed_pool **pool, struct embed_model *const *models, size_t n,
                         const embed_pool_options *options);
embed_status pool_submit(struct embed_pool *pool, const embed_request *request, size_t number,
                         embed_ticket **ticket); /* the texts are numbered from `number` */
embed_status pool_encode(struct embed_pool *pool, const embed_text *texts, size_t n,
                         const embed_encode_options *options, float *out, embed_item *items);
embed_status pool_generate(struct embed_pool *pool, const embed_text *texts, size_t n,
                           const embed_generate_options *options, embed_strings *strings);
void pool_cancel(struct embed_pool *pool, struct request *request);
void pool_get_metrics(const struct embed_pool *pool, embed_metrics *metrics);
void pool_get_memory(const struct embed_pool *pool, embed_memory *memory);
/* What instances would take that are not there now, and come when there is memory for them. */
uint64_t pool_absent_bytes(const struct embed_pool *pool);
void pool_close(struct embed_pool *pool, unsigned drain_milliseconds);

void pool_hold(struct embed_pool *pool);
void pool_release(struct embed_pool *pool); /* NULL is fine */

static inline bool pool_generates(const struct embed_pool *pool)
{
    return pool->documents > 0;
}

/* ---- between members and the pool: pool_dispatch.c, pool_deliver.c --------------------------- */

/* The next batch for the member, as soon as there is one; NULL when the pool has closed. */
struct batch *pool_next_batch(struct embed_pool *pool, struct member *member);

/* Another document for a member that has some under way, of so many beams (0: of any number); NULL where
 * there is none now, or where the member is to end those that it has. */
struct batch *pool_next_document(struct embed_pool *pool, struct member *member, int32_t num_beams);

/* Takes back a batch of the member. Where all its texts are ended, those requests that are complete by
 * it are completed; otherwise, it waits for another member, or for the fallback on the CPU alone. */
void pool_deliver(struct embed_pool *pool, struct member *member, struct batch *batch);
void pool_pass_on(struct embed_pool *pool, struct member *member, struct batch *batch,
                  bool to_the_cpu);

/* Ends text i of the batch with a failure, whose sentence is this thread's message. */
void pool_fail_text(struct embed_pool *pool, struct batch *batch, size_t i, embed_status status);
/* Likewise all that are EMBED_PENDING. */
void pool_fail_pending(struct embed_pool *pool, struct batch *batch, embed_status status);
/* Likewise, for this reason, and delivers the batch: no member could take it. */
void pool_fail_batch(struct embed_pool *pool, struct member *member, struct batch *batch,
                     embed_status status, const char *reason);

/* The member's instance is there, for batches of so many tokens, or is no more, for the reason that is
 * this thread's message. Without any, and without a fallback, all that waits fails. */
void pool_member_joins(struct embed_pool *pool, struct member *member, size_t batch_tokens);
void pool_member_leaves(struct embed_pool *pool, struct member *member, embed_status status);

/* With the lock: wakes a member that waits, if there is something for it to do by that time (of
 * clock_nanoseconds). */
#define SOME_TIME (UINT64_MAX - 1)
void pool_wake(struct embed_pool *pool, uint64_t by);
void pool_wake_all(struct embed_pool *pool); /* to look whether the pool has closed */

/* With the lock: it is closing, and nothing is left to compute. */
static inline bool pool_is_done(const struct embed_pool *pool)
{
    return pool->is_closing && pool->queue.first == NULL && pool->computing_batches == 0;
}

/* With the lock: takes all that waits out of the queue, with `status` and this thread's message. The
 * requests to complete, linked, are for pool_complete, without the lock. */
struct request *pool_drop_all(struct embed_pool *pool, embed_status status);
void pool_complete(struct embed_pool *pool, struct request *list);

/* With the lock: ends a request that is under way with `status` and this thread's message. What waits of
 * it is not computed; true: it is to be completed. */
bool pool_call_off(struct embed_pool *pool, struct request *request, embed_status status);

/* Is this thread within a `done` of the pool's requests? There it must not wait for the pool. */
bool pool_is_completing(const struct embed_pool *pool);

#endif
