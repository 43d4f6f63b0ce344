/* test_cache.c - several models by folder: what is loaded, what is dropped, and who waits
 *
 * Copies of one tiny model are the models; each has a layer_norm_eps of its own, so that a row tells
 * which of them computed it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "embed.h"
#include "service/cache_parts.h"
#include "test_folder.h"

#include <dirent.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TINY "tests/vectors/tiny-bert"

enum { MODELS = 5, TEXTS = 3, WIDTH = 64 };

static const embed_text texts[TEXTS] = {EMBED_TEXT("one of several models"), EMBED_TEXT(""),
                                        EMBED_TEXT("kept while it is in use")};

static char folders[MODELS][64];
static float expected[MODELS][TEXTS * WIDTH];
static uint64_t bytes_of_one; /* all models take the same */

/* ---- a cache, and what it holds ------------------------------------------------------------- */

static embed_model_options model_options(void)
{
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CPU;
    options.threads = 1;
    return options;
}

static embed_pool_options pool_options(void)
{
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.warm_up_passes = 1;
    return options;
}

static embed_cache *cache_with(embed_cache_options options)
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

static embed_cache *cache_of(unsigned max_models)
{
    return cache_with((embed_cache_options){.max_models = max_models});
}

static embed_pool *acquire(embed_cache *cache, const char *folder)
{
    embed_pool *pool = NULL;
    if (embed_cache_acquire(cache, folder, &pool) != EMBED_OK) fail_msg("%s", embed_error_message());
    return pool;
}

static void use(embed_cache *cache, int model)
{
    embed_cache_release(cache, acquire(cache, folders[model]));
}

static embed_cache_metrics metrics_of(const embed_cache *cache)
{
    embed_cache_metrics metrics = EMBED_CACHE_METRICS_INIT;
    assert_int_equal(embed_cache_get_metrics(cache, &metrics), EMBED_OK);
    return metrics;
}

/* Are these the models that are resident? "02" are the first and the third. */
static void assert_resident(const embed_cache *cache, const char *models)
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

/* Does the pool compute as that model alone does? */
static bool computes_as(embed_pool *pool, int model)
{
    float rows[TEXTS * WIDTH];
    return embed_pool_encode(pool, texts, TEXTS, NULL, rows, TEXTS * WIDTH, NULL) == EMBED_OK &&
           memcmp(rows, expected[model], sizeof rows) == 0;
}

static embed_status try_to_acquire(embed_cache *cache, int model)
{
    embed_pool *pool = NULL;
    embed_status status = embed_cache_acquire(cache, folders[model], &pool);
    if (status != EMBED_OK) assert_null(pool);
    return status;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void sleep_milliseconds(long milliseconds)
{
    nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000}, NULL);
}

/* ---- entries -------------------------------------------------------------------------------- */

static void test_one_folder_is_one_entry(void **state)
{
    (void)state;
    char link[] = "/tmp/libembed-test-XXXXXX", spelt[PATH_MAX];
    assert_int_not_equal(mkstemp(link), -1);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink(folders[0], link), 0);
    snprintf(spelt, sizeof spelt, "%s/../%s/.//", folders[1], strrchr(folders[0], '/'));

    embed_cache *cache = cache_of(0);
    embed_pool *pool = acquire(cache, folders[0]);
    assert_ptr_equal(acquire(cache, link), pool);
    assert_ptr_equal(acquire(cache, spelt), pool);
    assert_true(computes_as(pool, 0));
    embed_cache_metrics metrics = metrics_of(cache);
    assert_int_equal(metrics.loads, 1);
    assert_int_equal(metrics.hits, 2);
    assert_int_equal(metrics.resident, 1);
    assert_int_equal(metrics.in_use, 1);
    assert_int_equal(metrics.resident_bytes, bytes_of_one);
    assert_true(metrics.load_seconds > 0 && metrics.load_seconds < 60);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(metrics_of(cache).in_use, 1);
        embed_cache_release(cache, pool);
    }
    assert_int_equal(metrics_of(cache).in_use, 0);
    embed_cache_destroy(cache);
    unlink(link);
}

