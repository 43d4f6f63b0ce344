/* test_cuda_linear.c - our own linear layers in CUDA: every tile, both kinds of sums
 *
 * Compared with the naive layer in double, on inputs uniform in [-1, 1) and rounded to FP16: the
 * standard deviation of a result is then sqrt(I) / 3.
 *
 * Tolerances. The result is rounded to FP16: half a step, 2^-11 of it; GELU's own error is up to a
 * fifth of that. FP32 sums of I products below 1 are off by less than 1e-6 I. With two levels, a
 * sum of 64 products, seldom above 8, is rounded to FP16 after every 16 or every 8 products, each
 * time by up to 2^-9. These errors add up like a random walk with a standard deviation of about
 * 2^-10 sqrt(I / 8). Eight times that is allowed.
 */
#include "cuda_linear_test.h"

static const enum cuda_tile tiles[] = {CUDA_TILE_32, CUDA_TILE_64, CUDA_TILE_128};
static const enum activation activations[] = {ACTIVATION_NONE, ACTIVATION_GELU};

/* Returns y (N, O), which the caller frees. NULL for `tile`: the tile that the launcher chooses. */
static float *run(const struct layer *layer, const float *x, size_t N, enum activation activation,
                  enum cuda_sums sums, const enum cuda_tile *tile)
{
    struct device_buffer device_x = input_at_end(x, N * layer->I);
    struct device_buffer y = device_output(N * layer->O, 2);
    if (tile == NULL)
        CHECK_CUDA(cuda_linear_f16(y.data, device_x.data, layer->device_weight.data,
                                   layer->device_bias.data, N, layer->O, layer->I, activation, sums,
                                   NULL));
    else
        CHECK_CUDA(cuda_linear_f16_tiled(y.data, device_x.data, layer->device_weight.data,
                                         layer->device_bias.data, N, layer->O, layer->I, activation,
                                         sums, *tile, NULL));
    float *result = device_read(
        shape_name("linear N %zu, O %zu, I %zu, activation %d, sums %d, tile %d", N, layer->O,
                   layer->I, (int)activation, (int)sums, tile == NULL ? -1 : (int)*tile),
        y);
    device_free(device_x);
    device_free(y);
    return result;
}

static float *expected(const struct layer *layer, const float *x, size_t N,
                       enum activation activation)
{
    float *y = zeros(N * layer->O);
    cpu_kernels_reference.linear(y, x, layer->weight, layer->bias, N, layer->O, layer->I, 0,
                                 layer->O, activation, NULL);
    return y;
}

/* ---- comparison with the naive layer ------------------------------------------------------- */

/* The first tile is compared with the reference, the other tiles with the bits of the first. */
static void check_rows(const struct layer *layer, const float *x, const float *reference, size_t N,
                       enum activation activation, enum cuda_sums sums)
{
    double absolute = 1e-6 * (double)layer->I, relative = 0x1p-11;
    if (sums == CUDA_SUMS_TWO_LEVEL) absolute = 0x1p-7 * sqrt((double)layer->I / 8);
    if (activation == ACTIVATION_GELU) relative *= 1.2;

    float *first = run(layer, x, N, activation, sums, &tiles[0]);
    const char *name = shape_name("linear N %zu, O %zu, I %zu, activation %d, sums %d", N, layer->O,
                                  layer->I, (int)activation, (int)sums);
    assert_close(name, first, reference, N, layer->O, absolute, relative);
    for (size_t i = 1; i < COUNT(tiles); i++) {
        float *other = run(layer, x, N, activation, sums, &tiles[i]);
        assert_same_bits(shape_name("linear N %zu, O %zu, I %zu, activation %d, sums %d, tile %d",
                                    N, layer->O, layer->I, (int)activation, (int)sums,
                                    (int)tiles[i]),
                         other, first, N, layer->O);
        free(other);
    }
    free(first);
}

