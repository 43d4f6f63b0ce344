/* test_encoder.c - whole models compared with the reference, stage by stage and end to end, on
 * every instruction set of this machine; and the same bits however a text is computed */
#include "test_models.h"

#include "base/placement.h"
#include "model/model.h"
#include "test_folder.h"

/* ---- stages -------------------------------------------------------------------------------- */

struct stage {
    const struct embed_model *model;
    struct packed_batch batch;
    struct activations activations;
    float *hidden; /* (N, C) */
    bool first_rows;
};

static embed_status stage_chunk(void *argument, size_t i, unsigned worker,
                                struct execution *execution)
{
    (void)i;
    (void)worker;
    struct stage *stage = argument;
    const struct backend *op = stage->model->backend;
    struct packed_batch batch;
    embed_status status = op->begin(&batch, &stage->batch, execution);
    if (status == EMBED_OK)
        status = (stage->first_rows ? encoder_forward_first_rows : encoder_forward)(
            &stage->model->encoder, op, &stage->activations, &batch, execution);
    if (status == EMBED_OK)
        status = op->fetch(stage->hidden, stage->activations.x,
                           batch.N * stage->model->encoder.config.C * sizeof(float), execution);
    return status;
}

static void stage_deliver(void *argument, unsigned worker)
{
    (void)argument;
    (void)worker;
}

/* Sets stage->hidden to the last layer's hidden states of the stage's batch. */
static void compute_stage(struct stage *stage)
{
    const struct transformer_config *config = &stage->model->encoder.config;
    struct backend *backend = stage->model->backend;
    size_t N = stage->batch.N, element_bytes = backend->activation_bytes;
    struct chunk_limits limits = {N, stage->batch.B, N, config->HS, config->F,
                                  0, 0, 0};
    stage->hidden = calloc(N * config->C, sizeof *stage->hidden);
    assert_non_null(stage->hidden);

    size_t bytes = activations_place(&stage->activations, NULL, config, element_bytes, N);
    void *memory;
    struct executor *executor;
    assert_int_equal(backend->allocate(backend, &memory, bytes, "a test"), EMBED_OK);
    activations_place(&stage->activations, memory, config, element_bytes, N);
    assert_int_equal(backend->executor_create(&executor, backend, &limits), 0);
    const struct chunk_work work = {stage, stage_chunk, stage_deliver};
    assert_int_equal(backend->run(executor, 1, &work), EMBED_OK);
    backend->executor_destroy(executor);
    backend->release(backend, memory);
}

/* Returns the hidden states after the first `layers` layers of tiny-bert for one sequence. */
static float *hidden_after(struct embed_model *model, size_t layers, const int32_t *ids, size_t N)
{
    struct transformer_config *config = &model->encoder.config;
    int32_t arrays[2 * 64 + 2] = {0};
    int32_t *positions = arrays + N, *offsets = positions + N;
    memcpy(arrays, ids, N * sizeof *ids);
    for (size_t t = 0; t < N; t++) positions[t] = (int32_t)t;
    offsets[1] = (int32_t)N;
    struct stage stage = {.model = model, .batch = {N, 1, N, 0, arrays, positions, offsets, NULL}};
    size_t all_layers = config->L;
    config->L = layers;
    compute_stage(&stage);
    config->L = all_layers;
    return stage.hidden;
}

static void check_stages(void)
{
    static const size_t lines[] = {7, 10, 46};
    static const char *const names[] = {"embeddings", "layer.0", "layer.1", "layer.2"};
    struct opened tiny = open_model(VECTORS "tiny-bert", 2, 0);
    struct vector_ids ids = vector_ids_load(VECTORS "tiny-bert.ids");
    for (size_t i = 0; i < 3; i++) {
        for (size_t layers = 0; layers < 4; layers++) {
            size_t rows, columns, begin = ids.offsets[lines[i]];
            float *expected =
                vector_stage_load("tiny-bert", lines[i], names[layers], &rows, &columns);
            assert_int_equal(rows, ids.offsets[lines[i] + 1] - begin);
            float *got = hidden_after(tiny.model, layers, ids.ids + begin, rows);
            assert_rows_close(names[layers], got, expected, rows, columns, 0.9999999, 2e-5, NULL);
            free(expected);
            free(got);
        }
    }
    vector_ids_free(&ids);
    close_model(&tiny);
}

