/* cache_parts.h - shared by cache.c and cache_load.c
 *
 *     waiting -> loading -> resident -> leaving
 *           \         \
 *            `---------`--> failed
 *
 * An entry that has left or failed is no longer in the list; the next use of its folder loads it
 * again. One lock guards everything; it is never held while a file is read or a pool is created or
 * closed.
 */
#ifndef LIB_SERVICE_CACHE_PARTS_H
#define LIB_SERVICE_CACHE_PARTS_H

#include "base/first_failure.h"
#include "service/pool.h"

#include <pthread.h>
#include <stdint.h>

enum entry_state {
    ENTRY_WAITING, /* being planned, or waiting for room */
    ENTRY_LOADING, /* this state and the next two count against the limits */
    ENTRY_RESIDENT,
    ENTRY_LEAVING,
    ENTRY_FAILED
};

struct entry {
    enum entry_state state;
    char *folder; /* canonical */
    struct embed_pool *pool;
    unsigned instances; /* planned, an upper limit */
    uint64_t bytes;     /* as planned; once loaded, as the pool reports */
    uint64_t last_use;  /* value of embed_cache.uses at the time */
    unsigned users;     /* calls waiting for it, and acquisitions not yet released */
    unsigned pins;
    struct first_failure failure;
    struct entry *next;
};

/* A thread that needs room, on its stack. */
struct line_place {
    uint64_t deadline; /* as long after its arrival as everybody's */
    struct line_place *next;
};

struct embed_cache {
    unsigned max_models;
    uint64_t max_bytes;
    unsigned wait_milliseconds;
    embed_model_options model;
    embed_pool_options pool;
    char *profile; /* copy of the path in `pool` */

    pthread_mutex_t lock;   /* guards everything below */
    pthread_cond_t changed; /* broadcast when the state or use of an entry, or `line`, changes */
    struct entry *entries;
    uint64_t uses;
    struct line_place *line;     /* the threads that need room, in order of arrival */
    bool is_dropping;            /* one of them is dropping an entry */
    embed_cache_metrics metrics; /* counters only; current values are computed when read */
};

static inline bool entry_may_be_dropped(const struct entry *entry)
{
    return entry->state == ENTRY_RESIDENT && entry->users == 0 && entry->pins == 0;
}

/* Waits until everything submitted to the pool is computed, since its user may have released it
 * before that, then closes and releases it. Must be called without the lock. */
void cache_end_pool(struct embed_pool *pool);

void entry_free(struct entry *entry);

/* Makes the entry resident for its first user and all who wait for it, making room until `deadline`
 * (clock_nanoseconds). On failure the entry has left the list. Requires the lock; releases it
 * meanwhile. */
embed_status entry_load(struct embed_cache *cache, struct entry *entry, uint64_t deadline);

#endif
