/* test_examples.c - runs the programs of tools/examples with tiny models and checks their output */
#include "run_program.h"

static const char cls[] = "tests/vectors/tiny-bert-cls", mpnet[] = "tests/vectors/tiny-mpnet";

/* Returns the unsigned number before `after` in the program's output. */
static unsigned number_before(const program_result *result, const char *after)
{
    const char *at = strstr(result->out, after);
    if (at == NULL) fail_msg("no \"%s\" in: %s", after, result->out);
    while (at > result->out && at[-1] >= '0' && at[-1] <= '9') at--;
    return (unsigned)strtoul(at, NULL, 10);
}

static void test_shared_model(void **state)
{
    (void)state;
    program_result result = run_well(WORDS("examples/shared_model", TINY_BERT), NULL, 0);
    assert_int_equal(number_before(&result, " texts in "), 8 * 50 * 4);
    /* A request is in one batch, and requests that arrive together share one. */
    assert_in_range(number_before(&result, " batches, "), 1, 8 * 50);
    assert_non_null(strstr(result.out, "once"));
    free_result(&result);
}

static void test_streams(void **state)
{
    (void)state;
    program_result result =
        run_well(WORDS("examples/streams", "2", TINY_BERT, cls, mpnet), NULL, 0);
    for (int i = 0; i < 4; i++) {
        char line[32];
        snprintf(line, sizeof line, "stream %d: 24 texts\n", i);
        assert_non_null(strstr(result.out, line));
    }
    unsigned loads = number_before(&result, " loads "),
             hits = number_before(&result, " times there");
    assert_true(loads >= 3);
    assert_int_equal(loads + hits, 4 * 24);
    assert_int_equal(number_before(&result, " dropped"), loads - 2);
    assert_int_equal(number_before(&result, " resident"), 2);
    free_result(&result);
}

static void test_kept_warm(void **state)
{
    (void)state;
    program_result result =
        run_well(WORDS("examples/kept_warm", TINY_BERT, cls, mpnet, "./" TINY_BERT), NULL, 0);
    assert_int_equal(count_lines(result.out), 5);
    assert_int_equal(number_before(&result, " models kept"), 3); /* one of them under two names */
    free_result(&result);

    result = run(WORDS("examples/kept_warm", "tests/vectors/none", cls), NULL, 0);
    assert_int_equal(result.status, 1);
    assert_non_null(strstr(result.err, "tests/vectors/none"));
    assert_int_equal(number_before(&result, " models kept"), 1);
    free_result(&result);
}

static void check_filled(const program_result *result)
{
    assert_non_null(strstr(result->out, "400 of 400 requests completed\n"));
    assert_non_null(strstr(result->out, "model=\"demo\""));
}

static void test_fill_gpu(void **state)
{
    (void)state;
    program_result result = run_well(WORDS("examples/fill_gpu", TINY_BERT, "2"), NULL, 0);
    check_filled(&result);
    assert_int_equal(number_before(&result, " instances: "), 2);
    free_result(&result);

    result = run_well(WORDS("examples/fill_gpu", TINY_BERT), NULL, 0);
    check_filled(&result); /* one instance on a CPU; on a GPU, as many as fit */
    free_result(&result);
}

/* The emulated device behaves like a GPU. */
static void test_fill_gpu_emulated(void **state)
{
    (void)state;
    char plugin[1024];
    snprintf(plugin, sizeof plugin, "%s/emulated/sm_80/libembed-cuda.so", build_folder());
    setenv("EMBED_CUDA_PLUGIN", plugin, 1);
    program_result result = run_well(WORDS("examples/fill_gpu", TINY_BERT, "2"), NULL, 0);
    unsetenv("EMBED_CUDA_PLUGIN");
    check_filled(&result);
    assert_memory_equal(result.out, "emulated device", 15);
    assert_true(number_before(&result, " instances fit") > 2);
    assert_int_equal(number_before(&result, " instances: "), 2);
    free_result(&result);
}

static void test_summarize(void **state)
{
    (void)state;
    program_result result = run_well(
        WORDS("examples/summarize", "tests/vectors/tiny-bart", "Storm", "", "Mayor Mayor Mayor"),
        NULL, 0);
    for (int i = 1; i <= 3; i++) {
        char line[32];
        snprintf(line, sizeof line, "text %d: ", i);
        assert_non_null(strstr(result.out, line));
    }
    assert_int_equal(count_lines(result.out), 7);
    assert_non_null(strstr(result.out, "3 of 3 texts summarized\n"));
    free_result(&result);

    result = run(WORDS("examples/summarize", TINY_BERT, "Storm"), NULL, 0);
    assert_int_equal(result.status, 1);
    assert_non_null(strstr(result.err, "writes no summaries\n"));
    free_result(&result);
}

static void test_usage(void **state)
{
    (void)state;
    static const char *const programs[] = {"examples/shared_model", "examples/streams",
                                           "examples/kept_warm", "examples/fill_gpu",
                                           "examples/summarize"};
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        program_result result = run(WORDS(programs[i]), NULL, 0);
        assert_int_equal(result.status, 2);
        assert_memory_equal(result.err, "usage: ", 7);
        free_result(&result);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_model),      cmocka_unit_test(test_streams),
        cmocka_unit_test(test_kept_warm),         cmocka_unit_test(test_fill_gpu),
        cmocka_unit_test(test_fill_gpu_emulated), cmocka_unit_test(test_summarize),
        cmocka_unit_test(test_usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