/* The sum of matrices never wraps, even if rounding one of them up reaches the limit. */
static void test_placement_overflow(void **state)
{
    (void)state;
    for (size_t short_of = 0; short_of < 600; short_of++) {
        struct placement memory = {0};
        placement_take(&memory, SIZE_MAX / 16 - short_of, 1, 1);
        size_t before = memory.bytes;
        placement_take(&memory, SIZE_MAX - 1000, 1, 1);
        assert_true(before >= SIZE_MAX / 16 - short_of);
        assert_true(memory.bytes == SIZE_MAX);
    }
}

static void test_stages(void **state)
{
    (void)state;
    FOR_EACH_ISA(check_stages());
}

/* If only first rows are pooled, the last layer computes no others, with the same bits. A batch of
 * one-token sequences has too many first rows for that, and is computed as usual. */
static void check_pooled_rows_alone(void)
{
    enum { B = 5 };
    static const int32_t lengths[][B] = {{9, 3, 1, 30, 12}, {1, 1, 1, 1, 1}, {2, 1, 40, 2, 2}};
    struct opened tiny = open_model(VECTORS "tiny-bert", 1, 0);
    size_t row_bytes = tiny.model->encoder.config.C * tiny.model->backend->activation_bytes;
    for (size_t i = 0; i < 3; i++) {
        int32_t ids[64], positions[64], offsets[B + 1] = {0}, skipped[B] = {0, 2, 1, 7, 0};
        for (size_t b = 0; b < B; b++) {
            offsets[b + 1] = offsets[b] + lengths[i][b];
            for (int32_t t = 0; t < lengths[i][b]; t++) {
                ids[offsets[b] + t] = (int32_t)(5 + 7 * b + (size_t)t);
                positions[offsets[b] + t] = t;
            }
        }
        struct stage all = {.model = tiny.model, .batch = {(size_t)offsets[B], B, 40, 0, ids,
                                                           positions, offsets, skipped}};
        struct stage first = all;
        first.first_rows = true;
        compute_stage(&all);
        compute_stage(&first);
        for (size_t b = 0; b < B; b++) {
            size_t row = (size_t)(offsets[b] + (skipped[b] < lengths[i][b] ? skipped[b] : 0));
            assert_memory_equal((char *)first.hidden + row * row_bytes,
                                (char *)all.hidden + row * row_bytes, row_bytes);
        }
        assert_int_equal(memcmp(first.hidden, all.hidden, (size_t)offsets[B] * row_bytes) == 0,
                         i == 1); /* others were not computed, except in the second batch */
        free(all.hidden);
        free(first.hidden);
    }
    close_model(&tiny);
}

static void test_pooled_rows_alone(void **state)
{
    (void)state;
    FOR_EACH_ISA(check_pooled_rows_alone());
}

/* ---- end to end ---------------------------------------------------------------------------- */

static void test_tiny_models(void **state)
{
    (void)state;
    FOR_EACH_ISA(check_tiny_models(0.999999, 1e-5));
}

static void test_real_model(void **state)
{
    (void)state;
    const char *folder = real_minilm();
    const struct closeness close = {0.999999, 1e-5};
    FOR_EACH_ISA(check_rows(folder, VECTORS "lines.txt", VECTORS "minilm.f32", NULL, close));
}

static void test_ids(void **state)
{
    (void)state;
    check_ids(VECTORS "tiny-bert", VECTORS "tiny-lines.txt", VECTORS "tiny-bert.ids", 48);
    check_ids(VECTORS "tiny-bert-cls", VECTORS "tiny-lines.txt", VECTORS "tiny-bert-cls.ids", 40);
    check_ids(VECTORS "tiny-mpnet", VECTORS "tiny-lines.txt", VECTORS "tiny-mpnet.ids", 148);
    check_ids(VECTORS "tiny-mpnet", VECTORS "tiny-mpnet-padded.txt",
              VECTORS "tiny-mpnet-padded.ids", 148);
}

