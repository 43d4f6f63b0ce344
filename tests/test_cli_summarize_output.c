/* test_cli_summarize_output.c - embed summarize: streams and files, wrong calls and models, and
 * what the other commands print for a model that generates */
#include "cli_summaries.h"

#include <glob.h>

/* ---- reading and writing -------------------------------------------------------------------
 */

static void test_output_file(void **state)
{
    (void)state;
    const char *path = scratch("summaries");
    size_t length;
    for (int i = 0; i < 2; i++) { /* a new file, then a replaced one */
        program_result r = run_well(WORDS(SUMMARIZE, "-o", path), "\nStorm\n", 7);
        assert_int_equal(r.out_length, 0);
        free(r.out);
        r.out = read_file(path, &r.out_length);
        check_summaries(&r, &texts, 0, 1);
        free_result(&r);
    }
    /* A failure leaves the old file and no other. */
    program_result r = run(WORDS(SUMMARIZE, "-o", path, "--jsonl", "t"), "x\n", 2);
    assert_int_equal(r.status, 1);
    free_result(&r);
    char *written = read_file(path, &length);
    assert_int_equal(count_lines(written), 2);
    free(written);
    assert_int_equal(unlink(path), 0);

    r = run(WORDS(SUMMARIZE, "-o", "/dev/full"), "\n", 1);
    assert_int_equal(r.status, 1);
    assert_string_equal(r.err, "embed: /dev/full: No space left on device\n");
    free_result(&r);
}

/* Makes a file of `count` documents, which are one block. */
static FILE *many_documents(size_t count)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    for (size_t i = 0; i < count; i++)
        fprintf(file, "%s\n", line_of(&documents, i % (COUNT - 4) + 4));
    rewind(file);
    return file;
}

/* Returns the processor time of the children that have ended. */
static double seconds_of_children(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_CHILDREN, &usage), 0);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* Summaries come while later ones are computed, and when nobody reads them, no more are computed:
 * with the reader gone after the first summary, 4000 documents take less time than 1000. */
static void test_streams_until_the_reader_goes(void **state)
{
    (void)state;
    double started = seconds_of_children();
    FILE *in = many_documents(1000);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    pid_t child = start_program(WORDS(SUMMARIZE), fileno(in), null, null, 0);
    assert_int_equal(wait_program(child, NULL), 0);
    double seconds = seconds_of_children() - started;
    fclose(in);
    close(null);

    for (int ignored = 0; ignored < 2; ignored++) {
        int out[2];
        FILE *err = tmpfile();
        in = many_documents(4000);
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        started = seconds_of_children();
        child = start_program(WORDS(SUMMARIZE), fileno(in), out[1], fileno(err), ignored);
        close(out[1]);
        char first[4];
        assert_int_equal(read(out[0], first, sizeof first), sizeof first);
        close(out[0]);
        assert_int_equal(wait_program(child, NULL), ignored ? 1 : 128 + SIGPIPE);
        assert_true(seconds_of_children() - started < seconds);
        size_t length;
        char *said = read_back(err, &length);
        assert_string_equal(said, "");
        free(said);
        fclose(in);
        fclose(err);
    }
}

/* Interrupted by a signal, it leaves no file. */
static void test_interrupted(void **state)
{
    (void)state;
    const char *path = scratch("summaries"), *partial = scratch("summaries.partial-*");
    FILE *in = many_documents(4000), *err = tmpfile();
    glob_t found = {0};
    pid_t child = start_program(WORDS(SUMMARIZE, "-o", path, "--progress", "always"),
                                fileno(in), fileno(err), fileno(err), 0);
    alarm(60);
    while (glob(partial, 0, NULL, &found) == GLOB_NOMATCH) usleep(1000);
    alarm(0);
    globfree(&found);
    assert_int_equal(kill(child, SIGINT), 0);
    assert_int_equal(wait_program(child, NULL), 128 + SIGINT);
    fclose(in);
    fclose(err);
}

/* Interactive input gets an answer to each line. */
static void test_answers_while_input_is_open(void **state)
{
    (void)state;
    char expected[512];
    snprintf(expected, sizeof expected, "%s\n", line_of(&texts, 1));
    check_answers(WORDS(SUMMARIZE), "Storm\n", expected);
}

