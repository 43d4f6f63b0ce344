/* test_math.c - the emulated device: FP16, matrices of warps, cuBLASLt, against naive sums
 *
 * The layouts that fragments have here are all that the kernels' tests rest on where there is no
 * GPU: each is checked in two ways that do not know of each other.
 */
#include "device_test.h"

#include <cublasLt.h>
#include <cuda_fp16.h>

#include <stdlib.h>

/* ---- FP16 ---------------------------------------------------------------------------------- */

static float to_float(uint16_t bits)
{
    return __half2float(__ushort_as_half(bits));
}

static uint16_t to_half(float value)
{
    return __half_as_ushort(__float2half_rn(value));
}

/* By the definition of the format, without its bits: sign, exponent, fraction as numbers. */
static double naive_value(uint16_t bits)
{
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double sign = bits >> 15 ? -1 : 1;
    if (exponent == 31) return fraction != 0 ? NAN : sign * INFINITY;
    return exponent == 0 ? sign * ldexp(fraction, -24)
                         : sign * ldexp(1024 + fraction, exponent - 25);
}

/* The nearest multiple of the last place; rint goes to even, and doubles hold all of it exactly. */
static double naive_rounded(float value)
{
    double magnitude = fabs((double)value);
    if (isnan(value) || magnitude == INFINITY) return value;
    int exponent;
    frexp(magnitude, &exponent);
    double last_place = ldexp(1, exponent - 11 > -24 ? exponent - 11 : -24);
    double rounded = rint(magnitude / last_place) * last_place;
    return copysign(rounded >= 65536 ? INFINITY : rounded, value);
}

static void assert_same(const char *what, uint32_t bits, double got, double expected)
{
    if (isnan(expected) ? !isnan(got) : !(got == expected && signbit(got) == signbit(expected)))
        fail_msg("%s of 0x%x is %.17g, not %.17g", what, (unsigned)bits, got, expected);
}

static void test_all_halves(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        assert_same("float", bits, to_float((uint16_t)bits), naive_value((uint16_t)bits));
        uint16_t back = to_half(to_float((uint16_t)bits));
        if (isnan(naive_value((uint16_t)bits))) assert_true(isnan(to_float(back)));
        else assert_int_equal(back, bits);
    }
}

static void check_rounding(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    assert_same("half", bits, naive_value(to_half(value)), naive_rounded(value));
    assert_same("half", bits, naive_value(to_half(-value)), naive_rounded(-value));
}

/* Every tie between two neighbours, and the floats next to it; up to the one below infinity. */
static void test_rounding_to_half(void **state)
{
    (void)state;
    for (uint16_t bits = 0; bits < 0x7C00; bits++) {
        double next = bits == 0x7BFF ? 65536 : naive_value((uint16_t)(bits + 1));
        float tie = (float)((naive_value(bits) + next) / 2);
        check_rounding(tie);
        check_rounding(nextafterf(tie, 0));
        check_rounding(nextafterf(tie, INFINITY));
    }
    const float special[] = {0, 1e-45f, 0x1p-126f, 0x1p-25f, 65504, 65519.996f, 65520, 1e30f,
                             INFINITY, NAN};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) check_rounding(special[i]);
    for (int i = 0; i < 1000000; i++) {
        uint32_t bits = (uint32_t)(random_bits() >> 32);
        float value;
        memcpy(&value, &bits, sizeof value);
        check_rounding(value);
    }
}

/* ---- matrices of warps --------------------------------------------------------------------- */

static void test_ldmatrix(void **state)
{
    (void)state;
    uint16_t in[32][8];
    uint32_t out[32][4];
    for (int i = 0; i < 32 * 8; i++) in[i / 8][i % 8] = (uint16_t)(1000 + i);
    void *device_in = upload(in, sizeof in), *device_out = device_memory(sizeof out);
    for (int transposed = 0; transposed < 2; transposed++) {
        assert_cuda(launch_ldmatrix(device_out, device_in, transposed, NULL));
        download(out, device_out, sizeof out);
        for (int l = 0; l < 32; l++)
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 2; j++) { /* the low and the high half */
                    int g = l / 4, k = 2 * (l % 4) + j;
                    int row = transposed ? k : g, column = transposed ? g : k;
                    assert_int_equal(out[l][i] >> 16 * j & 0xFFFF, in[8 * i + row][column]);
                }
    }
    assert_no_report();
}

struct matrices {
    uint16_t a[16 * 16], b[16 * 16], c[16 * 8]; /* FP16 */
};

static void random_matrices(struct matrices *m)
{
    for (int i = 0; i < 16 * 16; i++) m->a[i] = to_half(random_float());
    for (int i = 0; i < 16 * 16; i++) m->b[i] = to_half(random_float());
    for (int i = 0; i < 16 * 8; i++) m->c[i] = to_half(random_float());
}