static void test_least_recently_used_is_dropped(void **state)
{
    (void)state;
    embed_cache *cache = cache_of(3);
    use(cache, 0);
    use(cache, 1);
    use(cache, 2);
    use(cache, 0);
    assert_resident(cache, "012");
    use(cache, 3);
    assert_resident(cache, "023");
    use(cache, 2);
    use(cache, 4);
    assert_resident(cache, "234");
    use(cache, 1);
    assert_resident(cache, "124");
    embed_cache_metrics metrics = metrics_of(cache);
    assert_int_equal(metrics.evictions, 3);
    assert_int_equal(metrics.loads, 6);
    assert_int_equal(metrics.hits, 2);

    /* One that was long in use was used until it was given back. */
    embed_pool *long_used = acquire(cache, folders[4]);
    use(cache, 1);
    use(cache, 2);
    embed_cache_release(cache, long_used);
    use(cache, 0);
    assert_resident(cache, "024");
    embed_cache_destroy(cache);
}

static void test_what_is_in_use_stays(void **state)
{
    (void)state;
    embed_cache *cache = cache_of(2);
    embed_pool *first = acquire(cache, folders[0]), *second = acquire(cache, folders[1]);
    assert_int_equal(try_to_acquire(cache, 2), EMBED_BUSY);
    const char *message = embed_error_message();
    for (int i = 0; i < 3; i++) assert_non_null(strstr(message, folders[i]));
    assert_non_null(strstr(message, "in use by 1"));
    assert_int_equal(embed_cache_pin(cache, folders[2]), EMBED_BUSY);
    assert_int_equal(metrics_of(cache).refusals, 2);
    assert_int_equal(metrics_of(cache).load_failures, 0);
    assert_true(computes_as(first, 0) && computes_as(second, 1));

    embed_cache_release(cache, first); /* older than the other, or not: only it may go */
    embed_cache_release(cache, acquire(cache, folders[0]));
    embed_pool *third = acquire(cache, folders[2]);
    assert_resident(cache, "12");
    assert_true(computes_as(second, 1) && computes_as(third, 2));
    embed_cache_release(cache, second);
    embed_cache_release(cache, third);
    embed_cache_destroy(cache);
}