static void test_real_ids(void **state)
{
    (void)state;
    const char *folder = real_minilm();
    check_ids(folder, VECTORS "lines.txt", VECTORS "minilm.ids", 256);
    check_ids(folder, VECTORS "lines.txt", VECTORS "minilm-untruncated.ids", 0);
}

/* ---- the same bits ------------------------------------------------------------------------- */

static void test_same_bits_in_any_batch(void **state)
{
    (void)state;
    FOR_EACH_ISA({
        check_invariance(VECTORS "tiny-bert", VECTORS "tiny-lines.txt", 64);
        check_invariance(VECTORS "tiny-bert-cls", VECTORS "tiny-lines.txt", 64);
        check_invariance(VECTORS "tiny-mpnet", VECTORS "tiny-lines.txt", 64);
        check_invariance(VECTORS "tiny-mpnet", VECTORS "tiny-mpnet-padded.txt", 28);
    });
}

static void test_same_bits_real_model(void **state)
{
    (void)state;
    check_invariance(real_minilm(), VECTORS "lines.txt", 150);
}

/* ---- BF16 ---------------------------------------------------------------------------------- */

#define BF16_TEST(test) cmocka_unit_test_setup_teardown(test, before_bf16, after_bf16)

static int before_bf16(void **state)
{
    (void)state;
    tested.dtype = EMBED_DTYPE_BF16;
    return 0;
}

static int after_bf16(void **state)
{
    (void)state;
    tested.dtype = EMBED_DTYPE_AUTO;
    return 0;
}

static void need_bf16(void)
{
    const struct cpu_kernels *kernels;
    if (cpu_kernels_choose(&kernels, EMBED_DTYPE_BF16) == EMBED_OK) return;
    print_message("skipped: %s\n", embed_error_message());
    skip();
}

static void test_tiny_models_bf16(void **state)
{
    (void)state;
    need_bf16();
    check_tiny_models(0.9999, 1e-2);
}

static void test_real_model_bf16(void **state)
{
    (void)state;
    need_bf16();
    const struct closeness close = {0.9999, 3e-3};
    check_rows(real_minilm(), VECTORS "lines.txt", VECTORS "minilm.f32", NULL, close);
}

static void test_same_bits_bf16(void **state)
{
    (void)state;
    need_bf16();
    check_invariance(VECTORS "tiny-bert", VECTORS "tiny-lines.txt", 64);
    check_invariance(VECTORS "tiny-mpnet", VECTORS "tiny-lines.txt", 64);
    check_invariance(real_minilm(), VECTORS "lines.txt", 150);
}

/* By default BF16 if the processor has it, and FP32 below the limit that is set. */
static void test_auto(void **state)
{
    (void)state;
    const struct cpu_kernels *best, *chosen;
    embed_dtype bf16 = cpu_kernels_choose(&best, EMBED_DTYPE_BF16) == EMBED_OK ? EMBED_DTYPE_BF16
                                                                               : EMBED_DTYPE_F32;
    assert_int_equal(cpu_kernels_choose(&best, bf16), EMBED_OK);
    assert_int_equal(cpu_kernels_choose(&chosen, EMBED_DTYPE_AUTO), EMBED_OK);
    assert_ptr_equal(chosen, best);
    struct opened opened = open_model(VECTORS "tiny-bert", 0, 0);
    assert_int_equal(opened.model->backend->dtype, bf16);
    close_model(&opened);

    setenv("EMBED_CPU_ISA", "scalar", 1);
    opened = open_model(VECTORS "tiny-bert", 0, 0);
    unsetenv("EMBED_CPU_ISA");
    assert_int_equal(opened.model->backend->dtype, EMBED_DTYPE_F32);
    close_model(&opened);
}

/* BF16 requested without support: an error message, and no model. */
static void test_no_bf16(void **state)
{
    (void)state;
    embed_model *model = NULL;
    setenv("EMBED_CPU_ISA", "scalar", 1);
    embed_status status = embed_model_open(&model, VECTORS "tiny-bert", &tested);
    unsetenv("EMBED_CPU_ISA");
    assert_int_equal(status, EMBED_UNSUPPORTED);
    assert_non_null(strstr(embed_error_message(), "EMBED_CPU_ISA=scalar does not compute in bf16"));
    assert_null(model);
}