/* d (16, columns) += a (16, 16) b (16, columns). */
static void naive_product(double *d, const uint16_t *a, const uint16_t *b, int columns)
{
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < columns; j++)
            for (int k = 0; k < 16; k++)
                d[i * columns + j] += naive_value(a[16 * i + k]) * naive_value(b[columns * k + j]);
}

static void assert_close(const char *what, const float *got, const double *expected, int count,
                         double tolerance)
{
    for (int i = 0; i < count; i++)
        if (!(fabs(got[i] - expected[i]) <= tolerance))
            fail_msg("%s: element %d is %g, not %g", what, i, got[i], expected[i]);
}

static void test_mma(void **state)
{
    (void)state;
    struct matrices m;
    random_matrices(&m);
    for (int by_ldmatrix = 0; by_ldmatrix < 2; by_ldmatrix++) {
        float d[16 * 8];
        double expected[16 * 8];
        for (int i = 0; i < 16 * 8; i++) expected[i] = d[i] = random_float();
        naive_product(expected, m.a, m.c, 8);
        void *device = upload(d, sizeof d);
        assert_cuda(launch_mma(device, upload(m.a, sizeof m.a), upload(m.c, sizeof m.c),
                               by_ldmatrix, NULL));
        download(d, device, sizeof d);
        assert_close(by_ldmatrix ? "by ldmatrix" : "gathered", d, expected, 16 * 8, 1e-5);
    }
    assert_no_report();
}

/* A fragment of D, as it is, taken for one of A: would show if both were wrong alike along k. */
static void test_mma_twice(void **state)
{
    (void)state;
    struct matrices m;
    random_matrices(&m);
    double between[16 * 16] = {0}, expected[16 * 8] = {0};
    uint16_t rounded[16 * 16];
    naive_product(between, m.a, m.b, 16);
    for (int i = 0; i < 16 * 16; i++) rounded[i] = to_half((float)between[i]);
    naive_product(expected, rounded, m.c, 8);
    float d[16 * 8];
    void *device = device_memory(sizeof d);
    assert_cuda(launch_mma_twice(device, upload(m.a, sizeof m.a), upload(m.b, sizeof m.b),
                                 upload(m.c, sizeof m.c), NULL));
    download(d, device, sizeof d);
    assert_close("twice", d, expected, 16 * 8, 1e-2); /* where `between` rounds the other way */
}

static void test_mma_f16(void **state)
{
    (void)state;
    struct matrices m;
    random_matrices(&m);
    uint16_t d[16 * 8];
    double expected[16 * 8];
    float got[16 * 8];
    for (int i = 0; i < 16 * 8; i++) expected[i] = naive_value(d[i] = to_half(random_float()));
    naive_product(expected, m.a, m.c, 8);
    void *device = upload(d, sizeof d);
    assert_cuda(launch_mma_f16(device, upload(m.a, sizeof m.a), upload(m.c, sizeof m.c), NULL));
    download(d, device, sizeof d);
    for (int i = 0; i < 16 * 8; i++) got[i] = to_float(d[i]);
    assert_close("FP16 sums", got, expected, 16 * 8, 8e-3); /* two roundings of numbers below 8 */
}

/* ---- cuBLASLt ------------------------------------------------------------------------------ */

/* y (N, O) = alpha * x (N, I) @ w (O, I)^T + beta * y + bias (O), as cuBLASLt sees it. */
struct product {
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t w, x, y;
    cublasLtMatmulPreference_t preference;
    float alpha, beta;
};

static void set(struct product *p, cublasLtMatmulDescAttributes_t attribute, const void *value,
                size_t bytes)
{
    assert_int_equal(cublasLtMatmulDescSetAttribute(p->desc, attribute, value, bytes),
                     CUBLAS_STATUS_SUCCESS);
}