static void test_pins(void **state)
{
    (void)state;
    embed_cache *cache = cache_of(2);
    assert_int_equal(embed_cache_pin(cache, folders[0]), EMBED_OK);
    assert_int_equal(embed_cache_pin(cache, folders[0]), EMBED_OK);
    assert_int_equal(metrics_of(cache).pinned, 1);
    assert_int_equal(metrics_of(cache).in_use, 0);
    use(cache, 1);
    use(cache, 2);
    assert_resident(cache, "02");

    embed_pool *pool = acquire(cache, folders[2]);
    assert_int_equal(try_to_acquire(cache, 3), EMBED_BUSY);
    assert_non_null(strstr(embed_error_message(), "is pinned"));
    embed_cache_release(cache, pool);

    embed_cache_unpin(cache, folders[0]); /* one of two */
    use(cache, 2);
    use(cache, 3);
    assert_resident(cache, "03");
    embed_cache_unpin(cache, folders[0]);
    embed_cache_unpin(cache, folders[0]); /* one too many does nothing */
    embed_cache_unpin(cache, folders[4]);
    use(cache, 4);
    assert_resident(cache, "34");
    assert_int_equal(metrics_of(cache).pinned, 0);
    embed_cache_destroy(cache);
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static void test_bytes(void **state)
{
    (void)state;
    embed_cache *cache = cache_with((embed_cache_options){.max_bytes = 2 * bytes_of_one});
    for (int i = 0; i < 4; i++) {
        use(cache, i);
        assert_true(metrics_of(cache).resident_bytes <= 2 * bytes_of_one);
    }
    assert_resident(cache, "23");
    embed_cache_destroy(cache);

    cache = cache_with((embed_cache_options){.max_bytes = bytes_of_one - 1});
    assert_int_equal(try_to_acquire(cache, 0), EMBED_OUT_OF_MEMORY);
    assert_non_null(strstr(embed_error_message(), folders[0]));
    assert_int_equal(metrics_of(cache).load_failures, 1);
    embed_cache_destroy(cache);
}

static uint64_t planned_bytes(const char *folder)
{
    embed_memory plan = EMBED_MEMORY_INIT;
    embed_model_options model = model_options();
    assert_int_equal(embed_plan(folder, &model, NULL, &plan), EMBED_OK);
    return plan.total;
}

/* A large model takes the room of two small ones; where one of them is in use, the other stays. */
static void test_nothing_is_dropped_in_vain(void **state)
{
    (void)state;
    static const char small[] = "tests/vectors/tiny-bert-cls", middle[] = "tests/vectors/tiny-mpnet";
    uint64_t both = planned_bytes(small) + planned_bytes(middle);
    uint64_t room = planned_bytes(middle) + bytes_of_one - 1;
    assert_true(both <= room && bytes_of_one + planned_bytes(small) <= room);

    embed_cache *cache = cache_with((embed_cache_options){.max_bytes = room});
    embed_cache_release(cache, acquire(cache, small));
    embed_pool *used = acquire(cache, middle);
    assert_int_equal(try_to_acquire(cache, 0), EMBED_BUSY);
    assert_int_equal(metrics_of(cache).resident_bytes, both);
    embed_cache_release(cache, used);
    use(cache, 0);
    assert_resident(cache, "0");
    assert_int_equal(metrics_of(cache).evictions, 2);
    use(cache, 0);
    embed_cache_release(cache, acquire(cache, small)); /* fits beside the large one */
    assert_int_equal(metrics_of(cache).resident_bytes, bytes_of_one + planned_bytes(small));
    embed_cache_destroy(cache);
}

/* Planned as less than it takes: it comes again with what it takes, and others make room. */
static void test_more_than_planned(void **state)
{
    (void)state;
    embed_pool_options pool = pool_options();
    pool.instance_bytes = 1;
    embed_cache_options options = {.max_bytes = 2 * bytes_of_one - 1, .pool = &pool};
    embed_cache *cache = cache_with(options);
    embed_pool *first = acquire(cache, folders[0]);
    assert_int_equal(metrics_of(cache).resident_bytes, bytes_of_one);
    assert_int_equal(try_to_acquire(cache, 1), EMBED_BUSY);
    assert_resident(cache, "0");
    embed_cache_release(cache, first);
    embed_cache_release(cache, acquire(cache, folders[1]));
    assert_resident(cache, "1");
    embed_cache_destroy(cache);

    options.max_bytes = bytes_of_one - 1;
    cache = cache_with(options);
    assert_int_equal(try_to_acquire(cache, 0), EMBED_OUT_OF_MEMORY);
    assert_resident(cache, "");
    embed_cache_destroy(cache);
}

/* ---- files ---------------------------------------------------------------------------------- */

static void move(const char *from, const char *to)
{
    assert_int_equal(rename(from, to), 0);
}

static void test_folder_changes_while_resident(void **state)
{
    (void)state;
    char away[96];
    snprintf(away, sizeof away, "%s.away", folders[0]);
    embed_cache *cache = cache_of(1);
    assert_int_equal(embed_cache_pin(cache, folders[0]), EMBED_OK);
    move(folders[0], away);
    move(folders[1], folders[0]); /* another model takes its place */
    embed_pool *pool = acquire(cache, folders[0]);
    assert_true(computes_as(pool, 0)); /* what was read */
    embed_cache_release(cache, pool);

    move(folders[0], folders[1]); /* there is none at all: it can be used, and unpinned */
    pool = acquire(cache, folders[0]);
    assert_true(computes_as(pool, 0));
    embed_cache_release(cache, pool);
    embed_cache_unpin(cache, folders[0]);
    use(cache, 2);
    assert_resident(cache, "2");

    /* For a folder that cannot be read, nothing is dropped. */
    assert_int_equal(try_to_acquire(cache, 0), EMBED_IO);
    assert_non_null(strstr(embed_error_message(), folders[0]));
    assert_resident(cache, "2");
    move(away, folders[0]);
    pool = acquire(cache, folders[0]);
    assert_true(computes_as(pool, 0));
    embed_cache_release(cache, pool);
    embed_cache_destroy(cache);
}

/* ---- threads -------------------------------------------------------------------------------- */

enum { MOST_THREADS = 32 };

struct task {
    embed_cache *cache;
    pthread_barrier_t *start; /* NULL: at once */
    int model;
    unsigned index;
    embed_pool *pool;
    embed_status status;
    char message[512];
    double seconds;
    const char *wrong;
};

static void *acquire_in_thread(void *argument)
{
    struct task *task = argument;
    if (task->start != NULL) pthread_barrier_wait(task->start);
    double start = seconds();
    task->status = embed_cache_acquire(task->cache, folders[task->model], &task->pool);
    task->seconds = seconds() - start;
    if (task->status != EMBED_OK)
        snprintf(task->message, sizeof task->message, "%s", embed_error_message());
    return NULL;
}

/* n threads at once, and waits for them. */
static void run_threads(struct task *tasks, pthread_t *threads, unsigned n, struct task common,
                        void *(*run)(void *))
{
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, n);
    for (unsigned i = 0; i < n; i++) {
        tasks[i] = common;
        tasks[i].index = i;
        tasks[i].start = &start;
        assert_int_equal(pthread_create(&threads[i], NULL, run, &tasks[i]), 0);
    }
    for (unsigned i = 0; i < n; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&start);
}

