/* test_kernels.c - every operation, on every instruction set of this machine, compared with the
 * naive one in FP32
 *
 * Shapes are awkward on purpose: one row, one more and one less than a tile, widths that are no
 * multiple of a vector. Tolerances are relative to the size of what is summed.
 */
#include "kernel_test.h"

/* The kernels under test: all FP32 kernels that this machine can run. */
#define FOR_EACH_KERNELS(k)                                                                      \
    const struct cpu_kernels *k;                                                                 \
    for (size_t k##_i = 0; (k = cpu_kernels_available(k##_i)) != NULL; k##_i++)                  \
        if (k->element_bytes == sizeof(float))

static void check_linear(const struct cpu_kernels *k, size_t N, size_t O, size_t I,
                         enum activation activation)
{
    float *x = random_floats(N * I), *w = random_floats(O * I), *bias = random_floats(O);
    float *padded = zeros(k->linear_bias_size(O));
    void *p = packed(k, w, O, I);
    float *got = zeros(N * O), *expected = zeros(N * O);
    memcpy(padded, bias, O * sizeof *bias);
    got[N * O] = 42; /* must not be touched */

    reference->linear(expected, x, w, bias, N, O, I, 0, O, activation, NULL);
    /* In two parts, as by two threads. */
    size_t middle = O / 2 / k->panel * k->panel;
    k->linear(got, x, p, padded, N, O, I, 0, middle, activation, NULL);
    k->linear(got, x, p, padded, N, O, I, middle, O, activation, NULL);

    char what[96];
    snprintf(what, sizeof what, "linear %s N %zu O %zu I %zu", k->name, N, O, I);
    /* I roundings of 6e-8 of a partial sum near sqrt(I) / 3, in random directions: 2e-8 * I. */
    assert_close(what, got, expected, N * O, 1e-6 + 1e-7 * (double)I);
    assert_float_equal(got[N * O], 42, 0);
    free(x); free(w); free(bias); free(padded); free(p); free(got); free(expected);
}

static void test_linear(void **state)
{
    (void)state;
    static const size_t Ns[] = {1, 2, 5, 6, 7, 11, 12, 13, 23, 24, 25, 37};
    static const size_t shapes[][2] = {{1, 1}, {31, 7}, {32, 32}, {33, 64}, {50, 36}, {112, 64},
                                       {384, 384}, {96, 1536}};
    FOR_EACH_KERNELS(k)
    {
        for (size_t n = 0; n < sizeof Ns / sizeof *Ns; n++) {
            for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
                check_linear(k, Ns[n], shapes[s][0], shapes[s][1], ACTIVATION_NONE);
                check_linear(k, Ns[n], shapes[s][0], shapes[s][1], ACTIVATION_GELU);
            }
        }
    }
}

/* GELU over its whole range, through a linear layer with a single weight of 1. */
static void test_gelu(void **state)
{
    (void)state;
    FOR_EACH_KERNELS(k)
    {
        size_t N = 4001;
        float one = 1, *x = zeros(N), *got = zeros(N), *expected = zeros(N);
        float *bias = zeros(k->linear_bias_size(1));
        void *p = packed(k, &one, 1, 1);
        for (size_t n = 0; n < N; n++) x[n] = ((float)n - 2000) / 200; /* -10 to 10 */
        reference->linear(expected, x, &one, bias, N, 1, 1, 0, 1, ACTIVATION_GELU, NULL);
        k->linear(got, x, p, bias, N, 1, 1, 0, 1, ACTIVATION_GELU, NULL);
        assert_close(k->name, got, expected, N, 1.5e-6);

        float special[] = {NAN, INFINITY, 1e30f}, out[3];
        k->linear(out, special, p, bias, 3, 1, 1, 0, 1, ACTIVATION_GELU, NULL);
        assert_true(isnan(out[0]) && isinf(out[1]) && fabsf(out[2] / 1e30f - 1) < 1e-6f);
        free(x); free(got); free(expected); free(bias); free(p);
    }
}

/* A row's bits depend neither on the rows computed with it nor on how outputs are split. */
static void test_linear_is_batch_invariant(void **state)
{
    (void)state;
    size_t N = 29, O = 96, I = 100;
    float *x = random_floats(N * I), *w = random_floats(O * I);
    FOR_EACH_KERNELS(k)
    {
        void *p = packed(k, w, O, I);
        float *bias = random_floats(k->linear_bias_size(O));
        float *all = zeros(N * O), *some = zeros(N * O);
        k->linear(all, x, p, bias, N, O, I, 0, O, ACTIVATION_GELU, NULL);
        for (size_t first = 0; first < N; first++) {
            for (size_t count = 1; first + count <= N; count++) {
                memset(some, 0, N * O * sizeof *some);
                const float *rows = x + first * I;
                k->linear(some, rows, p, bias, count, O, I, k->panel, O, ACTIVATION_GELU, NULL);
                k->linear(some, rows, p, bias, count, O, I, 0, k->panel, ACTIVATION_GELU, NULL);
                assert_memory_equal(some, all + first * O, count * O * sizeof *some);
            }
        }
        free(p); free(bias); free(all); free(some);
    }
    free(x);
    free(w);
}

