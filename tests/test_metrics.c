/* test_metrics.c - totals recorded by several threads, percentiles compared with sorted values,
 * rates */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "service/distribution.h"
#include "service/metrics.h"
#include "service/rate.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS 8

/* ---- a distribution ------------------------------------------------------------------------ */

static uint64_t random_state = 0x9E3779B97F4A7C15u;

/* xorshift64*, https://doi.org/10.1145/2845077 */
static uint64_t random_bits(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(0x2545F4914F6CDD1D);
}

static double random_unit(void)
{
    return (double)((random_bits() >> 11) + 1) / 9007199254740993.0; /* (0, 1) */
}

static uint64_t constant(size_t i) { (void)i; return 1000003; }
static uint64_t uniform(size_t i) { (void)i; return random_bits() % 100000; }
static uint64_t exponential(size_t i) { (void)i; return (uint64_t)(-5000 * log(random_unit())); }
static uint64_t heavy_tail(size_t i) { (void)i; return (uint64_t)(100 / pow(random_unit(), 2)); }
static uint64_t small(size_t i) { (void)i; return random_bits() % 16; }
static uint64_t all_magnitudes(size_t i) { (void)i; return random_bits() >> (random_bits() % 64); }
static uint64_t powers_and_neighbours(size_t i) { return (UINT64_C(1) << i / 3 % 50) - 1 + i % 3; }
static uint64_t two_peaks(size_t i) { return i % 100 < 95 ? 20 : 3000000; } /* p95 is at the edge */
static uint64_t zero(size_t i) { (void)i; return 0; }
static uint64_t largest(size_t i) { (void)i; return UINT64_MAX; }

static int compare_values(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Returns the smallest value that at least percent% of the sorted values do not exceed. */
static double exact_percentile(const uint64_t *values, size_t n, unsigned percent)
{
    return (double)values[(n * percent + 99) / 100 - 1];
}

static void check_percentile(const char *name, size_t n, unsigned percent, double got, double exact)
{
    if (!(fabs(got - exact) <= exact / 16) || (exact < 16 && got != exact))
        fail_msg("p%u of %zu %s is %.0f, told as %.0f", percent, n, name, exact, got);
}

static void check_buckets(const char *name, const embed_distribution *out, const uint64_t *values,
                          size_t n)
{
    size_t i = 0;
    for (int k = 0; k < EMBED_BUCKETS; k++) {
        uint64_t inside = 0;
        for (; i < n && (k == EMBED_BUCKETS - 1 || values[i] < UINT64_C(1) << k); i++) inside++;
        if (out->buckets[k] != inside)
            fail_msg("%s: bucket %d has %ju, must have %ju", name, k, (uintmax_t)out->buckets[k],
                     (uintmax_t)inside);
    }
}

static void check_distribution(const char *name, uint64_t (*draw)(size_t), size_t n)
{
    static struct distribution distribution;
    static uint64_t values[100000];
    memset(&distribution, 0, sizeof distribution);
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        values[i] = draw(i);
        sum += values[i];
        distribution_record(&distribution, values[i]);
    }
    qsort(values, n, sizeof *values, compare_values);
    embed_distribution out;
    distribution_read(&distribution, &out);
    assert_int_equal(out.count, n);
    assert_true(out.sum == (double)sum);
    assert_true(out.largest == (double)values[n - 1]);
    assert_true(out.p50 <= out.p95 && out.p95 <= out.p99 && out.p99 <= out.largest);
    check_percentile(name, n, 50, out.p50, exact_percentile(values, n, 50));
    check_percentile(name, n, 95, out.p95, exact_percentile(values, n, 95));
    check_percentile(name, n, 99, out.p99, exact_percentile(values, n, 99));
    check_buckets(name, &out, values, n);
}

static void test_percentiles(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t (*draw)(size_t);
    } cases[] = {{"equal values", constant},
                 {"uniform values", uniform},
                 {"exponential values", exponential},
                 {"values with a heavy tail", heavy_tail},
                 {"values below 16", small},
                 {"values of all magnitudes", all_magnitudes},
                 {"powers of two and their neighbours", powers_and_neighbours},
                 {"values of two peaks", two_peaks},
                 {"zeros", zero},
                 {"largest values", largest}};
    static const size_t counts[] = {1, 2, 3, 20, 99, 100, 101, 1000, 100000};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++)
            check_distribution(cases[i].name, cases[i].draw, counts[k]);
}

/* Values at the start and the end of each bucket, for each power of two. */
static void test_every_bucket(void **state)
{
    (void)state;
    for (unsigned exponent = 0; exponent < 64; exponent++) {
        for (uint64_t part = 0; part < 32; part++) {
            uint64_t power = UINT64_C(1) << exponent;
            uint64_t value = power + (exponent >= 5 ? part * (power / 32) : part % power);
            struct distribution distribution = {0};
            embed_distribution out;
            distribution_record(&distribution, value);
            distribution_record(&distribution, value - 1);
            distribution_record(&distribution, UINT64_MAX); /* so that `largest` does not clip */
            distribution_read(&distribution, &out);
            check_percentile("values", 3, 50, out.p50, (double)value);
        }
    }
}

