/* test_cache_threads.c - one cache and many threads: who loads, who waits, and that nobody gets a
 * model that was dropped
 */
#include "cache_models.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

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

/* ---- threads -------------------------------------------------------------------------------- */

enum { MOST_THREADS = 32 };

struct task {
    embed_cache *cache;
    pthread_barrier_t *start; /* NULL: start at once */
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

/* Runs n threads at once and waits for them. */
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
        run_threads(tasks, threads, MOST_THREADS, (struct task){.cache = cache, .model = round % 2},
                    acquire_in_thread);
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

    /* Unpinning makes room too. */
    assert_int_equal(embed_cache_pin(cache, folders[1]), EMBED_OK);
    task.model = 2;
    assert_int_equal(pthread_create(&thread, NULL, acquire_in_thread, &task), 0);
    sleep_milliseconds(20);
    embed_cache_unpin(cache, folders[1]);
    pthread_join(thread, NULL);
    assert_int_equal(task.status, EMBED_OK);
    assert_true(task.seconds < 30);
    embed_cache_release(cache, task.pool);
    embed_cache_destroy(cache);
}

static void test_busy_after_the_time_and_not_before(void **state)
{
    (void)state;
    pthread_t threads[8];
    struct task tasks[8];
    embed_cache *cache =
        cache_with((embed_cache_options){.max_models = 1, .wait_milliseconds = 200});
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

/* A later caller has its own full waiting time, even after the one before it has given up. */
static void test_busy_for_one_is_not_for_the_next(void **state)
{
    (void)state;
    pthread_t first, next;
    embed_cache *cache =
        cache_with((embed_cache_options){.max_models = 1, .wait_milliseconds = 1000});
    struct task a = {.cache = cache, .model = 1}, b = a;
    embed_pool *pool = acquire(cache, folders[0]);
    assert_int_equal(pthread_create(&first, NULL, acquire_in_thread, &a), 0);
    sleep_milliseconds(500);
    assert_int_equal(pthread_create(&next, NULL, acquire_in_thread, &b), 0);
    pthread_join(first, NULL);
    embed_cache_release(cache, pool);
    pthread_join(next, NULL);
    assert_int_equal(a.status, EMBED_BUSY);
    assert_int_equal(b.status, EMBED_OK);
    embed_cache_release(cache, b.pool);
    embed_cache_destroy(cache);
}

/* A caller that waited for another's load, in vain, does not wait longer than its own time for
 * callers that came later. */
static void test_nobody_waits_for_later_ones(void **state)
{
    (void)state;
    pthread_t threads[3];
    embed_cache *cache =
        cache_with((embed_cache_options){.max_models = 1, .wait_milliseconds = 1000});
    struct task a = {.cache = cache, .model = 1}, b = a, c = {.cache = cache, .model = 2};
    embed_pool *pool = acquire(cache, folders[0]);
    assert_int_equal(pthread_create(&threads[0], NULL, acquire_in_thread, &a), 0);
    sleep_milliseconds(100);
    assert_int_equal(pthread_create(&threads[1], NULL, acquire_in_thread, &b), 0);
    sleep_milliseconds(700);
    assert_int_equal(pthread_create(&threads[2], NULL, acquire_in_thread, &c), 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    assert_int_equal(a.status, EMBED_BUSY);
    assert_int_equal(b.status, EMBED_BUSY);
    assert_int_equal(c.status, EMBED_BUSY);
    assert_true(b.seconds >= 1 && b.seconds < 1.4);
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
        waiting = 0;
        for (struct line_place *one = cache->line; one != NULL; one = one->next) waiting++;
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
    use(cache, 0); /* resident models do not wait in line */
    embed_cache_release(cache, pool);
    for (int i = 1; i < MODELS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(tasks[i].status, EMBED_OK);
        assert_int_equal(tasks[i].index, i - 1);
    }
    embed_cache_destroy(cache);
}

/* A caller whose leader gave up goes ahead of a caller that came after it. */
static void test_first_come_first_served_after_another_gave_up(void **state)
{
    (void)state;
    pthread_t threads[3];
    embed_cache *cache =
        cache_with((embed_cache_options){.max_models = 1, .wait_milliseconds = 2000});
    struct task a = {.cache = cache, .model = 1}, b = a, c = {.cache = cache, .model = 2};
    embed_pool *pool = acquire(cache, folders[0]);
    atomic_store(&served, 0);
    assert_int_equal(pthread_create(&threads[0], NULL, acquire_in_turn, &a), 0);
    wait_until_in_line(cache, 1);
    sleep_milliseconds(600);
    assert_int_equal(pthread_create(&threads[1], NULL, acquire_in_turn, &b), 0);
    sleep_milliseconds(600);
    assert_int_equal(pthread_create(&threads[2], NULL, acquire_in_turn, &c), 0);
    pthread_join(threads[0], NULL);
    wait_until_in_line(cache, 2);
    embed_cache_release(cache, pool);
    pthread_join(threads[1], NULL);
    pthread_join(threads[2], NULL);
    assert_int_equal(a.status, EMBED_BUSY);
    assert_int_equal(b.status, EMBED_OK);
    assert_int_equal(c.status, EMBED_OK);
    assert_int_equal(b.index, 0);
    assert_int_equal(c.index, 1);
    embed_cache_destroy(cache);
}

/* ---- many threads at once ------------------------------------------------------------------ */

enum { HAMMERS = 16, STROKES = 40, ROOM = 2 };

/* Visits the folders in an order of its own. Assertions are left to the main thread. */
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

static void test_hammer(void **state)
{
    (void)state;
    pthread_t threads[HAMMERS];
    struct task tasks[HAMMERS];
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
    assert_count_in("/proc/self/fd", files_before);
    assert_count_in("/proc/self/task", threads_before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_load_for_many_threads),
        cmocka_unit_test(test_failure_reaches_all),
        cmocka_unit_test(test_waits_for_room),
        cmocka_unit_test(test_busy_after_the_time_and_not_before),
        cmocka_unit_test(test_busy_for_one_is_not_for_the_next),
        cmocka_unit_test(test_nobody_waits_for_later_ones),
        cmocka_unit_test(test_first_come_first_served),
        cmocka_unit_test(test_first_come_first_served_after_another_gave_up),
        cmocka_unit_test(test_hammer),
    };
    return cmocka_run_group_tests(tests, make_models, remove_models);
}
