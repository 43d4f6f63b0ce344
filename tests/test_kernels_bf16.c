/* test_kernels_bf16.c - the BF16 operations compared with the naive ones
 *
 * The naive kernels compute in FP32 on the same numbers: inputs are rounded to BF16 first, and
 * results may differ by their own rounding, at most 2^-8 of them, and by what each test adds.
 * Shapes are as awkward as in test_kernels.c. Skipped if the processor has no BF16.
 */
#include "bf16_test.h"

static const struct cpu_kernels *bf16(void)
{
    const struct cpu_kernels *k;
    for (size_t i = 0; (k = cpu_kernels_available(i)) != NULL; i++)
        if (k->matrix_bytes == sizeof(uint16_t)) return k;
    skip();
    return NULL;
}

static void test_store(void **state)
{
    (void)state;
    const struct cpu_kernels *k = bf16();
    for (size_t count = 1; count < 70; count++) {
        float *x = random_floats(count);
        uint16_t *got = zero_bytes((count + 1) * sizeof *got);
        got[count] = 42; /* must not be touched */
        k->store(got, x, count);
        for (size_t i = 0; i < count; i++) assert_int_equal(got[i], rounded(x[i]));
        assert_int_equal(got[count], 42);
        free(x);
        free(got);
    }
    /* Ties: 1 + 2^-8 and 1 + 3 * 2^-8 are halfway between two numbers. */
    float special[] = {1.00390625f, 1.01171875f, INFINITY, -INFINITY, NAN, -0.0f};
    uint16_t out[6];
    k->store(out, special, 6);
    assert_int_equal(out[0], 0x3F80);
    assert_int_equal(out[1], 0x3F82);
    assert_int_equal(out[2], 0x7F80);
    assert_int_equal(out[3], 0xFF80);
    assert_true(isnan(value(out[4])));
    assert_int_equal(out[5], 0x8000);
}

static void check_linear(const struct cpu_kernels *k, size_t N, size_t O, size_t I,
                         enum activation activation)
{
    struct numbers x = numbers(N * I, 1), w = numbers(O * I, 1);
    float *bias = random_floats(k->linear_bias_size(O)), *expected = zeros(N * O);
    uint16_t *got = zero_bytes((N * O + 1) * sizeof *got);
    void *p = packed(k, w.floats, O, I);
    got[N * O] = 42; /* must not be touched */

    reference->linear(expected, x.floats, w.floats, bias, N, O, I, 0, O, activation, NULL);
    /* In two parts, as by two threads. */
    size_t middle = O / 2 / k->panel * k->panel;
    k->linear(got, x.elements, p, bias, N, O, I, 0, middle, activation, NULL);
    k->linear(got, x.elements, p, bias, N, O, I, middle, O, activation, NULL);

    char what[96];
    snprintf(what, sizeof what, "linear N %zu O %zu I %zu", N, O, I);
    assert_rounded(what, got, expected, N * O, 1e-6 + 1e-7 * (double)I);
    assert_int_equal(got[N * O], 42);
    numbers_free(x); numbers_free(w);
    free(bias); free(p); free(got); free(expected);
}

static void test_linear(void **state)
{
    (void)state;
    const struct cpu_kernels *k = bf16();
    static const size_t shapes[][2] = {{1, 1}, {31, 7}, {32, 32}, {33, 64}, {50, 36}, {17, 47},
                                       {112, 65}, {384, 384}, {96, 1536}};
    for (size_t N = 1; N < 38; N += N < 26 ? 1 : 11) {
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            check_linear(k, N, shapes[s][0], shapes[s][1], ACTIVATION_NONE);
            check_linear(k, N, shapes[s][0], shapes[s][1], ACTIVATION_GELU);
        }
    }
}

