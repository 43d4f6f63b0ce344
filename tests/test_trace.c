/* test_trace.c - embed_instance_trace: each stage once and in order, and encode's row at the end */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "pipelines_test.h"

#define MOST_STAGES 32

typedef struct seen {
    embed_stage stages[MOST_STAGES];
    size_t indices[MOST_STAGES], rows[MOST_STAGES], widths[MOST_STAGES];
    size_t count;
    int32_t ids[512];
    float row[1024], pooled[1024];
    float first[MOST_STAGES]; /* the first value of each */
} seen;

static void see(void *user, const embed_traced *stage)
{
    seen *s = user;
    assert_true(s->count < MOST_STAGES);
    size_t i = s->count++;
    s->stages[i] = stage->stage;
    s->indices[i] = stage->index;
    s->rows[i] = stage->rows;
    s->widths[i] = stage->width;
    if (stage->stage == EMBED_STAGE_TOKENS) {
        assert_null(stage->values);
        memcpy(s->ids, stage->ids, stage->rows * sizeof *s->ids);
        return;
    }
    assert_null(stage->ids);
    s->first[i] = stage->values[0];
    if (stage->stage == EMBED_STAGE_ROW)
        memcpy(s->row, stage->values, stage->width * sizeof *s->row);
    if (stage->stage == EMBED_STAGE_POOLING)
        memcpy(s->pooled, stage->values, stage->width * sizeof *s->pooled);
}

static seen trace(embed_instance *instance, const char *text,
                  const embed_encode_options *options)
{
    seen s = {0};
    embed_text one = {text, NULL, strlen(text)};
    if (embed_instance_trace(instance, &one, options, see, &s) != EMBED_OK)
        fail_msg("%s", embed_error_message());
    return s;
}

static void test_stages_in_order(void **state)
{
    (void)state;
    struct opened tiny = open_model(VECTORS "tiny-bert", 2, 0);
    seen s = trace(tiny.instance, "A cat sits on the mat.", NULL);
    static const embed_stage stages[] = {
        EMBED_STAGE_TOKENS, EMBED_STAGE_EMBEDDINGS, EMBED_STAGE_LAYER, EMBED_STAGE_LAYER,
        EMBED_STAGE_LAYER,  EMBED_STAGE_POOLING,    EMBED_STAGE_ROW};
    static const size_t indices[] = {0, 0, 0, 1, 2, 0, 0};
    assert_int_equal(s.count, sizeof stages / sizeof *stages);
    for (size_t i = 0; i < s.count; i++) {
        assert_int_equal(s.stages[i], stages[i]);
        assert_int_equal(s.indices[i], indices[i]);
        assert_int_equal(s.rows[i], i < 5 ? 12 : 1);
        assert_int_equal(s.widths[i], i == 0 ? 1 : 64);
        for (size_t k = 1; k < i; k++) assert_true(s.first[k] != s.first[i]);
    }
    assert_int_equal(s.ids[0], 2);
    assert_int_equal(s.ids[11], 3);
    close_model(&tiny);
}

/* The last stage has encode's bits, in each dtype, with prompts, Dense modules and truncation. */
static void check_same_row(struct opened *opened, const embed_encode_options *options,
                           size_t width)
{
    static const char *const texts[] = {"", "a",
                                        "A cat sits on the mat, and so on and so forth."};
    for (size_t i = 0; i < 3; i++) {
        float row[1024];
        embed_text text = {texts[i], NULL, strlen(texts[i])};
        assert_int_equal(
            embed_instance_encode(opened->instance, &text, 1, options, row, 1024, NULL),
            EMBED_OK);
        seen s = trace(opened->instance, texts[i], options);
        assert_int_equal(s.widths[s.count - 1], width);
        assert_memory_equal(s.row, row, width * sizeof(float));
    }
}

static void check_pipelines_rows(void)
{
    for (size_t i = 0; i < PIPELINE_CASES; i++) {
        const struct pipeline_case *c = &pipeline_cases[i];
        const char *folder = pipeline_folder(c->name);
        struct opened opened = open_model(folder, 2, 0);
        embed_encode_options options = EMBED_ENCODE_OPTIONS_INIT;
        check_same_row(&opened, NULL, c->width);
        options.dimensions = 9;
        options.normalize = EMBED_ON;
        options.max_tokens = 6;
        if (c->has_prompt) options.prompt_name = "query";
        check_same_row(&opened, &options, 9);
        close_model(&opened);
        test_remove_folder(folder);
    }
}

static void test_same_row(void **state)
{
    (void)state;
    static const embed_dtype dtypes[] = {EMBED_DTYPE_F32, EMBED_DTYPE_BF16, EMBED_DTYPE_INT8};
    for (size_t i = 0; i < 3; i++) {
        const struct cpu_kernels *kernels;
        if (cpu_kernels_choose(&kernels, dtypes[i]) != EMBED_OK) continue; /* not on this CPU */
        tested.dtype = dtypes[i];
        check_pipelines_rows();
    }
    tested.dtype = EMBED_DTYPE_F32;
}

/* With two Dense modules, each is a stage with its own width. */
static void test_modules(void **state)
{
    (void)state;
    const char *folder = pipeline_folder("dense-twice");
    struct opened opened = open_model(folder, 1, 0);
    seen s = trace(opened.instance, "a text", NULL);
    size_t modules = 0;
    for (size_t i = 0; i < s.count; i++) {
        if (s.stages[i] != EMBED_STAGE_MODULE) continue;
        assert_int_equal(s.indices[i], modules++);
        assert_int_equal(s.stages[i - 1],
                         modules == 1 ? EMBED_STAGE_POOLING : EMBED_STAGE_MODULE);
    }
    assert_true(modules >= 2);
    assert_int_equal(s.widths[s.count - 1], opened.width);
    close_model(&opened);
    test_remove_folder(folder);
}

static void never(void *user, const embed_traced *stage)
{
    (void)user;
    (void)stage;
    fail_msg("called after a wrong call");
}

static void test_wrong_calls(void **state)
{
    (void)state;
    struct opened tiny = open_model(VECTORS "tiny-bert", 1, 0);
    struct opened bart = open_model(VECTORS "tiny-bart", 1, 0);
    embed_text text = EMBED_TEXT("a"), none = {NULL, NULL, 3};
    embed_encode_options options = EMBED_ENCODE_OPTIONS_INIT;
    options.dimensions = 1000;
    assert_int_equal(embed_instance_trace(NULL, &text, NULL, never, NULL),
                     EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_instance_trace(tiny.instance, NULL, NULL, never, NULL),
                     EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_instance_trace(tiny.instance, &none, NULL, never, NULL),
                     EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_instance_trace(tiny.instance, &text, NULL, NULL, NULL),
                     EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_instance_trace(tiny.instance, &text, &options, never, NULL),
                     EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_instance_trace(bart.instance, &text, NULL, never, NULL),
                     EMBED_UNSUPPORTED);
    close_model(&tiny);
    close_model(&bart);
}

int main(void)
{
    tested.device = EMBED_DEVICE_CPU;
    tested.dtype = EMBED_DTYPE_F32;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stages_in_order),
        cmocka_unit_test(test_same_row),
        cmocka_unit_test(test_modules),
        cmocka_unit_test(test_wrong_calls),
    };
    return cmocka_run_group_tests_name("traces", tests, NULL, NULL);
}
