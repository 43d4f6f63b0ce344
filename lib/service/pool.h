/* pool.h - several instances behind one queue
 *
 * Each instance belongs to a member, a thread that repeatedly forms a batch from the queue,
 * computes it and delivers it. Submitting threads tokenize. One lock guards the queue and the
 * members' states; no computation, device allocation or callback happens while it is held.
 *
 *   pool.c            creates, closes and inspects pools
 *   pool_submit.c     requests into the queue
 *   pool_call.c       blocking calls
 *   pool_dispatch.c   members join and leave, and take batches from the queue
 *   pool_deliver.c    takes batches back from members and completes their requests
 *   member.c          a member's life cycle: creates, shrinks, grows and destroys its instance
 *   member_size.c     the sizes of its instance and batches
 *   member_compute.c  computes a batch and recovers from failures
 *   member_generate.c generates summaries of documents and recovers from failures
 */
#ifndef LIB_SERVICE_POOL_H
#define LIB_SERVICE_POOL_H

#include "service/batch_time.h"
#include "service/metrics.h"
#include "service/request_queue.h"

enum {
    MOST_INSTANCES = 256,
    INSTANCES_ON_A_GPU = 4 /* default: one computes, one copies, one is filled; more only wait */
};

struct member;

/* A thread waiting for room in the queue. */
struct room_waiter {
    struct room_waiter *next;
};

/* Token batches of submitting threads, kept for reuse: up to 300 KiB each, nearly all of it the
 * word cache. */
enum { SPARE_TOKEN_BATCHES = 8 };

struct embed_pool {
    atomic_uint holders; /* references: the caller, and each request */
    embed_pool_options options; /* completed by the profile and the defaults; profile is NULL */
    size_t chunk_tokens; /* embed_instance_options.batch_tokens of a full instance; 0: not set */
    size_t batch_tokens; /* limit of a batch of a full instance, or of its documents in flight */
    size_t documents;    /* in flight in a full-size instance; 0: the model does not generate */
    size_t most_texts;   /* limit of a batch */
    struct embed_model **models;
    size_t model_count;
    struct member *members; /* those of models[0], of models[1], ..., then the fallback */
    size_t member_count;
    struct member *fallback; /* NULL: none */
    struct metrics *metrics;

    pthread_mutex_t lock; /* guards everything below */
    struct request_queue queue;
    struct room_waiter *waiters; /* for room, in FIFO order */
    struct batch *orphans;     /* batches passed on by their member, for any member */
    struct batch *for_the_cpu; /* batches with texts that no GPU could compute, for the fallback */
    pthread_cond_t room;       /* broadcast when the queue may have room, or the pool closes */
    size_t running;            /* members with an instance, not counting the fallback */
    size_t running_at_first;
    embed_status reason; /* why fewer are running; EMBED_OK: none is missing */
    char reason_text[256];
    size_t computing_batches, computing_texts, computing_tokens;
    struct batch_time batch_time;
    size_t last_texts;        /* of the last delivered batch */
    uint64_t last_nanoseconds; /* how long it took */
    unsigned cancelling; /* threads completing requests they have cancelled */
    struct token_batch *spare[SPARE_TOKEN_BATCHES];
    size_t spares;

    bool is_closing;
    uint64_t drain_end;
    pthread_cond_t closed;
    bool is_joining, is_closed;
};

/* These implement embed.h's functions of the same names; the arguments have been checked. */
embed_status pool_create(struct embed_pool **pool, struct embed_model *const *models, size_t n,
                         const embed_pool_options *options);
embed_status pool_submit(struct embed_pool *pool, const embed_request *request, size_t number,
                         embed_ticket **ticket); /* messages number the texts from `number` */
embed_status pool_encode(struct embed_pool *pool, const embed_text *texts, size_t n,
                         const embed_encode_options *options, float *out, embed_item *items);
embed_status pool_generate(struct embed_pool *pool, const embed_text *texts, size_t n,
                           const embed_generate_options *options, embed_strings *strings);