/* GELU of every BF16 number, through a linear layer with a single weight of 1. */
static void test_gelu(void **state)
{
    (void)state;
    const struct cpu_kernels *k = bf16();
    size_t N = 65536;
    float one = 1, zero_bias[32] = {0}, *x = zeros(N), *expected = zeros(N);
    uint16_t *elements = zero_bytes(N * sizeof *elements), *got = zero_bytes(N * sizeof *got);
    void *p = packed(k, &one, 1, 1);
    size_t finite = 0;
    for (size_t n = 0; n < N; n++) {
        float number = value((uint16_t)n);
        /* Below -8 the naive result is more precise than FP32 can be: the kernel gives 0. */
        if (!isfinite(number) || number < -8 || fabsf(number) < 1e-30f) continue;
        elements[finite] = (uint16_t)n;
        x[finite++] = number;
    }
    assert_true(finite > 30000);
    reference->linear(expected, x, &one, zero_bias, finite, 1, 1, 0, 1, ACTIVATION_GELU, NULL);
    k->linear(got, elements, p, zero_bias, finite, 1, 1, 0, 1, ACTIVATION_GELU, NULL);
    assert_rounded("gelu", got, expected, finite, 3e-7);

    uint16_t special[] = {rounded(INFINITY), rounded(-INFINITY), rounded(-1e30f), 0x7FC0}, out[4];
    k->linear(out, special, p, zero_bias, 4, 1, 1, 0, 1, ACTIVATION_GELU, NULL);
    assert_true(isinf(value(out[0])) && value(out[0]) > 0);
    assert_true(fabsf(value(out[1])) < 1e-18f && fabsf(value(out[2])) < 1e-18f);
    assert_true(isnan(value(out[3])));
    free(x); free(expected); free(elements); free(got); free(p);
}

/* A row's bits depend neither on the rows computed with it nor on how outputs are split. */
static void test_linear_is_batch_invariant(void **state)
{
    (void)state;
    const struct cpu_kernels *k = bf16();
    size_t N = 29, O = 96, I = 101;
    struct numbers x = numbers(N * I, 1), w = numbers(O * I, 1);
    void *p = packed(k, w.floats, O, I);
    float *bias = random_floats(k->linear_bias_size(O));
    uint16_t *all = zero_bytes(N * O * sizeof *all), *some = zero_bytes(N * O * sizeof *some);
    k->linear(all, x.elements, p, bias, N, O, I, 0, O, ACTIVATION_GELU, NULL);
    for (size_t first = 0; first < N; first++) {
        for (size_t count = 1; first + count <= N; count++) {
            memset(some, 0, N * O * sizeof *some);
            const uint16_t *rows = x.elements + first * I;
            k->linear(some, rows, p, bias, count, O, I, k->panel, O, ACTIVATION_GELU, NULL);
            k->linear(some, rows, p, bias, count, O, I, 0, k->panel, ACTIVATION_GELU, NULL);
            assert_memory_equal(some, all + first * O, count * O * sizeof *some);
        }
    }
    numbers_free(x); numbers_free(w);
    free(p); free(bias); free(all); free(some);
}

/* Inputs are taken in pairs: the last of an odd row must not be paired with one of the next row. */
static void test_linear_stays_in_its_row(void **state)
{
    (void)state;
    const struct cpu_kernels *k = bf16();
    size_t I = 33, O = 40;
    struct numbers x = numbers(2 * I, 1), w = numbers(O * I, 1);
    float *bias = random_floats(k->linear_bias_size(O));
    uint16_t *got = zero_bytes(2 * O * sizeof *got);
    void *p = packed(k, w.floats, O, I);
    x.elements[I] = 0x7FC0; /* NaN */
    k->linear(got, x.elements, p, bias, 2, O, I, 0, O, ACTIVATION_NONE, NULL);
    for (size_t o = 0; o < O; o++)
        assert_true(!isnan(value(got[o])) && isnan(value(got[O + o])));
    numbers_free(x); numbers_free(w);
    free(bias); free(got); free(p);
}

static void assert_roundings(const uint16_t *got, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++) assert_int_equal(got[i], rounded(x[i]));
}

