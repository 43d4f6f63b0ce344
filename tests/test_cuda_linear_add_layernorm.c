/* test_cuda_linear_add_layernorm.c - linear layer, residual and LayerNorm in one CUDA kernel
 *
 * Compared with the naive functions in double, and bit for bit with the two kernels that it
 * replaces.
 *
 * Tolerances. As in test_cuda_linear.c, with inputs uniform in [-1, 1): the products' standard
 * deviation is sqrt(I) / 3, and they seldom exceed 6 times that. They are rounded to FP16: half a
 * step, 2^-11, of at most 2 sqrt(I). LayerNorm divides by the deviation, its weights are below 1,
 * and the result is rounded once more.
 */
#include "cuda_linear_test.h"

enum { WIDTH = 384 };

static const float epsilon = 1e-12f;

/* A linear layer with its LayerNorm. */
struct normed {
    struct layer layer;
    float *weight, *bias;
    struct device_buffer device_weight, device_bias;
};

static struct normed normed_of(struct layer layer, float *weight, float *bias)
{
    struct normed normed = {layer, weight, bias, device_input(weight, WIDTH, sizeof(float)),
                            device_input(bias, WIDTH, sizeof(float))};
    return normed;
}

static struct normed random_normed(size_t I)
{
    return normed_of(random_layer(WIDTH, I), random_floats(WIDTH), random_floats(WIDTH));
}

static void normed_free(struct normed *normed)
{
    layer_free(&normed->layer);
    free(normed->weight);
    free(normed->bias);
    device_free(normed->device_weight);
    device_free(normed->device_bias);
}

static int capability(void)
{
    struct cudaDeviceProp properties;
    CHECK_CUDA(cudaGetDeviceProperties(&properties, 0));
    return properties.major * 10 + properties.minor;
}

enum way { ONE_KERNEL, IN_PLACE_OF_RESIDUAL, TWO_KERNELS };

static void launch(const struct normed *w, void *y, const void *x, const void *residual, size_t N,
                   enum cuda_sums sums, enum way way)
{
    const struct layer *layer = &w->layer;
    if (way == TWO_KERNELS) {
        CHECK_CUDA(cuda_linear_f16(y, x, layer->device_weight.data, layer->device_bias.data, N,
                                   WIDTH, layer->I, ACTIVATION_NONE, sums, NULL));
        CHECK_CUDA(cuda_kernels_f16.add_layernorm(y, y, residual, w->device_weight.data,
                                                  w->device_bias.data, N, WIDTH, epsilon, NULL));
        return;
    }
    CHECK_CUDA(cuda_linear_add_layernorm_f16(
        y, x, layer->device_weight.data, layer->device_bias.data, residual, w->device_weight.data,
        w->device_bias.data, N, WIDTH, layer->I, epsilon, sums, capability(), NULL));
}

/* Returns y (N, WIDTH), which the caller frees. */
static float *run(const struct normed *w, const float *x, const float *residual, size_t N,
                  enum cuda_sums sums, enum way way)
{
    struct device_buffer device_x = input_at_end(x, N * w->layer.I);
    struct device_buffer y = device_output(N * WIDTH, 2);
    struct device_buffer device_residual = input_at_end(residual, N * WIDTH);
    if (way == IN_PLACE_OF_RESIDUAL) device_write(y, residual);
    launch(w, y.data, device_x.data, way == IN_PLACE_OF_RESIDUAL ? y.data : device_residual.data, N,
           sums, way);
    float *result = device_read(shape_name("linear_add_layernorm N %zu, I %zu, sums %d, way %d", N,
                                           w->layer.I, (int)sums, (int)way),
                                y);
    device_free(device_x);
    device_free(device_residual);
    device_free(y);
    return result;
}

static float *expected(const struct normed *w, const float *x, const float *residual, size_t N)
{
    const struct layer *layer = &w->layer;
    float *y = zeros(N * WIDTH);
    cpu_kernels_reference.linear(y, x, layer->weight, layer->bias, N, WIDTH, layer->I, 0, WIDTH,
                                 ACTIVATION_NONE, NULL);
    cpu_kernels_reference.add_layernorm(y, y, residual, w->weight, w->bias, N, WIDTH, epsilon, NULL);
    return y;
}

/* ---- comparison with the naive functions, and the two kernels ------------------------------ */

