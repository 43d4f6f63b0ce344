/* test_kernels_decode.c - the decoder's operations, on every instruction set of this machine and in
 * every dtype, compared with the naive ones
 *
 * All memory ends at an inaccessible page, and what an operation must not use is NaN. The naive
 * kernels compute in FP32 on the same numbers.
 */
#include "bf16_test.h"
#include "kernels/beam_search.h"

#include <sys/mman.h>
#include <unistd.h>

#define FOR_EACH_KERNELS(k)                                                                      \
    const struct cpu_kernels *k;                                                                 \
    for (size_t k##_i = 0; (k = cpu_kernels_available(k##_i)) != NULL; k##_i++)

/* ---- memory that ends at a guard page ------------------------------------------------------ */

static size_t pages_of(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

static void *guarded(size_t bytes)
{
    size_t pages = pages_of(bytes), page = pages_of(1);
    char *block = mmap(NULL, page + pages + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(block != MAP_FAILED);
    assert_int_equal(mprotect(block + page, pages, PROT_READ | PROT_WRITE), 0);
    return block + page + pages - bytes;
}

static void guarded_free(void *memory, size_t bytes)
{
    size_t pages = pages_of(bytes), page = pages_of(1);
    munmap((char *)memory + bytes - pages - page, page + pages + page);
}

/* Numbers in the kernels' dtype, and the same in FP32. */
struct matrix {
    float *floats;
    void *elements;
    size_t count, element_bytes;
};

static struct matrix matrix(const struct cpu_kernels *k, size_t count)
{
    size_t each = k->element_bytes;
    return (struct matrix){zeros(count), guarded(count * each), count, each};
}

static void matrix_free(struct matrix m)
{
    guarded_free(m.elements, m.count * m.element_bytes);
    free(m.floats);
}

static void matrix_set(struct matrix m, size_t i, float x)
{
    if (m.element_bytes == sizeof(float)) {
        ((float *)m.elements)[i] = m.floats[i] = x;
    } else {
        uint16_t element = isnan(x) ? 0x7FC0 : rounded(x);
        ((uint16_t *)m.elements)[i] = element;
        m.floats[i] = value(element);
    }
}

static struct matrix random_matrix(const struct cpu_kernels *k, size_t count, float size)
{
    struct matrix m = matrix(k, count);
    for (size_t i = 0; i < count; i++) matrix_set(m, i, random_float() * size);
    return m;
}

static void *element_at(struct matrix m, size_t i)
{
    return (char *)m.elements + i * m.element_bytes;
}

static float element_value(struct matrix m, size_t i)
{
    return m.element_bytes == sizeof(float) ? ((float *)m.elements)[i]
                                            : value(((uint16_t *)m.elements)[i]);
}

/* Fails unless the elements equal the floats except for their own rounding, and `absolute`. */
static void assert_matrix(const char *what, struct matrix got, const float *expected,
                          double absolute)
{
    double relative = got.element_bytes == sizeof(float) ? 0 : 1.1 * ROUNDING;
    for (size_t i = 0; i < got.count; i++) {
        double tolerance = absolute + relative * fabs(expected[i]);
        if (!(fabs((double)element_value(got, i) - expected[i]) <= tolerance))
            fail_msg("%s: element %zu is %.9g, the reference has %.9g (tolerance %g)", what, i,
                     element_value(got, i), expected[i], tolerance);
    }
}

/* ---- attention to a cache ------------------------------------------------------------------ */

/* Head 1 of 2, of a cache (ROWS, T, 2C) and Q queries. Row table[t] holds position t. */
#define ROWS 3

struct attention_case {
    const struct cpu_kernels *kernels;
    size_t Q, T, HS, C;
    struct matrix q, cache;
    int32_t *table; /* NULL: there is one row */
    float scale;
};

static struct attention_case attention_case(const struct cpu_kernels *k, size_t Q, size_t T,
                                            size_t HS, bool with_table, float size)
{
    size_t C = 2 * HS, rows = with_table ? ROWS : 1;
    struct attention_case a = {k, Q, T, HS, C, matrix(k, Q * 3 * C), matrix(k, rows * T * 2 * C),
                               NULL, 1 / sqrtf((float)HS)};
    for (size_t i = 0; i < a.q.count; i++) matrix_set(a.q, i, NAN);
    for (size_t i = 0; i < a.cache.count; i++) matrix_set(a.cache, i, NAN);
    for (size_t i = 0; i < Q * HS; i++)
        matrix_set(a.q, i / HS * 3 * C + HS + i % HS, random_float() * size);
    if (with_table) a.table = guarded(T * sizeof *a.table);
    for (size_t t = 0; t < T; t++) {
        size_t row = with_table && t + 1 < T ? (size_t)((random_float() + 1) / 2 * ROWS) : rows - 1;
        if (with_table) a.table[t] = (int32_t)row;
        for (size_t i = 0; i < HS; i++) {
            matrix_set(a.cache, (row * T + t) * 2 * C + HS + i, random_float() * size);
            matrix_set(a.cache, (row * T + t) * 2 * C + C + HS + i, random_float() * size);
        }
    }
    return a;
}

static void attention_case_free(const struct attention_case *a)
{
    if (a->table != NULL) guarded_free(a->table, a->T * sizeof *a->table);
    matrix_free(a->q);
    matrix_free(a->cache);
}

/* Returns the context (count, C) of queries first, ...; outside head 1 it is 7. */
static struct matrix attend(const struct attention_case *a, size_t first, size_t count)
{
    const struct cpu_kernels *k = a->kernels;
    struct matrix context = matrix(k, count * a->C);
    size_t bytes = k->decode_attention_scratch_bytes(count, a->T, a->HS);
    void *scratch = guarded(bytes);
    memset(scratch, 0xFF, bytes); /* NaN */
    for (size_t i = 0; i < context.count; i++) matrix_set(context, i, 7);
    k->decode_attention(element_at(context, a->HS), element_at(a->q, first * 3 * a->C + a->HS),
                        element_at(a->cache, a->HS), element_at(a->cache, a->C + a->HS), a->table,
                        a->T, count, a->T, a->HS, 3 * a->C, 2 * a->C, a->C, a->scale, scratch);
    guarded_free(scratch, bytes);
    return context;
}

static void check_attention(const struct cpu_kernels *k, size_t Q, size_t T, size_t HS,
                            bool with_table, float size)
{
    struct attention_case a = attention_case(k, Q, T, HS, with_table, size);
    struct matrix got = attend(&a, 0, Q);
    float *expected = zeros(Q * a.C);
    void *scratch = zero_bytes(reference->decode_attention_scratch_bytes(Q, T, HS));
    for (size_t i = 0; i < Q * a.C; i++) expected[i] = 7;
    reference->decode_attention(expected + HS, a.q.floats + HS, a.cache.floats + HS,
                                a.cache.floats + a.C + HS, a.table, T, Q, T, HS, 3 * a.C, 2 * a.C,
                                a.C, a.scale, scratch);
    char what[96];
    snprintf(what, sizeof what, "decode_attention %s Q %zu T %zu HS %zu size %g", k->name, Q, T, HS,
             size);
    /* Scores are near size^2; an error of 1e-7 of a score is a relative error of that size in
     * e^score. */
    assert_matrix(what, got, expected, 2e-6 * size * (1 + size * size));

    for (size_t i = 0; i < Q; i++) { /* the same bits for each alone */
        struct matrix alone = attend(&a, i, 1);
        assert_memory_equal(alone.elements, element_at(got, i * a.C), a.C * k->element_bytes);
        matrix_free(alone);
    }
    attention_case_free(&a);
    matrix_free(got);
    free(expected);
    free(scratch);
}

static void test_attention(void **state)
{
    (void)state;
    static const size_t Ts[] = {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 141, 1024};
    static const size_t Qs[] = {1, 2, 3, 4, 5, 6, MOST_BEAMS};
    static const size_t sizes[] = {1, 7, 8, 31, 64, 80, 130};
    FOR_EACH_KERNELS(k)
    {
        for (size_t t = 0; t < sizeof Ts / sizeof *Ts; t++) {
            for (size_t q = 0; q < sizeof Qs / sizeof *Qs; q++) {
                for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
                    check_attention(k, Qs[q], Ts[t], sizes[s], (t + q + s) % 2 == 0, 1);
            }
        }
        check_attention(k, 4, 65, 64, true, 20); /* the softmax is nearly one-hot */
        check_attention(k, 4, 65, 64, false, 20);
    }
}

/* A table of one row's number gives the bits of that row without a table. */
static void test_attention_by_a_table(void **state)
{
    (void)state;
    FOR_EACH_KERNELS(k)
    {
        struct attention_case a = attention_case(k, 3, 37, 64, false, 1);
        struct matrix without = attend(&a, 0, 3);
        a.table = guarded(37 * sizeof *a.table);
        memset(a.table, 0, 37 * sizeof *a.table);
        struct matrix with = attend(&a, 0, 3);
        assert_memory_equal(with.elements, without.elements, with.count * with.element_bytes);
        matrix_free(with);
        matrix_free(without);
        attention_case_free(&a);
    }
}

/* NaN or infinity must reach the result, but only that of its own query. */
static void test_attention_shows_nan(void **state)
{
    (void)state;
    FOR_EACH_KERNELS(k)
    {
        for (size_t t = 0; t < 37; t += 4) { /* 36 is the last */
            for (size_t n = 0; n < 3; n++) { /* a key, a value, an infinite value */
                struct attention_case a = attention_case(k, 2, 37, 64, true, 1);
                size_t at = ((size_t)a.table[t] * 37 + t) * 2 * a.C + 64 + t;
                matrix_set(a.cache, n == 0 ? at : at + a.C, n == 2 ? INFINITY : NAN);
                struct matrix got = attend(&a, 0, 2);
                size_t seen = 0;
                for (size_t i = 0; i < got.count; i++) seen += !isfinite(element_value(got, i));
                assert_true(seen > 0);
                matrix_free(got);
                attention_case_free(&a);
            }
        }
        for (size_t n = 0; n < 2; n++) { /* a query; all scores -infinity */
            struct attention_case a = attention_case(k, 2, 37, 64, true, 1);
            matrix_set(a.q, 64 + 5, n == 0 ? NAN : INFINITY);
            for (size_t t = 0; t < 37; t++)
                matrix_set(a.cache, ((size_t)a.table[t] * 37 + t) * 2 * a.C + 64 + 5, -1);
            struct matrix got = attend(&a, 0, 2);
            for (size_t i = 0; i < 64; i++) {
                assert_true(isnan(element_value(got, 64 + i)));
                assert_true(isfinite(element_value(got, a.C + 64 + i)));
            }
            matrix_free(got);
            attention_case_free(&a);
        }
    }
}

/* ---- logits -------------------------------------------------------------------------------- */

/* Returns y (N, O), computed in two parts, as by two threads. */
static float *logits(const struct cpu_kernels *k, struct matrix x, size_t row, const void *packed_w,
                     const float *bias, size_t N, size_t O, size_t I)
{
    float *y = guarded(N * O * sizeof *y);
    void *scratch = zero_bytes(k->linear_scratch_bytes(I));
    size_t middle = O / 2 / k->panel * k->panel;
    for (size_t i = 0; i < N * O; i++) y[i] = 42;
    k->logits(y, element_at(x, row * I), packed_w, bias, N, O, I, middle, O, scratch);
    for (size_t i = 0; i < N * O; i++) assert_true(i % O >= middle || y[i] == 42);
    k->logits(y, element_at(x, row * I), packed_w, bias, N, O, I, 0, middle, scratch);
    free(scratch);
    return y;
}

static void check_logits(const struct cpu_kernels *k, size_t N, size_t O, size_t I, bool with_bias)
{
    struct matrix x = random_matrix(k, N * I, 1), w = random_matrix(k, O * I, 1);
    float *padded = zeros(k->linear_bias_size(O)), *expected = zeros(N * O);
    for (size_t o = 0; o < O && with_bias; o++) padded[o] = random_float();
    void *p = packed(k, w.floats, O, I), *scratch = zero_bytes(k->linear_scratch_bytes(I));
    float *got = logits(k, x, 0, p, with_bias ? padded : NULL, N, O, I);
    char what[96];
    snprintf(what, sizeof what, "logits %s N %zu O %zu I %zu", k->name, N, O, I);
    if (k->matrix_bytes > 1) { /* INT8's rounding is tested elsewhere */
        reference->linear(expected, x.floats, w.floats, padded, N, O, I, 0, O, ACTIVATION_NONE,
                          NULL);
        assert_close(what, got, expected, N * O, 1e-6 + 1e-7 * (double)I);
    }
    /* `linear` gives the same, rounded. */
    struct matrix y = matrix(k, N * O), stored = matrix(k, N * O);
    k->linear(y.elements, x.elements, p, padded, N, O, I, 0, O, ACTIVATION_NONE, scratch);
    k->store(stored.elements, got, N * O);
    assert_memory_equal(y.elements, stored.elements, N * O * k->element_bytes);

    for (size_t n = 0; n < N; n++) { /* the same bits for each alone */
        float *alone = logits(k, x, n, p, with_bias ? padded : NULL, 1, O, I);
        assert_memory_equal(alone, got + n * O, O * sizeof *alone);
        guarded_free(alone, O * sizeof *alone);
    }
    matrix_free(x); matrix_free(w); matrix_free(y); matrix_free(stored);
    guarded_free(got, N * O * sizeof *got);
    free(padded); free(expected); free(p); free(scratch);
}

static void test_logits(void **state)
{
    (void)state;
    static const size_t Ns[] = {1, 2, 4, 5, 8, 12, 13, 16, 25, 100};
    static const size_t shapes[][2] = {{1, 1}, {31, 7}, {32, 64}, {33, 65}, {112, 100}, {1003, 64}};
    FOR_EACH_KERNELS(k)
    {
        for (size_t n = 0; n < sizeof Ns / sizeof *Ns; n++) {
            for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
                check_logits(k, Ns[n], shapes[s][0], shapes[s][1], (n + s) % 2 == 0);
        }
    }
}

/* ---- the choice of tokens ------------------------------------------------------------------ */

static const size_t widths[] = {1,  2,  3,  4,  5,   7,   8,   9,    15,    16,   17, 31,
                                32, 33, 63, 64, 65, 127, 128, 129, 1000, 50264, 50265};

static void test_log_softmax_sums(void **state)
{
    (void)state;
    FOR_EACH_KERNELS(k)
    {
        for (size_t s = 0; s < sizeof widths / sizeof *widths; s++) {
            for (float size = 1; size < 200; size *= 10) {
                size_t V = widths[s];
                float *x = guarded(V * sizeof *x), largest, log_sum, largest_expected, expected;
                for (size_t i = 0; i < V; i++) x[i] = random_float() * size - 1000;
                for (size_t i = 1; i < V; i += 7) x[i] = -INFINITY;
                reference->log_softmax_sums(&largest_expected, &expected, x, V);
                k->log_softmax_sums(&largest, &log_sum, x, V);
                assert_true(largest == largest_expected);
                /* 3,142 roundings of 6e-8 of each of 16 sums, in random directions: 3.4e-6 of the
                 * sum, hence 3.4e-6 in its logarithm. */
                if (!(fabsf(log_sum - expected) <= 5e-6f))
                    fail_msg("%s V %zu: %.9g, the reference has %.9g", k->name, V, log_sum,
                             expected);
                guarded_free(x, V * sizeof *x);
            }
        }
    }
}

static void test_log_softmax_shows_nan(void **state)
{
    (void)state;
    static const float bad[] = {NAN, -NAN, INFINITY};
    float largest, log_sum;
    FOR_EACH_KERNELS(k)
    {
        for (size_t V = 1; V < 150; V += V < 20 ? 1 : 13) {
            float *x = guarded(V * sizeof *x);
            for (size_t n = 0; n < 3 * V; n++) {
                for (size_t i = 0; i < V; i++) x[i] = random_float();
                x[n / 3] = bad[n % 3];
                k->log_softmax_sums(&largest, &log_sum, x, V);
                assert_true(isnan(log_sum));
            }
            for (size_t i = 0; i < V; i++) x[i] = -INFINITY; /* nothing is possible */
            k->log_softmax_sums(&largest, &log_sum, x, V);
            assert_true(isnan(log_sum));
            guarded_free(x, V * sizeof *x);
        }
    }
}

static float rising(size_t i) { return (float)i; }
static float falling(size_t i) { return -(float)i; }
static float any(size_t i) { (void)i; return random_float(); }
static float one_of_three(size_t i) { (void)i; return floorf(random_float() * 1.5f); }
static float equal(size_t i) { (void)i; return -3; }
static float impossible(size_t i) { (void)i; return -INFINITY; }
static float mostly_impossible(size_t i) { return i % 13 == 11 ? random_float() : -INFINITY; }

static void test_largest(void **state)
{
    (void)state;
    float (*const fills[])(size_t) = {rising, falling,    any,              one_of_three,
                                      equal,  impossible, mostly_impossible};
    static const size_t counts[] = {1, 2, 3, 8, 2 * MOST_BEAMS};
    FOR_EACH_KERNELS(k)
    {
        for (size_t c = 0; c < 7 * sizeof widths / sizeof *widths; c++) {
            size_t V = widths[c / 7];
            float *x = guarded(V * sizeof *x);
            for (size_t i = 0; i < V; i++) x[i] = fills[c % 7](i);
            for (size_t n = 0; n < sizeof counts / sizeof *counts; n++) {
                size_t count = counts[n] < V ? counts[n] : V;
                float *values = guarded(count * sizeof *values), expected[2 * MOST_BEAMS];
                int32_t *indices = guarded(count * sizeof *indices), places[2 * MOST_BEAMS];
                reference->largest(expected, places, count, x, V);
                k->largest(values, indices, count, x, V);
                assert_memory_equal(values, expected, count * sizeof *values);
                assert_memory_equal(indices, places, count * sizeof *indices);
                guarded_free(values, count * sizeof *values);
                guarded_free(indices, count * sizeof *indices);
            }
            guarded_free(x, V * sizeof *x);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_attention_by_a_table),
        cmocka_unit_test(test_attention_shows_nan),
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_log_softmax_sums),
        cmocka_unit_test(test_log_softmax_shows_nan),
        cmocka_unit_test(test_largest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
