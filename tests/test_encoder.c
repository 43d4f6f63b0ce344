/* test_encoder.c - whole models against the reference, stage by stage and end to end, on every
 * instruction set of this machine; and the same bits however a text is computed */
#include "test_vectors.h"

#include "backend/cpu_features.h"
#include "embed.h"
#include "model/model.h"

#include <unistd.h>

struct opened {
    embed_model *model;
    embed_instance *instance;
    size_t width;
};

static struct opened open_model(const char *folder, unsigned threads, size_t batch_tokens)
{
    struct opened opened = {0};
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    embed_instance_options instance_options = EMBED_INSTANCE_OPTIONS_INIT;
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    options.threads = threads;
    instance_options.batch_tokens = batch_tokens;
    if (embed_model_open(&opened.model, folder, &options) != EMBED_OK ||
        embed_instance_create(&opened.instance, opened.model, &instance_options) != EMBED_OK ||
        embed_model_get_info(opened.model, &info) != EMBED_OK)
        fail_msg("%s: %s", folder, embed_error_message());
    opened.width = info.width;
    return opened;
}

static void close_model(struct opened *opened)
{
    embed_instance_destroy(opened->instance);
    embed_model_close(opened->model);
}

static embed_text *texts_of(const struct vector_lines *lines)
{
    embed_text *texts = calloc(lines->count, sizeof *texts);
    assert_non_null(texts);
    for (size_t i = 0; i < lines->count; i++)
        texts[i] = (embed_text){lines->text[i], NULL, lines->length[i]};
    return texts;
}

static float *encode(const struct opened *opened, const embed_text *texts, size_t n,
                     const char *prompt)
{
    embed_encode_options options = EMBED_ENCODE_OPTIONS_INIT;
    options.prompt_name = prompt;
    float *rows = calloc(n * opened->width, sizeof *rows);
    assert_non_null(rows);
    if (embed_instance_encode(opened->instance, texts, n, &options, rows, n * opened->width,
                              NULL) != EMBED_OK)
        fail_msg("%s", embed_error_message());
    return rows;
}

/* Runs `body` once for each instruction set this machine has. */
#define FOR_EACH_ISA(body)                                                                       \
    do {                                                                                         \
        const struct cpu_kernels *isa;                                                           \
        for (size_t isa_i = 0; (isa = cpu_kernels_available(isa_i)) != NULL; isa_i++) {          \
            setenv("EMBED_CPU_ISA", isa->name, 1);                                               \
            body;                                                                                \
        }                                                                                        \
        unsetenv("EMBED_CPU_ISA");                                                               \
    } while (0)

/* The real model's folder, or a skip that says why: a skip is counted. */
static const char *real_model(void)
{
    const char *folder = getenv("MODEL");
    char path[1024];
    snprintf(path, sizeof path, "%s/model.safetensors", folder != NULL ? folder : "");
    if (access(path, R_OK) != 0) {
        print_message("skipped: MODEL is not the folder of all-MiniLM-L6-v2\n");
        skip();
    }
    return folder;
}

/* ---- stages -------------------------------------------------------------------------------- */

struct stage {
    const struct embed_model *model;
    struct packed_batch batch;
    struct activations activations;
    float *hidden; /* (N, C) */
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
        status = encoder_forward(&stage->model->encoder, op, &stage->activations, &batch, execution);
    if (status == EMBED_OK)
        status = op->fetch(stage->hidden, stage->activations.x, batch.N,
                           stage->model->encoder.config.C, execution);
    return status;
}

