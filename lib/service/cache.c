/* cache.c - several models by folder, each behind a pool, limited in number and bytes
 *
 * An entry stands for one folder. The first thread that asks for it creates and loads it
 * (cache_load.c). Others wait for that thread, and count as users at once, so that the model cannot
 * be dropped before they wake.
 */
#include "service/cache.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/status.h"
#include "service/cache_parts.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- create and destroy -------------------------------------------------------------------- */

embed_status cache_create(struct embed_cache **out, const embed_cache_options *options)
{
    struct embed_cache *cache = memory_allocate(1, sizeof *cache, "a cache");
    if (cache == NULL) return EMBED_OUT_OF_MEMORY;
    cache->max_models = options->max_models;
    cache->max_bytes = options->max_bytes;
    cache->wait_milliseconds = options->wait_milliseconds;
    cache->model = *options->model;
    cache->pool = *options->pool;
    if (cache->pool.profile != NULL) {
        cache->profile =
            memory_copy_text(cache->pool.profile, strlen(cache->pool.profile), "a profile's path");
        if (cache->profile == NULL) {
            memory_free(cache);
            return EMBED_OUT_OF_MEMORY;
        }
        cache->pool.profile = cache->profile;
    }
    condition_init(&cache->changed);
    pthread_mutex_init(&cache->lock, NULL);
    *out = cache;
    return EMBED_OK;
}

void cache_end_pool(struct embed_pool *pool)
{
    pool_close(pool, EMBED_WAIT_FOREVER);
    pool_release(pool);
}

void entry_free(struct entry *entry)
{
    memory_free(entry->folder);
    memory_free(entry);
}

void cache_destroy(struct embed_cache *cache)
{
    if (cache == NULL) return;
    for (struct entry *entry = cache->entries, *next; entry != NULL; entry = next) {
        next = entry->next;
        cache_end_pool(entry->pool);
        entry_free(entry);
    }
    pthread_mutex_destroy(&cache->lock);
    pthread_cond_destroy(&cache->changed);
    memory_free(cache->profile);
    memory_free(cache);
}

/* ---- entries: all under the lock ----------------------------------------------------------- */

/* Gives a folder one name, however it is spelt. A path that cannot be resolved is used as given: a
 * resident model can be used and unpinned after its folder is gone. */
static embed_status canonical_path(char path[PATH_MAX], const char *folder)
{
    if (realpath(folder, path) != NULL) return EMBED_OK;
    if (snprintf(path, PATH_MAX, "%s", folder) < PATH_MAX) return EMBED_OK;
    return fail(EMBED_IO, "%s: %s", folder, strerror(ENAMETOOLONG));
}

static struct entry *find(const struct embed_cache *cache, const char *path)
{
    struct entry *entry = cache->entries;
    while (entry != NULL && strcmp(entry->folder, path) != 0) entry = entry->next;
    return entry;
}

static embed_status add(struct embed_cache *cache, struct entry **out, const char *path)
{
    struct entry *entry = memory_allocate(1, sizeof *entry, "a cache's entry");
    if (entry == NULL) return EMBED_OUT_OF_MEMORY;
    entry->folder = memory_copy_text(path, strlen(path), "a cache's entry");
    if (entry->folder == NULL) {
        memory_free(entry);
        return EMBED_OUT_OF_MEMORY;
    }
    entry->state = ENTRY_WAITING;
    entry->next = cache->entries;
    cache->entries = entry;
    *out = entry;
    return EMBED_OK;
}

/* Removes one user. The last user of a failed entry frees it. */
static void stop_using(struct embed_cache *cache, struct entry *entry)
{
    entry->last_use = ++cache->uses;
    if (--entry->users > 0) return;
    if (entry->state == ENTRY_FAILED) entry_free(entry);
    else pthread_cond_broadcast(&cache->changed);
}

/* ---- use ----------------------------------------------------------------------------------- */

/* Waits for a load that another thread has begun. The caller must be a user of the entry. */
static embed_status wait_for_load(struct embed_cache *cache, struct entry *entry)
{
    while (entry->state == ENTRY_WAITING || entry->state == ENTRY_LOADING)
        pthread_cond_wait(&cache->changed, &cache->lock);
    TRY(first_failure_result(&entry->failure));
    cache->metrics.hits++;
    return EMBED_OK;
}

/* Gets the resident entry of the folder, with one more user. Requires the lock. */
static embed_status use(struct embed_cache *cache, struct entry **out, const char *path)
{
    uint64_t deadline = clock_nanoseconds() + cache->wait_milliseconds * UINT64_C(1000000);
    for (;;) {
        struct entry *entry = find(cache, path);
        if (entry != NULL && entry->state == ENTRY_LEAVING) {
            pthread_cond_wait(&cache->changed, &cache->lock);
            continue;
        }
        bool is_new = entry == NULL;
        if (is_new) TRY(add(cache, &entry, path));
        entry->users++;
        embed_status status =
            is_new ? entry_load(cache, entry, deadline) : wait_for_load(cache, entry);
        if (status == EMBED_OK) {
            *out = entry;
            return EMBED_OK;
        }
        stop_using(cache, entry);
        /* The deadline of another thread has passed; ours may not have. */
        if (status == EMBED_BUSY && !is_new && clock_nanoseconds() < deadline) continue;
        cache->metrics.refusals += status == EMBED_BUSY;
        return status;
    }
}

static embed_status use_folder(struct embed_cache *cache, struct entry **out, const char *folder)
{
    char path[PATH_MAX];
    TRY(canonical_path(path, folder));
    pthread_mutex_lock(&cache->lock);
    embed_status status = use(cache, out, path);
    if (status != EMBED_OK) pthread_mutex_unlock(&cache->lock);
    return status;
}

embed_status cache_acquire(struct embed_cache *cache, const char *folder, struct embed_pool **pool)
{
    struct entry *entry;
    TRY(use_folder(cache, &entry, folder));
    *pool = entry->pool;
    pthread_mutex_unlock(&cache->lock);
    return EMBED_OK;
}

void cache_release(struct embed_cache *cache, const struct embed_pool *pool)
{
    pthread_mutex_lock(&cache->lock);
    struct entry *entry = cache->entries;
    while (entry != NULL && entry->pool != pool) entry = entry->next;
    if (entry != NULL && entry->users > 0) stop_using(cache, entry);
    pthread_mutex_unlock(&cache->lock);
}

embed_status cache_pin(struct embed_cache *cache, const char *folder)
{
    struct entry *entry;
    TRY(use_folder(cache, &entry, folder));
    entry->pins++;
    stop_using(cache, entry);
    pthread_mutex_unlock(&cache->lock);
    return EMBED_OK;
}

void cache_unpin(struct embed_cache *cache, const char *folder)
{
    char path[PATH_MAX];
    if (canonical_path(path, folder) != EMBED_OK) return;
    pthread_mutex_lock(&cache->lock);
    struct entry *entry = find(cache, path);
    if (entry != NULL && entry->pins > 0) entry->pins--;
    pthread_cond_broadcast(&cache->changed);
    pthread_mutex_unlock(&cache->lock);
}

void cache_get_metrics(const struct embed_cache *cache, embed_cache_metrics *metrics)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&cache->lock;
    pthread_mutex_lock(lock);
    *metrics = cache->metrics;
    for (const struct entry *entry = cache->entries; entry != NULL; entry = entry->next) {
        if (entry->state != ENTRY_RESIDENT) continue;
        metrics->resident++;
        metrics->in_use += entry->users > 0;
        metrics->pinned += entry->pins > 0;
        metrics->resident_bytes += entry->bytes;
    }
    pthread_mutex_unlock(lock);
}
