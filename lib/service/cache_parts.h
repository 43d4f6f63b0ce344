/* cache_parts.h - what cache.c and cache_load.c share
 *
 *     waiting -> loading -> resident -> leaving
 *           \         \
 *            `---------`--> failed
 *
 * An entry that left or failed is no longer in the list: its folder is loaded anew. All is under
 * one lock, which is never held while a file is read, or a pool made or ended.
 */
#ifndef LIB_SERVICE_CACHE_PARTS_H
#define LIB_SERVICE_CACHE_PARTS_H

#include "base/first_failure.h"
#include "service/pool.h"

#include <pthread.h>
#include <stdint.h>

enum entry_state {
    ENTRY_WAITING, /* for room */
    ENTRY_LOADING, /* this and the two next count against the limits */
    ENTRY_RESIDENT,
    ENTRY_LEAVING,
    ENTRY_FAILED
};

struct entry {
    enum entry_state state;
    char *folder; /* canonical */
    struct embed_pool *pool;
    unsigned instances; /* as planned: at most */
    uint64_t bytes;     /* as planned, then as the pool says */
    uint64_t last_use;  /* by the cache's count of uses */
    unsigned users;     /* calls that wait for it, and acquisitions that are not released */
    unsigned pins;
    struct first_failure failure;
    struct entry *next;
};

struct embed_cache {
    unsigned max_models;
    uint64_t max_bytes;
    unsigned wait_milliseconds;
    embed_model_options model;
    embed_pool_options pool;
    char *profile; /* the pool's, copied */

    pthread_mutex_t lock;   /* of all that follows */
    pthread_cond_t changed; /* an entry's state, its being in use, or whose turn it is */
    struct entry *entries;
    uint64_t uses;
    uint64_t last_turn, turn;    /* given out, and served now: those who need room, in order */
    embed_cache_metrics metrics; /* what is counted; what is now is looked up */
};

static inline bool entry_may_be_dropped(const struct entry *entry)
{
    return entry->state == ENTRY_RESIDENT && entry->users == 0 && entry->pins == 0;
}

/* Closes a pool when what was submitted to it is computed: its user may have given it back before.
 * Not under the lock. */
void cache_end_pool(struct embed_pool *pool);

void entry_free(struct entry *entry);

/* With the lock, for the entry's first user: makes it resident for him and those who wait for it,
 * with room made until `deadline` (nanoseconds). Where that fails, it has left the list. */
embed_status entry_load(struct embed_cache *cache, struct entry *entry, uint64_t deadline);

#endif