static void test_one_load_for_many_threads(void **state)
{
    (void)state;
    pthread_t threads[MOST_THREADS];
    struct task tasks[MOST_THREADS];
    embed_cache *cache = cache_of(1);
    for (int round = 0; round < 4; round++) {
        run_threads(tasks, threads, MOST_THREADS,
                    (struct task){.cache = cache, .model = round % 2}, acquire_in_thread);
        assert_int_equal(metrics_of(cache).loads, round + 1);
        assert_int_equal(metrics_of(cache).hits, (round + 1) * (MOST_THREADS - 1));
        assert_true(computes_as(tasks[0].pool, round % 2));
        for (int i = 0; i < MOST_THREADS; i++) {
            assert_int_equal(tasks[i].status, EMBED_OK);
            assert_ptr_equal(tasks[i].pool, tasks[0].pool);
            embed_cache_release(cache, tasks[i].pool);
        }
    }
    embed_cache_destroy(cache);
}

static void test_failure_reaches_all(void **state)
{
    (void)state;
    pthread_t threads[MOST_THREADS];
    struct task tasks[MOST_THREADS];
    embed_cache *cache = cache_of(2);
    char weights[96], away[96];
    snprintf(weights, sizeof weights, "%s/model.safetensors", folders[0]);
    snprintf(away, sizeof away, "%s/away", folders[0]);
    move(weights, away);
    run_threads(tasks, threads, MOST_THREADS, (struct task){.cache = cache}, acquire_in_thread);
    move(away, weights);
    for (int i = 0; i < MOST_THREADS; i++) {
        assert_int_equal(tasks[i].status, EMBED_IO);
        assert_non_null(strstr(tasks[i].message, folders[0]));
        assert_non_null(strstr(tasks[i].message, "model.safetensors"));
    }
    embed_cache_metrics metrics = metrics_of(cache);
    assert_in_range(metrics.load_failures, 1, MOST_THREADS);
    assert_int_equal(metrics.loads, 0);
    assert_resident(cache, "");

    embed_pool *pool = acquire(cache, folders[0]);
    assert_true(computes_as(pool, 0));
    embed_cache_release(cache, pool);
    embed_cache_destroy(cache);
}

/* ---- waiting -------------------------------------------------------------------------------- */

static void test_waits_for_room(void **state)
{
    (void)state;
    pthread_t thread;
    embed_cache *cache =
        cache_with((embed_cache_options){.max_models = 1, .wait_milliseconds = 60000});
    struct task task = {.cache = cache, .model = 1};
    embed_pool *pool = acquire(cache, folders[0]);
    assert_int_equal(pthread_create(&thread, NULL, acquire_in_thread, &task), 0);
    sleep_milliseconds(100);
    assert_true(computes_as(pool, 0));
    embed_cache_release(cache, pool);
    pthread_join(thread, NULL);
    assert_int_equal(task.status, EMBED_OK);
    assert_true(task.seconds < 30);
    assert_resident(cache, "1");
    embed_cache_release(cache, task.pool);

    /* A pin that is taken off makes room too. */
    assert_int_equal(embed_cache_pin(cache, folders[1]), EMBED_OK);
    task.model = 2;
    assert_int_equal(pthread_create(&thread, NULL, acquire_in_thread, &task), 0);
    sleep_milliseconds(20);
    embed_cache_unpin(cache, folders[1]);
    pthread_join(thread, NULL);
    assert_int_equal(task.status, EMBED_OK);
    embed_cache_release(cache, task.pool);
    embed_cache_destroy(cache);
}