static struct product product_create(size_t N, size_t O, size_t I, bool half, const void *bias)
{
    struct product p = {.alpha = 1};
    const cudaDataType type = half ? CUDA_R_16F : CUDA_R_32F;
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    assert_int_equal(cublasLtCreate(&p.handle), CUBLAS_STATUS_SUCCESS);
    assert_int_equal(cublasLtMatmulDescCreate(&p.desc, CUBLAS_COMPUTE_32F, CUDA_R_32F),
                     CUBLAS_STATUS_SUCCESS);
    set(&p, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
    if (bias != NULL) {
        set(&p, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
        set(&p, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    }
    cublasLtMatrixLayoutCreate(&p.w, type, I, O, (int64_t)I);
    cublasLtMatrixLayoutCreate(&p.x, type, I, N, (int64_t)I);
    cublasLtMatrixLayoutCreate(&p.y, type, O, N, (int64_t)O);
    cublasLtMatmulPreferenceCreate(&p.preference);
    return p;
}

static cublasStatus_t product_run(const struct product *p, void *y, const void *x, const void *w,
                                  const cublasLtMatmulAlgo_t *algorithm)
{
    return cublasLtMatmul(p->handle, p->desc, &p->alpha, w, p->w, x, p->x, &p->beta, y, p->y, y,
                          p->y, algorithm, NULL, 0, NULL);
}

/* Random numbers that FP16 has, in FP32, and on the device in the type of the product. */
static void *random_on_device(float *values, size_t count, bool half)
{
    uint16_t *halves = malloc(count * sizeof *halves);
    for (size_t i = 0; i < count; i++)
        values[i] = to_float(halves[i] = to_half(random_float()));
    void *device = half ? upload(halves, count * 2) : upload(values, count * 4);
    free(halves);
    return device;
}

static void download_as_float(float *to, const void *from, size_t count, bool half)
{
    uint16_t *halves = malloc(count * sizeof *halves);
    download(half ? (void *)halves : (void *)to, from, count * (half ? 2 : 4));
    for (size_t i = 0; half && i < count; i++) to[i] = to_float(halves[i]);
    free(halves);
}

static void check_product(size_t N, size_t O, size_t I, bool half, float alpha, float beta)
{
    emulator_reset();
    float *x = malloc(N * I * sizeof *x), *w = malloc(O * I * sizeof *w), *bias = malloc(O * 4);
    float *y = malloc(N * O * sizeof *y), *got = malloc(N * O * sizeof *got);
    void *device_x = random_on_device(x, N * I, half), *device_w = random_on_device(w, O * I, half);
    void *device_y = random_on_device(y, N * O, half);
    void *device_bias = random_on_device(bias, O, half);
    struct product p = product_create(N, O, I, half, device_bias);
    p.alpha = alpha;
    p.beta = beta;
    assert_int_equal(product_run(&p, device_y, device_x, device_w, NULL), CUBLAS_STATUS_SUCCESS);
    download_as_float(got, device_y, N * O, half);
    for (size_t i = 0; i < N * O; i++) {
        double sum = 0, expected;
        for (size_t k = 0; k < I; k++) sum += (double)x[i / O * I + k] * w[i % O * I + k];
        expected = alpha * sum + beta * y[i] + bias[i % O];
        double tolerance = half ? 1e-3 * (1 + fabs(expected)) : 1e-6 * (1 + (double)I);
        if (!(fabs(got[i] - expected) <= tolerance))
            fail_msg("%zu x %zu x %zu: element %zu is %g, not %g", N, O, I, i, got[i], expected);
    }
    assert_no_report();
    free(x), free(w), free(bias), free(y), free(got);
}

static void test_products(void **state)
{
    (void)state;
    const size_t shapes[][3] = {{1, 1, 1},  {1, 16, 8},    {2, 17, 9},     {3, 15, 7},
                                {7, 33, 12}, {5, 384, 384}, {33, 100, 1536}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int half = 0; half < 2; half++) {
            check_product(shapes[i][0], shapes[i][1], shapes[i][2], half != 0, 1, 0);
            check_product(shapes[i][0], shapes[i][1], shapes[i][2], half != 0, -0.5f, 2);
        }
}

/* The bits of a row must not depend on the others: nor do they with the algorithms of a real GPU
 * that lib/cuda takes, and its tests rely on it. */
static void test_rows_of_products_are_independent(void **state)
{
    (void)state;
    enum { N = 9, O = 50, I = 100 };
    static float x[N * I], w[O * I], together[N * O], alone[O];
    char *device_x = random_on_device(x, N * I, false);
    void *device_w = random_on_device(w, O * I, false), *device_y = device_memory(sizeof together);
    struct product p = product_create(N, O, I, false, NULL);
    struct product one = product_create(1, O, I, false, NULL);
    assert_int_equal(product_run(&p, device_y, device_x, device_w, NULL), CUBLAS_STATUS_SUCCESS);
    download(together, device_y, sizeof together);
    for (size_t n = 0; n < N; n += 4) { /* 16-byte aligned */
        product_run(&one, device_y, device_x + n * I * sizeof *x, device_w, NULL);
        download(alone, device_y, sizeof alone);
        assert_memory_equal(alone, together + n * O, sizeof alone);
    }
}

static void test_proposals(void **state)
{
    (void)state;
    enum { CANDIDATES = 8 };
    cublasLtMatmulHeuristicResult_t found[CANDIDATES], checked;
    struct product p = product_create(4, 64, 128, true, NULL);
    const uint64_t workspace = 1 << 20;
    const uint32_t none = CUBLASLT_REDUCTION_SCHEME_NONE;
    int count;
    for (int allowed = 1; allowed >= 0; allowed--) {
        cublasLtMatmulPreferenceSetAttribute(p.preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                             &workspace, sizeof workspace);
        if (!allowed)
            cublasLtMatmulPreferenceSetAttribute(p.preference,
                                                 CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &none,
                                                 sizeof none);
        assert_int_equal(cublasLtMatmulAlgoGetHeuristic(p.handle, p.desc, p.w, p.x, p.y, p.y,
                                                        p.preference, CANDIDATES, found, &count),
                         CUBLAS_STATUS_SUCCESS);
        assert_true(count >= 2);
        for (int i = 0; i < count; i++) {
            int32_t parts = 0;
            assert_int_equal(cublasLtMatmulAlgoConfigGetAttribute(&found[i].algo,
                                                                  CUBLASLT_ALGO_CONFIG_SPLITK_NUM,
                                                                  &parts, sizeof parts, NULL),
                             CUBLAS_STATUS_SUCCESS);
            assert_int_equal(parts, allowed && i == 0 ? 2 : 1); /* the first splits the sum */
            assert_int_equal(cublasLtMatmulAlgoCheck(p.handle, p.desc, p.w, p.x, p.y, p.y,
                                                     &found[i].algo, &checked),
                             CUBLAS_STATUS_SUCCESS);
            assert_int_equal(checked.workspaceSize, found[i].workspaceSize);
        }
        void *x = device_memory(4 * 128 * 2), *w = device_memory(64 * 128 * 2),
             *y = device_memory(4 * 64 * 2);
        assert_int_equal(product_run(&p, y, x, w, &found[0].algo), /* has no workspace */
                         allowed ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_SUCCESS);
    }
}

static void test_what_is_not_emulated(void **state)
{
    (void)state;
    void *memory = device_memory(1 << 16);
    struct product p = product_create(4, 8, 16, true, NULL);
    const cublasOperation_t transposed = CUBLAS_OP_T, plain = CUBLAS_OP_N;
    const cublasLtEpilogue_t gelu = CUBLASLT_EPILOGUE_GELU_BIAS, none = CUBLASLT_EPILOGUE_DEFAULT;
    set(&p, CUBLASLT_MATMUL_DESC_TRANSA, &plain, sizeof plain);
    assert_int_equal(product_run(&p, memory, memory, memory, NULL), CUBLAS_STATUS_NOT_SUPPORTED);
    set(&p, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
    set(&p, CUBLASLT_MATMUL_DESC_EPILOGUE, &gelu, sizeof gelu);
    assert_int_equal(product_run(&p, memory, memory, memory, NULL), CUBLAS_STATUS_NOT_SUPPORTED);
    set(&p, CUBLASLT_MATMUL_DESC_EPILOGUE, &none, sizeof none);
    assert_int_equal(product_run(&p, memory, memory, memory, NULL), CUBLAS_STATUS_SUCCESS);
    cublasLtMatmulDesc_t desc = p.desc;
    cublasLtMatmulDescCreate(&p.desc, CUBLAS_COMPUTE_16F, CUDA_R_16F);
    assert_int_equal(product_run(&p, memory, memory, memory, NULL), CUBLAS_STATUS_NOT_SUPPORTED);
    p.desc = desc;
    const uint64_t rows = 15; /* and this is wrong anywhere */
    cublasLtMatrixLayoutSetAttribute(p.x, CUBLASLT_MATRIX_LAYOUT_ROWS, &rows, sizeof rows);
    assert_int_equal(product_run(&p, memory, memory, memory, NULL), CUBLAS_STATUS_INVALID_VALUE);
}

/* Sizes, places and alignment of operands: as a kernel's, found when the product is computed. */
static void test_operands_are_checked(void **state)
{
    (void)state;
    static uint16_t on_host[64 * 64];
    for (int wrong = 0; wrong < 5; wrong++) {
        emulator_reset();
        char *w = device_memory(8 * 16 * 2), *x = device_memory(4 * 16 * 2);
        void *y = device_memory(4 * 8 * 2);
        const void *bias = wrong == 3 ? (const void *)on_host : device_memory(8 * 2);
        struct product p = product_create(wrong == 4 ? 5 : 4, 8, 16, true, bias);
        assert_int_equal(product_run(&p, wrong == 0 ? on_host : y,
                                     wrong == 1 ? (void *)on_host : x, wrong == 2 ? w + 2 : w,
                                     NULL),
                         CUBLAS_STATUS_SUCCESS);
        assert_int_equal(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
        assert_report("cublasLtMatmul: ");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_halves),
        TEST(test_rounding_to_half),
        TEST(test_ldmatrix),
        TEST(test_mma),
        TEST(test_mma_twice),
        TEST(test_mma_f16),
        TEST(test_products),
        TEST(test_rows_of_products_are_independent),
        TEST(test_proposals),
        TEST(test_what_is_not_emulated),
        TEST(test_operands_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
