/* test_cli.c - the command line tool: calls, errors, and the commands other than encode */
#include "run_program.h"

#include <jansson.h>
#include <stdbool.h>

/* ---- calls ---------------------------------------------------------------------------------
 */

static void test_version_and_help(void **state)
{
    (void)state;
    program_result r = run_well(WORDS("embed", "--version"), NULL, 0);
    assert_memory_equal(r.out, "embed 0.", 8);
    free_result(&r);

    r = run_well(WORDS("embed", "help"), NULL, 0);
    static const char *const commands[] = {"encode", "summarize", "tokenize",
                                           "similarity", "info", "devices"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        assert_non_null(strstr(r.out, commands[i]));
        program_result of = run_well(WORDS("embed", "help", commands[i]), NULL, 0);
        assert_non_null(strstr(of.out, "usage: embed "));
        assert_non_null(strstr(of.out, "\nexample: "));
        assert_non_null(strstr(of.out, "--help"));
        for (int brief = 0; brief < 2; brief++) {
            program_result same =
                run_well(WORDS("embed", commands[i], brief ? "-h" : "--help"), NULL, 0);
            assert_string_equal(of.out, same.out);
            free_result(&same);
        }
        free_result(&of);
    }
    for (int brief = 0; brief < 2; brief++) {
        program_result same = run_well(WORDS("embed", brief ? "-h" : "--help"), NULL, 0);
        assert_string_equal(r.out, same.out);
        free_result(&same);
    }
    free_result(&r);
}

static void test_no_arguments(void **state)
{
    (void)state;
    program_result r = run(WORDS("embed"), NULL, 0);
    assert_int_equal(r.status, 2);
    assert_int_equal(r.out_length, 0);
    assert_memory_equal(r.err, "usage: embed ", 13);
    free_result(&r);
}

