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
    struct batch *free; /* where batches are formed: with those under way, most_batches of them */
    size_t free_count, most_batches;

    /* Only its thread, or pool_create and pool_close when that does not run. */
    struct embed_instance *instance;
    unsigned tier;        /* of the instance that is there, or is to be made: 0 is whole, and each next
                             has half the tokens and documents of the one before */
    size_t least_tokens;  /* chunks cannot have fewer */
    unsigned failures;    /* since the last batch that did not fail */
    uint64_t pause;       /* nanoseconds between two tries to grow, longer after each that failed */

    /* Under the pool's lock. */
    enum member_state state;
    bool is_idle;
    pthread_cond_t wake;
    uint64_t look_at; /* nanoseconds: when to look whether memory has become free, or scarce */
    embed_memory memory;
    size_t batch_tokens; /* that a batch may have, or all documents under way together */
    size_t under_way;    /* batches */
};

/* Of a model, or the fallback: NULL. */
void member_init(struct member *member, struct embed_pool *pool, unsigned index,
                 struct embed_model *model);
void member_destroy(struct member *member);

/* ---- sizes: member_size.c ------------------------------------------------------------------- */

/* Documents that a whole instance of it has under way; 0: its model does not generate. */
size_t member_documents(const struct member *member);

/* Of an instance of that tier. */
embed_instance_options member_instance_options(const struct member *member, unsigned tier);
bool member_is_smallest(const struct member *member, unsigned tier); /* the next would be no smaller */

/* Of its tier: a smaller instance gets smaller batches. */
size_t member_batch_tokens(const struct member *member);

/* ---- the instance: member.c ------------------------------------------------------------------ */

/* Makes its instance, and warms it up; where there is too little memory for it, a smaller one, if one
 * may be. The member joins the pool. EMBED_OUT_OF_MEMORY also where the pool's limits leave no room. */
embed_status member_open(struct member *member, bool may_be_smaller);

/* Gives back what it has. Its thread has ended, or never ran. */
void member_close(struct member *member);

/* Its thread: computes batches until the pool has closed. */
embed_status member_start(struct member *member);

/* Its free batches, as many as it is to have: others have those that were passed on. */
embed_status member_create_batches(struct member *member);

/* Makes its instance anew with half the size; where that cannot be, it is left without one, and leaves
 * the pool for the reason that is this thread's message. */
embed_status member_shrink(struct member *member);

/* Gives the instance up, for the reason `status` and this thread's message, and returns status. */
embed_status member_leave(struct member *member, embed_status status);

/* Grows, shrinks or makes its instance as the device's free memory allows. */
void member_look(struct member *member);
/* For one whose instance is at work: may that stay as it is? Else the next look changes it. */
bool member_may_stay(struct member *member);

/* ---- work: member_compute.c, member_generate.c ----------------------------------------------- */

/* Failures one after another, with nothing computed between them, until it is the instance and not a
 * text: more than the halves of any batch, and few enough to be done with soon. */
enum { MOST_FAILURES = 64 };

/* A failure, whose sentence is this thread's message: EMBED_OK where it is worth to try again, with a
 * smaller instance where memory is short. Otherwise the member has left the pool. */
embed_status member_recover(struct member *member, embed_status status);
/* Something was computed. */
void member_succeeded(struct member *member);

/* The fallback's instance, made when it is first needed; where it cannot be, the batch's texts fail. */
embed_status member_open_fallback(struct member *member, struct batch *batch);

/* A text that fails alone: the CPU may know better, or it is at fault, and ends. */
void member_give_up(struct member *member, struct batch *batch, size_t i, embed_status status);

/* Computes the batch's texts as far as it can, and gives the batch back: each text has its row or its
 * own failure, or is for the fallback because no GPU can compute it, or is another's because the member
 * has left the pool. */
void member_compute(struct member *member, struct batch *batch);

/* Likewise the document, and those that come while any is under way. */
void member_generate(struct member *member, struct batch *batch);

static inline bool member_is_fallback(const struct member *member)
{
    return member == member->pool->fallback;
}

#endif
