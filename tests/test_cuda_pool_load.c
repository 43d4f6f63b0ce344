/* test_cuda_pool_load.c - how well a pool uses its device, and its behaviour under overload
 *
 * Runs on the emulated device with its latency model: kernels take time but are not computed, so
 * that the processor is free for the clients. The figures describe the pool, not a GPU.
 */
#include "pool_test.h"

#include "emu/emulator.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { WORKERS = 8, UNDER_WAY = 16 };

/* Makes a device on which a chunk takes a fixed time, plus a time per token. */
static void open_device(double launch_microseconds, double row_microseconds)
{
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    emulator_reset();
    emulator_set_latency(launch_microseconds, row_microseconds);
    options.device = EMBED_DEVICE_CUDA;
    options.threads = 1;
    if (embed_model_open(&model, TINY, &options) != EMBED_OK) fail_msg("%s", embed_error_message());
}

/* ---- small requests ------------------------------------------------------------------------ */

/* Returns the texts per second of one caller with n texts per call. */
static double run_one_caller(size_t n)
{
    embed_instance *instance = NULL;
    float *rows = calloc(n * WIDTH, sizeof *rows);
    embed_text *many = calloc(n, sizeof *many);
    for (size_t i = 0; i < n; i++) many[i] = texts[i % lines.count];
    assert_int_equal(embed_instance_create(&instance, model, NULL), EMBED_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(embed_instance_encode(instance, many, n, NULL, rows, n * WIDTH, NULL), 0);
    double begin = seconds();
    size_t done = 0;
    while (seconds() < begin + 1) {
        assert_int_equal(embed_instance_encode(instance, many, n, NULL, rows, n * WIDTH, NULL), 0);
        done += n;
    }
    double rate = (double)done / (seconds() - begin);
    embed_instance_destroy(instance);
    free(many);
    free(rows);
    return rate;
}

struct worker {
    pthread_t thread;
    embed_pool *pool;
    size_t texts, under_way, done;
    double end;
    const char *wrong;
};

/* Submits requests of some texts each, a fixed number of them in flight. */
static void *run_worker(void *argument)
{
    struct worker *worker = argument;
    embed_ticket *tickets[UNDER_WAY] = {NULL};
    float *rows = calloc(UNDER_WAY * worker->texts * WIDTH, sizeof *rows);
    for (size_t i = 0; seconds() < worker->end && worker->wrong == NULL; i++) {
        size_t slot = i % worker->under_way;
        if (tickets[slot] != NULL) {
            if (embed_ticket_wait(tickets[slot], EMBED_WAIT_FOREVER) != EMBED_OK)
                worker->wrong = "wait";
            embed_ticket_free(tickets[slot]);
            worker->done += worker->texts;
        }
        embed_request request = EMBED_REQUEST_INIT;
        request.texts = texts + i * worker->texts % lines.count; /* all equally often */
        request.n = worker->texts;
        request.out = rows + slot * worker->texts * WIDTH;
        request.capacity = worker->texts * WIDTH;
        request.wait_for_room = 1;
        if (embed_pool_submit(worker->pool, &request, &tickets[slot]) != EMBED_OK)
            worker->wrong = "submit";
    }
    for (size_t slot = 0; slot < worker->under_way; slot++) {
        if (tickets[slot] == NULL) continue;
        embed_ticket_wait(tickets[slot], EMBED_WAIT_FOREVER);
        embed_ticket_free(tickets[slot]);
        worker->done += worker->texts;
    }
    free(rows);
    return NULL;
}

static double run_workers(size_t in_request, size_t under_way, unsigned instances)
{
    struct worker workers[WORKERS];
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    size_t done = 0;
    options.instances = instances;
    options.warm_up = EMBED_OFF; /* would take seconds of the device's time */
    embed_pool *pool = create(&options);
    double begin = seconds();
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.pool = pool, .texts = in_request, .under_way = under_way,
                                     .end = begin + 1};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]), 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_null(workers[i].wrong);
        done += workers[i].done;
    }
    double rate = (double)done / (seconds() - begin);
    embed_metrics metrics = metrics_of(pool);
    print_message("%u instances, %d workers, %zu requests of %zu texts under way: %.0f texts/s, "
                  "batches of %.0f texts, p50 %.1f ms, p99 %.1f ms\n",
                  instances, WORKERS, under_way, in_request, rate,
                  metrics.batch_texts.sum / (double)metrics.batch_texts.count,
                  metrics.latency_microseconds.p50 * 1e-3, metrics.latency_microseconds.p99 * 1e-3);
    embed_pool_destroy(pool);
    return rate;
}

static void test_small_requests(void **state)
{
    (void)state;
    open_device(20, 2); /* a token takes 16 us: this device does a few thousand texts per second */
    double big = run_one_caller(1024);
    print_message("one caller, 1024 texts a call: %.0f texts/s\n", big);
    double alone = run_one_caller(1);
    print_message("one caller, 1 text a call: %.0f texts/s\n", alone);
    double blocking = run_workers(1, 1, 2);
    double few = run_workers(1, UNDER_WAY, 2), some = run_workers(16, 1, 2);
    assert_true(blocking > alone);
    assert_true(few >= 0.9 * big);
    assert_true(some >= 0.9 * big);
    embed_model_close(model);
    model = NULL;
}

/* ---- overload ------------------------------------------------------------------------------ */

