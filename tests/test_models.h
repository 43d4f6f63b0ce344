/* test_models.h - opens and runs whole models in tests, and compares them with the reference data
 *
 * A failure ends the calling test.
 */
#ifndef TESTS_TEST_MODELS_H
#define TESTS_TEST_MODELS_H

#include "test_vectors.h"

#include "backend/cpu_features.h"
#include "embed.h"

#include <unistd.h>

/* The device and dtype under test. */
static embed_model_options tested = EMBED_MODEL_OPTIONS_INIT;

struct opened {
    embed_model *model;
    embed_instance *instance;
    size_t width;
};

static inline struct opened open_model(const char *folder, unsigned threads,
                                       size_t batch_tokens)
{
    struct opened opened = {0};
    embed_model_options options = tested;
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

static inline void close_model(struct opened *opened)
{
    embed_instance_destroy(opened->instance);
    embed_model_close(opened->model);
}

static inline embed_text *texts_of(const struct vector_lines *lines)
{
    embed_text *texts = calloc(lines->count, sizeof *texts);
    assert_non_null(texts);
    for (size_t i = 0; i < lines->count; i++)
        texts[i] = (embed_text){lines->text[i], NULL, lines->length[i]};
    return texts;
}

static inline float *encode(const struct opened *opened, const embed_text *texts, size_t n,
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

/* Runs `body` once for each instruction set with F32 kernels that this machine supports. */
#define FOR_EACH_ISA(body)                                                                     \
    do {                                                                                       \
        const struct cpu_kernels *isa;                                                         \
        for (size_t isa_i = 0; (isa = cpu_kernels_available(isa_i)) != NULL; isa_i++) {        \
            if (isa->element_bytes != sizeof(float)) continue;                                 \
            setenv("EMBED_CPU_ISA", isa->name, 1);                                             \
            body;                                                                              \
        }                                                                                      \
        unsetenv("EMBED_CPU_ISA");                                                             \
    } while (0)

/* Returns a real model's folder, from the environment, or skips the test and prints why. */
static inline const char *real_model(const char *variable, const char *name)
{
    const char *folder = getenv(variable);
    char path[1024];
    snprintf(path, sizeof path, "%s/model.safetensors", folder != NULL ? folder : "");
    if (access(path, R_OK) != 0) {
        print_message("skipped: %s is not the folder of %s\n", variable, name);
        skip();
    }
    return folder;
}

static inline const char *real_minilm(void)
{
    return real_model("MODEL", "all-MiniLM-L6-v2");
}

static inline const char *real_mpnet(void)
{
    return real_model("MPNET", "all-mpnet-base-v2");
}

/* ---- comparison ------------------------------------------------------------------------ */

struct closeness {
    double cosine;     /* minimum for each row */
    double difference; /* maximum for each component */
};

/* Compares the rows of the first `most` lines with the expected file. */
static inline void check_first_rows(size_t most, const char *folder, const char *text_file,
                                    const char *expected_file, const char *prompt,
                                    struct closeness close)
{
    struct opened opened = open_model(folder, 0, 0);
    struct vector_lines lines = vector_lines_load(text_file);
    embed_text *texts = texts_of(&lines);
    float *expected = vector_rows_load(expected_file, lines.count, opened.width);
    size_t n = most < lines.count ? most : lines.count;
    float *rows = encode(&opened, texts, n, prompt);
    assert_rows_close(expected_file, rows, expected, n, opened.width, close.cosine,
                      close.difference, &lines);
    free(rows);
    free(expected);
    free(texts);
    vector_lines_free(&lines);
    close_model(&opened);
}

static inline void check_rows(const char *folder, const char *text_file,
                              const char *expected_file, const char *prompt,
                              struct closeness close)
{
    check_first_rows(SIZE_MAX, folder, text_file, expected_file, prompt, close);
}

/* Compares all tiny models, with and without prompts and padding, with the reference's rows. */
static inline void check_tiny_models(double cosine, double difference)
{
    const char *lines = VECTORS "tiny-lines.txt", *cls = VECTORS "tiny-bert-cls";
    const char *padded = VECTORS "tiny-mpnet-padded.txt", *mpnet = VECTORS "tiny-mpnet";
    const struct closeness unit = {cosine, difference};
    const struct closeness plain = {cosine, 10 * difference}; /* rows that are not normalized */
    check_rows(VECTORS "tiny-bert", lines, VECTORS "tiny-bert.f32", NULL, unit);
    check_rows(cls, lines, VECTORS "tiny-bert-cls.f32", NULL, plain);
    check_rows(cls, lines, VECTORS "tiny-bert-cls-title.f32", "title", plain);
    check_rows(cls, lines, VECTORS "tiny-bert-cls-no-prompt.f32", "", plain);
    check_rows(mpnet, lines, VECTORS "tiny-mpnet.f32", NULL, unit);
    check_rows(mpnet, padded, VECTORS "tiny-mpnet-padded.f32", NULL, unit);
}

static inline void check_ids(const char *folder, const char *text_file, const char *ids_file,
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

/* ---- the same bits --------------------------------------------------------------------- */

/* Encodes all texts, `group` per call from the last to the first, with `threads` threads and chunks
 * of `batch_tokens`; the rows must have the bits of `expected`. */
static inline void check_same_bits(const char *folder, const embed_text *texts, size_t n,
                                   const float *expected, unsigned threads, size_t batch_tokens,
                                   size_t group)
{
    struct opened opened = open_model(folder, threads, batch_tokens);
    size_t row_bytes = opened.width * sizeof(float);
    for (size_t left = n; left > 0;) {
        size_t count = left < group ? left : group, first = left - count;
        float *rows = encode(&opened, texts + first, count, NULL);
        for (size_t i = 0; i < count; i++) {
            if (memcmp(rows + i * opened.width, expected + (first + i) * opened.width,
                       row_bytes))
                fail_msg(
                    "text %zu has other bits with %u threads, chunks of %zu, %zu texts at a "
                    "time",
                    first + i, threads, batch_tokens, group);
        }
        free(rows);
        left = first;
    }
    close_model(&opened);
}

static inline void check_invariance(const char *folder, const char *text_file, size_t n)
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

#endif