static void test_layernorm(void **state)
{
    (void)state;
    const struct cpu_kernels *k = bf16();
    static const size_t Cs[] = {1, 3, 12, 16, 31, 36, 64, 384, 768};
    for (size_t c = 0; c < sizeof Cs / sizeof *Cs; c++) {
        size_t N = 5, V = 7, C = Cs[c];
        struct numbers x = numbers(N * C, 1), r = numbers(N * C, 1);
        struct numbers word = numbers(V * C, 1), position = numbers(V * C, 1);
        float *w = random_floats(C), *b = random_floats(C), *type = random_floats(C);
        float *expected = zeros(N * C);
        uint16_t *got = zero_bytes(N * C * sizeof *got);
        uint8_t *scratch = zero_bytes(k->layernorm_scratch_bytes(C) + 1);
        scratch[k->layernorm_scratch_bytes(C)] = 42; /* must not be touched */
        int32_t ids[] = {6, 0, 3, 3, 1}, positions[] = {0, 1, 2, 0, 6};

        x.floats[0] = 1000; /* an outlier, as encoders have them */
        x.elements[0] = rounded(1000);
        reference->add_layernorm(expected, x.floats, r.floats, w, b, N, C, 1e-5f, NULL);
        k->add_layernorm(got, x.elements, r.elements, w, b, N, C, 1e-5f, scratch);
        assert_rounded("add_layernorm", got, expected, N * C, 1e-5);
        k->add_layernorm(r.elements, x.elements, r.elements, w, b, N, C, 1e-5f, scratch); /* in place */
        assert_memory_equal(r.elements, got, N * C * sizeof *got);

        /* The residual stream is FP32: it is not rounded, only its copy is. */
        float *residual = random_floats(N * C), *more = random_floats(N * C);
        reference->add_layernorm(expected, more, residual, w, b, N, C, 1e-5f, NULL);
        k->residual_layernorm(got, residual, more, w, b, N, C, 1e-5f, scratch);
        assert_close("residual_layernorm", residual, expected, N * C, 1e-5);
        assert_roundings(got, residual, N * C);

        for (int with_type = 0; with_type < 2; with_type++) {
            const float *t = with_type ? type : NULL;
            reference->embed_layernorm(expected, NULL, ids, positions, word.floats, position.floats,
                                       t, w, b, N, C, 1e-12f, NULL);
            k->embed_layernorm(got, residual, ids, positions, word.elements, position.elements, t,
                               w, b, N, C, 1e-12f, scratch);
            assert_roundings(got, residual, N * C);
            /* C = 1: the variance is 0, and the rounding error that remains is divided by 1e-6. */
            if (C > 1) assert_close("embed_layernorm", residual, expected, N * C, 1e-5);
        }
        assert_int_equal(scratch[k->layernorm_scratch_bytes(C)], 42);
        free(residual); free(more); free(scratch);
        numbers_free(x); numbers_free(r); numbers_free(word); numbers_free(position);
        free(w); free(b); free(type); free(expected); free(got);
    }
}

static void check_attention(const struct cpu_kernels *k, size_t T, size_t HS, float size,
                            bool with_bias)
{
    size_t NH = 2, C = NH * HS, h = 1;
    struct numbers qkv = numbers(T * 3 * C, size);
    float *expected = zeros(T * C);
    uint16_t *got = zero_bytes(T * C * sizeof *got);
    void *scratch = zero_bytes(k->attention_scratch_bytes(T, HS));
    void *scratch_reference = zero_bytes(reference->attention_scratch_bytes(T, HS));
    for (size_t i = 0; i < T * C; i++) { /* the other head: untouched */
        got[i] = rounded(7);
        expected[i] = 7;
    }

    size_t q = h * HS;
    float scale = 1 / sqrtf((float)HS), *table = random_floats(2 * T - 1);
    const float *relative = with_bias ? table + T - 1 : NULL;
    reference->attention(expected + h * HS, qkv.floats + q, qkv.floats + q + C,
                         qkv.floats + q + 2 * C, relative, T, HS, 3 * C, C, scale,
                         scratch_reference);
    k->attention(got + h * HS, qkv.elements + q, qkv.elements + q + C, qkv.elements + q + 2 * C,
                 relative, T, HS, 3 * C, C, scale, scratch);
    char what[96];
    snprintf(what, sizeof what, "attention %s T %zu HS %zu size %g", k->name, T, HS, size);
    /* Each weight of the average is rounded, in random directions: half of the largest error. */
    assert_rounded(what, got, expected, T * C, ROUNDING / 2 * size + 1e-6 * size * size * size);
    numbers_free(qkv);
    free(got); free(expected); free(scratch); free(scratch_reference); free(table);
}