/* Memory use does not depend on the number of documents. */
static void test_constant_memory(void **state)
{
    (void)state;
    enum { LINE = 4000, LINES = 9000 }; /* 36 MB */
    char *input = malloc((size_t)LINE * LINES);
    assert_non_null(input);
    memset(input, '.', (size_t)LINE * LINES);
    for (size_t i = 1; i <= LINES; i++) input[i * LINE - 1] = '\n';
    const char *const *words =
        WORDS(SUMMARIZE, "--max-tokens", "4", "--num-beams", "1", "--min-length", "0",
              "--max-length", "3", "--log-level", "error", "-o", "/dev/null");
    program_result some = run_well(words, input, (size_t)LINE * LINES / 3);
    program_result all = run_well(words, input, (size_t)LINE * LINES);
    if (all.peak_kib > some.peak_kib + 6 * 1024)
        fail_msg("%ld KiB for a third, %ld KiB for all", some.peak_kib, all.peak_kib);
    free_result(&some);
    free_result(&all);
    free(input);
}

static void test_progress(void **state)
{
    (void)state;
    program_result r =
        run(WORDS(SUMMARIZE, "--progress", "always"), documents.bytes, strlen(documents.bytes));
    assert_int_equal(r.status, 0);
    check_summaries(&r, &texts, 0, COUNT - 1);
    assert_non_null(strstr(r.err, " 100%  208 documents  "));
    assert_non_null(strstr(r.err, " documents/s  "));
    free_result(&r);
    r = run_well(WORDS(SUMMARIZE, "--progress", "never"), "x\n", 2);
    free_result(&r);
}

/* ---- wrong calls, values and models --------------------------------------------------------
 */