static void test_busy_after_the_time_and_not_before(void **state)
{
    (void)state;
    pthread_t threads[8];
    struct task tasks[8];
    embed_cache *cache = cache_with((embed_cache_options){.max_models = 1, .wait_milliseconds = 200});
    embed_pool *pool = acquire(cache, folders[0]);
    run_threads(tasks, threads, 8, (struct task){.cache = cache, .model = 1}, acquire_in_thread);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(tasks[i].status, EMBED_BUSY);
        assert_true(tasks[i].seconds >= 0.2 && tasks[i].seconds < 10);
        assert_non_null(strstr(tasks[i].message, folders[0]));
    }
    assert_int_equal(metrics_of(cache).refusals, 8);
    assert_resident(cache, "0");
    embed_cache_release(cache, pool);
    embed_cache_destroy(cache);

    cache = cache_of(1);
    pool = acquire(cache, folders[0]);
    double fastest = 1;
    for (int i = 0; i < 20; i++) {
        double start = seconds();
        assert_int_equal(try_to_acquire(cache, 1), EMBED_BUSY);
        if (seconds() - start < fastest) fastest = seconds() - start;
    }
    assert_true(fastest < 0.01);
    embed_cache_release(cache, pool);
    embed_cache_destroy(cache);
}

static atomic_uint served;

static void *acquire_in_turn(void *argument)
{
    struct task *task = argument;
    acquire_in_thread(task);
    if (task->status != EMBED_OK) return NULL;
    task->index = atomic_fetch_add(&served, 1);
    embed_cache_release(task->cache, task->pool);
    return NULL;
}

static void wait_until_in_line(embed_cache *cache, uint64_t n)
{
    for (uint64_t waiting = 0; waiting < n; sleep_milliseconds(1)) {
        pthread_mutex_lock(&cache->lock);
        waiting = cache->last_turn - cache->turn;
        pthread_mutex_unlock(&cache->lock);
    }
}

static void test_first_come_first_served(void **state)
{
    (void)state;
    pthread_t threads[MODELS];
    struct task tasks[MODELS];
    embed_cache *cache =
        cache_with((embed_cache_options){.max_models = 1, .wait_milliseconds = 60000});
    embed_pool *pool = acquire(cache, folders[0]);
    atomic_store(&served, 0);
    for (int i = 1; i < MODELS; i++) {
        tasks[i] = (struct task){.cache = cache, .model = MODELS - i};
        assert_int_equal(pthread_create(&threads[i], NULL, acquire_in_turn, &tasks[i]), 0);
        wait_until_in_line(cache, (uint64_t)i);
    }
    use(cache, 0); /* what is resident does not wait in line */
    embed_cache_release(cache, pool);
    for (int i = 1; i < MODELS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(tasks[i].status, EMBED_OK);
        assert_int_equal(tasks[i].index, i - 1);
    }
    embed_cache_destroy(cache);
}

/* ---- all at once ---------------------------------------------------------------------------- */

enum { HAMMERS = 16, STROKES = 40, ROOM = 2 };

/* Each returns to the next folder in an order of its own. Assertions are for the main thread. */
static void *hammer(void *argument)
{
    struct task *task = argument;
    pthread_barrier_wait(task->start);
    for (unsigned step = 0, at = task->index; step < STROKES && task->wrong == NULL; step++) {
        embed_pool *pool = NULL;
        at = (at * 7 + step + task->index + 1) % MODELS;
        if (embed_cache_acquire(task->cache, folders[at], &pool) != EMBED_OK) {
            snprintf(task->message, sizeof task->message, "%s", embed_error_message());
            task->wrong = task->message;
            return NULL;
        }
        if (!computes_as(pool, (int)at)) task->wrong = "rows of another model";
        embed_cache_metrics metrics = EMBED_CACHE_METRICS_INIT;
        embed_cache_get_metrics(task->cache, &metrics);
        if (metrics.resident > ROOM || metrics.in_use < 1 ||
            metrics.resident_bytes > ROOM * bytes_of_one)
            task->wrong = "more resident than may be";
        if (step % 8 == 7) {
            if (embed_cache_pin(task->cache, folders[at]) != EMBED_OK) task->wrong = "pin";
            embed_cache_unpin(task->cache, folders[at]);
        }
        embed_cache_release(task->cache, pool);
    }
    return NULL;
}