void pool_cancel(struct embed_pool *pool, struct request *request);
void pool_get_metrics(const struct embed_pool *pool, embed_metrics *metrics);
void pool_get_memory(const struct embed_pool *pool, embed_memory *memory);
/* Returns the bytes that the instances now missing will take when there is memory for them. */
uint64_t pool_absent_bytes(const struct embed_pool *pool);
void pool_close(struct embed_pool *pool, unsigned drain_milliseconds);

void pool_hold(struct embed_pool *pool);
void pool_release(struct embed_pool *pool); /* NULL is fine */

static inline bool pool_generates(const struct embed_pool *pool)
{
    return pool->documents > 0;
}

/* ---- between members and the pool: pool_dispatch.c, pool_deliver.c --------------------------- */

/* Waits for the next batch for the member. Returns NULL when the pool has closed. */
struct batch *pool_next_batch(struct embed_pool *pool, struct member *member);

/* Returns another document for a member that may have some in flight, with `num_beams` beams (0:
 * any number). Returns NULL, without waiting, if there is none now or the member is to finish its
 * own first. */
struct batch *pool_next_document(struct embed_pool *pool, struct member *member, int32_t num_beams);

/* Take a batch back from the member. pool_deliver takes one whose texts have all ended, and
 * completes the requests this completes. pool_pass_on queues one with pending texts for any member,
 * or for the fallback alone if `to_the_cpu`; if there is neither, its pending texts fail. */
void pool_deliver(struct embed_pool *pool, struct member *member, struct batch *batch);
void pool_pass_on(struct embed_pool *pool, struct member *member, struct batch *batch,
                  bool to_the_cpu);

/* Ends text i of the batch with a failure, described by this thread's error message. */
void pool_fail_text(struct embed_pool *pool, struct batch *batch, size_t i, embed_status status);
/* Does so for all texts that are EMBED_PENDING. */
void pool_fail_pending(struct embed_pool *pool, struct batch *batch, embed_status status);
/* Does so with `reason` as the message, and delivers the batch, which no member could take. */
void pool_fail_batch(struct embed_pool *pool, struct member *member, struct batch *batch,
                     embed_status status, const char *reason);

/* Record that the member's instance is ready, for batches of up to `batch_tokens` tokens, or gone,
 * for `status` and this thread's error message as the reason. If none is left and there is no
 * fallback, everything queued fails. */
void pool_member_joins(struct embed_pool *pool, struct member *member, size_t batch_tokens);
void pool_member_leaves(struct embed_pool *pool, struct member *member, embed_status status);

/* Wakes one idle member that has something to do by time `by` (clock_nanoseconds; SOME_TIME: at any
 * time). Requires the lock. */
#define SOME_TIME (UINT64_MAX - 1)
void pool_wake(struct embed_pool *pool, uint64_t by);
void pool_wake_all(struct embed_pool *pool); /* to check whether the pool has closed */

/* Returns whether the pool is closing and nothing is left to compute. Requires the lock. */
static inline bool pool_is_done(const struct embed_pool *pool)
{
    return pool->is_closing && pool->queue.first == NULL && pool->computing_batches == 0;
}

/* Removes everything from the queue with `status` and this thread's error message. Returns the
 * requests to complete as a list, for pool_complete without the lock. Requires the lock. */
struct request *pool_drop_all(struct embed_pool *pool, embed_status status);
void pool_complete(struct embed_pool *pool, struct request *list);

/* Ends an unfinished request with `status` and this thread's error message; its queued texts are
 * not computed. Returns true if the caller is to complete it. Requires the lock. */
bool pool_call_off(struct embed_pool *pool, struct request *request, embed_status status);

/* Returns whether this thread is inside a `done` of one of the pool's requests, where it must not
 * wait for the pool. */
bool pool_is_completing(const struct embed_pool *pool);
/* The same for any pool's requests. */
bool pool_any_is_completing(void);

#endif
