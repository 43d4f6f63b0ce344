/* test_kernels_int8.c - linear layers in INT8 compared with the naive one
 *
 * The naive layer computes in FP32 on numbers that reference_round_int8 has rounded to 8 bits. What
 * remains is the order of sums, and the rounding of the result to BF16. Shapes are around the sizes
 * of input groups, output panels, tiles and blocks of rows. Skipped if the processor has no AVX-512
 * VNNI.
 */
#include "bf16_test.h"

#include "kernels/reference/reference.h"

static const struct cpu_kernels *int8(void)
{
    const struct cpu_kernels *k;
    for (size_t i = 0; (k = cpu_kernels_available(i)) != NULL; i++)
        if (k->matrix_bytes == 1) return k;
    skip();
    return NULL;
}

/* Allocates exactly what the kernel requests, followed by 42. */
static void *scratch_of(const struct cpu_kernels *k, size_t I)
{
    uint8_t *scratch = zero_bytes(k->linear_scratch_bytes(I) + 1);
    scratch[k->linear_scratch_bytes(I)] = 42;
    return scratch;
}

static void check_linear(const struct cpu_kernels *k, size_t N, size_t O, size_t I,
                         enum activation activation, struct numbers x, float *w)
{
    float *bias = random_floats(k->linear_bias_size(O)), *expected = zeros(N * O);
    uint16_t *got = zero_bytes((N * O + 1) * sizeof *got);
    uint8_t *scratch = scratch_of(k, I);
    void *p = packed(k, w, O, I);
    got[N * O] = 42; /* must not be touched */

    reference_round_int8(x.floats, N, w, O, I);
    reference->linear(expected, x.floats, w, bias, N, O, I, 0, O, activation, NULL);
    /* In two parts, as by two threads. */
    size_t middle = O / 2 / k->panel * k->panel;
    k->linear(got, x.elements, p, bias, N, O, I, 0, middle, activation, scratch);
    k->linear(got, x.elements, p, bias, N, O, I, middle, O, activation, scratch);

    char what[96];
    snprintf(what, sizeof what, "linear N %zu O %zu I %zu", N, O, I);
    assert_rounded(what, got, expected, N * O, 1e-6 + 1e-6 * (double)I);
    assert_int_equal(got[N * O], 42);
    assert_int_equal(scratch[k->linear_scratch_bytes(I)], 42);
    numbers_free(x);
    free(w); free(bias); free(p); free(got); free(expected); free(scratch);
}

static void test_linear(void **state)
{
    (void)state;
    const struct cpu_kernels *k = int8();
    static const size_t shapes[][2] = {{1, 1},    {31, 3},   {32, 4},   {33, 5},   {50, 63},
                                       {17, 64},  {64, 65},  {65, 79},  {112, 80}, {40, 127},
                                       {33, 128}, {34, 129}, {32, 193}, {31, 256},
                                       {33, 257}, {384, 384}};
    static const size_t rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 25, 95, 96, 97, 109};
    for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            size_t N = rows[n], O = shapes[s][0], I = shapes[s][1];
            check_linear(k, N, O, I, ACTIVATION_NONE, numbers(N * I, 1), random_floats(O * I));
            check_linear(k, N, O, I, ACTIVATION_GELU, numbers(N * I, 1), random_floats(O * I));
        }
    }
}

/* The purpose of groups: an outlier takes bits only from numbers of its own group. Rows of equal
 * numbers, of zeros, and far from 0; weights of zeros, and groups of weights so large that the
 * other groups do not count. */
static void test_linear_of_odd_numbers(void **state)
{
    (void)state;
    const struct cpu_kernels *k = int8();
    enum { N = 5, O = 33, I = 200 };
    struct numbers x = numbers(N * I, 1);
    float *w = random_floats(O * I);
    for (size_t i = 0; i < I; i++) {
        x.floats[I + i] = 0.5f;
        x.floats[2 * I + i] = 0;
        x.floats[3 * I + i] = -100;
        w[7 * I + i] = 0;
        w[11 * I + i] *= i < INT8_GROUP ? 1e-30f : 1;
        w[12 * I + i] *= i < INT8_GROUP ? 1e6f : 1e-30f;
    }
    x.floats[4 * I + 70] = 1000;
    w[9 * I + 130] = -50;
    for (size_t i = 0; i < N * I; i++) {
        x.elements[i] = rounded(x.floats[i]);
        x.floats[i] = value(x.elements[i]);
    }
    check_linear(k, N, O, I, ACTIVATION_NONE, x, w);
}

/* A row's bits depend neither on the rows computed with it nor on how outputs are split. */
static void test_linear_is_batch_invariant(void **state)
{
    (void)state;
    const struct cpu_kernels *k = int8();
    size_t N = 110, O = 96, I = 101;
    struct numbers x = numbers(N * I, 1);
    float *w = random_floats(O * I), *bias = random_floats(k->linear_bias_size(O));
    void *p = packed(k, w, O, I), *scratch = scratch_of(k, I);
    uint16_t *all = zero_bytes(N * O * sizeof *all), *some = zero_bytes(N * O * sizeof *some);
    k->linear(all, x.elements, p, bias, N, O, I, 0, O, ACTIVATION_GELU, scratch);
    for (size_t first = 0; first < N; first += 3) {
        for (size_t count = 1; first + count <= N; count += count < 26 ? 1 : 17) {
            memset(some, 0, N * O * sizeof *some);
            const uint16_t *rows = x.elements + first * I;
            k->linear(some, rows, p, bias, count, O, I, k->panel, O, ACTIVATION_GELU, scratch);
            k->linear(some, rows, p, bias, count, O, I, 0, k->panel, ACTIVATION_GELU, scratch);
            assert_memory_equal(some, all + first * O, count * O * sizeof *some);
        }
    }
    numbers_free(x);
    free(w); free(bias); free(p); free(scratch); free(all); free(some);
}

/* NaN and infinity, which have no 8-bit form, reach exactly what depends on them. */
static void test_not_finite(void **state)
{
    (void)state;
    const struct cpu_kernels *k = int8();
    enum { N = 3, O = 40, I = 150 };
    const float wrong[] = {NAN, INFINITY, -INFINITY};
    static const size_t places[] = {0, 63, 64, 145, 149};
    void *scratch = scratch_of(k, I);
    float *bias = random_floats(k->linear_bias_size(O));
    uint16_t got[N * O];
    for (size_t i = 0; i < 15; i++) {
        struct numbers x = numbers(N * I, 1);
        float *w = random_floats(O * I);
        x.elements[I + places[i % 5]] = rounded(wrong[i / 5]);
        if (isnan(wrong[i / 5])) x.elements[I + places[i % 5]] = 0x7FC0;
        void *p = packed(k, w, O, I);
        k->linear(got, x.elements, p, bias, N, O, I, 0, O, ACTIVATION_NONE, scratch);
        for (size_t o = 0; o < N * O; o++)
            assert_int_equal(isfinite(value(got[o])) != 0, o / O != 1);
        free(p);
        x.elements[I + places[i % 5]] = 0;
        w[9 * I + places[i % 5]] = wrong[i / 5];
        p = packed(k, w, O, I);
        k->linear(got, x.elements, p, bias, N, O, I, 0, O, ACTIVATION_NONE, scratch);
        for (size_t o = 0; o < N * O; o++)
            assert_int_equal(isfinite(value(got[o])) != 0, o % O != 9);
        numbers_free(x);
        free(p); free(w);
    }
    free(scratch); free(bias);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_linear_of_odd_numbers),
        cmocka_unit_test(test_linear_is_batch_invariant),
        cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
