/* cache_load.c - makes room in a cache and loads models into it
 *
 * Threads that need room form a line. The first drops the least recently used models, or waits for
 * those in use; from then on, its own model counts with its planned size. So the limits hold at all
 * times, even while models are being loaded concurrently or destroyed.
 */
#include "service/cache_parts.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/status.h"
#include "model/model.h"
#include "model/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

/* ---- room ---------------------------------------------------------------------------------- */

static bool is_counted(const struct entry *entry)
{
    return entry->state != ENTRY_WAITING && entry->state != ENTRY_FAILED;
}

/* Returns whether the limits hold with `newcomer` counted too; with `dropped`, whether they hold
 * with only it and the entries that cannot be dropped. */
static bool has_room(const struct embed_cache *cache, const struct entry *newcomer, bool dropped)
{
    unsigned models = 0;
    uint64_t bytes = 0;
    for (const struct entry *entry = cache->entries; entry != NULL; entry = entry->next) {
        if (entry != newcomer && (!is_counted(entry) || (dropped && entry_may_be_dropped(entry))))
            continue;
        models++;
        bytes += entry->bytes;
    }
    return (cache->max_models == 0 || models <= cache->max_models) &&
           (cache->max_bytes == 0 || bytes <= cache->max_bytes);
}

static void take_out(struct embed_cache *cache, const struct entry *entry)
{
    struct entry **place = &cache->entries;
    while (*place != entry) place = &(*place)->next;
    *place = entry->next;
}

/* Drops the least recently used entry of those that may be dropped; there must be one. Releases the
 * lock meanwhile. */
static void drop_one(struct embed_cache *cache)
{
    struct entry *oldest = NULL;
    for (struct entry *entry = cache->entries; entry != NULL; entry = entry->next) {
        if (entry_may_be_dropped(entry) && (oldest == NULL || entry->last_use < oldest->last_use))
            oldest = entry;
    }
    oldest->state = ENTRY_LEAVING;
    cache->is_dropping = true;
    pthread_mutex_unlock(&cache->lock);
    log_message(EMBED_LOG_INFO, "%s: dropped from the cache", oldest->folder);
    cache_end_pool(oldest->pool);
    pthread_mutex_lock(&cache->lock);
    take_out(cache, oldest);
    cache->is_dropping = false;
    cache->metrics.evictions++;
    pthread_cond_broadcast(&cache->changed);
    entry_free(oldest);
}

/* Writes "/models/a is in use by 3, /models/b is pinned": as many entries as fit. */
static void say_what_is_held(const struct embed_cache *cache, char *out, size_t capacity)
{
    size_t used = 0;
    for (const struct entry *entry = cache->entries; entry != NULL && used < capacity;
         entry = entry->next) {
        const char *comma = used > 0 ? ", " : "";
        if (!is_counted(entry) || entry_may_be_dropped(entry)) continue;
        int n = entry->users > 0
                    ? snprintf(out + used, capacity - used, "%s%s is in use by %u", comma,
                               entry->folder, entry->users)
                    : snprintf(out + used, capacity - used, "%s%s is pinned", comma, entry->folder);
        used += (size_t)n;
    }
}

static embed_status busy(const struct embed_cache *cache, const struct entry *entry)
{
    char held[640] = "";
    say_what_is_held(cache, held, sizeof held);
    return fail(EMBED_BUSY, "%s: the cache has no room (waited %u ms): %s", entry->folder,
                cache->wait_milliseconds, held);
}

static embed_status too_large(const struct embed_cache *cache, const struct entry *entry)
{
    return fail(EMBED_OUT_OF_MEMORY,
                "%s: needs %" PRIu64 " bytes, but the cache's limit is %" PRIu64, entry->folder,
                entry->bytes, cache->max_bytes);
}

/* Stands in line by arrival, which the deadline tells: a thread that was in line for another's load
 * before, or planned for longer, goes ahead of those that came later. */
static void join_line(struct embed_cache *cache, struct line_place *mine)
{
    struct line_place **place = &cache->line;
    while (*place != NULL && (*place)->deadline <= mine->deadline) place = &(*place)->next;
    mine->next = *place;
    *place = mine;
}

static void leave_line(struct embed_cache *cache, const struct line_place *mine)
{
    struct line_place **place = &cache->line;
    while (*place != mine) place = &(*place)->next;
    *place = mine->next;
    pthread_cond_broadcast(&cache->changed);
}

/* Waits until the thread is first in line and the entry has room, and makes it: by dropping others
 * if that is enough, else by waiting for their users. Drops nothing in vain. Another may go ahead
 * meanwhile, so each step is for the first alone. A thread whose time is over still waits for what
 * is being dropped. */
static embed_status make_room(struct embed_cache *cache, struct entry *entry,
                              const struct line_place *mine)
{
    for (;;) {
        bool is_first = cache->line == mine, is_late = clock_nanoseconds() >= mine->deadline;
        if (is_first && has_room(cache, entry, false)) return EMBED_OK;
        if (is_first && !cache->is_dropping && has_room(cache, entry, true)) drop_one(cache);
        else if (is_late && !cache->is_dropping) return busy(cache, entry);
        else condition_wait(&cache->changed, &cache->lock, is_late ? UINT64_MAX : mine->deadline);
    }
}

/* Makes room in order of arrival, so that small models cannot keep a large one waiting. */
static embed_status wait_for_room(struct embed_cache *cache, struct entry *entry, uint64_t deadline)
{
    struct line_place mine = {.deadline = deadline};
    join_line(cache, &mine);
    embed_status status = make_room(cache, entry, &mine);
    if (status == EMBED_OK) entry->state = ENTRY_LOADING;
    leave_line(cache, &mine);
    return status;
}

