/* test_cuda_dense.c - the CUDA kernels for pooled rows, in FP32, compared with naive code
 *
 * Shapes are awkward on purpose: one more and one less than a block has of rows, outputs and
 * inputs.
 */
#include "cuda_test.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct cpu_kernels *const reference = &cpu_kernels_reference;

struct shape {
    size_t B, O, I;
};

static const struct shape shapes[] = {{1, 1, 1},    {1, 33, 31},  {2, 31, 64},
                                      {31, 16, 33}, {33, 49, 32}, {40, 150, 128}};

/* Computes y (B, O) on the device; bias may be NULL. */
static float *run_dense(const float *x, const float *w, const float *bias, struct shape s,
                        enum activation activation)
{
    struct device_buffer rows = device_input(x, s.B * s.I, sizeof(float));
    struct device_buffer weight = device_input(w, s.O * s.I, sizeof(float)), shift = {0};
    struct device_buffer out = device_output(s.B * s.O, sizeof(float));
    if (bias != NULL) shift = device_input(bias, s.O, sizeof(float));
    CHECK_CUDA(cuda_dense(out.data, rows.data, weight.data, shift.data, s.B, s.O, s.I, activation,
                          NULL));
    float *got = device_read(shape_name("dense B %zu O %zu I %zu", s.B, s.O, s.I), out);
    device_free(rows);
    device_free(weight);
    device_free(out);
    if (bias != NULL) device_free(shift);
    return got;
}

static void test_dense(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(shapes); i++) {
        struct shape s = shapes[i], one = {1, s.O, s.I};
        float *x = random_elements(s.B * s.I, sizeof(float)), *expected = zeros(s.B * s.O);
        float *w = random_elements(s.O * s.I, sizeof(float));
        float *bias = random_elements(s.O, sizeof(float));
        for (int activation = ACTIVATION_NONE; activation <= ACTIVATION_SIGMOID; activation++) {
            enum activation a = (enum activation)activation;
            const float *shift = activation % 2 == 0 ? bias : NULL;
            float *got = run_dense(x, w, shift, s, a);
            reference->dense(expected, x, w, shift, s.B, s.O, s.I, 0, s.O, a);
            assert_close(shape_name("dense B %zu O %zu I %zu activation %d", s.B, s.O, s.I,
                                    activation),
                         got, expected, s.B, s.O, 1e-5, 0);
            /* A row alone has the same bits. */
            float *alone = run_dense(x + (s.B - 1) * s.I, w, shift, one, a);
            assert_same_bits("dense", alone, got + (s.B - 1) * s.O, 1, s.O);
            free(alone);
            free(got);
        }
        free(x); free(w); free(bias); free(expected);
    }
}

/* A NaN reaches all outputs of its row, and no other row. */
static void test_dense_of_nan(void **state)
{
    (void)state;
    struct shape s = {3, 33, 40};
    float *x = random_elements(s.B * s.I, sizeof(float));
    float *w = random_elements(s.O * s.I, sizeof(float));
    x[s.I + 39] = NAN;
    for (int activation = ACTIVATION_NONE; activation <= ACTIVATION_SIGMOID; activation++) {
        float *got = run_dense(x, w, NULL, s, (enum activation)activation);
        for (size_t o = 0; o < s.O; o++)
            assert_true(isnan(got[s.O + o]) && !isnan(got[o]) && !isnan(got[2 * s.O + o]));
        free(got);
    }
    free(x);
    free(w);
}

static void test_l2_normalize(void **state)
{
    (void)state;
    static const size_t widths[][2] = {{1, 1}, {33, 33}, {40, 31}, {384, 100}, {1030, 1030}};
    for (size_t i = 0; i < COUNT(widths); i++) {
        size_t B = 7, W = widths[i][0], D = widths[i][1];
        float *x = random_elements(B * W, sizeof(float)), *expected = zeros(B * W);
        memset(x + 2 * W, 0, W * sizeof *x); /* zeros stay zeros */
        x[3 * W] = NAN;
        struct device_buffer rows = device_input(x, B * W, sizeof(float));
        CHECK_CUDA(cuda_l2_normalize(rows.data, B, W, D, NULL));
        float *got = device_read(shape_name("l2_normalize W %zu D %zu", W, D), rows);
        memcpy(expected, x, B * W * sizeof *x);
        for (size_t b = 0; b < B; b++) {
            if (b == 3) {
                for (size_t c = 0; c < D; c++) assert_true(isnan(got[b * W + c]));
                assert_true(D == W || !isnan(got[b * W + D]));
                continue;
            }
            reference->l2_normalize(expected + b * W, x + b * W, D);
            assert_close("l2_normalize", got + b * W, expected + b * W, 1, W, 1e-6, 0);
        }
        device_free(rows);
        free(got); free(x); free(expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dense),
        cmocka_unit_test(test_dense_of_nan),
        cmocka_unit_test(test_l2_normalize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