static void test_layernorm(void **state)
{
    (void)state;
    static const size_t Cs[] = {1, 3, 12, 16, 31, 36, 64, 384, 768};
    FOR_EACH_KERNELS(k)
    {
        for (size_t c = 0; c < sizeof Cs / sizeof *Cs; c++) {
            size_t N = 5, V = 7, C = Cs[c];
            float *x = random_floats(N * C), *r = random_floats(N * C), *got = zeros(N * C);
            float *w = random_floats(C), *b = random_floats(C), *expected = zeros(N * C);
            float *word = random_floats(V * C), *position = random_floats(V * C);
            float *type = random_floats(C);
            uint8_t *scratch = zero_bytes(k->layernorm_scratch_bytes(C) + 1);
            scratch[k->layernorm_scratch_bytes(C)] = 42; /* must not be touched */
            int32_t ids[] = {6, 0, 3, 3, 1}, positions[] = {0, 1, 2, 0, 6};

            x[0] = 1000; /* an outlier, as encoders have them */
            reference->add_layernorm(expected, x, r, w, b, N, C, 1e-5f, NULL);
            k->add_layernorm(got, x, r, w, b, N, C, 1e-5f, scratch);
            assert_close("add_layernorm", got, expected, N * C, 1e-5);
            k->add_layernorm(r, x, r, w, b, N, C, 1e-5f, scratch); /* in place */
            assert_memory_equal(r, got, N * C * sizeof *got);

            float *residual = random_floats(N * C);
            k->add_layernorm(got, x, residual, w, b, N, C, 1e-5f, scratch);
            k->residual_layernorm(r, residual, x, w, b, N, C, 1e-5f, scratch); /* the same bits, twice */
            assert_memory_equal(r, got, N * C * sizeof *got);
            assert_memory_equal(residual, got, N * C * sizeof *got);
            free(residual);

            for (int with_type = 0; with_type < 2; with_type++) {
                const float *t = with_type ? type : NULL;
                reference->embed_layernorm(expected, NULL, ids, positions, word, position, t, w, b,
                                           N, C, 1e-12f, NULL);
                k->embed_layernorm(got, r, ids, positions, word, position, t, w, b, N, C, 1e-12f,
                                   scratch);
                assert_memory_equal(r, got, N * C * sizeof *got);
                /* C = 1: the variance is 0, and the rounding error that remains is divided by
                 * 1e-6. */
                if (C > 1) assert_close("embed_layernorm", got, expected, N * C, 1e-5);
            }
            free(x); free(r); free(got); free(w); free(b); free(expected);
            assert_int_equal(scratch[k->layernorm_scratch_bytes(C)], 42);
            free(word); free(position); free(type); free(scratch);
        }
    }
}

static void check_attention(const struct cpu_kernels *k, size_t T, size_t HS, float size,
                            bool with_bias)
{
    size_t NH = 2, C = NH * HS, h = 1;
    float *qkv = random_floats(T * 3 * C), *got = zeros(T * C), *expected = zeros(T * C);
    void *scratch = zero_bytes(k->attention_scratch_bytes(T, HS));
    void *scratch_reference = zero_bytes(reference->attention_scratch_bytes(T, HS));
    for (size_t i = 0; i < T * 3 * C; i++) qkv[i] *= size;
    for (size_t i = 0; i < T * C; i++) got[i] = expected[i] = 7; /* the other head: untouched */

    const float *q = qkv + h * HS;
    float scale = 1 / sqrtf((float)HS), *table = random_floats(2 * T - 1);
    const float *relative = with_bias ? table + T - 1 : NULL;
    reference->attention(expected + h * HS, q, q + C, q + 2 * C, relative, T, HS, 3 * C, C, scale,
                         scratch_reference);
    k->attention(got + h * HS, q, q + C, q + 2 * C, relative, T, HS, 3 * C, C, scale, scratch);
    char what[96];
    snprintf(what, sizeof what, "attention %s T %zu HS %zu", k->name, T, HS);
    /* Scores are near size^2; an error of 1e-7 of a score is a relative error of that size in
     * e^score. */
    assert_close(what, got, expected, T * C, 2e-6 * size * (1 + size * size));
    free(qkv); free(got); free(expected); free(scratch); free(scratch_reference); free(table);
}

static void test_attention(void **state)
{
    (void)state;
    static const size_t Ts[] = {1, 2, 7, 12, 13, 15, 16, 17, 31, 32, 33, 65, 256, 511, 512};
    static const size_t sizes[] = {1, 12, 16, 32, 64, 96, 128};
    FOR_EACH_KERNELS(k)
    {
        for (size_t t = 0; t < sizeof Ts / sizeof *Ts; t++) {
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
                check_attention(k, Ts[t], sizes[s], 1, t % 2 == s % 2);
        }
        check_attention(k, 33, 32, 20, false); /* scores of some hundreds: nearly one-hot softmax */
    }
}