static void test_empty(void **state)
{
    (void)state;
    struct distribution distribution = {0};
    embed_distribution out, none = EMBED_DISTRIBUTION_NONE;
    memset(&out, 0x55, sizeof out);
    distribution_read(&distribution, &out);
    assert_memory_equal(&out, &none, sizeof out);
}

/* ---- the rate ------------------------------------------------------------------------------ */

#define SECOND UINT64_C(1000000)

static void assert_near(double got, double wanted)
{
    if (!(fabs(got - wanted) <= 1e-9 * wanted)) fail_msg("%.12g, must be %.12g", got, wanted);
}

static void test_rate(void **state)
{
    (void)state;
    struct rate rate = {0};
    assert_true(rate_read(&rate, 0) == 0);
    assert_true(rate_read(&rate, 1) == 0);

    /* Younger than ten seconds: the rate over its age. */
    rate_record(&rate, 0, 30);
    assert_near(rate_read(&rate, SECOND / 2), 60);
    rate_record(&rate, 2 * SECOND, 10);
    assert_near(rate_read(&rate, 4 * SECOND), 10);
    assert_near(rate_read(&rate, 10 * SECOND - 1), 40 * 1e6 / (10e6 - 1));

    /* Older events leave gradually. */
    assert_near(rate_read(&rate, 10 * SECOND), 4);
    assert_near(rate_read(&rate, 10 * SECOND + SECOND / 2), (30 * 0.5 + 10) / 10);
    assert_near(rate_read(&rate, 11 * SECOND), 1);
    assert_near(rate_read(&rate, 12 * SECOND + SECOND / 4), 0.75);
    assert_true(rate_read(&rate, 13 * SECOND) == 0);

    /* A second that reuses the slot of an older one, and an event too late for its second. */
    rate_record(&rate, (2 + RATE_SLOTS) * SECOND, 50);
    assert_near(rate_read(&rate, (3 + RATE_SLOTS) * SECOND), 5);
    rate_record(&rate, 2 * SECOND, 1000);
    assert_near(rate_read(&rate, (3 + RATE_SLOTS) * SECOND), 5);

    /* A day later, and more events in a second than its counter holds. */
    uint64_t day = 86400 * SECOND;
    assert_true(rate_read(&rate, day) == 0);
    rate_record(&rate, day, UINT64_MAX);
    rate_record(&rate, day, 7);
    assert_near(rate_read(&rate, day), UINT32_MAX / 10.0);
}

/* Steady work gives its rate at any moment. */
static void test_steady_rate(void **state)
{
    (void)state;
    struct rate rate = {0};
    for (uint64_t tick = 0; tick < 3000; tick++) { /* 10 ms each */
        rate_record(&rate, tick * 10000, 3);
        assert_near(rate_read(&rate, (tick + 1) * 10000), 300);
    }
}

struct rate_threads {
    struct rate rate;
    pthread_barrier_t barrier;
};

/* All threads reach the same new second together, and each tries to replace the slot's old one.
 * When all have counted, each sees the last ten seconds: 2000 times 1, 2, 3, 1, ... by each
 * thread. */
static void *count_seconds(void *argument)
{
    struct rate_threads *shared = argument;
    void *wrong = NULL;
    for (uint64_t second = 0; second < 400; second++) {
        for (uint64_t i = 0; i < 2000; i++)
            rate_record(&shared->rate, second * SECOND + i, 1 + i % 3);
        pthread_barrier_wait(&shared->barrier);
        if (rate_read(&shared->rate, (second + 1) * SECOND) != THREADS * 3999) wrong = shared;
        pthread_barrier_wait(&shared->barrier);
    }
    return wrong;
}

static void test_rate_of_threads(void **state)
{
    (void)state;
    struct rate_threads shared = {0};
    pthread_t threads[THREADS];
    pthread_barrier_init(&shared.barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_seconds, &shared), 0);
    void *wrong = NULL;
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        if (result != NULL) wrong = result;
    }
    pthread_barrier_destroy(&shared.barrier);
    assert_null(wrong);
}

/* ---- metrics ------------------------------------------------------------------------------- */

#define ROUNDS 240000 /* a multiple of every modulus applied to a round's number */

static pthread_barrier_t start; /* without it, one thread might finish before the next begins */

/* Each round records a request, a batch and two texts. Every value shows in the totals. */
static void *record(void *argument)
{
    struct metrics *metrics = argument;
    pthread_barrier_wait(&start);
    for (uint64_t i = 0; i < ROUNDS; i++) {
        embed_status status = (embed_status)(i % EMBED_STATUS_COUNT);
        bool is_refused = status == EMBED_BUSY || status == EMBED_CLOSED;
        if (is_refused) metrics_request_refused(metrics, status);
        else metrics_request_completed(metrics, status, i);
        metrics_batch(metrics, 2, 10 + i % 5, i % 3, 100 * i);
        metrics_text(metrics, i, i % 2 == 0 ? EMBED_PATH_RETRIED | EMBED_PATH_SPLIT : 0, EMBED_OK);
        metrics_text(metrics, 3 * i, i % 4 == 0 ? EMBED_PATH_F32 : i % 4 == 1 ? EMBED_PATH_CPU : 0,
                     i % 8 < 2 ? EMBED_NOT_FINITE : EMBED_OK);
    }
    return NULL;
}

