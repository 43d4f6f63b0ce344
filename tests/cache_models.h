/* cache_models.h - models for the tests of a cache, and assertions about it
 *
 * The models are copies of one tiny model. Each has its own layer_norm_eps, so that a row shows
 * which model computed it.
 */
#ifndef TESTS_CACHE_MODELS_H
#define TESTS_CACHE_MODELS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "embed.h"
#include "service/cache_parts.h"
#include "test_folder.h"

#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#define TINY "tests/vectors/tiny-bert"

enum { MODELS = 5, TEXTS = 3, WIDTH = 64 };

static const embed_text texts[TEXTS] = {EMBED_TEXT("one of several models"), EMBED_TEXT(""),
                                        EMBED_TEXT("kept while it is in use")};

static char folders[MODELS][64];
static float expected[MODELS][TEXTS * WIDTH];
static uint64_t bytes_of_one; /* the same for all models */

/* ---- a cache and its contents -------------------------------------------------------------- */

static inline embed_model_options model_options(void)
{
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CPU;
    options.threads = 1;
    return options;
}

static inline embed_pool_options pool_options(void)
{
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.warm_up_passes = 1;
    return options;
}

static inline embed_cache *cache_with(embed_cache_options options)
{
    embed_cache *cache = NULL;
    embed_model_options model = model_options();
    embed_pool_options pool = pool_options();
    options.size = sizeof options;
    options.model = &model;
    if (options.pool == NULL) options.pool = &pool;
    if (embed_cache_create(&cache, &options) != EMBED_OK) fail_msg("%s", embed_error_message());
    return cache;
}

static inline embed_cache *cache_of(unsigned max_models)
{
    return cache_with((embed_cache_options){.max_models = max_models});
}

static inline embed_pool *acquire(embed_cache *cache, const char *folder)
{
    embed_pool *pool = NULL;
    if (embed_cache_acquire(cache, folder, &pool) != EMBED_OK)
        fail_msg("%s", embed_error_message());
    return pool;
}

static inline void use(embed_cache *cache, int model)
{
    embed_cache_release(cache, acquire(cache, folders[model]));
}

static inline embed_cache_metrics metrics_of(const embed_cache *cache)
{
    embed_cache_metrics metrics = EMBED_CACHE_METRICS_INIT;
    assert_int_equal(embed_cache_get_metrics(cache, &metrics), EMBED_OK);
    return metrics;
}

/* Fails unless exactly these models are resident. "02" means the first and the third. */
static inline void assert_resident(const embed_cache *cache, const char *models)
{
    char found[MODELS + 1] = "";
    for (int i = 0; i < MODELS; i++) {
        for (const struct entry *entry = cache->entries; entry != NULL; entry = entry->next) {
            if (strcmp(entry->folder, folders[i]) == 0)
                sprintf(found + strlen(found), "%c", '0' + i);
        }
    }
    assert_string_equal(found, models);
    assert_int_equal(metrics_of(cache).resident, strlen(models));
}

/* Returns whether the pool's rows are those of that model alone. */
static inline bool computes_as(embed_pool *pool, int model)
{
    float rows[TEXTS * WIDTH];
    return embed_pool_encode(pool, texts, TEXTS, NULL, rows, TEXTS * WIDTH, NULL) == EMBED_OK &&
           memcmp(rows, expected[model], sizeof rows) == 0;
}

static inline embed_status try_to_acquire(embed_cache *cache, int model)
{
    embed_pool *pool = NULL;
    embed_status status = embed_cache_acquire(cache, folders[model], &pool);
    if (status != EMBED_OK) assert_null(pool);
    return status;
}

static inline void move(const char *from, const char *to)
{
    assert_int_equal(rename(from, to), 0);
}

/* ---- models --------------------------------------------------------------------------------- */

static inline void compute_alone(int model)
{
    embed_model *alone = NULL;
    embed_instance *instance = NULL;
    embed_model_options options = model_options();
    embed_memory memory = EMBED_MEMORY_INIT;
    if (embed_model_open(&alone, folders[model], &options) != EMBED_OK ||
        embed_instance_create(&instance, alone, NULL) != EMBED_OK ||
        embed_instance_encode(instance, texts, TEXTS, NULL, expected[model], TEXTS * WIDTH, NULL) !=
            EMBED_OK ||
        embed_instance_get_memory(instance, &memory) != EMBED_OK)
        fail_msg("%s", embed_error_message());
    bytes_of_one = memory.total;
    embed_instance_destroy(instance);
    embed_model_close(alone);
}

/* Counts the entries of a folder: open files or threads, in /proc/self. */
static inline unsigned count_in(const char *path)
{
    unsigned n = 0;
    DIR *directory = opendir(path);
    assert_non_null(directory);
    while (readdir(directory) != NULL) n++;
    closedir(directory);
    return n;
}

/* Waits for the count to drop to n: a thread that was joined stays listed for a moment. */
static inline void assert_count_in(const char *path, unsigned n)
{
    for (int i = 0; i < 1000 && count_in(path) > n; i++)
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    assert_int_equal(count_in(path), n);
}

static unsigned files_before, threads_before;

static inline void *do_nothing(void *argument)
{
    return argument;
}

static inline int make_models(void **state)
{
    (void)state;
    static const char *const eps[MODELS] = {"1e-12", "1e-3", "1e-2", "1e-1", "5e-1"};
    for (int i = 0; i < MODELS; i++) {
        snprintf(folders[i], sizeof folders[i], "%.63s", test_copy_folder(TINY));
        test_edit_file(folders[i], "config.json", "1e-12", eps[i]);
        compute_alone(i);
        for (int j = 0; j < i; j++)
            assert_memory_not_equal(expected[i], expected[j], sizeof expected[i]);
    }
    pthread_t first; /* a sanitizer starts its own thread along with it */
    assert_int_equal(pthread_create(&first, NULL, do_nothing, NULL), 0);
    assert_int_equal(pthread_join(first, NULL), 0);
    files_before = count_in("/proc/self/fd");
    threads_before = count_in("/proc/self/task");
    for (int i = 0; i < 10; i++) {
        nanosleep(&(struct timespec){0, 5000000}, NULL);
        unsigned threads = count_in("/proc/self/task");
        if (threads < threads_before) threads_before = threads;
    }
    return 0;
}

static inline int remove_models(void **state)
{
    (void)state;
    assert_count_in("/proc/self/fd", files_before);
    assert_count_in("/proc/self/task", threads_before);
    for (int i = 0; i < MODELS; i++) test_remove_folder(folders[i]);
    return 0;
}

#endif