static void check_shape(size_t O, size_t I, const size_t *row_counts, size_t count)
{
    size_t most = row_counts[count - 1];
    struct layer layer = random_layer(O, I);
    float *x = random_elements(most * I, 2);
    for (size_t a = 0; a < COUNT(activations); a++) {
        float *reference = expected(&layer, x, most, activations[a]);
        for (size_t i = 0; i < count; i++) {
            for (size_t s = 0; s < COUNT(all_sums); s++)
                check_rows(&layer, x, reference, row_counts[i], activations[a], all_sums[s]);
        }
        free(reference);
    }
    free(x);
    layer_free(&layer);
}

static void test_small_shapes(void **state)
{
    (void)state;
    static const size_t row_counts[] = {1, 7, 8, 15, 16, 17, 63, 64, 65, 129, 200};
    static const size_t shapes[][2] = {{8, 8}, {24, 40}, {64, 64}, {112, 64}};
    for (size_t i = 0; i < COUNT(shapes); i++)
        check_shape(shapes[i][0], shapes[i][1], row_counts, COUNT(row_counts));
}

/* MiniLM's shapes. */
static void test_shapes_of_models(void **state)
{
    (void)state;
    check_shape(384, 384, (const size_t[]){7, 65, 129}, 3);
    check_shape(1152, 384, (const size_t[]){17, 65}, 2);
    check_shape(384, 1536, (const size_t[]){1, 16}, 2);
}

/* ---- exact results ------------------------------------------------------------------------- */

/* Row n of x is 1 at n % I and 0 elsewhere: y[n, o] is weight[o, n % I], to the bit. */
static void test_one_hot(void **state)
{
    (void)state;
    const size_t N = 135, O = 72, I = 88;
    struct layer layer = layer_of(O, I, random_elements(O * I, 2), zeros(O));
    float *x = zeros(N * I), *reference = zeros(N * O);
    for (size_t n = 0; n < N; n++) {
        x[n * I + n % I] = 1;
        for (size_t o = 0; o < O; o++) reference[n * O + o] = layer.weight[o * I + n % I];
    }
    for (size_t s = 0; s < COUNT(all_sums); s++) {
        for (size_t i = 0; i < COUNT(tiles); i++) {
            float *y = run(&layer, x, N, ACTIVATION_NONE, all_sums[s], &tiles[i]);
            assert_same_bits("one-hot rows", y, reference, N, O);
            free(y);
        }
    }
    free(x);
    free(reference);
    layer_free(&layer);
}

/* 2048 + 1 is 2048 in FP16, so each of the four ones past k = 64 would be lost if added to the sum
 * of the first 64: they must be added to each other first. FP16 represents the total, 2052. */
static void test_levels_change_at_64(void **state)
{
    (void)state;
    const size_t I = 128, O = 8;
    struct layer layer = layer_of(O, I, zeros(O * I), zeros(O));
    float *x = zeros(I);
    for (size_t k = 0; k < I; k++) x[k] = 1;
    for (size_t o = 0; o < O; o++) {
        layer.weight[o * I + 8 * o] = 2048;
        for (size_t k = 64; k < I; k += 16) layer.weight[o * I + k] = 1;
    }
    device_write(layer.device_weight, layer.weight);
    for (size_t s = 0; s < COUNT(all_sums); s++) {
        for (size_t i = 0; i < COUNT(tiles); i++) {
            float *y = run(&layer, x, 1, ACTIVATION_NONE, all_sums[s], &tiles[i]);
            for (size_t o = 0; o < O; o++) assert_true(y[o] == 2052);
            free(y);
        }
    }

    /* Not earlier: ones in the same 64 as 2048 are lost, though not with FP32 sums. */
    for (size_t o = 0; o < O; o++) {
        memset(layer.weight + o * I, 0, I * sizeof(float));
        layer.weight[o * I] = 2048;
        layer.weight[o * I + 32] = layer.weight[o * I + 48] = 1;
    }
    device_write(layer.device_weight, layer.weight);
    float *two_level = run(&layer, x, 1, ACTIVATION_NONE, CUDA_SUMS_TWO_LEVEL, NULL);
    float *f32 = run(&layer, x, 1, ACTIVATION_NONE, CUDA_SUMS_F32, NULL);
    for (size_t o = 0; o < O; o++) assert_true(two_level[o] == 2048 && f32[o] == 2050);
    free(two_level);
    free(f32);
    free(x);
    layer_free(&layer);
}

