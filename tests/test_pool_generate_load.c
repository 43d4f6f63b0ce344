/* test_pool_generate_load.c - a pool that generates under load: 16 threads, each with several
 * requests in flight
 *
 * POOL_REQUESTS sets the total number of requests; the default is 9,600, which take some seconds,
 * and fewer under a sanitizer.
 */
#include "pool_generate_test.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 16, INSTANCES = 2, MOST_TEXTS = 3, FLIGHTS = 3 };

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { REQUESTS = 480 };
#else
enum { REQUESTS = 9600 };
#endif

struct client {
    embed_pool *pool;
    pthread_t thread;
    unsigned rank;
    size_t requests, texts, cancelled;
    const char *wrong;
};

/* A request in flight, and how often it has completed. */
struct flight {
    embed_ticket *ticket;
    embed_generate_options options;
    int kind;
    size_t first, n;
    embed_strings out;
    atomic_uint texts_done, ended;
};

static int count_text(void *flight, size_t i, const embed_generated *summary)
{
    (void)i;
    (void)summary;
    atomic_fetch_add(&((struct flight *)flight)->texts_done, 1);
    return 1;
}

static void count_end(void *flight, embed_status status, const char *message)
{
    (void)status;
    (void)message;
    atomic_fetch_add(&((struct flight *)flight)->ended, 1);
}

/* Most requests want few tokens; some are of other kinds, and split. */
static const char *start(struct flight *flight, struct client *client, uint64_t random)
{
    memset(flight, 0, sizeof *flight);
    flight->out = (embed_strings)EMBED_STRINGS_INIT;
    flight->kind = (random >> 32) % 32 < 30 ? 2 : (random >> 40) % 2 == 0 ? 1 : 3;
    flight->n = 1 + random % MOST_TEXTS;
    flight->first = (random >> 8) % (DOCUMENTS - MOST_TEXTS);
    flight->options = kinds[flight->kind];
    flight->options.done = count_text;
    flight->options.user = flight;
    embed_request request = EMBED_REQUEST_INIT;
    request.texts = texts + flight->first;
    request.n = flight->n;
    request.generate = &flight->options;
    request.strings = &flight->out;
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
        client->texts += atomic_load(&flight->texts_done);
        return flight->out.items == NULL ? NULL : "summaries of a request that was cancelled";
    }
    if (status != EMBED_OK) return "status";
    const char *wrong = flight->out.count == flight->n ? NULL : "number of summaries";
    for (size_t i = 0; i < flight->n && wrong == NULL; i++)
        wrong = check_summary(&flight->out.items[i], flight->kind, flight->first + i);
    client->texts += flight->n;
    if (atomic_load(&flight->texts_done) != flight->n) wrong = "texts not told once";
    embed_strings_free(&flight->out);
    return wrong;
}

static void *run_client(void *argument)
{
    struct client *client = argument;
    struct flight flights[FLIGHTS];
    uint64_t random = 0x9E3779B97F4A7C15u * (client->rank + 1);
    for (size_t left = client->requests; left > 0 && client->wrong == NULL; left -= FLIGHTS) {
        for (size_t i = 0; i < FLIGHTS && client->wrong == NULL; i++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            client->wrong = start(&flights[i], client, random);
        }
        for (size_t i = 0; i < FLIGHTS && client->wrong == NULL; i++)
            client->wrong = finish(&flights[i], client, (random >> (20 + i)) % 64 == 0);
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    (void)state;
    static struct client clients[THREADS];
    const char *wished = getenv("POOL_REQUESTS");
    size_t each = (wished != NULL ? strtoul(wished, NULL, 10) : REQUESTS) / THREADS / FLIGHTS * FLIGHTS;
    size_t all = each * THREADS, cancelled = 0, computed = 0;
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.instances = INSTANCES;
    options.documents = 6;
    options.queue_requests = 24; /* fewer than are in flight: some wait for room */
    embed_pool *pool = create(&options);
    double before = seconds();
    for (unsigned i = 0; i < THREADS; i++) {
        clients[i] = (struct client){.pool = pool, .rank = i, .requests = each};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, run_client, &clients[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(clients[i].thread, NULL);
        cancelled += clients[i].cancelled;
        computed += clients[i].texts;
    }
    for (unsigned i = 0; i < THREADS; i++)
        if (clients[i].wrong != NULL) fail_msg("thread %u: %s", i, clients[i].wrong);
    embed_metrics metrics = metrics_of(pool);
    print_message("%zu requests of %u threads in %.1f s: %zu summaries, %zu requests cancelled\n",
                  all, THREADS, seconds() - before, computed, cancelled);
    assert_int_equal(metrics.requests[EMBED_OK] + metrics.requests[EMBED_CANCELLED], all);
    assert_int_equal(metrics.requests[EMBED_CANCELLED], cancelled);
    assert_int_equal(metrics.texts, computed);
    assert_int_equal(metrics.queued_requests + metrics.queued_tokens + metrics.computing_texts, 0);
    assert_true(metrics.texts_per_second > 0);
    embed_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests(tests, open_tiny_bart, close_tiny_bart);
}