/* ---- INT8 ---------------------------------------------------------------------------------- */

#define INT8_TEST(test) cmocka_unit_test_setup_teardown(test, before_int8, after_bf16)

static int before_int8(void **state)
{
    (void)state;
    tested.dtype = EMBED_DTYPE_INT8;
    return 0;
}

static void need_int8(void)
{
    const struct cpu_kernels *kernels;
    if (cpu_kernels_choose(&kernels, EMBED_DTYPE_INT8) == EMBED_OK) return;
    print_message("skipped: %s\n", embed_error_message());
    skip();
}

static void test_tiny_models_int8(void **state)
{
    (void)state;
    need_int8();
    check_tiny_models(0.998, 3e-2);
}

static void test_real_model_int8(void **state)
{
    (void)state;
    need_int8();
    const struct closeness close = {0.997, 2e-2};
    check_rows(real_minilm(), VECTORS "lines.txt", VECTORS "minilm.f32", NULL, close);
}

static void test_same_bits_int8(void **state)
{
    (void)state;
    need_int8();
    check_invariance(VECTORS "tiny-bert", VECTORS "tiny-lines.txt", 64);
    check_invariance(VECTORS "tiny-mpnet", VECTORS "tiny-lines.txt", 64);
    check_invariance(real_minilm(), VECTORS "lines.txt", 150);
}

/* Sets `count` floats of a tensor, from `first` on, `step` apart, in the bytes of a file. */
static void set_floats(char *file, const char *tensor, size_t first, size_t count, size_t step,
                       float value)
{
    uint64_t header;
    char name[128];
    memcpy(&header, file, sizeof header);
    snprintf(name, sizeof name, "\"%s\"", tensor);
    const char *entry = strstr(file + 8, name);
    assert_non_null(entry);
    char *data = file + 8 + header + strtoul(strstr(entry, "\"data_offsets\":[") + 16, NULL, 10);
    for (size_t i = 0; i < count; i++)
        memcpy(data + (first + i * step) * sizeof value, &value, sizeof value);
}

/* A model with activations that no output needs, each so large that its group of inputs has no bits
 * left for the others: rejected in INT8 with the reason, and unaffected in BF16. */
static void test_unfit_for_int8(void **state)
{
    (void)state;
    need_int8();
    enum { C = 64, F = 112 };
    const char *folder = test_copy_folder(VECTORS "tiny-bert");
    char path[1024], name[128];
    size_t length;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    char *file = test_read_file(path, &length);
    for (int l = 0; l < 3; l++) {
        for (size_t f = 0; f < F; f += INT8_GROUP) {
            snprintf(name, sizeof name, "encoder.layer.%d.intermediate.dense.bias", l);
            set_floats(file, name, f, 1, 1, 1e4f);
            snprintf(name, sizeof name, "encoder.layer.%d.output.dense.weight", l);
            set_floats(file, name, f, C, F, 0);
        }
    }
    test_write_file(folder, "model.safetensors", file, length);
    free(file);
    embed_model *model = NULL;
    assert_int_equal(embed_model_open(&model, folder, &tested), EMBED_UNSUPPORTED);
    assert_non_null(
        strstr(embed_error_message(), "loses too much accuracy in int8: the embedding of"));
    assert_null(model);
    tested.dtype = EMBED_DTYPE_BF16;
    struct opened opened = open_model(folder, 0, 0);
    close_model(&opened);
    test_remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_placement_overflow),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_real_ids),
        cmocka_unit_test(test_stages),
        cmocka_unit_test(test_pooled_rows_alone),
        cmocka_unit_test(test_tiny_models),
        cmocka_unit_test(test_real_model),
        cmocka_unit_test(test_same_bits_in_any_batch),
        cmocka_unit_test(test_same_bits_real_model),
        BF16_TEST(test_tiny_models_bf16),
        BF16_TEST(test_real_model_bf16),
        BF16_TEST(test_same_bits_bf16),
        BF16_TEST(test_no_bf16),
        cmocka_unit_test(test_auto),
        INT8_TEST(test_tiny_models_int8),
        INT8_TEST(test_real_model_int8),
        INT8_TEST(test_same_bits_int8),
        INT8_TEST(test_unfit_for_int8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
