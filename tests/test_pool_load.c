/* test_pool_load.c - a pool under load: 32 threads, each with several requests in flight
 *
 * POOL_REQUESTS sets the total number of requests; the default is 100,000, which take some seconds,
 * and fewer under a sanitizer.
 */
#include "pool_test.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { THREADS = 32, INSTANCES = 4, MOST_TEXTS = 4, PHASES = 4 };

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { REQUESTS = 4000, IS_INSTRUMENTED = 1 };
#else
enum { REQUESTS = 100000, IS_INSTRUMENTED = 0 };
#endif

static size_t requests_in_all(void)
{
    const char *text = getenv("POOL_REQUESTS");
    return text != NULL ? strtoul(text, NULL, 10) : REQUESTS;
}

static size_t count_entries(const char *folder)
{
    DIR *entries = opendir(folder);
    size_t count = 0;
    assert_non_null(entries);
    while (readdir(entries) != NULL) count++;
    closedir(entries);
    return count;
}

static size_t resident_bytes(void)
{
    size_t pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%zu %zu", &pages, &resident), 2);
    fclose(file);
    return resident * 4096;
}

/* ---- every request once -------------------------------------------------------------------- */

struct client {
    embed_pool *pool;
    pthread_t thread;
    unsigned rank;
    size_t requests;
    const char *wrong;
    size_t cancelled;
};

/* A request in flight, and how often it has completed. */
struct flight {
    embed_ticket *ticket;
    size_t first, n;
    float rows[MOST_TEXTS * WIDTH];
    embed_item items[MOST_TEXTS];
    atomic_uint ended;
};

static void count_end(void *flight, embed_status status, const char *message)
{
    (void)status;
    (void)message;
    atomic_fetch_add(&((struct flight *)flight)->ended, 1);
}

static const char *check_rows_of(const struct flight *flight)
{
    for (size_t i = 0; i < flight->n; i++) {
        if (memcmp(flight->rows + i * WIDTH, expected + (flight->first + i) * WIDTH,
                   WIDTH * sizeof(float)) != 0)
            return "other bits than alone";
        if (flight->items[i].status != EMBED_OK || flight->items[i].batch_texts == 0)
            return "an item";
    }
    return NULL;
}

static const char *start(struct flight *flight, struct client *client, uint64_t random)
{
    flight->n = 1 + random % MOST_TEXTS;
    flight->first = (random >> 8) % (lines.count - MOST_TEXTS);
    atomic_store(&flight->ended, 0);
    embed_request request = EMBED_REQUEST_INIT;
    request.texts = texts + flight->first;
    request.n = flight->n;
    request.out = flight->rows;
    request.capacity = flight->n * WIDTH;
    request.items = flight->items;
    request.wait_for_room = 1;
    request.done = count_end;
    request.user = flight;
    if (embed_pool_submit(client->pool, &request, &flight->ticket) != EMBED_OK) return "submit";
    return NULL;
}

static const char *finish(struct flight *flight, struct client *client, bool cancels)
{
    if (cancels) embed_ticket_cancel(flight->ticket);
    embed_status status = embed_ticket_wait(flight->ticket, EMBED_WAIT_FOREVER);
    embed_ticket_free(flight->ticket);
    if (atomic_load(&flight->ended) != 1) return "not ended once";
    if (cancels && status == EMBED_CANCELLED) {
        client->cancelled++;
        return NULL;
    }
    return status == EMBED_OK ? check_rows_of(flight) : "status";
}

static void *run_client(void *argument)
{
    struct client *client = argument;
    struct flight flights[3];
    uint64_t random = 0x9E3779B97F4A7C15u * (client->rank + 1);
    size_t left = client->requests, count = 0;
    while (left > 0 && client->wrong == NULL) {
        size_t n = left < 3 ? left : 3;
        for (size_t i = 0; i < n && client->wrong == NULL; i++, count++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            client->wrong = start(&flights[i], client, random);
        }
        for (size_t i = 0; i < n && client->wrong == NULL; i++)
            client->wrong = finish(&flights[i], client, (random >> (20 + i)) % 64 == 0);
        left -= n;
    }
    return NULL;
}

/* Returns how many were cancelled. */
static size_t run_clients(embed_pool *pool, size_t requests)
{
    static struct client clients[THREADS];
    size_t cancelled = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        clients[i] = (struct client){.pool = pool, .rank = i, .requests = requests / THREADS};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, run_client, &clients[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(clients[i].thread, NULL);
        cancelled += clients[i].cancelled;
    }
    for (unsigned i = 0; i < THREADS; i++)
        if (clients[i].wrong != NULL) fail_msg("thread %u: %s", i, clients[i].wrong);
    return cancelled;
}

static void test_many_threads(void **state)
{
    (void)state;
    size_t files = count_entries("/proc/self/fd"), threads = count_entries("/proc/self/task");
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.instances = INSTANCES;
    options.queue_requests = 48; /* fewer than are in flight: some wait for room */
    embed_pool *pool = create(&options);

    size_t all = 0, cancelled = 0, drift = SIZE_MAX;
    double before = seconds();
    for (int phase = 0; phase < PHASES; phase++) {
        size_t resident = resident_bytes(), requests = requests_in_all() / PHASES / THREADS * THREADS;
        cancelled += run_clients(pool, requests);
        all += requests;
        size_t growth = resident_bytes() > resident ? resident_bytes() - resident : 0;
        if (growth < drift) drift = growth;
    }
    embed_metrics metrics = metrics_of(pool);
    print_message("%zu requests of %u threads in %.1f s: %llu texts in %llu batches, %zu cancelled, "
                  "in the calmest quarter resident memory grew by %zu KiB\n",
                  all, THREADS, seconds() - before, (unsigned long long)metrics.texts,
                  (unsigned long long)metrics.batches, cancelled, drift / 1024);
    assert_int_equal(metrics.requests[EMBED_OK] + metrics.requests[EMBED_CANCELLED], all);
    assert_int_equal(metrics.requests[EMBED_CANCELLED], cancelled);
    assert_int_equal(metrics.queued_requests + metrics.queued_tokens + metrics.computing_texts, 0);
    assert_true(metrics.batches < metrics.texts);
    /* A leak in each request would show in every phase, even one of 11 bytes. The word cache of a
     * token list, which grows to its full 256 KiB at some time, shows in one. */
    if (!IS_INSTRUMENTED) assert_true(drift < 256 << 10);
    embed_pool_destroy(pool);
    assert_int_equal(count_entries("/proc/self/fd"), files);
    assert_int_equal(count_entries("/proc/self/task"), threads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