/* ---- load ---------------------------------------------------------------------------------- */

/* Plans one instance on the device, with the chunks that the pool would choose. */
static embed_status plan_one(const struct embed_cache *cache, embed_memory *memory,
                             const struct entry *entry, const embed_model_options *model)
{
    embed_instance_options options = EMBED_INSTANCE_OPTIONS_INIT;
    options.documents = cache->pool.documents;
    options.num_beams = cache->pool.num_beams;
    options.max_length = cache->pool.max_length;
    TRY(plan_folder(memory, entry->folder, model, &options));
    options.batch_tokens = cache->pool.batch_tokens;
    if (options.batch_tokens == 0) return EMBED_OK;
    embed_memory wished = EMBED_MEMORY_INIT;
    TRY(plan_folder(&wished, entry->folder, model, &options));
    if (wished.own < memory->own) *memory = wished; /* a batch may have several chunks */
    return EMBED_OK;
}

/* Plans what the folder's model will take: its weights and instances, fewer of these if the pool
 * chooses their number. Runs even if bytes are not limited, so that nothing is dropped for a folder
 * that cannot be read. */
static embed_status plan(const struct embed_cache *cache, struct entry *entry)
{
    const embed_pool_options *pool = &cache->pool;
    embed_memory memory = EMBED_MEMORY_INIT;
    TRY(plan_one(cache, &memory, entry, &cache->model));
    bool on_gpu = memory.pinned > 0;
    uint64_t once = memory.weights, each = memory.own;
    if (pool->instance_bytes > 0) each = pool->instance_bytes;
    if (on_gpu && pool->fallback == EMBED_FALLBACK_READY) {
        embed_model_options cpu = EMBED_MODEL_OPTIONS_INIT;
        cpu.device = EMBED_DEVICE_CPU;
        cpu.threads = cache->model.threads;
        if (cache->model.dtype == EMBED_DTYPE_F32) cpu.dtype = EMBED_DTYPE_F32;
        TRY(plan_one(cache, &memory, entry, &cpu));
        once += memory.total;
    }
    entry->instances = pool->instances > 0 ? pool->instances : pool->max_instances;
    if (entry->instances == 0) entry->instances = on_gpu ? INSTANCES_ON_A_GPU : 1;
    if (cache->max_bytes > 0 && pool->instances == 0) {
        while (entry->instances > 1 && once + each * entry->instances > cache->max_bytes)
            entry->instances--;
    }
    entry->bytes = once + each * entry->instances;
    if (cache->max_bytes > 0 && entry->bytes > cache->max_bytes) return too_large(cache, entry);
    return EMBED_OK;
}

/* Opens the model in a pool, which then holds the only reference to it, and gets the bytes both
 * take. */
static embed_status open_pool(const struct embed_cache *cache, struct embed_pool **pool,
                              uint64_t *bytes, const struct entry *entry)
{
    struct embed_model *model;
    embed_memory memory = EMBED_MEMORY_INIT;
    embed_pool_options options = cache->pool;
    if (options.instances == 0) options.max_instances = entry->instances;
    TRY(model_open(&model, entry->folder, &cache->model));
    embed_status status = pool_create(pool, &model, 1, &options);
    model_release(model);
    if (status != EMBED_OK) return status;
    pool_get_memory(*pool, &memory);
    *bytes = memory.total + pool_absent_bytes(*pool);
    return EMBED_OK;
}

/* Waits for room and loads the entry's model. If it takes more than planned (a GPU was too full, so
 * it is on the CPU) and there is no room for that, closes it and waits again for room of its actual
 * size. */
static embed_status load(struct embed_cache *cache, struct entry *entry, uint64_t deadline)
{
    for (;;) {
        struct embed_pool *pool = NULL;
        uint64_t bytes = 0;
        TRY(wait_for_room(cache, entry, deadline));
        pthread_mutex_unlock(&cache->lock);
        uint64_t start = clock_nanoseconds();
        embed_status status = open_pool(cache, &pool, &bytes, entry);
        double seconds = 1e-9 * (double)(clock_nanoseconds() - start);
        pthread_mutex_lock(&cache->lock);
        TRY(status);

        cache->metrics.loads++;
        cache->metrics.load_seconds += seconds;
        entry->bytes = bytes;
        if (has_room(cache, entry, false)) {
            entry->pool = pool;
            entry->state = ENTRY_RESIDENT;
            return EMBED_OK;
        }
        pthread_mutex_unlock(&cache->lock);
        cache_end_pool(pool);
        pthread_mutex_lock(&cache->lock);
        entry->state = ENTRY_WAITING;
        if (bytes > cache->max_bytes) return too_large(cache, entry);
    }
}

embed_status entry_load(struct embed_cache *cache, struct entry *entry, uint64_t deadline)
{
    pthread_mutex_unlock(&cache->lock);
    embed_status status = plan(cache, entry);
    pthread_mutex_lock(&cache->lock);
    if (status == EMBED_OK) status = load(cache, entry, deadline);
    if (status != EMBED_OK) {
        entry->state = ENTRY_FAILED;
        first_failure_note(&entry->failure, status);
        take_out(cache, entry);
        cache->metrics.load_failures += status != EMBED_BUSY;
    }
    pthread_cond_broadcast(&cache->changed);
    return status;
}