/* Requests at a fixed rate, whether the pool keeps up or not. */
struct storm {
    embed_pool *pool;
    double rate; /* requests per second */
    double end;
    unsigned rank;
    size_t good, late, expired, refused, wrong;
    size_t slow_refusals; /* that took more than a millisecond */
    double latest;        /* seconds after the deadline */
};

enum { DEADLINE = 100, RING = 4096, SENDERS = 2 };

struct sent {
    struct storm *storm;
    double at;
    float row[WIDTH];
    atomic_int status; /* -1 while in flight */
};

static void note_end(void *argument, embed_status status, const char *message)
{
    struct sent *sent = argument;
    (void)message;
    double late = seconds() - sent->at - DEADLINE * 1e-3;
    if (status == EMBED_OK && late > 0) sent->at = -late;
    atomic_store(&sent->status, (int)status);
}

static void collect(struct storm *storm, struct sent *sent)
{
    int status = atomic_load(&sent->status);
    if (status == EMBED_OK && sent->at < 0) {
        storm->late++;
        if (-sent->at > storm->latest) storm->latest = -sent->at;
    } else if (status == EMBED_OK) storm->good++;
    else if (status == EMBED_EXPIRED) storm->expired++;
    else storm->wrong++;
}

static void send_one(struct storm *storm, struct sent *sent, size_t i)
{
    embed_request request = EMBED_REQUEST_INIT;
    request.texts = texts + i % lines.count;
    request.n = 1;
    request.out = sent->row;
    request.capacity = WIDTH;
    request.deadline_milliseconds = DEADLINE;
    request.done = note_end;
    request.user = sent;
    sent->at = seconds();
    atomic_store(&sent->status, -1);
    embed_status status = embed_pool_submit(storm->pool, &request, NULL);
    double took = seconds() - sent->at;
    if (status == EMBED_OK) return;
    atomic_store(&sent->status, EMBED_BUSY);
    storm->refused += status == EMBED_BUSY;
    storm->wrong += status != EMBED_BUSY;
    storm->slow_refusals += took > 1e-3;
}

static void *rage(void *argument)
{
    struct storm *storm = argument;
    struct sent *ring = calloc(RING, sizeof *ring);
    double begin = seconds();
    size_t i = 0;
    for (size_t s = 0; s < RING; s++) atomic_store(&ring[s].status, EMBED_BUSY);
    while (seconds() < storm->end) {
        double due = begin + (double)i / storm->rate, now = seconds();
        if (now < due) {
            double wait = due - now;
            nanosleep(&(struct timespec){0, (long)(1e9 * (wait < 0.9 ? wait : 0.9))}, NULL);
            continue;
        }
        struct sent *sent = &ring[i % RING];
        int status = atomic_load(&sent->status);
        if (status == -1) continue;
        if (status != EMBED_BUSY) collect(storm, sent);
        send_one(storm, sent, i * SENDERS + storm->rank);
        i++;
    }
    embed_pool_close(storm->pool, 60000);
    for (size_t s = 0; s < RING; s++)
        if (atomic_load(&ring[s].status) != EMBED_BUSY) collect(storm, &ring[s]);
    free(ring);
    return NULL;
}

static struct storm run_storm(double rate, double length, double *batch)
{
    struct storm sum = {0}, storms[SENDERS];
    pthread_t threads[SENDERS];
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.instances = 2;
    options.batch_tokens = 1024;
    options.warm_up = EMBED_OFF;
    embed_pool *pool = create(&options);
    double end = seconds() + length;
    for (unsigned i = 0; i < SENDERS; i++) {
        storms[i] = (struct storm){.pool = pool, .rate = rate / SENDERS, .end = end, .rank = i};
        assert_int_equal(pthread_create(&threads[i], NULL, rage, &storms[i]), 0);
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
        sum.good += storms[i].good;
        sum.late += storms[i].late;
        sum.expired += storms[i].expired;
        sum.refused += storms[i].refused;
        sum.wrong += storms[i].wrong;
        sum.slow_refusals += storms[i].slow_refusals;
        if (storms[i].latest > sum.latest) sum.latest = storms[i].latest;
    }
    *batch = metrics_of(pool).compute_microseconds.largest * 1e-6;
    embed_pool_destroy(pool);
    return sum;
}

/* Under any load the device's full rate is reached, no request is late by more than a batch, and
 * rejections are immediate. */
static void test_overload(void **state)
{
    (void)state;
    double batch, length = 1.5;
    open_device(20, 2);
    double capacity = run_workers(1, UNDER_WAY, 2);
    static const int times[] = {1, 2, 5, 10};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        struct storm storm = run_storm(times[i] * capacity, length, &batch);
        double good = (double)storm.good / length;
        print_message("%2dx: %.0f in time a second, %.2f of the capacity; %zu late, by up to %.1f ms (a "
                      "batch takes up to %.1f), %zu expired, %zu refused, %zu of them after 1 ms\n",
                      times[i], good, good / capacity, storm.late, storm.latest * 1e3, batch * 1e3,
                      storm.expired, storm.refused, storm.slow_refusals);
        assert_int_equal(storm.wrong, 0);
        assert_true(times[i] == 1 || good >= 0.9 * capacity);
        assert_true(storm.latest <= batch);
        assert_true(storm.slow_refusals <= storm.refused / 100);
    }
    embed_model_close(model);
    model = NULL;
}

int main(void)
{
    setenv("EMBED_CUDA_PLUGIN", EMULATED_PLUGIN, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_requests),
        cmocka_unit_test(test_overload),
    };
    return cmocka_run_group_tests(tests, read_texts, close_tiny);
}