/* ---- the bits of a row --------------------------------------------------------------------- */

/* Every N up to 70, and single rows, give the bits of 200 rows in the largest tile. */
static void test_rows_do_not_depend_on_each_other(void **state)
{
    (void)state;
    const size_t most = 200, O = 40, I = 168;
    struct layer layer = random_layer(O, I);
    float *x = random_elements(most * I, 2);
    for (size_t s = 0; s < COUNT(all_sums); s++) {
        float *all = run(&layer, x, most, ACTIVATION_GELU, all_sums[s], &tiles[2]);
        for (size_t N = 1; N <= 70; N++) {
            float *y = run(&layer, x, N, ACTIVATION_GELU, all_sums[s], NULL);
            assert_same_bits(shape_name("the first %zu rows", N), y, all, N, O);
            free(y);
        }
        for (size_t n = 1; n < most; n += 7) {
            float *y = run(&layer, x + n * I, 1, ACTIVATION_GELU, all_sums[s], NULL);
            assert_same_bits(shape_name("row %zu alone", n), y, all + n * O, 1, O);
            free(y);
        }
        free(all);
    }
    free(x);
    layer_free(&layer);
}

/* The launcher takes a different tile for each of these numbers of rows. */
static void test_chosen_tiles(void **state)
{
    (void)state;
    const size_t row_counts[] = {100, 500, 2040}, O = 1024, I = 8;
    struct layer layer = random_layer(O, I);
    float *x = random_elements(row_counts[2] * I, 2);
    float *all = run(&layer, x, row_counts[2], ACTIVATION_NONE, CUDA_SUMS_F32, NULL);
    float *reference = expected(&layer, x, row_counts[2], ACTIVATION_NONE);
    assert_close("2040 rows", all, reference, row_counts[2], O, 1e-6 * (double)I, 0x1p-11);
    for (size_t i = 0; i < 2; i++) {
        float *y = run(&layer, x, row_counts[i], ACTIVATION_NONE, CUDA_SUMS_F32, NULL);
        assert_same_bits(shape_name("%zu rows", row_counts[i]), y, all, row_counts[i], O);
        free(y);
    }
    free(all);
    free(reference);
    free(x);
    layer_free(&layer);
}

/* ---- NaN and infinity ---------------------------------------------------------------------- */

/* Checks that NaN is in row `row` and in column `column` only (SIZE_MAX: in none), and that all
 * else is as in `clean`. */
static void check_nans(const char *what, const float *y, const float *clean, size_t N, size_t O,
                       size_t row, size_t column)
{
    for (size_t n = 0; n < N; n++) {
        for (size_t o = 0; o < O; o++) {
            bool hit = n == row || o == column;
            if (hit ? !isnan(y[n * O + o]) : y[n * O + o] != clean[n * O + o])
                fail_msg("%s: row %zu, column %zu is %g", what, n, o, y[n * O + o]);
        }
    }
}

static void check_nan(enum activation activation, enum cuda_sums sums, enum cuda_tile tile)
{
    const size_t N = 67, O = 72, I = 40, row = 33, column = 65;
    struct layer layer = random_layer(O, I);
    float *x = random_elements(N * I, 2);
    float *clean = run(&layer, x, N, activation, sums, &tile);
    assert_false(any_is_nan(clean, N * O));

    float kept = x[row * I + 39];
    x[row * I + 39] = NAN;
    float *y = run(&layer, x, N, activation, sums, &tile);
    check_nans("NaN in x", y, clean, N, O, row, SIZE_MAX);
    free(y);
    x[row * I + 39] = kept;

    kept = layer.weight[column * I];
    layer.weight[column * I] = NAN;
    device_write(layer.device_weight, layer.weight);
    y = run(&layer, x, N, activation, sums, &tile);
    check_nans("NaN in weight", y, clean, N, O, SIZE_MAX, column);
    free(y);
    layer.weight[column * I] = kept;
    device_write(layer.device_weight, layer.weight);

    layer.bias[column] = NAN;
    device_write(layer.device_bias, layer.bias);
    y = run(&layer, x, N, activation, sums, &tile);
    check_nans("NaN in bias", y, clean, N, O, SIZE_MAX, column);
    free(y);
    free(clean);
    free(x);
    layer_free(&layer);
}

