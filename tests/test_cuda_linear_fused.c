/* test_cuda_linear_fused.c - linear_add_layernorm of the CUDA backend: one kernel or two
 *
 * The choice depends on the number of rows and of multiprocessors, which is a setting of the
 * emulated device. A launch that fails is named in the message, which shows the test which one it
 * was.
 */
#include "emulated_test.h"
#include "test_models.h"

#include "backend/backend.h"
#include "formats/float_convert.h"

#include <cuda_runtime_api.h>

/* Three blocks of 64 rows: enough for 4 multiprocessors, not for 1,000. */
enum { N = 131, O = 384, I = 192, FEW = 4, MANY = 1000 };
enum { IN, X, BUFFER, WEIGHT, BIAS, NORM_WEIGHT, NORM_BIAS, MEMORIES };

static const struct {
    enum weight_kind kind;
    size_t rows, columns;
} memories[MEMORIES] = {
    [IN] = {WEIGHT_TABLE, N, I},          [X] = {WEIGHT_TABLE, N, O},
    [BUFFER] = {WEIGHT_TABLE, N, O},      [WEIGHT] = {WEIGHT_MATRIX, O, I},
    [BIAS] = {WEIGHT_BIAS, 1, O},         [NORM_WEIGHT] = {WEIGHT_VECTOR, 1, O},
    [NORM_BIAS] = {WEIGHT_VECTOR, 1, O},
};

/* What is on the device, and a batch, of which only N matters. */
struct work {
    struct backend *backend;
    struct executor *executor;
    void *memory[MEMORIES];
    int32_t *batch;
    uint16_t *fetched; /* x (N, O) */
};

static int begin_own(void **state)
{
    setenv("EMBED_CUDA_LINEAR", "own", 1);
    return begin_emulated(state);
}

static int end_own(void **state)
{
    unsetenv("EMBED_CUDA_LINEAR");
    return end_emulated(state);
}

static embed_status fill(struct work *w)
{
    struct backend *op = w->backend;
    uint32_t random = 1;
    for (int m = 0; m < MEMORIES; m++) {
        const size_t rows = memories[m].rows, columns = memories[m].columns;
        float *values = malloc(rows * columns * sizeof *values);
        assert_non_null(values);
        for (size_t i = 0; i < rows * columns; i++) {
            random = random * 1664525 + 1013904223; /* Numerical Recipes */
            values[i] = (float)(random >> 8) / (1 << 23) - 1;
        }
        size_t bytes = op->weight_bytes(op, memories[m].kind, rows, columns);
        embed_status status = op->allocate(op, &w->memory[m], bytes, "the test's memory");
        if (status == EMBED_OK)
            status = op->weight_store(op, w->memory[m], memories[m].kind, values, 0, rows, columns);
        free(values);
        if (status != EMBED_OK) return status;
    }
    return EMBED_OK;
}

static embed_status compute(void *argument, size_t i, unsigned worker, struct execution *execution)
{
    (void)i, (void)worker;
    struct work *w = argument;
    const struct backend *op = w->backend;
    void **memory = w->memory;
    const struct linear layer = {memory[WEIGHT], memory[BIAS], O, I};
    const struct layernorm norm = {memory[NORM_WEIGHT], memory[NORM_BIAS]};
    struct packed_batch device, host = {.N = N, .B = 0, .variant = NEVER_AGAIN};
    host.ids = w->batch;
    host.positions = w->batch + N;
    host.offsets = w->batch + 2 * N;
    embed_status status = op->begin(&device, &host, execution);
    if (status == EMBED_OK)
        status = op->linear_add_layernorm(memory[X], memory[IN], &layer, &norm, N, 1e-12f,
                                          memory[BUFFER], execution);
    return status != EMBED_OK
               ? status
               : op->fetch(w->fetched, memory[X], sizeof(uint16_t[N][O]), execution);
}

static void deliver(void *argument, unsigned worker)
{
    (void)argument, (void)worker;
}

static embed_status start(struct work *w)
{
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    const struct chunk_limits limits = {.N = N, .B = 1, .T = N, .HS = 32, .I = I};
    options.device = EMBED_DEVICE_CUDA;
    embed_status status = backend_open(&w->backend, &options, NULL);
    if (status == EMBED_OK) status = w->backend->executor_create(&w->executor, w->backend, &limits);
    if (status == EMBED_OK) status = fill(w);
    if (status == EMBED_OK)
        status = w->backend->staging_allocate(w->backend, (void **)&w->batch,
                                              packed_batch_size(N, 1) * sizeof *w->batch,
                                              "a batch");
    if (status == EMBED_OK)
        status = w->backend->staging_allocate(w->backend, (void **)&w->fetched,
                                              sizeof(uint16_t[N][O]), "the result");
    return status;
}

/* Computes x (N, O) in FP16, with LayerNorm. Leaves nothing on the device, whatever the outcome. */
static embed_status run(uint16_t x[N * O])
{
    struct work w = {.backend = NULL};
    const struct chunk_work work = {&w, compute, deliver};
    embed_status status = start(&w);
    if (status == EMBED_OK) {
        memset(w.batch, 0, packed_batch_size(N, 1) * sizeof *w.batch);
        status = w.backend->run(w.executor, 1, &work);
    }
    if (status == EMBED_OK) status = w.backend->finish(w.executor, &work);
    if (status == EMBED_OK) memcpy(x, w.fetched, sizeof(uint16_t[N][O]));
    if (w.backend == NULL) return status;
    for (int m = 0; m < MEMORIES; m++) w.backend->release(w.backend, w.memory[m]);
    w.backend->staging_release(w.backend, w.batch);
    w.backend->staging_release(w.backend, w.fetched);
    w.backend->executor_destroy(w.executor);
    backend_release(w.backend);
    return status;
}

