/* member.h - one instance of a pool, and the thread that feeds it */
#ifndef LIB_SERVICE_MEMBER_H
#define LIB_SERVICE_MEMBER_H

#include "service/pool.h"

/* Nanoseconds between two tries to grow, where the last batch could be computed. */
#define SHORTEST_PAUSE UINT64_C(1000000000)

enum member_state {
    MEMBER_RESTING, /* without an instance; tries to make one now and then */
    MEMBER_RUNNING,
    MEMBER_LOST /* its GPU is; for ever */
};

struct member {
    struct embed_pool *pool;
    unsigned index;
    struct embed_model *model; /* the fallback's is NULL until it is needed, and its own */
    bool has_thread;
    pthread_t thread;
    struct batch *batch; /* where batches are formed; NULL while it is passed on */

    /* Only its thread, or pool_create and pool_close when that does not run. */
    struct embed_instance *instance;
    size_t chunk_tokens;  /* of the instance that is there, or is to be made */
    size_t least_tokens;  /* chunk_tokens cannot be below */
    unsigned failures;    /* since the last batch that did not fail */
    uint64_t pause;       /* nanoseconds between two tries to grow, longer after each that failed */

    /* Under the pool's lock. */
    enum member_state state;
    bool is_idle;
    pthread_cond_t wake;
    uint64_t look_at; /* nanoseconds: when to look whether memory has become free, or scarce */
    embed_memory memory;
    size_t batch_tokens; /* that a batch may have */
};

/* Of a model, or the fallback: NULL. */
void member_init(struct member *member, struct embed_pool *pool, unsigned index,
                 struct embed_model *model);
void member_destroy(struct member *member);

/* Makes its instance, and warms it up; where there is too little memory for it, a smaller one, if one
 * may be. The member joins the pool. EMBED_OUT_OF_MEMORY also where the pool's limits leave no room. */
embed_status member_open(struct member *member, bool may_be_smaller);

/* Gives back what it has. Its thread has ended, or never ran. */
void member_close(struct member *member);

/* Its thread: computes batches until the pool has closed. */
embed_status member_start(struct member *member);

/* Makes its instance anew with half the chunk; where that cannot be, it is left without one, and
 * leaves the pool for the reason that is this thread's message. */
embed_status member_shrink(struct member *member);

/* Gives the instance up, for the reason `status` and this thread's message, and returns status. */
embed_status member_leave(struct member *member, embed_status status);

/* Grows, shrinks or makes its instance as the device's free memory allows. */
void member_look(struct member *member);

/* Computes the batch's texts as far as it can: EMBED_OK where each has its row or its own failure, or is
 * EMBED_PENDING because no GPU can compute it. Otherwise the member has left the pool, and those that
 * are EMBED_PENDING are another's. */
embed_status member_compute(struct member *member, struct batch *batch);

static inline bool member_is_fallback(const struct member *member)
{
    return member == member->pool->fallback;
}

#endif
