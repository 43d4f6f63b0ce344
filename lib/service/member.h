/* member.h - one instance of a pool, and the thread that feeds it */
#ifndef LIB_SERVICE_MEMBER_H
#define LIB_SERVICE_MEMBER_H

#include "service/pool.h"

/* First pause between two attempts to grow, in nanoseconds; restored when a batch succeeds. */
#define SHORTEST_PAUSE UINT64_C(1000000000)

enum member_state {
    MEMBER_RESTING, /* has no instance; tries to create one from time to time */
    MEMBER_RUNNING,
    MEMBER_LOST /* its GPU is lost; permanent */
};

struct member {
    struct embed_pool *pool;
    unsigned index;
    struct embed_model *model; /* the fallback owns its model, NULL until needed */
    bool has_thread;
    pthread_t thread;
    struct batch *free; /* batches to fill; with those in flight, most_batches */
    size_t free_count, most_batches;

    /* Used only by its thread, or by pool_create and pool_close when that does not run. */
    struct embed_instance *instance;
    unsigned tier;        /* of the current or next instance: 0 is full size, each further tier
                             has half the tokens and documents of the one before */
    size_t least_tokens;  /* minimum tokens of a chunk */
    unsigned failures;    /* consecutive, since the last success */
    uint64_t pause;       /* nanoseconds between two attempts to grow; doubles after each failure */

    /* Guarded by the pool's lock. */
    enum member_state state;
    bool is_idle;
    pthread_cond_t wake;
    uint64_t look_at; /* clock_nanoseconds at which to check for free or scarce memory */
    embed_memory memory;
    size_t batch_tokens; /* limit of a batch, or of all documents in flight together */
    size_t under_way;    /* batches in flight */
};

/* Initializes a member for `model`, or the fallback if `model` is NULL. */
void member_init(struct member *member, struct embed_pool *pool, unsigned index,
                 struct embed_model *model);
void member_destroy(struct member *member);

/* ---- sizes: member_size.c ------------------------------------------------------------------- */

/* Returns how many documents a full-size instance has in flight; 0 if the model does not
 * generate. */
size_t member_documents(const struct member *member);

/* Returns the options of an instance of `tier`. */
embed_instance_options member_instance_options(const struct member *member, unsigned tier);
bool member_is_smallest(const struct member *member, unsigned tier); /* is the next no smaller? */

/* Returns the token limit of a batch for the current tier: a smaller instance gets smaller
 * batches. */
size_t member_batch_tokens(const struct member *member);

/* ---- the instance: member.c ------------------------------------------------------------------ */

/* Creates the instance, warms it up and joins the pool. If memory is short and `may_be_smaller`,
 * tries smaller tiers. Fails with EMBED_OUT_OF_MEMORY also if the pool's limits leave no room. */
embed_status member_open(struct member *member, bool may_be_smaller);

/* Releases what the member holds. Its thread must have ended, or never run. */
void member_close(struct member *member);

/* Starts the thread, which computes batches until the pool has closed. */
embed_status member_start(struct member *member);

/* Allocates the free batches that are missing: some may have been passed on to other members. */
embed_status member_create_batches(struct member *member);

/* Recreates the instance at half the size or less. If that fails, the member has no instance and
 * leaves the pool; the reason is this thread's error message. */
embed_status member_shrink(struct member *member);

/* Destroys the instance and leaves the pool; the reason is `status` and this thread's error
 * message. Returns `status`. */
embed_status member_leave(struct member *member, embed_status status);

/* Grows, shrinks or creates the instance as the free memory of the device allows. */
void member_look(struct member *member);
/* Returns whether the instance, which is at work, may stay as it is. If not, the next member_look
 * changes it. */
bool member_may_stay(struct member *member);

/* ---- work: member_compute.c, member_generate.c ----------------------------------------------- */

/* Consecutive failures, with nothing computed in between, after which the instance is blamed and
 * not a text: more than halving any batch can cause, and few enough to be reached soon. */
enum { MOST_FAILURES = 64 };

/* Handles a failure, described by this thread's error message. Returns EMBED_OK if it is worth
 * trying again, with a smaller instance if memory was short; otherwise the member has left the
 * pool. */
embed_status member_recover(struct member *member, embed_status status);
/* Resets the failure count and the pause after something was computed. */
void member_succeeded(struct member *member);

/* Creates the fallback's instance if it has none. On failure, the batch's pending texts fail. */
embed_status member_open_fallback(struct member *member, struct batch *batch);

/* Handles a text that fails alone: leaves it to the fallback, or fails it if there is none or this
 * is the fallback. */
void member_give_up(struct member *member, struct batch *batch, size_t i, embed_status status);

/* Computes the batch as far as possible and delivers it or passes it on. Each text then has its row
 * or its own failure, or is left to the fallback because no GPU can compute it, or to another
 * member because this one has left the pool. */
void member_compute(struct member *member, struct batch *batch);

/* Does the same for a document, and for those that arrive while any is in flight. */
void member_generate(struct member *member, struct batch *batch);

static inline bool member_is_fallback(const struct member *member)
{
    return member == member->pool->fallback;
}

#endif