/* Reads while others record: nothing exceeds its possible value, and nothing counted is missing. */
static void *read_meanwhile(void *argument)
{
    struct metrics *metrics = argument;
    embed_metrics out = EMBED_METRICS_INIT;
    uint64_t before = 0;
    for (int i = 0; i < 200; i++) {
        metrics_read(metrics, &out);
        if (out.batches < before || out.batches > THREADS * ROUNDS) return "batches";
        if (out.texts < 2 * out.batches || out.batch_texts.largest > 2) return "texts";
        if (out.batches > 0 && out.batch_texts.p99 != 2) return "texts of a batch";
        if (out.compute_microseconds.p99 > out.compute_microseconds.largest) return "p99";
        before = out.batches;
    }
    return NULL;
}

static void check_totals(const embed_metrics *out)
{
    const uint64_t n = THREADS * ROUNDS, sum = (uint64_t)THREADS * ROUNDS * (ROUNDS - 1) / 2;
    for (int i = 0; i < EMBED_STATUS_COUNT; i++)
        assert_int_equal(out->requests[i], n / EMBED_STATUS_COUNT);
    assert_int_equal(out->latency_microseconds.count, n / EMBED_STATUS_COUNT * 14);
    assert_int_equal(out->batches, n);
    assert_int_equal(out->texts, 2 * n);
    assert_int_equal(out->tokens, 12 * n);
    assert_int_equal(out->generated_tokens, n);
    assert_int_equal(out->batch_texts.buckets[2], n); /* from 2 to below 4 */
    assert_int_equal(out->batch_tokens.count, n);
    assert_true(out->batch_tokens.largest == 14);
    assert_true(out->compute_microseconds.sum == 100 * (double)sum);
    assert_true(out->compute_microseconds.largest == 100 * (ROUNDS - 1));
    assert_int_equal(out->queued_microseconds.count, 2 * n);
    assert_true(out->queued_microseconds.sum == 4 * (double)sum);
    assert_int_equal(out->texts_retried, n / 2);
    assert_int_equal(out->texts_split, n / 2);
    assert_int_equal(out->texts_on_cpu, n / 4);
    assert_int_equal(out->texts_not_finite, n / 4 + n / 8); /* i % 4 == 0, or i % 8 == 1 */
}

static void test_threads(void **state)
{
    (void)state;
    struct metrics *metrics;
    pthread_t threads[THREADS], reader;
    assert_int_equal(metrics_create(&metrics), EMBED_OK);
    pthread_barrier_init(&start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, record, metrics), 0);
    assert_int_equal(pthread_create(&reader, NULL, read_meanwhile, metrics), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    void *wrong = NULL;
    pthread_join(reader, &wrong);
    pthread_barrier_destroy(&start);
    if (wrong != NULL) fail_msg("while others recorded: %s", (char *)wrong);
    embed_metrics out = EMBED_METRICS_INIT;
    metrics_read(metrics, &out);
    check_totals(&out);
    metrics_destroy(metrics);
}

/* Age and rate follow the metrics' own clock; what the pool fills in is not changed. */
static void test_read(void **state)
{
    (void)state;
    struct metrics *metrics;
    assert_int_equal(metrics_create(&metrics), EMBED_OK);
    embed_metrics out = EMBED_METRICS_INIT;
    out.state = EMBED_POOL_DEGRADED;
    strcpy(out.reason, "why");
    out.queued_requests = 1, out.queued_tokens = 2, out.computing_texts = 3, out.instances = 4;
    out.instances_at_first = 5, out.instance_batch_tokens = 6, out.instance_bytes = 7;
    out.weight_bytes = 8, out.device_free_bytes = 9, out.device_bytes = 10;
    embed_metrics before = out;

    metrics_batch(metrics, 100, 700, 0, 5000);
    usleep(20000);
    metrics_read(metrics, &out);
    assert_true(out.seconds >= 0.02 && out.seconds < 9);
    assert_near(out.texts_per_second, 100 / out.seconds);
    before.seconds = out.seconds, before.texts_per_second = out.texts_per_second;
    before.texts = 100, before.tokens = 700, before.batches = 1;
    before.batch_texts = out.batch_texts, before.batch_tokens = out.batch_tokens;
    before.compute_microseconds = out.compute_microseconds;
    assert_memory_equal(&out, &before, sizeof out);
    metrics_destroy(metrics);
    metrics_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_percentiles), cmocka_unit_test(test_every_bucket),
        cmocka_unit_test(test_empty),       cmocka_unit_test(test_rate),
        cmocka_unit_test(test_steady_rate), cmocka_unit_test(test_rate_of_threads),
        cmocka_unit_test(test_threads),     cmocka_unit_test(test_read),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