static void test_nan_reaches_its_row_and_column(void **state)
{
    (void)state;
    for (size_t s = 0; s < COUNT(all_sums); s++) {
        for (size_t i = 0; i < COUNT(tiles); i++) {
            check_nan(ACTIVATION_NONE, all_sums[s], tiles[i]);
            check_nan(ACTIVATION_GELU, all_sums[s], tiles[i]);
        }
    }
}

/* Rows of NaN follow x and weight, where a tile extends beyond both. I is no multiple of what a
 * slot holds: the next row of x begins where zeros must be. */
static void test_nothing_beyond_the_matrices_is_used(void **state)
{
    (void)state;
    const size_t N = 17, O = 24, I = 40, more = 128;
    float *weight = random_elements((O + more) * I, 2), *bias = random_elements(O + more, 2);
    float *x = random_elements((N + more) * I, 2);
    for (size_t i = O * I; i < (O + more) * I; i++) weight[i] = NAN;
    for (size_t i = N * I; i < (N + more) * I; i++) x[i] = NAN;
    for (size_t i = O; i < O + more; i++) bias[i] = NAN;
    struct layer layer = {O, I, weight, bias, device_input(weight, (O + more) * I, 2),
                          device_input(bias, O + more, 2)};
    struct device_buffer device_x = device_input(x, (N + more) * I, 2);
    float *reference = expected(&layer, x, N, ACTIVATION_NONE);
    for (size_t i = 0; i < COUNT(tiles); i++) {
        struct device_buffer y = device_output(N * O, 2);
        CHECK_CUDA(cuda_linear_f16_tiled(y.data, device_x.data, layer.device_weight.data,
                                         layer.device_bias.data, N, O, I, ACTIVATION_NONE,
                                         CUDA_SUMS_F32, tiles[i], NULL));
        float *got = device_read("NaN beyond the matrices", y);
        assert_close("NaN beyond the matrices", got, reference, N, O, 1e-6 * (double)I, 0x1p-11);
        free(got);
        device_free(y);
    }
    device_free(device_x);
    free(reference);
    free(x);
    layer_free(&layer);
}

/* ---- limits -------------------------------------------------------------------------------- */

static cudaError_t launch_shape(size_t N, size_t O, size_t I)
{
    return cuda_linear_f16(NULL, NULL, NULL, NULL, N, O, I, ACTIVATION_NONE, CUDA_SUMS_F32, NULL);
}

static void test_shapes_that_are_refused(void **state)
{
    (void)state;
    assert_int_equal(launch_shape(1, 12, 8), cudaErrorInvalidValue);
    assert_int_equal(launch_shape(1, 8, 12), cudaErrorInvalidValue);
    assert_int_equal(launch_shape((size_t)CUDA_MOST_TOKENS + 1, 8, 8), cudaErrorInvalidValue);
    assert_int_equal(launch_shape(1, (size_t)CUDA_WIDEST_LAYER + 8, 8), cudaErrorInvalidValue);
    assert_int_equal(launch_shape(1, 8, (size_t)CUDA_WIDEST_LAYER + 8), cudaErrorInvalidValue);
    CHECK_CUDA(cudaDeviceSynchronize());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_shapes),
        cmocka_unit_test(test_shapes_of_models),
        cmocka_unit_test(test_one_hot),
        cmocka_unit_test(test_levels_change_at_64),
        cmocka_unit_test(test_rows_do_not_depend_on_each_other),
        cmocka_unit_test(test_chosen_tiles),
        cmocka_unit_test(test_nan_reaches_its_row_and_column),
        cmocka_unit_test(test_nothing_beyond_the_matrices_is_used),
        cmocka_unit_test(test_shapes_that_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
