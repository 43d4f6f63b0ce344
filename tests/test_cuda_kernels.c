/* test_cuda_kernels.c - the CUDA kernels except attention, of both tables, compared with naive code
 *
 * Shapes are awkward on purpose: one row, one more and one less than a block has, widths with and
 * without vectors, in registers and not. Inputs end where their allocation ends.
 *
 * Tolerances. An FP32 result is off by several roundings of 6e-8 of what is summed: ABSOLUTE, as on
 * the CPU. An FP16 result is rounded in addition: off by another half step, 2^-11 of it.
 */
#include "cuda_test.h"

#define ABSOLUTE 1e-5
#define RELATIVE(k) ((k)->element_bytes == 2 ? 0x1p-11 : 0)

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct cpu_kernels *const reference = &cpu_kernels_reference;
static const struct cuda_kernels *const tables[] = {&cuda_kernels_f16, &cuda_kernels_f32};

#define FOR_EACH_TABLE(k)                                                                         \
    const struct cuda_kernels *k;                                                                 \
    for (size_t k##_i = 0; k##_i < COUNT(tables) && (k = tables[k##_i], true); k##_i++)

static const size_t row_counts[] = {1, 2, 3, 15, 16, 17, 33};
static const size_t widths[] = {1,   3,   12,  31,  36,  64,   128, 256,
                                384, 512, 640, 768, 896, 1024, 1030};

static void test_tables(void **state)
{
    (void)state;
    FOR_EACH_TABLE(k)
    {
        assert_string_equal(k->name, k == &cuda_kernels_f16 ? "f16" : "f32");
        assert_int_equal(k->element_bytes, k == &cuda_kernels_f16 ? 2 : 4);
        assert_true(k->embed_layernorm && k->add_layernorm && k->bias_gelu && k->attention &&
                    k->pool);
    }
}

/* ---- LayerNorm ----------------------------------------------------------------------------- */

/* The buffers of add_layernorm, and its result: in y, or in place of x or of the residual. */
struct addition {
    struct device_buffer x, residual, weight, bias, y;
};

static struct addition addition_open(const struct cuda_kernels *k, const float *x,
                                     const float *residual, const float *weight, const float *bias,
                                     size_t N, size_t C)
{
    struct addition a = {
        .x = device_output(N * C, k->element_bytes),
        .residual = device_output(N * C, k->element_bytes),
        .weight = device_input(weight, C, sizeof(float)),
        .bias = device_input(bias, C, sizeof(float)),
        .y = device_output(N * C, k->element_bytes),
    };
    device_write(a.x, x);
    device_write(a.residual, residual);
    return a;
}

static void addition_close(struct addition *a)
{
    device_free(a->x);
    device_free(a->residual);
    device_free(a->weight);
    device_free(a->bias);
    device_free(a->y);
}

static float *addition_run(const struct cuda_kernels *k, const struct addition *a,
                           struct device_buffer y, size_t N, size_t C)
{
    CHECK_CUDA(k->add_layernorm(y.data, a->x.data, a->residual.data, a->weight.data, a->bias.data,
                                N, C, 1e-5f, NULL));
    return device_read(shape_name("add_layernorm %s N %zu C %zu", k->name, N, C), y);
}

static void check_add_layernorm(const struct cuda_kernels *k, size_t N, size_t C)
{
    float *x = random_elements(N * C, k->element_bytes), *expected = zeros(N * C);
    float *residual = random_elements(N * C, k->element_bytes);
    float *weight = random_floats(C), *bias = random_floats(C);
    x[N * C / 2] = 1000; /* an outlier, as encoders have them */
    /* A mean of about 25 deviations, for rows wide enough that the deviation is not tiny. */
    for (size_t i = (N - 1) * C; i < N * C && C > 30; i++) x[i] += 20;
    round_floats(x, N * C, k->element_bytes);
    reference->add_layernorm(expected, x, residual, weight, bias, N, C, 1e-5f, NULL);

    struct addition a = addition_open(k, x, residual, weight, bias, N, C);
    float *got = addition_run(k, &a, a.y, N, C);
    assert_close(shape_name("add_layernorm %s N %zu C %zu", k->name, N, C), got, expected, N, C,
                 ABSOLUTE, RELATIVE(k));

    float *over_x = addition_run(k, &a, a.x, N, C);
    assert_same_bits("add_layernorm in place of x", over_x, got, N, C);
    device_write(a.x, x);
    float *over_residual = addition_run(k, &a, a.residual, N, C);
    assert_same_bits("add_layernorm in place of the residual", over_residual, got, N, C);

    addition_close(&a);
    free(x); free(residual); free(weight); free(bias); free(expected);
    free(got); free(over_x); free(over_residual);
}

static void test_add_layernorm(void **state)
{
    (void)state;
    FOR_EACH_TABLE(k)
    {
        for (size_t c = 0; c < COUNT(widths); c++) {
            for (size_t n = 0; n < COUNT(row_counts); n++)
                check_add_layernorm(k, row_counts[n], widths[c]);
        }
    }
}

enum { WORDS = 7, POSITIONS = 5 };

static void check_embed_layernorm(const struct cuda_kernels *k, size_t N, size_t C, bool with_type)
{
    float *word = random_elements(WORDS * C, k->element_bytes), *expected = zeros(N * C);
    float *position = random_elements(POSITIONS * C, k->element_bytes);
    float *type = random_floats(C), *weight = random_floats(C), *bias = random_floats(C);
    int32_t ids[64], positions[64];
    for (size_t n = 0; n < N; n++) {
        ids[n] = (int32_t)((n * n + WORDS - 1) % WORDS); /* includes the last row; repeats some */
        positions[n] = (int32_t)((POSITIONS - 1 + 2 * n) % POSITIONS);
    }
    word[0] = 1000;
    reference->embed_layernorm(expected, NULL, ids, positions, word, position,
                               with_type ? type : NULL, weight, bias, N, C, 1e-12f, NULL);

    struct device_buffer buffers[] = {
        device_output(N * C, k->element_bytes),
        device_integers(ids, N),
        device_integers(positions, N),
        device_input(word, WORDS * C, k->element_bytes),
        device_input(position, POSITIONS * C, k->element_bytes),
        device_input(type, C, sizeof(float)),
        device_input(weight, C, sizeof(float)),
        device_input(bias, C, sizeof(float)),
    };
    CHECK_CUDA(k->embed_layernorm(buffers[0].data, buffers[1].data, buffers[2].data,
                                  buffers[3].data, buffers[4].data,
                                  with_type ? buffers[5].data : NULL, buffers[6].data,
                                  buffers[7].data, N, C, 1e-12f, NULL));
    const char *what = shape_name("embed_layernorm %s N %zu C %zu, %s type", k->name, N, C,
                                  with_type ? "with" : "no");
    float *got = device_read(what, buffers[0]);
    assert_close(what, got, expected, N, C, ABSOLUTE, RELATIVE(k));

    for (size_t i = 0; i < COUNT(buffers); i++) device_free(buffers[i]);
    free(word); free(position); free(type); free(weight); free(bias); free(expected); free(got);
}

static void test_embed_layernorm(void **state)
{
    (void)state;
    FOR_EACH_TABLE(k)
    {
        for (size_t c = 0; c < COUNT(widths); c++) {
            for (size_t n = 0; n < COUNT(row_counts); n++) {
                check_embed_layernorm(k, row_counts[n], widths[c], false);
                check_embed_layernorm(k, row_counts[n], widths[c], true);
            }
        }
    }
}

/* A row has the same bits alone and in a batch; NaN or infinity fills its row and no other. */
static void test_layernorm_rows_are_apart(void **state)
{
    (void)state;
    enum { N = 9, BROKEN = 5 };
    FOR_EACH_TABLE(k)
    {
        for (size_t c = 0; c < COUNT(widths); c++) {
            size_t C = widths[c];
            float *x = random_elements(N * C, k->element_bytes), *weight = random_floats(C);
            float *residual = random_elements(N * C, k->element_bytes), *bias = random_floats(C);
            struct addition a = addition_open(k, x, residual, weight, bias, N, C);
            float *all = addition_run(k, &a, a.y, N, C);
            for (size_t n = 0; n < N; n++) {
                struct addition one = addition_open(k, x + n * C, residual + n * C, weight, bias, 1,
                                                    C);
                float *alone = addition_run(k, &one, one.y, 1, C);
                assert_same_bits("add_layernorm", alone, all + n * C, 1, C);
                addition_close(&one);
                free(alone);
            }

            static const float broken[] = {NAN, INFINITY, -INFINITY};
            for (size_t i = 0; i < COUNT(broken); i++) {
                x[BROKEN * C + C / 3] = broken[i];
                device_write(a.x, x);
                float *got = addition_run(k, &a, a.y, N, C);
                for (size_t j = 0; j < C; j++) assert_true(isnan(got[BROKEN * C + j]));
                memcpy(got + BROKEN * C, all + BROKEN * C, C * sizeof *got);
                assert_same_bits("add_layernorm beside NaN", got, all, N, C);
                free(got);
            }
            addition_close(&a);
            free(x); free(residual); free(weight); free(bias); free(all);
        }
    }
}

/* ---- GELU ---------------------------------------------------------------------------------- */

/* Computes expected = gelu(x + bias) by the naive linear layer, with two inputs of weight 1. */
static void reference_bias_gelu(float *expected, const float *x, const float *bias, size_t N,
                                size_t F)
{
    static const float ones[] = {1, 1}, zero = 0;
    float *pairs = zeros(N * F * 2);
    for (size_t i = 0; i < N * F; i++) {
        pairs[2 * i] = x[i];
        pairs[2 * i + 1] = bias[i % F];
    }
    reference->linear(expected, pairs, ones, &zero, N * F, 1, 2, 0, 1, ACTIVATION_GELU, NULL);
    free(pairs);
}

static float *run_bias_gelu(const struct cuda_kernels *k, const float *x, const float *bias,
                            size_t N, size_t F)
{
    struct device_buffer values = device_output(N * F, k->element_bytes);
    struct device_buffer biases = device_input(bias, F, k->element_bytes);
    device_write(values, x);
    CHECK_CUDA(k->bias_gelu(values.data, biases.data, N, F, NULL));
    float *got = device_read(shape_name("bias_gelu %s N %zu F %zu", k->name, N, F), values);
    device_free(values);
    device_free(biases);
    return got;
}

static void check_bias_gelu(const struct cuda_kernels *k, size_t N, size_t F)
{
    float *x = random_floats(N * F), *bias = random_floats(F), *expected = zeros(N * F);
    for (size_t i = 0; i < N * F; i++) x[i] *= 6;
    round_floats(x, N * F, k->element_bytes);
    round_floats(bias, F, k->element_bytes);
    reference_bias_gelu(expected, x, bias, N, F);
    float *got = run_bias_gelu(k, x, bias, N, F);

    /* FP32: 1 + erf is rounded at 1, and x is up to 7. FP16: half a step, and 0.19 of one from the
     * polynomial; near zero a step is 2^-24. */
    const char *what = shape_name("bias_gelu %s N %zu F %zu", k->name, N, F);
    if (k->element_bytes == 2)
        assert_close(what, got, expected, N, F, 0x1p-24, 1.2 * 0x1p-11);
    else
        assert_close(what, got, expected, N, F, 1e-6, 1e-6);

    for (size_t n = 0; n < N; n++) {
        float *alone = run_bias_gelu(k, x + n * F, bias, 1, F);
        assert_same_bits("bias_gelu", alone, got + n * F, 1, F);
        free(alone);
    }
    free(x); free(bias); free(expected); free(got);
}

static void test_bias_gelu(void **state)
{
    (void)state;
    static const size_t Fs[] = {1, 50, 112, 1536};
    FOR_EACH_TABLE(k)
    {
        for (size_t f = 0; f < COUNT(Fs); f++) {
            for (size_t n = 0; n < COUNT(row_counts); n++)
                check_bias_gelu(k, row_counts[n], Fs[f]);
        }
    }
}

/* All 63,488 finite FP16 numbers: at most one step from the nearest result, and seldom that. */
static void test_gelu_of_every_half(void **state)
{
    (void)state;
    enum { N = 64, F = 1024 };
    float *x = zeros(N * F), *bias = zeros(F), *expected = zeros(N * F);
    for (uint32_t i = 0; i < N * F; i++) x[i] = half_to_float((uint16_t)i);
    reference_bias_gelu(expected, x, bias, N, F);
    float *got = run_bias_gelu(&cuda_kernels_f16, x, bias, N, F);
    int apart = 0;
    for (size_t i = 0; i < N * F; i++) {
        if (!isfinite(x[i])) continue;
        int steps = abs((int)half_from_float(got[i]) - (int)half_from_float(expected[i]));
        if (expected[i] == 0 && got[i] == 0) steps = 0; /* of either sign */
        if (steps > 1) fail_msg("gelu(%.9g) is %.9g, not %.9g", x[i], got[i], expected[i]);
        apart += steps;
    }
    if (apart > 600) fail_msg("%d results are not the nearest", apart);
    free(x); free(bias); free(expected); free(got);
}

static void test_gelu_of_what_is_not_finite(void **state)
{
    (void)state;
    static const float x[] = {NAN, INFINITY, -INFINITY, 60000, -60000, 0, 1, -1};
    static const float none[8] = {0}, broken[8] = {0, 0, 0, 0, 0, NAN, INFINITY, -INFINITY};
    FOR_EACH_TABLE(k)
    {
        for (size_t F = 7; F <= 8; F++) { /* one element per thread, and vectors */
            float *got = run_bias_gelu(k, x, none, 1, F);
            assert_true(isnan(got[0]));
            assert_true(isinf(got[1]) && got[1] > 0);
            assert_true(got[2] == 0 && got[4] == 0 && got[5] == 0);
            assert_true(fabsf(got[3] / 60000 - 1) < 1e-3f);
            free(got);
        }
        float *got = run_bias_gelu(k, x, broken, 1, 8);
        assert_true(isnan(got[5]) && isinf(got[6]) && got[7] == 0);
        free(got);
    }
}

/* ---- pooling ------------------------------------------------------------------------------- */

/* A batch on the device, and how it is pooled. */
struct batch {
    const int32_t *offsets;
    size_t B, C;
    const int32_t *skipped; /* NULL: none */
    size_t more;            /* numbers after each row */
};

#define UNTOUCHED 42.0f /* initial content of rows */

static float *run_pool(const struct cuda_kernels *k, const float *x, const struct batch *batch,
                       enum pooling pooling, size_t D, bool normalize)
{
    size_t N = (size_t)batch->offsets[batch->B], B = batch->B, C = batch->C, stride = C + batch->more;
    float *before = zeros(B * stride);
    for (size_t i = 0; i < B * stride; i++) before[i] = UNTOUCHED;
    struct device_buffer skipped = {0};
    if (batch->skipped != NULL) skipped = device_integers(batch->skipped, B);
    struct device_buffer tokens = device_input(x, N * C, k->element_bytes);
    struct device_buffer offsets = device_integers(batch->offsets, B + 1);
    struct device_buffer rows = device_output(B * stride, sizeof(float));
    device_write(rows, before);
    CHECK_CUDA(k->pool(rows.data, stride, tokens.data, offsets.data, skipped.data, B, C, pooling, D,
                       normalize, NULL));
    float *got = device_read(shape_name("pool %s B %zu C %zu", k->name, B, C), rows);
    device_free(tokens);
    device_free(offsets);
    device_free(rows);
    if (batch->skipped != NULL) device_free(skipped);
    free(before);
    return got;
}

static void check_pool(const struct cuda_kernels *k, const float *x, const struct batch *batch,
                       enum pooling pooling, size_t D, bool normalize)
{
    size_t C = batch->C;
    float *got = run_pool(k, x, batch, pooling, D, normalize), *expected = zeros(C);
    for (size_t b = 0; b < batch->B; b++) {
        const float *tokens = x + (size_t)batch->offsets[b] * C, *row = got + b * (C + batch->more);
        size_t T = (size_t)(batch->offsets[b + 1] - batch->offsets[b]);
        size_t skipped = batch->skipped != NULL ? (size_t)batch->skipped[b] : 0;
        reference->pool(expected, tokens, skipped, T, C, pooling);
        if (pooling == POOLING_MAX && skipped >= T) { /* infinities have no difference */
            assert_true(row[0] == -INFINITY && row[D - 1] == -INFINITY);
            continue;
        }
        if (normalize) reference->l2_normalize(expected, expected, D);

        /* T roundings of 6e-8 of a partial sum near sqrt(T) / 2, in random directions, divided by
         * at least sqrt(T): 7e-7 for T = 512, and some are four times that. Selecting an element is
         * exact. */
        bool exact = pooling >= POOLING_MAX && !normalize;
        const char *what = shape_name("pool %s C %zu D %zu pooling %d normalize %d T %zu", k->name,
                                      C, D, (int)pooling, normalize, T);
        assert_close(what, row, expected, 1, D, exact ? 0 : 3e-6, 0);
        for (size_t c = D; c < C + batch->more; c++) {
            if (row[c] != UNTOUCHED) fail_msg("%s: component %zu was written", what, c);
        }
    }
    free(got);
    free(expected);
}

static void check_poolings(const struct cuda_kernels *k, const struct batch *batch)
{
    size_t C = batch->C, some = C / 2 + C % 2;
    float *x = random_elements((size_t)batch->offsets[batch->B] * C, k->element_bytes);
    for (int pooling = POOLING_MEAN; pooling <= POOLING_LAST; pooling++) {
        check_pool(k, x, batch, (enum pooling)pooling, C, false);
        check_pool(k, x, batch, (enum pooling)pooling, some, true);
    }
    check_pool(k, x, batch, POOLING_MEAN, C, true);
    check_pool(k, x, batch, POOLING_MEAN, some, false);
    free(x);
}

static const int32_t mixed[] = {0, 1, 513, 515, 532, 533, 566}; /* lengths 1, 512, 2, 17, 1, 33 */

static void test_pool(void **state)
{
    (void)state;
    /* Including more columns than a block has threads: 1030 without vectors, 5000 with. */
    static const size_t wide[] = {640, 768, 1024, 1030, 5000};
    static const size_t narrow[] = {1, 3, 12, 31, 36, 64, 128, 256, 384, 512};
    static const int32_t few[] = {0, 1, 14, 16};
    FOR_EACH_TABLE(k)
    {
        for (size_t c = 0; c < COUNT(narrow); c++)
            check_poolings(k, &(struct batch){mixed, COUNT(mixed) - 1, narrow[c], NULL, 0});
        for (size_t c = 0; c < COUNT(wide); c++)
            check_poolings(k, &(struct batch){few, COUNT(few) - 1, wide[c], NULL, 0});
        static const int32_t skipped[] = {1, 7, 2, 16, 0, 100}; /* all, some, all, all but one, ... */
        for (size_t c = 0; c < COUNT(narrow); c += 3) {
            const struct batch batch = {mixed, COUNT(mixed) - 1, narrow[c], skipped, 5};
            float *x = random_elements((size_t)mixed[COUNT(mixed) - 1] * batch.C, k->element_bytes);
            for (int pooling = POOLING_MEAN; pooling <= POOLING_LAST; pooling++)
                check_pool(k, x, &batch, (enum pooling)pooling, batch.C, false);
            free(x);
        }
    }
}

static void test_pool_is_batch_invariant(void **state)
{
    (void)state;
    static const size_t Cs[] = {31, 384, 1024};
    FOR_EACH_TABLE(k)
    {
        for (size_t c = 0; c < COUNT(Cs); c++) {
            struct batch all = {mixed, COUNT(mixed) - 1, Cs[c], NULL, 0};
            size_t C = Cs[c];
            float *x = random_elements((size_t)mixed[all.B] * C, k->element_bytes);
            float *rows = run_pool(k, x, &all, POOLING_MEAN, C, true);
            for (size_t b = 0; b < all.B; b++) {
                int32_t offsets[] = {0, mixed[b + 1] - mixed[b]};
                struct batch one = {offsets, 1, C, NULL, 0};
                float *row = run_pool(k, x + (size_t)mixed[b] * C, &one, POOLING_MEAN, C, true);
                assert_same_bits("pool", row, rows + b * C, 1, C);
                free(row);
            }
            free(x);
            free(rows);
        }
    }
}

/* As at the end of a batch that is rounded up: no token is read there, and no row written. */
static void test_pool_of_no_tokens(void **state)
{
    (void)state;
    static const int32_t offsets[] = {0, 5, 9, 9, 9};
    struct batch padded = {offsets, 4, 384, NULL, 0}, batch = {offsets, 2, 384, NULL, 0};
    size_t C = batch.C;
    FOR_EACH_TABLE(k)
    {
        float *x = random_elements(9 * C, k->element_bytes);
        for (int pooling = POOLING_MEAN; pooling <= POOLING_LAST; pooling++) {
            float *expected = run_pool(k, x, &batch, (enum pooling)pooling, C, true);
            float *got = run_pool(k, x, &padded, (enum pooling)pooling, C, true);
            assert_same_bits("pool", got, expected, 2, C);
            for (size_t i = 2 * C; i < 4 * C; i++) assert_float_equal(got[i], UNTOUCHED, 0);
            free(expected);
            free(got);
        }
        free(x);
    }
}

/* A NaN in any token reaches its component and no other sequence; zeros stay zeros. */
static void test_pool_of_nan_and_zeros(void **state)
{
    (void)state;
    static const int32_t offsets[] = {0, 3, 40, 41};
    struct batch batch = {offsets, 3, 36, NULL, 0};
    size_t C = batch.C, count = 41 * C, column = 7;
    FOR_EACH_TABLE(k)
    {
        float *zero = zeros(count);
        check_pool(k, zero, &batch, POOLING_MEAN, C, true);
        free(zero);

        for (size_t t = 3; t < 40; t += 9) {
            float *x = random_elements(count, k->element_bytes);
            x[t * C + column] = NAN;
            for (int pooling = POOLING_MEAN; pooling <= POOLING_MAX; pooling++) {
                for (int normalize = 0; normalize < 2; normalize++) {
                    float *rows = run_pool(k, x, &batch, (enum pooling)pooling, C, normalize);
                    assert_true(isnan(rows[C + column]));
                    assert_false(any_is_nan(rows, C) || any_is_nan(rows + 2 * C, C));
                    free(rows);
                }
            }
            free(x);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_add_layernorm),
        cmocka_unit_test(test_embed_layernorm),
        cmocka_unit_test(test_layernorm_rows_are_apart),
        cmocka_unit_test(test_bias_gelu),
        cmocka_unit_test(test_gelu_of_every_half),
        cmocka_unit_test(test_gelu_of_what_is_not_finite),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_pool_is_batch_invariant),
        cmocka_unit_test(test_pool_of_no_tokens),
        cmocka_unit_test(test_pool_of_nan_and_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