static void test_wrong_calls(void **state)
{
    (void)state;
    const char *const *const calls[] = {
        WORDS("embed", "nonsense"),
        WORDS("embed", "-m", TINY_BERT),
        WORDS("embed", "help", "nonsense"),
        WORDS("embed", "help", "encode", "info"),
        WORDS("embed", "encode"),
        WORDS("embed", "encode", "-m"),
        WORDS("embed", "encode", "-m", ""),
        WORDS("embed", "info", "-m", ""),
        WORDS("embed", "encode", "-m", TINY_BERT, "-o", ""),
        WORDS("embed", "encode", "-m", TINY_BERT, "--metadata="),
        WORDS("embed", "encode", "-m", TINY_BERT, ""),
        WORDS("embed", "tokenize", "-m", TINY_BERT, ""),
        WORDS("embed", "encode", "-m", TINY_BERT, "a", "b"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--nonsense"),
        WORDS("embed", "encode", "-m", TINY_BERT, "-x"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--max-token", "3"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--instances", "2"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--resume"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--threads", "0"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--threads", "-1"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--threads", "+1"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--threads", "1x"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--threads", " 1"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--threads", "0x1"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--threads", "1.0"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--threads", ""),
        WORDS("embed", "encode", "-m", TINY_BERT, "--threads="),
        WORDS("embed", "encode", "-m", TINY_BERT, "--threads", "4294967296"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--max-tokens", "18446744073709551616"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--max-tokens", "99999999999999999999999"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--dimensions", "0"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--batch-tokens", "many"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--format", "csv"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--format", "TEXT"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--dtype", "f64"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--device", "gpu"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--device", "cuda:"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--device", "cuda:-1"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--device", "cuda:0x"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--device", "cuda:9999999999"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--progress", "yes"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--log-level", "loud"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--no-normalize=1"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--json"),
        WORDS("embed", "info", "-m", TINY_BERT, "--device-memory", "8388608T"), /* 2^63 */
        WORDS("embed", "tokenize", "-m", TINY_BERT, "--format", "text"),
        WORDS("embed", "similarity", "-m", TINY_BERT),
        WORDS("embed", "similarity", "-m", TINY_BERT, "only one"),
        WORDS("embed", "similarity", "-m", TINY_BERT, "-"),
        WORDS("embed", "similarity", "-m", "/no/such/folder", "-"),
        WORDS("embed", "info", "-m", TINY_BERT, "more"),
        WORDS("embed", "devices", "-m", TINY_BERT),
        WORDS("embed", "encode", "-m", TINY_BERT, "--line\nbreak\033[31m"),
    };
    check_wrong_calls(calls, sizeof calls / sizeof *calls);
}

static void test_failures(void **state)
{
    (void)state;
    static const char *const commands[] = {"encode", "tokenize", "info"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        check_failure(WORDS("embed", commands[i], "-m", "/no/such/folder"), "/no/such/folder");
    check_failure(WORDS("embed", "similarity", "-m", "/no/such/folder", "a", "b"),
                  "/no/such/folder");
    check_failure(WORDS("embed", "encode", "-m", "tests/test_cli.c"), "tests/test_cli.c");
    check_failure(WORDS("embed", "encode", "-m", TINY_BERT, "no/such/file"),
                  "no/such/file: No such file");
    check_failure(WORDS("embed", "encode", "-m", TINY_BERT, "tests"), "tests: Is a directory");
    check_failure(WORDS("embed", "tokenize", "-m", TINY_BERT, "tests"),
                  "tests: Is a directory");
    check_failure(WORDS("embed", "encode", "-m", TINY_BERT, "-o", "tests"),
                  "tests: Is a directory");
    check_failure(WORDS("embed", "encode", "-m", TINY_BERT, "-o", "no/such/folder/rows.npy"),
                  "no/such/folder/rows.npy: ");
    check_failure(WORDS("embed", "encode", "-m", TINY_BERT, "-o", "tests/test_cli.c/rows.npy"),
                  "tests/test_cli.c/rows.npy: ");
    check_failure(WORDS("embed", "encode", "-m", TINY_BERT, "--dimensions", "100000"),
                  "--dimensions 100000");
    check_failure(WORDS("embed", "encode", "-m", TINY_BERT, "--max-tokens", "1000000000"),
                  "1000000000");
    check_failure(
        WORDS("embed", "encode", "-m", TINY_BERT, "--max-tokens", "1000", "/dev/null"), "1000");
    check_failure(WORDS("embed", "encode", "-m", TINY_BERT, "--prompt", "no such prompt"),
                  "no such prompt");
    /* Errors name options, not the library's arguments. */
    check_failure(WORDS("embed", "encode", "-m", TINY_BERT, "--threads", "5000"),
                  "embed: --threads is 5000, must be");
    check_failure(WORDS("embed", "encode", "-m", TINY_BERT, "--max-tokens", "1"),
                  "embed: --max-tokens is 1, must be");
    check_failure(WORDS("embed", "tokenize", "-m", TINY_BERT, "--max-tokens", "1"),
                  "embed: --max-tokens is 1");
    check_failure(WORDS("embed", "encode", "-m", TINY_BERT, "--batch-tokens", "99999999999"),
                  "embed: --batch-tokens is 99999999999, must be");
    check_failure(WORDS("embed", "encode", "-m", TINY_BERT, "--device", "cuda:99"), "cuda");
    check_failure(WORDS("embed", "encode", "-m", "line\nbreak"), "line?break");
}

/* A full disk, for the commands that print; encode has its own tests. */
static void test_full_stdout(void **state)
{
    (void)state;
    const char *const *const calls[] = {
        WORDS("embed", "--version"),
        WORDS("embed", "help"),
        WORDS("embed", "devices"),
        WORDS("embed", "info", "-m", TINY_BERT),
        WORDS("embed", "info", "-m", TINY_BERT, "--json"),
        WORDS("embed", "similarity", "-m", TINY_BERT, "a", "b"),
        WORDS("embed", "tokenize", "-m", TINY_BERT),
        WORDS("embed", "encode", "-m", TINY_BERT),
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        program_result r =
            run_streams(calls[i], "x\n", 2, (program_streams){.out = "/dev/full"});
        assert_int_equal(r.status, 1);
        assert_string_equal(r.err, "embed: standard output: No space left on device\n");
        free_result(&r);
    }
}

/* ---- tokenize ------------------------------------------------------------------------------
 */

/* Reads a line of ids from *text and advances it past the line. Returns their number. */
static size_t read_ids(long *ids, size_t capacity, const char **text)
{
    size_t n = 0;
    for (; **text != '\n'; n++) {
        char *end;
        assert_true(n < capacity);
        if (n > 0) assert_int_equal(*(*text)++, ' '); /* one space between ids, none at the end */
        assert_true(**text >= '0' && **text <= '9');
        ids[n] = strtol(*text, &end, 10);
        *text = end;
    }
    (*text)++;
    return n;
}

static void test_tokenize(void **state)
{
    (void)state;
    static const char input[] =
        "the cat\n\nthe\0cat\nthe cat\r\n\xFF\xFE\nthe cat the cat the cat";
    long ids[64], first[64];
    program_result r =
        run_well(WORDS("embed", "tokenize", "-m", TINY_BERT), input, sizeof input - 1);
    const char *text = r.out;
    assert_int_equal(count_lines(r.out), 6);
    size_t n = read_ids(first, 64, &text);
    assert_true(n >= 4);
    assert_int_equal(read_ids(ids, 64, &text), 2); /* an empty line: [CLS] [SEP] */
    assert_int_equal(ids[0], first[0]);
    assert_int_equal(ids[1], first[n - 1]);
    for (int line = 2; line < 5; line++) read_ids(ids, 64, &text);
    size_t longer = read_ids(ids, 64, &text);
    assert_int_equal(longer, 3 * (n - 2) + 2);
    free_result(&r);

    r = run_well(WORDS("embed", "tokenize", "-m", TINY_BERT, "--max-tokens", "3"), input,
                 sizeof input - 1);
    text = r.out;
    assert_int_equal(read_ids(ids, 64, &text), 3);
    assert_int_equal(ids[0], first[0]);
    assert_int_equal(ids[1], first[1]);
    assert_int_equal(ids[2], first[n - 1]);
    free_result(&r);
}

/* Not cut at the model's limit, as encode would do. */
static void test_tokenize_long_line(void **state)
{
    (void)state;
    enum { WORDS_IN_LINE = 200000 };
    char *line = malloc(WORDS_IN_LINE * 4 + 1), *p = line;
    assert_non_null(line);
    for (int i = 0; i < WORDS_IN_LINE; i++, p += 4) memcpy(p, "the ", 4);
    program_result r =
        run_well(WORDS("embed", "tokenize", "-m", TINY_BERT, "-"), line, WORDS_IN_LINE * 4);
    size_t spaces = 0;
    for (p = r.out; *p != '\0'; p++) spaces += *p == ' ';
    assert_int_equal(spaces, WORDS_IN_LINE + 1);
    assert_int_equal(count_lines(r.out), 1);
    free_result(&r);
    free(line);
}

/* Compares with the reference tokenizer's ids for the same lines. */
static void check_ids(const char *const *words, const char *vectors)
{
    size_t length;
    char *expected = read_file(vectors, &length);
    program_result r = run_well(words, NULL, 0);
    const char *ours = r.out, *theirs = expected;
    for (size_t line = 1; *theirs != '\0'; line++) {
        size_t n = strcspn(theirs, "\n") + 1;
        if (strncmp(ours, theirs, n) != 0)
            fail_msg("line %zu: %.*s instead of %.*s", line, (int)strcspn(ours, "\n"), ours,
                     (int)n, theirs);
        ours += n;
        theirs += n;
    }
    assert_int_equal(*ours, '\0');
    free_result(&r);
    free(expected);
}

static void test_tokenize_as_the_reference(void **state)
{
    (void)state;
    check_ids(WORDS("embed", "tokenize", "-m", TINY_BERT, "--max-tokens", "48",
                    "tests/vectors/tiny-lines.txt"),
              "tests/vectors/tiny-bert.ids");
    const char *model = getenv("MODEL");
    if (model == NULL || access(model, R_OK) != 0) {
        print_message("skipped: MODEL, all-MiniLM-L6-v2's folder, is not there\n");
        skip();
    }
    check_ids(WORDS("embed", "tokenize", "-m", model, "tests/vectors/lines.txt"),
              "tests/vectors/minilm-untruncated.ids");
}

/* ---- similarity ----------------------------------------------------------------------------
 */

static void test_similarity(void **state)
{
    (void)state;
    program_result r = run_well(
        WORDS("embed", "similarity", "-m", TINY_BERT, "the cat", "a dog\033[31m\n", "the cat"),
        NULL, 0);
    double rows[3][3];
    int columns[3];
    const char *line = r.out;
    assert_int_equal(count_lines(r.out), 4);
    for (int i = 0; i < 3; i++) {
        line = strchr(line, '\n') + 1;
        int index;
        assert_int_equal(sscanf(line, "%d %lf %lf %lf %n", &index, &rows[i][0], &rows[i][1],
                                &rows[i][2], &columns[i]),
                         4);
        assert_int_equal(index, i + 1);
    }
    assert_int_equal(columns[0], columns[1]);
    assert_int_equal(columns[0], columns[2]);
    for (int i = 0; i < 3; i++) {
        assert_float_equal(rows[i][i], 1, 1e-4);
        for (int k = 0; k < 3; k++) assert_float_equal(rows[i][k], rows[k][i], 1e-9);
    }
    assert_float_equal(rows[0][2], 1, 1e-4);
    assert_non_null(strstr(r.out, "  the cat\n"));
    assert_non_null(strstr(r.out, "  a dog\\x1B[31m\\x0A\n"));
    free_result(&r);
}

static void test_similarity_of_lines(void **state)
{
    (void)state;
    program_result given = run_well(
        WORDS("embed", "similarity", "-m", TINY_BERT, "the cat", "a dog", ""), NULL, 0);
    static const char lines[] = "the cat\na dog\n\n";
    program_result read =
        run_well(WORDS("embed", "similarity", "-m", TINY_BERT, "-"), lines, sizeof lines - 1);
    assert_string_equal(given.out, read.out);
    free_result(&given);
    free_result(&read);

    /* No line, and one. */
    for (size_t length = 0; length < 2; length++) {
        read = run(WORDS("embed", "similarity", "-m", TINY_BERT, "-"), "\n", length);
        assert_int_equal(read.status, 2);
        assert_non_null(strstr(read.err, "embed: similarity: needs at least two texts"));
        free_result(&read);
    }
}

/* Labels are cut between characters; bytes that form no character are escaped. */
static void test_similarity_labels(void **state)
{
    (void)state;
    char wide[3 * 60 + 1] = "", expected[3 * 48 + 8] = "  ";
    for (int i = 0; i < 60; i++) strcat(wide, "\u4E2D");
    for (int i = 0; i < 48; i++) strcat(expected, "\u4E2D");
    strcat(expected, "...\n");
    program_result r = run(
        WORDS("embed", "similarity", "-m", TINY_BERT, wide, "\xFF\xED\xA0\x80\xC2\x85z"), NULL,
        0);
    assert_int_equal(r.status, 0);
    assert_string_equal(r.err,
                        "embed: warning: 1 of 2 texts were longer than the limit and were cut\n");
    assert_non_null(strstr(r.out, expected));
    assert_non_null(strstr(r.out, "  \\xFF\\xED\\xA0\\x80\\xC2\\x85z\n"));
    free_result(&r);
}

/* ---- info, devices -------------------------------------------------------------------------
 */

static void test_info(void **state)
{
    (void)state;
    program_result r = run_well(
        WORDS("embed", "info", "-m", TINY_BERT, "--json", "--device", "cpu", "--threads", "2"),
        NULL, 0);
    json_error_t error;
    json_t *info = json_loadb(r.out, r.out_length, JSON_REJECT_DUPLICATES, &error);
    if (info == NULL) fail_msg("%s: %s", error.text, r.out);
    static const char *const numbers[] = {"layers",       "width",        "heads",
                                          "feed_forward", "vocabulary",   "max_tokens",
                                          "parameters",   "weight_bytes", "threads"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        assert_true(json_integer_value(json_object_get(info, numbers[i])) > 0);
    assert_int_equal(json_integer_value(json_object_get(info, "threads")), 2);
    assert_string_equal(json_string_value(json_object_get(info, "family")), "bert");
    assert_string_equal(json_string_value(json_object_get(info, "device")), "cpu");
    assert_non_null(json_string_value(json_object_get(info, "pooling")));
    assert_non_null(json_string_value(json_object_get(info, "dtype")));
    assert_true(json_is_boolean(json_object_get(info, "normalizes")));
    assert_true(json_real_value(json_object_get(info, "load_seconds")) >= 0);
    assert_true(json_integer_value(json_object_get(info, "instance_bytes")) > 0);
    assert_true(json_integer_value(json_object_get(info, "instances_that_fit")) > 0);

    program_result table = run_well(WORDS("embed", "info", "-m", TINY_BERT), NULL, 0);
    assert_int_equal(count_lines(table.out),
                     json_object_size(info) + json_array_size(json_object_get(info, "folder")));
    assert_non_null(strstr(table.out, "\nmax tokens       "));
    free_result(&table);
    json_decref(info);
    free_result(&r);

    /* A GPU of a given size, which this machine need not have. */
    r = run_well(WORDS("embed", "info", "-m", TINY_BERT, "--json", "--device", "cpu",
                       "--device-memory", "1G"),
                 NULL, 0);
    info = json_loadb(r.out, r.out_length, JSON_REJECT_DUPLICATES, &error);
    assert_non_null(info);
    int64_t left = (int64_t)1 << 30;
    left -= json_integer_value(json_object_get(info, "gpu_context_bytes"));
    left -= json_integer_value(json_object_get(info, "gpu_library_bytes"));
    left -= json_integer_value(json_object_get(info, "gpu_weight_bytes"));
    left -= 2 << 20; /* the block that the first small allocation opens */
    int64_t each = json_integer_value(json_object_get(info, "gpu_instance_bytes"));
    assert_true(each > 0);
    assert_int_equal(each, json_integer_value(json_object_get(info, "gpu_activation_bytes")) +
                               json_integer_value(json_object_get(info, "gpu_workspace_bytes")) +
                               json_integer_value(json_object_get(info, "gpu_graph_bytes")));
    assert_true(json_integer_value(json_object_get(info, "gpu_pinned_bytes")) > 0);
    assert_true(json_is_false(json_object_get(info, "gpu_is_measured")));
    assert_int_equal(json_integer_value(json_object_get(info, "gpu_instances")), left / each);
    json_decref(info);
    free_result(&r);
}

static void test_devices(void **state)
{
    (void)state;
    program_result r = run_well(WORDS("embed", "devices"), NULL, 0);
    assert_memory_equal(r.out, "device ", 7);
    assert_non_null(strstr(r.out, "\ncpu "));
    free_result(&r);
}

/* ---- the other programs --------------------------------------------------------------------
 */

/* example.c is, verbatim, the program in the opening comment of embed.h. */
static void test_example_is_in_the_header(void **state)
{
    (void)state;
    size_t length;
    char *header = read_file("include/embed.h", &length),
         *example = read_file("tools/example.c", &length);
    char *quoted = calloc(1, strlen(header) + 1), *out = quoted;
    assert_non_null(quoted);
    const char *line = strstr(header, " *     #include <embed.h>\n");
    assert_non_null(line);
    for (;;) {
        length = strcspn(line, "\n");
        bool blank = length == 2, quotes = length > 7 && memcmp(line, " *     ", 7) == 0;
        if (!blank && !quotes) break;
        size_t margin = quotes ? 7 : 2;
        out = stpncpy(out, line + margin, length - margin);
        *out++ = '\n';
        line += length + 1;
        if (quotes && line[-2] == '}' && length == 8) break;
    }
    *out = '\0';
    assert_string_equal(quoted, example);
    free(quoted);
    free(header);
    free(example);
}

static void test_example_runs(void **state)
{
    (void)state;
    program_result r = run(WORDS("example", "/no/such/folder"), NULL, 0);
    assert_int_equal(r.status, 1);
    assert_int_equal(count_lines(r.err), 1);
    free_result(&r);

    const char *model = getenv("MODEL"); /* its rows are 384 wide: not for the tiny model */
    if (model == NULL || access(model, R_OK) != 0) {
        print_message("skipped: MODEL, all-MiniLM-L6-v2's folder, is not there\n");
        skip();
    }
    r = run_well(WORDS("example", model), NULL, 0);
    double cosine = strtod(r.out, NULL);
    assert_true(cosine > 0.4 && cosine < 0.8);
    free_result(&r);
}

static void test_demo(void **state)
{
    (void)state;
    program_result r = run_well(WORDS("demo", TINY_BERT, "tools/demo.txt"), NULL, 0);
    assert_non_null(strstr(r.out, "embedded  30 sentences, "));
    assert_non_null(strstr(r.out, "embed encode -m " TINY_BERT));
    const char *line = strstr(r.out, "\n\n  ");
    double last = 1.001;
    for (int pairs = 0; pairs < 8; pairs++) {
        double cosine;
        assert_non_null(line);
        assert_int_equal(sscanf(line, " %lf", &cosine), 1);
        assert_true(cosine <= last);
        last = cosine;
        line = strchr(line + 2, '\n'); /* of the first sentence: the second has a line too */
        line = strchr(line + 1, '\n');
    }
    free_result(&r);

    const char *const *const wrong[] = {
        WORDS("demo"),
        WORDS("demo", TINY_BERT, "no/such/file"),
        WORDS("demo", TINY_BERT, "tests"),
        WORDS("demo", "no/such/folder", "tools/demo.txt"),
        WORDS("demo", TINY_BERT, "/dev/null"),
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        r = run(wrong[i], NULL, 0);
        assert_int_equal(r.status, i == 0 ? 2 : 1);
        assert_int_equal(r.out_length, 0);
        assert_int_equal(count_lines(r.err), 1);
        free_result(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_and_help),
        cmocka_unit_test(test_no_arguments),
        cmocka_unit_test(test_wrong_calls),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_full_stdout),
        cmocka_unit_test(test_tokenize),
        cmocka_unit_test(test_tokenize_long_line),
        cmocka_unit_test(test_tokenize_as_the_reference),
        cmocka_unit_test(test_similarity),
        cmocka_unit_test(test_similarity_of_lines),
        cmocka_unit_test(test_similarity_labels),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_example_is_in_the_header),
        cmocka_unit_test(test_example_runs),
        cmocka_unit_test(test_demo),
    };
    return cmocka_run_group_tests_name("command line", tests, NULL, NULL);
}