static void test_wrong_calls(void **state)
{
    (void)state;
    const char *const *const calls[] = {
        WORDS("embed", "summarize"),
        WORDS(SUMMARIZE, "a", "b"),
        WORDS(SUMMARIZE, "--document", "--jsonl", "t"),
        WORDS(SUMMARIZE, "--prompt", "x"),
        WORDS(SUMMARIZE, "--format", "jsonl"),
        WORDS(SUMMARIZE, "--resume"),
        WORDS(SUMMARIZE, "--scores=1"),
        WORDS(SUMMARIZE, "--documents", "0"),
        WORDS(SUMMARIZE, "--num-beams", "0"),
        WORDS(SUMMARIZE, "--num-beams", "4294967296"),
        WORDS(SUMMARIZE, "--num-beams", "four"),
        WORDS(SUMMARIZE, "--max-length", "0"),
        WORDS(SUMMARIZE, "--min-length", "-1"),
        WORDS(SUMMARIZE, "--min-length"),
        WORDS(SUMMARIZE, "--no-repeat-ngram-size", "1.5"),
        WORDS(SUMMARIZE, "--length-penalty", "nan"),
        WORDS(SUMMARIZE, "--length-penalty", "inf"),
        WORDS(SUMMARIZE, "--length-penalty", "1e999"),
        WORDS(SUMMARIZE, "--length-penalty", "0x1"),
        WORDS(SUMMARIZE, "--length-penalty", " 1"),
        WORDS(SUMMARIZE, "--length-penalty", "1,5"),
        WORDS(SUMMARIZE, "--length-penalty", "-"),
        WORDS(SUMMARIZE, "--length-penalty="),
        WORDS(SUMMARIZE, "--early-stopping", "yes"),
        WORDS(SUMMARIZE, "--early-stopping", "True"),
        WORDS(SUMMARIZE, "--long", "join"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--num-beams", "4"),
    };
    check_wrong_calls(calls, sizeof calls / sizeof *calls);
}

static void test_impossible_values(void **state)
{
    (void)state;
    check_failure(WORDS(SUMMARIZE, "--max-tokens", "129"), "129");
    check_failure(WORDS(SUMMARIZE, "--max-tokens", "1"), "embed: --max-tokens is 1");
    check_failure(WORDS(SUMMARIZE, "--max-length", "1000000"), "1000000");
    check_failure(WORDS(SUMMARIZE, "--max-length", "1"), "embed: --max-length is 1");
    check_failure(WORDS(SUMMARIZE, "--min-length", "49"), "embed: --min-length is 49, --max-length");
    check_failure(WORDS(SUMMARIZE, "--num-beams", "100000"), "embed: --num-beams is 100000");
    check_failure(WORDS(SUMMARIZE, "--documents", "18446744073709551615"),
                  "18446744073709551615");
    check_failure(WORDS(SUMMARIZE, "--threads", "1025"), "1024");
    check_failure(WORDS(SUMMARIZE, "--device", "cuda:99"), "cuda");
    check_failure(WORDS(SUMMARIZE, "no/such/file"), "no/such/file: No such file");
    check_failure(WORDS(SUMMARIZE, "--long", "split", "--max-tokens", "2"),
                  "embed: standard input: document 1: 3 tokens cannot be split");
    check_failure(WORDS(SUMMARIZE, "-o", "no/such/folder/out"), "no/such/folder/out: ");
}

/* Each command says, in the library's words, which kind of model it needs. */
static void test_wrong_models(void **state)
{
    (void)state;
    check_failure(WORDS("embed", "summarize", "-m", "/no/such/folder"), "/no/such/folder");
    check_failure(WORDS("embed", "summarize", "-m", TINY_BERT),
                  "tiny-bert: a bert model gives embeddings, and writes no summaries");
    check_failure(WORDS("embed", "encode", "-m", TINY_BART), "embed");
    check_failure(WORDS("embed", "similarity", "-m", TINY_BART, "a", "b"), "embed");
}

/* ---- the other commands --------------------------------------------------------------------
 */

static void test_info(void **state)
{
    (void)state;
    json_error_t error;
    program_result r = run_well(
        WORDS("embed", "info", "-m", TINY_BART, "--json", "--device-memory", "24G"), NULL, 0);
    json_t *info = json_loadb(r.out, r.out_length, JSON_REJECT_DUPLICATES, &error);
    if (info == NULL) fail_msg("%s: %s", error.text, r.out);
    static const struct {
        const char *key;
        json_int_t value;
    } wanted[] = {{"layers", 2},        {"decoder_layers", 2},
                  {"decoder_heads", 2}, {"decoder_feed_forward", 96},
                  {"num_beams", 4},     {"min_length", 16},
                  {"max_length", 48},   {"no_repeat_ngram_size", 3},
                  {"max_tokens", 128}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        assert_int_equal(json_number(info, wanted[i].key), wanted[i].value);
    assert_true(json_is_true(json_object_get(info, "generates")));
    assert_string_equal(json_string_value(json_object_get(info, "family")), "bart");
    assert_string_equal(json_string_value(json_object_get(info, "early_stopping")), "true");
    assert_true(json_real_value(json_object_get(info, "length_penalty")) == 2);
    assert_null(json_object_get(info, "pooling"));
    assert_true(json_number(info, "kv_bytes") > 0);
    assert_true(json_number(info, "kv_bytes") < json_number(info, "instance_bytes"));
    assert_int_equal(
        json_number(info, "gpu_instance_bytes"),
        json_number(info, "gpu_activation_bytes") + json_number(info, "gpu_workspace_bytes") +
            json_number(info, "gpu_graph_bytes") + json_number(info, "gpu_kv_bytes"));
    assert_true(json_number(info, "gpu_instances") > 0);
    json_decref(info);
    free_result(&r);

    r = run_well(WORDS("embed", "info", "-m", TINY_BART), NULL, 0);
    assert_non_null(strstr(r.out, "\nkv bytes             "));
    free_result(&r);
}

static void test_tokenize(void **state)
{
    (void)state;
    program_result r = run_well(WORDS("embed", "tokenize", "-m", TINY_BART), "\nStorm\n", 7);
    assert_memory_equal(r.out, "0 2\n0 ", 6);
    assert_int_equal(count_lines(r.out), 2);
    free_result(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output_file),
        cmocka_unit_test(test_streams_until_the_reader_goes),
        cmocka_unit_test(test_interrupted),
        cmocka_unit_test(test_answers_while_input_is_open),
        cmocka_unit_test(test_constant_memory),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_wrong_calls),
        cmocka_unit_test(test_impossible_values),
        cmocka_unit_test(test_wrong_models),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_tokenize),
    };
    return cmocka_run_group_tests_name("embed summarize, reading and writing", tests,
                                       read_summaries, release_summaries);
}