/* The hidden states after the first `layers` layers of tiny-bert for one sequence. */
static float *hidden_after(struct embed_model *model, size_t layers, const int32_t *ids, size_t N)
{
    struct transformer_config *config = &model->encoder.config;
    struct backend *backend = model->backend;
    int32_t positions[64], offsets[2] = {0, (int32_t)N};
    for (size_t t = 0; t < N; t++) positions[t] = (int32_t)t;
    struct stage stage = {.model = model, .batch = {N, 1, N, ids, positions, offsets}};
    stage.hidden = calloc(N * config->C, sizeof *stage.hidden);
    assert_non_null(stage.hidden);

    struct activations none;
    size_t bytes = activations_place(&none, NULL, config, sizeof(float), N, 1);
    void *memory;
    struct executor *executor;
    size_t all_layers = config->L;
    assert_int_equal(backend->allocate(backend, &memory, bytes, "a test"), EMBED_OK);
    activations_place(&stage.activations, memory, config, sizeof(float), N, 1);
    assert_int_equal(backend->executor_create(&executor, backend, N, N, config->HS), 0);
    config->L = layers;
    assert_int_equal(backend->run(executor, 1, stage_chunk, &stage), EMBED_OK);
    config->L = all_layers;
    backend->executor_destroy(executor);
    backend->release(backend, memory);
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
            float *expected = vector_stage_load(lines[i], names[layers], &rows, &columns);
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

static void test_stages(void **state)
{
    (void)state;
    FOR_EACH_ISA(check_stages());
}

/* ---- end to end ---------------------------------------------------------------------------- */

static void check_rows(const char *folder, const char *text_file, const char *expected_file,
                       const char *prompt, double difference)
{
    struct opened opened = open_model(folder, 0, 0);
    struct vector_lines lines = vector_lines_load(text_file);
    embed_text *texts = texts_of(&lines);
    float *expected = vector_rows_load(expected_file, lines.count, opened.width);
    float *rows = encode(&opened, texts, lines.count, prompt);
    assert_rows_close(expected_file, rows, expected, lines.count, opened.width, 0.999999,
                      difference, &lines);
    free(rows);
    free(expected);
    free(texts);
    vector_lines_free(&lines);
    close_model(&opened);
}

static void test_tiny_models(void **state)
{
    (void)state;
    const char *lines = VECTORS "tiny-lines.txt", *cls = VECTORS "tiny-bert-cls";
    FOR_EACH_ISA({
        check_rows(VECTORS "tiny-bert", lines, VECTORS "tiny-bert.f32", NULL, 1e-5);
        check_rows(cls, lines, VECTORS "tiny-bert-cls.f32", NULL, 1e-4);
        check_rows(cls, lines, VECTORS "tiny-bert-cls-title.f32", "title", 1e-4);
        check_rows(cls, lines, VECTORS "tiny-bert-cls-no-prompt.f32", "", 1e-4);
    });
}

static void test_real_model(void **state)
{
    (void)state;
    const char *folder = real_model();
    FOR_EACH_ISA(
        check_rows(folder, VECTORS "lines.txt", VECTORS "minilm.f32", NULL, 1e-5));
}

static void check_ids(const char *folder, const char *text_file, const char *ids_file,
                      size_t max_tokens)
{
    struct opened opened = open_model(folder, 0, 0);
    struct vector_lines lines = vector_lines_load(text_file);
    struct vector_ids expected = vector_ids_load(ids_file);
    embed_text *texts = texts_of(&lines);
    embed_tokenize_options options = EMBED_TOKENIZE_OPTIONS_INIT;
    embed_tokens tokens = EMBED_TOKENS_INIT;
    options.max_tokens = max_tokens;
    assert_int_equal(embed_tokenize(opened.model, texts, lines.count, &options, &tokens), 0);
    assert_int_equal(tokens.count, expected.count);
    for (size_t i = 0; i < tokens.count; i++)
        assert_ids_equal(ids_file, i, tokens.ids + tokens.offsets[i],
                         tokens.offsets[i + 1] - tokens.offsets[i],
                         expected.ids + expected.offsets[i],
                         expected.offsets[i + 1] - expected.offsets[i]);
    embed_tokens_free(&tokens);
    free(texts);
    vector_ids_free(&expected);
    vector_lines_free(&lines);
    close_model(&opened);
}

static void test_ids(void **state)
{
    (void)state;
    check_ids(VECTORS "tiny-bert", VECTORS "tiny-lines.txt", VECTORS "tiny-bert.ids", 48);
    check_ids(VECTORS "tiny-bert-cls", VECTORS "tiny-lines.txt", VECTORS "tiny-bert-cls.ids", 40);
}

static void test_real_ids(void **state)
{
    (void)state;
    const char *folder = real_model();
    check_ids(folder, VECTORS "lines.txt", VECTORS "minilm.ids", 256);
    check_ids(folder, VECTORS "lines.txt", VECTORS "minilm-untruncated.ids", 0);
}

/* ---- the same bits ------------------------------------------------------------------------- */

/* Rows of all texts, encoded `group` at a time from the last to the first, with so many threads
 * and so large chunks. */
static void check_same_bits(const char *folder, const embed_text *texts, size_t n,
                            const float *expected, unsigned threads, size_t batch_tokens,
                            size_t group)
{
    struct opened opened = open_model(folder, threads, batch_tokens);
    size_t row_bytes = opened.width * sizeof(float);
    for (size_t left = n; left > 0;) {
        size_t count = left < group ? left : group, first = left - count;
        float *rows = encode(&opened, texts + first, count, NULL);
        for (size_t i = 0; i < count; i++) {
            if (memcmp(rows + i * opened.width, expected + (first + i) * opened.width, row_bytes))
                fail_msg("text %zu has other bits with %u threads, chunks of %zu, %zu texts at a "
                         "time", first + i, threads, batch_tokens, group);
        }
        free(rows);
        left = first;
    }
    close_model(&opened);
}

static void check_invariance(const char *folder, const char *text_file, size_t n)
{
    struct vector_lines lines = vector_lines_load(text_file);
    embed_text *texts = texts_of(&lines);
    if (n > lines.count) n = lines.count;
    texts += lines.count - n; /* the long ones are last */
    struct opened opened = open_model(folder, 1, 0);
    float *expected = encode(&opened, texts, n, NULL);
    close_model(&opened);

    static const struct {
        unsigned threads;
        size_t batch_tokens, group;
    } ways[] = {{1, 0, 1}, {2, 0, 1}, {3, 64, 2}, {2, 1024, 7}, {4, 100, 33}, {2, 0, 1000}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        check_same_bits(folder, texts, n, expected, ways[i].threads, ways[i].batch_tokens,
                        ways[i].group);
    free(expected);
    free(texts - (lines.count - n));
    vector_lines_free(&lines);
}

static void test_same_bits_in_any_batch(void **state)
{
    (void)state;
    FOR_EACH_ISA({
        check_invariance(VECTORS "tiny-bert", VECTORS "tiny-lines.txt", 64);
        check_invariance(VECTORS "tiny-bert-cls", VECTORS "tiny-lines.txt", 64);
    });
}

static void test_same_bits_real_model(void **state)
{
    (void)state;
    check_invariance(real_model(), VECTORS "lines.txt", 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_real_ids),
        cmocka_unit_test(test_stages),
        cmocka_unit_test(test_tiny_models),
        cmocka_unit_test(test_real_model),
        cmocka_unit_test(test_same_bits_in_any_batch),
        cmocka_unit_test(test_same_bits_real_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