static void test_pool(void **state)
{
    (void)state;
    static const size_t Cs[] = {1, 12, 36, 384};
    FOR_EACH_KERNELS(k)
    {
        for (size_t c = 0; c < sizeof Cs / sizeof *Cs; c++) {
            for (size_t T = 1; T < 20; T += 3) {
                size_t C = Cs[c];
                float *x = random_floats(T * C), *got = zeros(C), *expected = zeros(C);
                static const size_t skips[] = {0, 1, 3, 100}; /* including all tokens */
                for (int mode = POOLING_MEAN; mode <= POOLING_LAST; mode++) {
                    for (size_t s = 0; s < sizeof skips / sizeof *skips; s++) {
                        if (mode == POOLING_MAX && skips[s] >= T) continue; /* -infinity */
                        reference->pool(expected, x, skips[s], T, C, (enum pooling)mode);
                        k->pool(got, x, skips[s], T, C, (enum pooling)mode);
                        assert_close("pool", got, expected, C, 1e-6);
                    }
                }
                reference->l2_normalize(expected, x, C);
                k->l2_normalize(got, x, C);
                assert_close("l2_normalize", got, expected, C, 1e-6);
                free(x); free(got); free(expected);
            }
        }
        float zero[3] = {0, 0, 0}, out[3];
        k->l2_normalize(out, zero, 3);
        assert_memory_equal(out, zero, sizeof zero);
    }
}

/* Numbers of rows and outputs that do not fill a block, alone and among others: the same bits. */
static void test_dense(void **state)
{
    (void)state;
    static const size_t shapes[][3] = {{1, 1, 1},   {2, 4, 16},  {3, 5, 17},  {5, 49, 64},
                                       {4, 33, 150}, {7, 150, 31}, {2, 768, 384}};
    FOR_EACH_KERNELS(k)
    {
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            size_t B = shapes[s][0], O = shapes[s][1], I = shapes[s][2];
            float *x = random_floats(B * I), *w = random_floats(O * I), *bias = random_floats(O);
            float *got = zeros(B * O), *expected = zeros(B * O), *alone = zeros(O);
            for (int activation = ACTIVATION_NONE; activation <= ACTIVATION_SIGMOID; activation++) {
                enum activation a = (enum activation)activation;
                const float *shift = activation % 2 == 0 ? bias : NULL;
                reference->dense(expected, x, w, shift, B, O, I, 0, O, a);
                k->dense(got, x, w, shift, B, O, I, 0, O / 3, a);
                k->dense(got, x, w, shift, B, O, I, O / 3, O, a);
                assert_close("dense", got, expected, B * O, 1e-6 * (2 + sqrt((double)I)));
                k->dense(alone, x + (B - 1) * I, w, shift, 1, O, I, 0, O, a);
                assert_memory_equal(alone, got + (B - 1) * O, O * sizeof *alone);
            }
            x[0] = NAN;
            k->dense(got, x, w, NULL, B, O, I, 0, O, ACTIVATION_RELU);
            for (size_t o = 0; o < O; o++) assert_true(isnan(got[o]));
            free(x); free(w); free(bias); free(got); free(expected); free(alone);
        }
    }
}

/* NaN or infinity must reach the result: this is how a broken model is noticed. */
static void test_nan_is_not_lost(void **state)
{
    (void)state;
    FOR_EACH_KERNELS(k)
    {
        for (size_t where = 0; where < 3; where++) { /* in q, k or v of token 3 */
            size_t T = 20, HS = 32;
            float *qkv = random_floats(T * 3 * HS), *out = zeros(T * HS), *row = zeros(HS);
            void *scratch = zero_bytes(k->attention_scratch_bytes(T, HS));
            qkv[3 * 3 * HS + where * HS + 5] = NAN;
            k->attention(out, qkv, qkv + HS, qkv + 2 * HS, NULL, T, HS, 3 * HS, HS, 0.2f, scratch);
            bool seen = false;
            for (size_t i = 0; i < T * HS; i++) seen |= isnan(out[i]);
            assert_true(seen);
            for (int mode = POOLING_MEAN; mode <= POOLING_MAX; mode++) {
                k->pool(row, out, 0, T, HS, (enum pooling)mode);
                k->l2_normalize(row, row, HS);
                seen = false;
                for (size_t i = 0; i < HS; i++) seen |= isnan(row[i]);
                assert_true(seen);
            }
            free(qkv); free(out); free(row); free(scratch);
        }
    }
}

int main(void)
{
    char names[128] = "instruction sets:";
    FOR_EACH_KERNELS(k)
    {
        strcat(names, " ");
        strcat(names, k->name);
    }
    print_message("%s\n", names);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_gelu),
        cmocka_unit_test(test_linear_is_batch_invariant),
        cmocka_unit_test(test_layernorm),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_dense),
        cmocka_unit_test(test_nan_is_not_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