static void check_rows(const struct normed *w, const float *x, const float *residual,
                       const float *reference, size_t N, enum cuda_sums sums)
{
    const double I = (double)w->layer.I, deviation = sqrt(I) / 3;
    double products = 1e-6 * I + 0x1p-11 * 2 * sqrt(I);
    if (sums == CUDA_SUMS_TWO_LEVEL) products += 0x1p-7 * sqrt(I / 8);

    float *y = run(w, x, residual, N, sums, ONE_KERNEL);
    const char *name = shape_name("linear_add_layernorm N %zu, I %zu, sums %d", N, w->layer.I,
                                  (int)sums);
    assert_close(name, y, reference, N, WIDTH, products / deviation, 0x1p-11);
    static const enum way others[] = {TWO_KERNELS, IN_PLACE_OF_RESIDUAL};
    for (size_t i = 0; i < COUNT(others); i++) {
        float *other = run(w, x, residual, N, sums, others[i]);
        assert_same_bits(shape_name("linear_add_layernorm N %zu, I %zu, sums %d, way %d", N,
                                    w->layer.I, (int)sums, (int)others[i]),
                         other, y, N, WIDTH);
        free(other);
    }
    free(y);
}

static void check_shape(size_t I, const size_t *row_counts, size_t count)
{
    const size_t most = row_counts[count - 1];
    struct normed w = random_normed(I);
    float *x = random_elements(most * I, 2), *residual = random_elements(most * WIDTH, 2);
    float *reference = expected(&w, x, residual, most);
    for (size_t i = 0; i < count; i++)
        for (size_t s = 0; s < COUNT(all_sums); s++)
            check_rows(&w, x, residual, reference, row_counts[i], all_sums[s]);
    free(reference);
    free(residual);
    free(x);
    normed_free(&w);
}

static void test_shapes(void **state)
{
    (void)state;
    static const size_t row_counts[] = {1, 7, 8, 9, 16, 63, 64, 65, 71, 127, 130, 200};
    static const size_t widths[] = {8, 40, 72};
    for (size_t i = 0; i < COUNT(widths); i++)
        check_shape(widths[i], row_counts, COUNT(row_counts));
}

/* MiniLM's shapes. */
static void test_shapes_of_models(void **state)
{
    (void)state;
    check_shape(384, (const size_t[]){1, 65, 131}, 3);
    check_shape(1536, (const size_t[]){17, 65}, 2);
}

/* ---- exact results ------------------------------------------------------------------------- */

/* Rows of equal numbers: the variance is 0, only eps keeps the result finite, and the result is the
 * LayerNorm's bias. */
static void test_rows_of_one_number(void **state)
{
    (void)state;
    const size_t N = 67, I = 8;
    struct normed w = normed_of(layer_of(WIDTH, I, zeros(WIDTH * I), zeros(WIDTH)),
                                random_floats(WIDTH), random_elements(WIDTH, 2));
    float *x = random_elements(N * I, 2), *residual = zeros(N * WIDTH), *biases = zeros(N * WIDTH);
    for (size_t n = 0; n < N; n++) {
        for (size_t c = 0; c < WIDTH; c++) {
            residual[n * WIDTH + c] = (float)n;
            biases[n * WIDTH + c] = w.bias[c];
        }
    }
    for (size_t s = 0; s < COUNT(all_sums); s++) {
        float *y = run(&w, x, residual, N, all_sums[s], ONE_KERNEL);
        assert_same_bits("rows of one number", y, biases, N, WIDTH);
        free(y);
    }
    free(x);
    free(residual);
    free(biases);
    normed_free(&w);
}

/* A mean of 900 deviations: the mean square less the squared mean would be off by a tenth. */
static void test_mean_far_from_0(void **state)
{
    (void)state;
    const size_t N = 9, I = 8;
    struct normed w = random_normed(I);
    float *x = zeros(N * I), *residual = random_elements(N * WIDTH, 2);
    for (size_t c = 0; c < WIDTH; c++) {
        w.layer.bias[c] = 512;
        w.weight[c] = 1;
        w.bias[c] = 0;
    }
    device_write(w.layer.device_bias, w.layer.bias);
    device_write(w.device_weight, w.weight);
    device_write(w.device_bias, w.bias);
    float *reference = expected(&w, x, residual, N);
    float *y = run(&w, x, residual, N, CUDA_SUMS_F32, ONE_KERNEL);
    assert_close("a mean far from 0", y, reference, N, WIDTH, 2e-4, 0x1p-11);
    free(y);
    free(reference);
    free(x);
    free(residual);
    normed_free(&w);
}

/* ---- the bits of a row --------------------------------------------------------------------- */