/* If linear layers are in INT8, attention is in BF16 as well, but with other tile sizes. */
static void test_attention(void **state)
{
    (void)state;
    (void)bf16(); /* skips without BF16 */
    static const size_t Ts[] = {1,  2,  7,  8,  9,  11, 12, 13,  15,  16,
                                17, 31, 32, 33, 34, 48, 65, 256, 511, 512};
    static const size_t sizes[] = {1, 12, 16, 31, 32, 64, 96, 128};
    const struct cpu_kernels *k;
    for (size_t i = 0; (k = cpu_kernels_available(i)) != NULL; i++) {
        if (k->element_bytes != sizeof(uint16_t)) continue;
        for (size_t t = 0; t < sizeof Ts / sizeof *Ts; t++) {
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
                check_attention(k, Ts[t], sizes[s], 1, t % 2 == s % 2);
        }
        check_attention(k, 33, 32, 20, false); /* the softmax is nearly one-hot */
        check_attention(k, 33, 32, 20, true);
    }
}

static void test_pool(void **state)
{
    (void)state;
    const struct cpu_kernels *k = bf16();
    static const size_t Cs[] = {1, 12, 36, 384};
    for (size_t c = 0; c < sizeof Cs / sizeof *Cs; c++) {
        for (size_t T = 1; T < 20; T += 3) {
            size_t C = Cs[c];
            struct numbers x = numbers(T * C, 1);
            float *got = zeros(C), *expected = zeros(C);
            for (int mode = POOLING_MEAN; mode <= POOLING_LAST; mode++) {
                reference->pool(expected, x.floats, T / 4, T, C, (enum pooling)mode);
                k->pool(got, x.elements, T / 4, T, C, (enum pooling)mode);
                assert_close("pool", got, expected, C, 1e-6);
            }
            reference->l2_normalize(expected, x.floats, C);
            k->l2_normalize(got, x.floats, C);
            assert_close("l2_normalize", got, expected, C, 1e-6);
            numbers_free(x);
            free(got); free(expected);
        }
    }
}

/* NaN or infinity must reach the result: this is how a broken model is noticed. */
static void test_nan_is_not_lost(void **state)
{
    (void)state;
    const struct cpu_kernels *k = bf16();
    for (size_t where = 0; where < 3; where++) { /* in q, k or v of token 3 */
        size_t T = 20, HS = 32;
        struct numbers qkv = numbers(T * 3 * HS, 1);
        uint16_t *out = zero_bytes(T * HS * sizeof *out), *p = qkv.elements;
        void *scratch = zero_bytes(k->attention_scratch_bytes(T, HS));
        float *row = zeros(HS);
        p[3 * 3 * HS + where * HS + 5] = 0x7FC0;
        k->attention(out, p, p + HS, p + 2 * HS, NULL, T, HS, 3 * HS, HS, 0.2f, scratch);
        bool seen = false;
        for (size_t i = 0; i < T * HS; i++) seen |= isnan(value(out[i]));
        assert_true(seen);
        for (int mode = POOLING_MEAN; mode <= POOLING_MAX; mode++) {
            k->pool(row, out, 0, T, HS, (enum pooling)mode);
            seen = false;
            for (size_t i = 0; i < HS; i++) seen |= isnan(row[i]);
            assert_true(seen);
        }
        numbers_free(qkv);
        free(out); free(row); free(scratch);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_gelu),
        cmocka_unit_test(test_linear_is_batch_invariant),
        cmocka_unit_test(test_linear_stays_in_its_row),
        cmocka_unit_test(test_layernorm),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_nan_is_not_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