/* Runs with this many multiprocessors. Returns whether it was one kernel. */
static bool run_is_fused(uint16_t x[N * O], int multiprocessors)
{
    emulator_set_card(NULL, multiprocessors, 4 << 20);
    emulator_fail("cudaLaunchKernel", 1, cudaErrorLaunchOutOfResources, false);
    assert_int_equal(run(x), EMBED_DEVICE_FAILED);
    bool fused = strstr(embed_error_message(), "linear_add_layernorm") != NULL;
    assert_int_equal(run(x), EMBED_OK);
    return fused;
}

static uint16_t one[N * O], two[N * O];

static void test_same_bits_by_one_kernel_and_by_two(void **state)
{
    (void)state;
    static const char *const paths[] = {"own", "two-level"};
    for (int i = 0; i < 2; i++) {
        setenv("EMBED_CUDA_LINEAR", paths[i], 1);
        assert_true(run_is_fused(one, FEW));
        assert_false(run_is_fused(two, MANY));
        assert_memory_equal(one, two, sizeof one);
    }
}

/* cuBLASLt has no such kernel. The numbers are the same except for the order of sums. */
static void test_cublaslt_is_asked_for(void **state)
{
    (void)state;
    assert_true(run_is_fused(one, FEW));
    setenv("EMBED_CUDA_LINEAR", "cublaslt", 1);
    assert_false(run_is_fused(two, FEW));
    for (size_t i = 0; i < N * O; i++) {
        float ours, cublas;
        float_convert(&ours, &one[i], SAFETENSORS_F16, 1);
        float_convert(&cublas, &two[i], SAFETENSORS_F16, 1);
        if (!(fabsf(ours - cublas) <= 4e-3f + 0x1p-10f * fabsf(ours)))
            fail_msg("row %zu, column %zu: %g, by cuBLASLt %g", i / O, i % O, ours, cublas);
    }
}

/* Every call fails once: it must give a status and an error message and leave nothing, and the next
 * attempt must succeed. */
static void test_each_call_fails(void **state)
{
    (void)state;
    emulator_set_card(NULL, FEW, 4 << 20);
    assert_int_equal(run(one), EMBED_OK);
    bool launch_failed = false;
    unsigned long n = 0, failures = 0;
    for (;;) {
        emulator_fail(NULL, ++n, cudaErrorLaunchOutOfResources, false);
        embed_status status = run(two);
        const char *call = emulator_failed_call();
        if (call == NULL) break;
        if (status != EMBED_OK) {
            failures++;
            launch_failed |= strcmp(call, "cudaLaunchKernel") == 0;
            assert_string_not_equal(embed_error_message(), "");
        }
        struct emulator_usage left;
        emulator_get_usage(&left);
        if (left.device_allocations + left.pinned_allocations + left.streams + left.events > 0)
            fail_msg("call %lu, %s: something is left", n, call);
        assert_int_equal(run(two), EMBED_OK);
        assert_memory_equal(one, two, sizeof one);
    }
    assert_true(failures > 20 && launch_failed);
}

/* ---- MiniLM -------------------------------------------------------------------------------- */

/* Encodes the first text repeatedly and alone: enqueued, captured as a graph, replayed. */
static void check_alone(const struct opened *opened, const embed_text *text, const float *expected)
{
    for (int i = 0; i < 3; i++) {
        float *row = encode(opened, text, 1, NULL);
        assert_memory_equal(row, expected, opened->width * sizeof *row);
        free(row);
    }
}

static void test_real_model(void **state)
{
    (void)state;
    enum { TEXTS = 8, WIDTH = 384 };
    static const char *const paths[] = {"own", "two-level"};
    static const int multiprocessors[] = {1, MANY};
    const char *folder = real_minilm();
    struct vector_lines lines = vector_lines_load(VECTORS "lines.txt");
    embed_text *texts = texts_of(&lines);
    float *expected = vector_rows_load(VECTORS "minilm.f32", lines.count, WIDTH), *rows[2];
    tested = (embed_model_options)EMBED_MODEL_OPTIONS_INIT;
    tested.device = EMBED_DEVICE_CUDA;
    for (int i = 0; i < 2; i++) {
        setenv("EMBED_CUDA_LINEAR", paths[i], 1);
        for (int m = 0; m < 2; m++) {
            emulator_set_card(NULL, multiprocessors[m], 4 << 20);
            struct opened opened = open_model(folder, 0, 0);
            rows[m] = encode(&opened, texts, TEXTS, NULL);
            check_alone(&opened, texts, rows[m]);
            close_model(&opened);
        }
        assert_rows_close(paths[i], rows[0], expected, TEXTS, WIDTH, 0.9999, 2e-3, &lines);
        assert_memory_equal(rows[0], rows[1], sizeof(float[TEXTS][WIDTH]));
        free(rows[0]);
        free(rows[1]);
    }
    free(expected);
    free(texts);
    vector_lines_free(&lines);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, begin_own, end_own)

int main(void)
{
    setenv("EMBED_CUDA_PLUGIN", EMULATED_PLUGIN, 1);
    const struct CMUnitTest tests[] = {
        TEST(test_same_bits_by_one_kernel_and_by_two),
        TEST(test_cublaslt_is_asked_for),
        TEST(test_each_call_fails),
        TEST(test_real_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
