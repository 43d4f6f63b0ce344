/* test_bench_advice.c - what embed-bench sweep recommends and what it measures again, for made-up
 * points
 *
 * The sources are compiled into this test, since a sweep of real measurements cannot be given its
 * results.
 */
#include "../bench/embed_bench_common.c"
#include "../bench/embed_bench_outliers.c"
#include "../bench/embed_bench_recommend.c"
#include "../bench/embed_bench_source.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* ---- a sweep of made-up points ------------------------------------------------------------- */

static int measured_again;
static double rate_when_again; /* of the middle point, on remeasuring; 0: as before */

int sweep_signal(void)
{
    return 0;
}

void rounds_again(struct sweep *sweep, struct point *const *points, size_t count)
{
    (void)sweep;
    measured_again++;
    if (rate_when_again > 0) points[count / 2]->result.rate = rate_when_again;
}

static struct settings settings;
static struct sweep sweep;
static struct source source;
static struct point points[256];

static void add_values(struct axis *axis, const size_t *values, size_t count)
{
    axis->count = count;
    for (size_t i = 0; i < count; i++) axis->values[i] = values[i];
}

/* Makes a sweep of one length, 10 tokens; the points have no rate yet. */
static void make(size_t batches, const size_t *chunks, size_t chunk_count, size_t instances)
{
    static embed_text ids[2048];
    static size_t first_token[2049];
    memset(&settings, 0, sizeof settings);
    memset(points, 0, sizeof points);
    for (size_t i = 0; i < 2048; i++) first_token[i + 1] = 10 * (i + 1);
    source = (struct source){.period = 1, .count = 2048, .ids = ids, .first_token = first_token,
                             .mean_tokens = 10, .tokens = 10};
    for (size_t b = 0; b < batches; b++) settings.batch.values[b] = (size_t)1 << b;
    settings.batch.count = batches;
    add_values(&settings.chunks, chunks, chunk_count);
    add_values(&settings.instances, (const size_t[]){1, 2}, instances);
    sweep = (struct sweep){.settings = &settings, .library_chunk = 512, .sources = &source,
                           .source_count = 1, .points = points, .rounds = 3};
    sweep.info.device = EMBED_DEVICE_CPU;
    for (size_t i = 0; i < instances; i++)
        for (size_t c = 0; c < chunk_count; c++)
            for (size_t b = 0; b < batches; b++)
                points[sweep.count++] = (struct point){
                    .batch = (size_t)1 << b, .chunk = chunks[c], .instances = i + 1,
                    .source = &source, .outcome = POINT_MEASURED, .rounds = 3, .peak = 1000 + b};
}

/* Sets the same rate in all rounds, except that the machine is slower in the second. */
static void set_rate(struct point *point, double rate)
{
    point->rates[0] = point->rates[2] = rate;
    point->rates[1] = 0.5 * rate;
    point->result.rate = rate;
    point->result.compute = (double)(point->batch * point->instances) / rate;
}

/* Each call takes `fixed` seconds, and each text one millisecond. */
static void set_line(double fixed)
{
    for (size_t i = 0; i < sweep.count; i++) {
        double texts = (double)(points[i].batch * points[i].instances);
        set_rate(&points[i], texts / (fixed + 1e-3 * texts));
    }
}

/* ---- recommendations ----------------------------------------------------------------------- */

static const size_t one_chunk[] = {512};

/* 1 / (1 + fixed / b): 97 % of the mean of 256, 512 and 1024 is reached at 128. */
static void test_batch(void **state)
{
    (void)state;
    struct recommendation advice;
    make(11, one_chunk, 1, 1);
    set_line(4e-3);
    recommend(&advice, &sweep);
    assert_true(advice.found);
    assert_int_equal(advice.batch, 128);
    assert_int_equal(advice.batch_tokens, 1280);
    assert_int_equal(advice.largest_tokens, 10240);
    assert_int_equal(advice.chunk, 512);
    assert_int_equal(advice.instances, 1);
    assert_int_equal(advice.peak, 1007);
    assert_non_null(strstr(advice.batch_reason, "within 3 %"));
}

/* Without a fixed cost, one text at a time is best; a lucky point does not change that. */
static void test_flat(void **state)
{
    (void)state;
    struct recommendation advice;
    make(8, one_chunk, 1, 1);
    set_line(0);
    set_rate(&points[5], 1040);
    recommend(&advice, &sweep);
    assert_int_equal(advice.batch, 1);
    assert_int_equal(advice.delay_microseconds, 0);
}

/* A minute in which the machine was busy affects a whole round, not a point. */
static void test_slow_round(void **state)
{
    (void)state;
    struct recommendation calm, busy;
    make(11, one_chunk, 1, 1);
    set_line(4e-3);
    recommend(&calm, &sweep);
    for (size_t i = 0; i < sweep.count; i++) points[i].rates[0] *= 0.3;
    recommend(&busy, &sweep);
    assert_int_equal(busy.batch, calm.batch);
}