static unsigned count_in(const char *path)
{
    unsigned n = 0;
    DIR *directory = opendir(path);
    assert_non_null(directory);
    while (readdir(directory) != NULL) n++;
    closedir(directory);
    return n;
}

static void test_hammer(void **state)
{
    (void)state;
    pthread_t threads[HAMMERS];
    struct task tasks[HAMMERS];
    unsigned files = count_in("/proc/self/fd"), tasks_before = count_in("/proc/self/task");
    embed_cache *cache = cache_with((embed_cache_options){
        .max_models = ROOM, .max_bytes = ROOM * bytes_of_one, .wait_milliseconds = 120000});
    run_threads(tasks, threads, HAMMERS, (struct task){.cache = cache}, hammer);
    for (int i = 0; i < HAMMERS; i++)
        if (tasks[i].wrong != NULL) fail_msg("thread %d: %s", i, tasks[i].wrong);

    embed_cache_metrics metrics = metrics_of(cache);
    assert_int_equal(metrics.in_use, 0);
    assert_int_equal(metrics.pinned, 0);
    assert_int_equal(metrics.load_failures + metrics.refusals, 0);
    assert_int_equal(metrics.loads - metrics.evictions, metrics.resident);
    assert_int_equal(metrics.hits + metrics.loads, HAMMERS * (STROKES + STROKES / 8));
    print_message("%u acquisitions: %u loads, %u evictions\n", HAMMERS * STROKES,
                  (unsigned)metrics.loads, (unsigned)metrics.evictions);
    embed_cache_destroy(cache);
    assert_int_equal(count_in("/proc/self/fd"), files);
    assert_int_equal(count_in("/proc/self/task"), tasks_before);
}

/* ---- arguments ------------------------------------------------------------------------------ */

static void test_arguments(void **state)
{
    (void)state;
    embed_cache *cache = NULL;
    embed_pool *pool = NULL;
    embed_cache_options options = EMBED_CACHE_OPTIONS_INIT;
    embed_model_options model = model_options();
    assert_int_equal(embed_cache_create(NULL, NULL), EMBED_INVALID_ARGUMENT);
    model.threads = 1000000;
    options.model = &model;
    assert_int_equal(embed_cache_create(&cache, &options), EMBED_INVALID_ARGUMENT);
    assert_null(cache);
    assert_int_equal(embed_cache_create(&cache, NULL), EMBED_OK);
    assert_int_equal(embed_cache_acquire(NULL, TINY, &pool), EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_cache_acquire(cache, NULL, &pool), EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_cache_acquire(cache, TINY, NULL), EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_cache_pin(cache, NULL), EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_cache_get_metrics(cache, NULL), EMBED_INVALID_ARGUMENT);
    char longest[2 * PATH_MAX];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(embed_cache_acquire(cache, longest, &pool), EMBED_IO);
    assert_int_equal(embed_cache_acquire(cache, "", &pool), EMBED_IO);
    assert_int_equal(embed_cache_acquire(cache, "tests/vectors/none", &pool), EMBED_IO);
    assert_null(pool);
    embed_cache_release(cache, NULL);
    embed_cache_release(NULL, NULL);
    embed_cache_unpin(cache, NULL);
    embed_cache_destroy(cache);
    embed_cache_destroy(NULL);
}

/* ---- models --------------------------------------------------------------------------------- */

static void compute_alone(int model)
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

static int make_models(void **state)
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
    return 0;
}

static int remove_models(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++) test_remove_folder(folders[i]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_one_folder_is_one_entry),
        cmocka_unit_test(test_least_recently_used_is_dropped),
        cmocka_unit_test(test_what_is_in_use_stays),
        cmocka_unit_test(test_pins),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_nothing_is_dropped_in_vain),
        cmocka_unit_test(test_more_than_planned),
        cmocka_unit_test(test_folder_changes_while_resident),
        cmocka_unit_test(test_one_load_for_many_threads),
        cmocka_unit_test(test_failure_reaches_all),
        cmocka_unit_test(test_waits_for_room),
        cmocka_unit_test(test_busy_after_the_time_and_not_before),
        cmocka_unit_test(test_first_come_first_served),
        cmocka_unit_test(test_hammer),
    };
    return cmocka_run_group_tests(tests, make_models, remove_models);
}