static void test_rows_do_not_depend_on_each_other(void **state)
{
    (void)state;
    const size_t most = 200, I = 88;
    struct normed w = random_normed(I);
    float *x = random_elements(most * I, 2), *residual = random_elements(most * WIDTH, 2);
    for (size_t s = 0; s < COUNT(all_sums); s++) {
        float *all = run(&w, x, residual, most, all_sums[s], ONE_KERNEL);
        for (size_t N = 1; N <= most; N += 11) {
            float *y = run(&w, x, residual, N, all_sums[s], ONE_KERNEL);
            assert_same_bits(shape_name("the first %zu rows", N), y, all, N, WIDTH);
            free(y);
        }
        for (size_t n = 1; n < most; n += 13) {
            float *y = run(&w, x + n * I, residual + n * WIDTH, 1, all_sums[s], ONE_KERNEL);
            assert_same_bits(shape_name("row %zu alone", n), y, all + n * WIDTH, 1, WIDTH);
            free(y);
        }
        free(all);
    }
    free(x);
    free(residual);
    normed_free(&w);
}

/* Checks that NaN is in row `row` only. */
static void check_nan_in_row(const struct normed *w, const float *x, const float *residual,
                             const float *clean, size_t N, size_t row, enum cuda_sums sums)
{
    float *y = run(w, x, residual, N, sums, ONE_KERNEL);
    for (size_t i = 0; i < N * WIDTH; i++) {
        if (i / WIDTH == row ? !isnan(y[i]) : !(y[i] == clean[i]))
            fail_msg("NaN in row %zu: row %zu, column %zu is %g", row, i / WIDTH, i % WIDTH, y[i]);
    }
    free(y);
}

static void test_nan_stays_in_its_row(void **state)
{
    (void)state;
    const size_t N = 70, I = 40, row = 66;
    struct normed w = random_normed(I);
    float *x = random_elements(N * I, 2), *residual = random_elements(N * WIDTH, 2);
    for (size_t s = 0; s < COUNT(all_sums); s++) {
        float *clean = run(&w, x, residual, N, all_sums[s], ONE_KERNEL);
        assert_false(any_is_nan(clean, N * WIDTH));
        float kept = x[row * I + 39];
        x[row * I + 39] = NAN;
        check_nan_in_row(&w, x, residual, clean, N, row, all_sums[s]);
        x[row * I + 39] = kept;
        kept = residual[row * WIDTH + 383];
        residual[row * WIDTH + 383] = NAN;
        check_nan_in_row(&w, x, residual, clean, N, row, all_sums[s]);
        residual[row * WIDTH + 383] = kept;
        free(clean);
    }
    free(x);
    free(residual);
    normed_free(&w);
}

/* ---- limits -------------------------------------------------------------------------------- */

static cudaError_t launch_shape(size_t N, size_t O, size_t I)
{
    return cuda_linear_add_layernorm_f16(NULL, NULL, NULL, NULL, NULL, NULL, NULL, N, O, I, epsilon,
                                         CUDA_SUMS_F32, capability(), NULL);
}

static void test_shapes_that_are_refused(void **state)
{
    (void)state;
    assert_int_equal(launch_shape(1, WIDTH, 12), cudaErrorInvalidValue);
    assert_int_equal(launch_shape(1, 768, 8), cudaErrorInvalidValue);
    assert_int_equal(launch_shape((size_t)CUDA_MOST_TOKENS + 1, WIDTH, 8), cudaErrorInvalidValue);
    assert_int_equal(launch_shape(1, WIDTH, (size_t)CUDA_WIDEST_LAYER + 8), cudaErrorInvalidValue);
    CHECK_CUDA(cudaDeviceSynchronize());
}

/* With 64 rows a block, it pays for a full chunk of an H200, but not for a single text. */
static void test_when_it_pays(void **state)
{
    (void)state;
    assert_true(cuda_linear_add_layernorm_pays(8448, WIDTH, 132));
    assert_true(cuda_linear_add_layernorm_pays(64 * 99, WIDTH, 132));
    assert_false(cuda_linear_add_layernorm_pays(64 * 98, WIDTH, 132));
    assert_false(cuda_linear_add_layernorm_pays(8449, WIDTH, 132)); /* all wait for one block */
    assert_false(cuda_linear_add_layernorm_pays(128, WIDTH, 132));
    assert_false(cuda_linear_add_layernorm_pays(8448, 768, 132));
    assert_false(cuda_linear_add_layernorm_pays(8448, WIDTH, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_shapes_of_models),
        cmocka_unit_test(test_rows_of_one_number),
        cmocka_unit_test(test_mean_far_from_0),
        cmocka_unit_test(test_rows_do_not_depend_on_each_other),
        cmocka_unit_test(test_nan_stays_in_its_row),
        cmocka_unit_test(test_shapes_that_are_refused),
        cmocka_unit_test(test_when_it_pays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