static void test_chunk(void **state)
{
    (void)state;
    static const size_t chunks[] = {256, 512, 1024};
    struct recommendation advice;
    make(6, chunks, 3, 1);
    set_line(0);
    recommend(&advice, &sweep);
    assert_int_equal(advice.chunk, 512); /* the library's own, if all are equal */
    for (size_t i = 0; i < sweep.count; i++)
        if (points[i].chunk == 1024) set_rate(&points[i], 1100);
    recommend(&advice, &sweep);
    assert_int_equal(advice.chunk, 1024);
    for (size_t i = 0; i < sweep.count; i++)
        if (points[i].chunk == 256) points[i].outcome = POINT_DOES_NOT_FIT, points[i].rounds = 0;
    recommend(&advice, &sweep);
    assert_int_equal(advice.chunk, 1024); /* compared with one that was measured */
}

static void test_instances(void **state)
{
    (void)state;
    struct recommendation advice;
    make(6, one_chunk, 1, 2);
    for (size_t i = 0; i < sweep.count; i++)
        set_rate(&points[i], points[i].instances == 2 ? 1020 : 1000);
    recommend(&advice, &sweep);
    assert_int_equal(advice.instances, 1);
    for (size_t i = 0; i < sweep.count; i++)
        set_rate(&points[i], points[i].instances == 2 ? 1300 : 1000);
    recommend(&advice, &sweep);
    assert_int_equal(advice.instances, 2);
}

/* The delay is the fixed cost of a call, unless a pool waits that long by itself. */
static void test_delay(void **state)
{
    (void)state;
    struct recommendation advice;
    make(11, one_chunk, 1, 1);
    set_line(2.5e-3);
    recommend(&advice, &sweep);
    assert_int_equal(advice.delay_microseconds, 2000);
    set_line(0.3e-3);
    recommend(&advice, &sweep);
    assert_int_equal(advice.delay_microseconds, 0); /* less than the 500 us of 16 texts */
}

static void test_nothing(void **state)
{
    (void)state;
    struct recommendation advice;
    make(3, one_chunk, 1, 1);
    for (size_t i = 0; i < sweep.count; i++) points[i].outcome = POINT_WAITS, points[i].rounds = 0;
    recommend(&advice, &sweep);
    assert_false(advice.found);
}

/* ---- outliers ------------------------------------------------------------------------------ */

static void test_line_is_not_odd(void **state)
{
    (void)state;
    make(11, one_chunk, 1, 1);
    set_line(16e-3);
    measured_again = 0;
    outliers_check(&sweep);
    assert_int_equal(measured_again, 0);
}

/* A dip that shows again is reported, with the stage. */
static void test_dip(void **state)
{
    (void)state;
    make(9, one_chunk, 1, 1);
    set_line(4e-3);
    set_rate(&points[5], 0.7 * points[5].result.rate);
    measured_again = 0;
    rate_when_again = 0;
    outliers_check(&sweep);
    assert_int_equal(measured_again, 1);
    assert_non_null(strstr(points[5].note, "off its neighbours, and so again: computing takes"));
    assert_string_equal(points[4].note, "");
    assert_string_equal(points[6].note, "");
}

static void test_tokenizing(void **state)
{
    (void)state;
    make(9, one_chunk, 1, 1);
    set_line(4e-3);
    double call = (double)points[5].batch / points[5].result.rate;
    double compute = points[5].result.compute;
    set_rate(&points[5], 0.6 * points[5].result.rate);
    points[5].result.compute = compute;
    points[5].result.tokenize = call / 0.6 - call;
    outliers_check(&sweep);
    assert_non_null(strstr(points[5].note, "tokenizing takes"));
}

static void test_once(void **state)
{
    (void)state;
    make(9, one_chunk, 1, 1);
    set_line(4e-3);
    rate_when_again = points[5].result.rate;
    set_rate(&points[5], 0.7 * points[5].result.rate);
    outliers_check(&sweep);
    rate_when_again = 0;
    assert_non_null(strstr(points[5].note, "at first and not again"));
}

/* The largest batch has one neighbour: its texts must not take longer. */
static void test_end(void **state)
{
    (void)state;
    make(9, one_chunk, 1, 1);
    set_line(0);
    set_rate(&points[8], 0.75 * points[8].result.rate);
    measured_again = 0;
    outliers_check(&sweep);
    assert_int_equal(measured_again, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch),           cmocka_unit_test(test_flat),
        cmocka_unit_test(test_slow_round),      cmocka_unit_test(test_chunk),
        cmocka_unit_test(test_instances),       cmocka_unit_test(test_delay),
        cmocka_unit_test(test_nothing),         cmocka_unit_test(test_line_is_not_odd),
        cmocka_unit_test(test_dip),             cmocka_unit_test(test_tokenizing),
        cmocka_unit_test(test_once),            cmocka_unit_test(test_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
