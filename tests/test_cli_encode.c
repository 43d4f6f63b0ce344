/* test_cli_encode.c - embed encode: its rows, in every format and for all kinds of input */
#include "run_program.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>

#define ENCODE "embed", "encode", "-m", TINY_BERT
#define QUIET  "--log-level", "error" /* lines are cut, which causes a warning */

/* All awkward lines at once; the last has no line end. */
static const char awkward[] = "the cat sat on the mat\n"
                              "\n"
                              "the\0cat\n"
                              "\xFF\xC3(\xE2\x82\n"
                              " \t \r\n"
                              "\xE4\xB8\xAD\xE6\x96\x87 caf\xC3\xA9\n"
                              "[CLS] [SEP] {\"text\": \"x\"}\n"
                              "the cat sat on the mat";
enum { AWKWARD_LINES = 8 };

static size_t width; /* of the tiny model */

static int find_width(void **state)
{
    (void)state;
    program_result r = run(WORDS("embed", "info", "-m", TINY_BERT, "--json"), NULL, 0);
    json_error_t error;
    json_t *info = json_loads(r.out, 0, &error);
    width = (size_t)json_integer_value(json_object_get(info, "width"));
    json_decref(info);
    free_result(&r);
    return width > 0 ? make_scratch(NULL) : -1;
}

static int remove_scratch(void **state)
{
    (void)state;
    return rmdir(scratch_folder); /* fails if a test or the program left a file */
}

/* Returns the rows of these lines in the formats that are not text. */
static program_result encode_floats(const char *input, size_t length, size_t rows)
{
    program_result r = run_well(WORDS(ENCODE, QUIET, "--format", "f32"), input, length);
    assert_int_equal(r.out_length, rows * width * sizeof(float));
    return r;
}

static const float *row_of(const program_result *r, size_t i)
{
    return (const float *)(const void *)r->out + i * width;
}

/* ---- formats -------------------------------------------------------------------------------
 */

static void test_text_equals_f32(void **state)
{
    (void)state;
    program_result floats = encode_floats(awkward, sizeof awkward - 1, AWKWARD_LINES);
    program_result text = run_well(WORDS(ENCODE), awkward, sizeof awkward - 1);
    assert_int_equal(count_lines(text.out), AWKWARD_LINES);
    char expected[32], *p = text.out;
    for (size_t i = 0; i < AWKWARD_LINES * width; i++) {
        float value = row_of(&floats, 0)[i], parsed = strtof(p, NULL);
        assert_memory_equal(&parsed, &value, sizeof value);
        size_t n = (size_t)snprintf(expected, sizeof expected, "%.9g", (double)value);
        assert_memory_equal(p, expected, n);
        p += n;
        assert_int_equal(*p++, (i + 1) % width == 0 ? '\n' : ' ');
    }
    free_result(&floats);
    free_result(&text);
}

static void test_jsonl_equals_f32(void **state)
{
    (void)state;
    program_result floats = encode_floats(awkward, sizeof awkward - 1, AWKWARD_LINES);
    program_result jsonl =
        run_well(WORDS(ENCODE, "--format=jsonl"), awkward, sizeof awkward - 1);
    assert_int_equal(count_lines(jsonl.out), AWKWARD_LINES);
    char *line = jsonl.out;
    for (size_t i = 0; i < AWKWARD_LINES; i++) {
        json_error_t error;
        size_t length = strcspn(line, "\n");
        json_t *row = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);
        if (row == NULL) fail_msg("row %zu: %s", i, error.text);
        assert_int_equal(json_integer_value(json_object_get(row, "index")), i);
        assert_true(json_is_false(json_object_get(row, "truncated")));
        json_int_t tokens = json_integer_value(json_object_get(row, "tokens"));
        assert_true(i == 1 ? tokens == 2 : tokens >= 2);
        json_t *embedding = json_object_get(row, "embedding");
        assert_int_equal(json_array_size(embedding), width);
        for (size_t k = 0; k < width; k++) {
            float value = (float)json_number_value(json_array_get(embedding, k));
            assert_true(value == row_of(&floats, i)[k]);
        }
        json_decref(row);
        line += length + 1;
    }
    free_result(&floats);
    free_result(&jsonl);
}

/* Converts a half to a double; no half here is infinite. */
static double half_value(uint16_t half)
{
    int exponent = half >> 10 & 31, fraction = half & 1023;
    double magnitude =
        exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    return half >> 15 != 0 ? -magnitude : magnitude;
}

static void test_f16_is_f32_rounded(void **state)
{
    (void)state;
    program_result floats = encode_floats(awkward, sizeof awkward - 1, AWKWARD_LINES);
    program_result halves =
        run_well(WORDS(ENCODE, "--format", "f16"), awkward, sizeof awkward - 1);
    assert_int_equal(halves.out_length, AWKWARD_LINES * width * 2);
    const uint16_t *half = (const uint16_t *)(const void *)halves.out;
    for (size_t i = 0; i < AWKWARD_LINES * width; i++) {
        double value = row_of(&floats, 0)[i], error = fabs(half_value(half[i]) - value);
        assert_true(fabs(half_value(half[i] + 1) - value) >= error);
        if ((half[i] & 0x7FFF) > 0) assert_true(fabs(half_value(half[i] - 1) - value) >= error);
    }
    free_result(&floats);
    free_result(&halves);
}

/* Checks the header by numpy's description of the format, and then the bytes of f32. */
static void check_npy(const char *bytes, size_t length, const program_result *floats,
                      size_t rows)
{
    char dictionary[128];
    int n = snprintf(dictionary, sizeof dictionary,
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", rows,
                     width);
    assert_memory_equal(bytes, "\x93NUMPY\x01\x00", 8);
    size_t header = 10 + (unsigned char)bytes[8] + 256u * (unsigned char)bytes[9];
    assert_int_equal(header % 64, 0);
    assert_memory_equal(bytes + 10, dictionary, n);
    for (size_t i = 10 + (size_t)n; i < header - 1; i++) assert_int_equal(bytes[i], ' ');
    assert_int_equal(bytes[header - 1], '\n');
    assert_int_equal(length, header + rows * width * sizeof(float));
    assert_memory_equal(bytes + header, floats->out, floats->out_length);
}

static void test_npy_equals_f32(void **state)
{
    (void)state;
    program_result floats = encode_floats(awkward, sizeof awkward - 1, AWKWARD_LINES);
    const char *path = scratch("rows.npy");
    program_result r = run_well(WORDS(ENCODE, "-o", path, "-"), awkward, sizeof awkward - 1);
    assert_int_equal(r.out_length, 0);
    size_t length;
    char *npy = read_file(path, &length);
    check_npy(npy, length, &floats, AWKWARD_LINES);
    free(npy);
    free_result(&r);
    assert_int_equal(unlink(path), 0);

    /* Standard output that is a file. */
    r = run_well(WORDS(ENCODE, "--format", "npy"), awkward, sizeof awkward - 1);
    check_npy(r.out, r.out_length, &floats, AWKWARD_LINES);
    free_result(&r);
    free_result(&floats);
}

static void test_no_lines(void **state)
{
    (void)state;
    program_result empty = run_well(WORDS(ENCODE), NULL, 0);
    assert_int_equal(empty.out_length, 0);
    program_result npy = run_well(WORDS(ENCODE, "--format", "npy"), NULL, 0);
    check_npy(npy.out, npy.out_length, &empty, 0);
    free_result(&npy);
    free_result(&empty);
}

/* ---- lines ---------------------------------------------------------------------------------
 */

/* A line's row does not depend on its block, its place, the threads or the batches. */
static void test_order_and_independence(void **state)
{
    (void)state;
    enum { LINES = 10000, KINDS = 97 };
    char *input = malloc(LINES * 64), *end = input;
    assert_non_null(input);
    for (int i = 0; i < LINES; i++) {
        for (int k = i % KINDS; k >= 0; k -= 7) end += sprintf(end, "w%d ", k);
        *end++ = '\n';
    }
    program_result all = encode_floats(input, (size_t)(end - input), LINES);
    for (size_t i = KINDS; i < LINES; i++)
        assert_memory_equal(row_of(&all, i), row_of(&all, i % KINDS), width * sizeof(float));

    program_result other =
        run_well(WORDS(ENCODE, "--format", "f32", "--threads", "1", "--batch-tokens", "1"),
                 input, (size_t)(end - input));
    assert_int_equal(other.out_length, all.out_length);
    assert_memory_equal(other.out, all.out, all.out_length);
    free_result(&other);

    const char *line = input;
    for (size_t i = 0; i < 3; i++) {
        size_t length = strcspn(line, "\n");
        program_result one = encode_floats(line, length, 1);
        assert_memory_equal(one.out, row_of(&all, i), width * sizeof(float));
        free_result(&one);
        line += length + 1;
    }
    free_result(&all);
    free(input);
}

/* A missing last line end makes no difference, nor does the source of the input. */
static void test_last_line_and_file(void **state)
{
    (void)state;
    program_result without = encode_floats("the cat\nthe dog", 15, 2);
    program_result with = encode_floats("the cat\nthe dog\n", 16, 2);
    assert_memory_equal(without.out, with.out, with.out_length);

    const char *path = scratch("lines.txt");
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("the cat\nthe dog", file);
    fclose(file);
    program_result named = run_well(WORDS(ENCODE, path, "--format", "f32"), NULL, 0);
    assert_memory_equal(named.out, with.out, with.out_length);
    unlink(path);

    program_result one = encode_floats("\n", 1, 1);
    free_result(&one);
    free_result(&named);
    free_result(&without);
    free_result(&with);
}

/* Encodes one line of `length` bytes between two short ones. */
static void check_long_line(size_t length)
{
    static const char before[] = "the dog\n", after[] = "\nthe cat\n",
                      words[] = "the cat sat. ";
    size_t total = strlen(before) + length + strlen(after);
    char *input = malloc(total + 1), *p = input;
    assert_non_null(input);
    p = stpcpy(p, before);
    for (size_t i = 0; i < length; i++) *p++ = words[i % (sizeof words - 1)];
    stpcpy(p, after);

    program_result r = run_well(WORDS(ENCODE, QUIET, "--format", "jsonl"), input, total);
    assert_int_equal(count_lines(r.out), 3);
    const char *second = strchr(r.out, '\n') + 1, *third = strchr(second, '\n') + 1;
    assert_non_null(strstr(third, "\"truncated\":false"));
    assert_true(strstr(second, "\"truncated\":true") < third);
    free_result(&r);

    r = encode_floats(input, total, 3);
    program_result cat = encode_floats("the cat", 7, 1);
    assert_memory_equal(row_of(&r, 2), cat.out, cat.out_length);
    free_result(&cat);
    free_result(&r);
    free(input);
}

static void test_line_of_1_mb(void **state)
{
    (void)state;
    check_long_line(1000000);
}

static void test_line_of_100_mb(void **state)
{
    (void)state;
    check_long_line(100000000);
}

/* Memory use does not depend on the number of lines. */
static void test_constant_memory(void **state)
{
    (void)state;
    enum { LINE = 2000, LINES = 30000 }; /* 60 MB */
    char *input = malloc((size_t)LINE * LINES);
    assert_non_null(input);
    memset(input, '.', (size_t)LINE * LINES);
    for (size_t i = 1; i <= LINES; i++) input[i * LINE - 1] = '\n';
    const char *const *words =
        WORDS(ENCODE, QUIET, "--max-tokens", "4", "--format", "f32", "-o", "/dev/null");
    program_result some = run_well(words, input, (size_t)LINE * LINES / 6);
    program_result all = run_well(words, input, (size_t)LINE * LINES);
    if (all.peak_kib > some.peak_kib + 16 * 1024)
        fail_msg("%ld KiB for a sixth, %ld KiB for all", some.peak_kib, all.peak_kib);
    free_result(&some);
    free_result(&all);
    free(input);
}

/* Interactive input gets an answer to each line. */
static void test_answers_while_input_is_open(void **state)
{
    (void)state;
    check_answers(WORDS(ENCODE), "the cat\n", NULL);
}

/* ---- options -------------------------------------------------------------------------------
 */

static double norm(const float *row, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)row[i] * (double)row[i];
    return sqrt(sum);
}

static void test_dimensions_and_normalization(void **state)
{
    (void)state;
    static const char text[] = "the cat sat on the mat\n";
    program_result raw =
        run_well(WORDS(ENCODE, "--format", "f32", "--no-normalize"), text, sizeof text - 1);
    program_result cut =
        run_well(WORDS(ENCODE, "--format", "f32", "--dimensions", "8"), text, sizeof text - 1);
    program_result both =
        run_well(WORDS(ENCODE, "--format", "f32", "--dimensions", "8", "--no-normalize"), text,
                 sizeof text - 1);
    assert_int_equal(raw.out_length, width * sizeof(float));
    assert_int_equal(cut.out_length, 8 * sizeof(float));
    assert_memory_equal(both.out, raw.out, 8 * sizeof(float));
    program_result whole = encode_floats(text, sizeof text - 1, 1);
    if (fabs(norm(row_of(&whole, 0), width) - 1) < 1e-5) { /* the model normalizes */
        assert_float_equal(norm(row_of(&cut, 0), 8), 1, 1e-5);
        assert_true(fabs(norm(row_of(&raw, 0), width) - 1) > 1e-3);
    }
    double length = norm(row_of(&both, 0), 8);
    for (size_t i = 0; i < 8; i++)
        assert_float_equal(row_of(&both, 0)[i] / length,
                           row_of(&cut, 0)[i] / norm(row_of(&cut, 0), 8), 1e-5);
    free_result(&whole);
    free_result(&raw);
    free_result(&cut);
    free_result(&both);
}

/* Compares with the reference implementation's rows for the same lines. */
static void check_rows(const char *const *words, const char *vectors, double least_cosine)
{
    size_t length;
    char *expected = read_file(vectors, &length);
    program_result r = run_well(words, NULL, 0);
    assert_int_equal(r.out_length, length);
    const float *theirs = (const float *)(const void *)expected;
    size_t columns = length / sizeof(float) / 64; /* of 64 lines */
    for (size_t i = 0; i < 64; i++) {
        const float *a = (const float *)(const void *)r.out + i * columns,
                    *b = theirs + i * columns;
        double dot = 0;
        for (size_t k = 0; k < columns; k++) dot += (double)a[k] * (double)b[k];
        assert_true(dot / (norm(a, columns) * norm(b, columns)) >= least_cosine);
        assert_float_equal(norm(a, columns) / norm(b, columns), 1, 1e-3);
    }
    free_result(&r);
    free(expected);
}

#define VECTORS      "tests/vectors/"
#define VECTOR_LINES VECTORS "tiny-lines.txt"
#define CLS_MODEL                                                                              \
    "embed", "encode", "-m", VECTORS "tiny-bert-cls", "--format", "f32", "--dtype", "f32", QUIET

static void test_rows_of_the_reference(void **state)
{
    (void)state;
    check_rows(WORDS(ENCODE, QUIET, "--format", "f32", "--dtype", "f32", VECTOR_LINES),
               VECTORS "tiny-bert.f32", 0.999999);
    check_rows(WORDS(ENCODE, QUIET, "--format", "f32", VECTOR_LINES), VECTORS "tiny-bert.f32",
               0.9999);
}

static void test_prompts(void **state)
{
    (void)state;
    check_rows(WORDS(CLS_MODEL, VECTOR_LINES), VECTORS "tiny-bert-cls.f32", 0.999999);
    check_rows(WORDS(CLS_MODEL, "--prompt", "title", VECTOR_LINES),
               VECTORS "tiny-bert-cls-title.f32", 0.999999);
    check_rows(WORDS(CLS_MODEL, "--prompt", "document", VECTOR_LINES),
               VECTORS "tiny-bert-cls-no-prompt.f32", 0.999999);
    check_rows(WORDS(CLS_MODEL, "--prompt", "", VECTOR_LINES),
               VECTORS "tiny-bert-cls-no-prompt.f32", 0.999999);
}

static void test_max_tokens(void **state)
{
    (void)state;
    static const char text[] = "the cat sat on the mat\nthe\n";
    program_result r = run(WORDS(ENCODE, "--format", "jsonl", "--max-tokens", "3"), text,
                           sizeof text - 1);
    assert_int_equal(r.status, 0);
    assert_string_equal(r.err,
                        "embed: warning: 1 of 2 texts were longer than the limit and were cut\n");
    assert_non_null(strstr(r.out, "],\"tokens\":3,\"truncated\":true}\n"));
    assert_non_null(strstr(r.out, "],\"tokens\":3,\"truncated\":false}\n"));
    free_result(&r);

    r = run_well(WORDS(ENCODE, QUIET, "--max-tokens", "3"), text, sizeof text - 1);
    free_result(&r);
}

static void test_jsonl_field(void **state)
{
    (void)state;
    static const char plain[] = "the cat\n\nthe\0caf\xC3\xA9\n";
    static const char lines[] = "{\"text\": \"the cat\", \"id\": 18446744073709551616}\n"
                                "{\"id\": [2], \"text\": \"\"}\n"
                                " {\"text\":\"the\\u0000caf\\u00e9\"} \r";
    program_result expected = encode_floats(plain, sizeof plain - 1, 3);
    program_result r =
        run_well(WORDS(ENCODE, "--format", "f32", "--jsonl", "text"), lines, sizeof lines - 1);
    assert_int_equal(r.out_length, expected.out_length);
    assert_memory_equal(r.out, expected.out, expected.out_length);
    free_result(&r);
    free_result(&expected);

    static const char *const wrong[] = {
        "{\"text\": \"a\"}\nnot JSON\n",
        "{\"text\": \"a\"}\n{\"other\": \"a\"}\n",
        "{\"text\": \"a\"}\n{\"text\": 3}\n",
        "{\"text\": \"a\"}\n\n",
        "{\"text\": \"a\"}\n[\"text\"]\n",
        "{\"text\": \"a\"}\n{\"text\": \"\xFF\"}\n",
        "{\"text\": \"a\"}\n{\"text\": \"a\"} {\"text\": \"b\"}\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        r = run(WORDS(ENCODE, "--jsonl", "text"), wrong[i], strlen(wrong[i]));
        assert_int_equal(r.status, 1);
        assert_int_equal(count_lines(r.err), 1);
        assert_non_null(strstr(r.err, "embed: standard input: line 2: "));
        free_result(&r);
    }
}

static void test_progress(void **state)
{
    (void)state;
    program_result plain = run_well(WORDS(ENCODE), "the cat\n", 8);
    program_result shown = run(WORDS(ENCODE, "--progress", "always"), "the cat\n", 8);
    assert_int_equal(shown.status, 0);
    assert_string_equal(shown.out, plain.out);
    assert_non_null(strstr(shown.err, " 100%  1 lines  "));
    assert_non_null(strstr(shown.err, " lines/s  "));
    assert_non_null(strstr(shown.err, " tokens/s  "));
    free_result(&shown);
    shown = run_well(WORDS(ENCODE, "--progress", "never"), "the cat\n", 8);
    free_result(&shown);
    free_result(&plain);
}

static void test_log_levels_leave_rows_alone(void **state)
{
    (void)state;
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    program_result plain = run_well(WORDS(ENCODE), "the cat\n", 8);
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        program_result r = run(WORDS(ENCODE, "--log-level", levels[i]), "the cat\n", 8);
        assert_int_equal(r.status, 0);
        assert_string_equal(r.out, plain.out);
        free_result(&r);
    }
    free_result(&plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_equals_f32),
        cmocka_unit_test(test_jsonl_equals_f32),
        cmocka_unit_test(test_f16_is_f32_rounded),
        cmocka_unit_test(test_npy_equals_f32),
        cmocka_unit_test(test_no_lines),
        cmocka_unit_test(test_order_and_independence),
        cmocka_unit_test(test_last_line_and_file),
        cmocka_unit_test(test_line_of_1_mb),
        cmocka_unit_test(test_line_of_100_mb),
        cmocka_unit_test(test_constant_memory),
        cmocka_unit_test(test_answers_while_input_is_open),
        cmocka_unit_test(test_dimensions_and_normalization),
        cmocka_unit_test(test_rows_of_the_reference),
        cmocka_unit_test(test_prompts),
        cmocka_unit_test(test_max_tokens),
        cmocka_unit_test(test_jsonl_field),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_log_levels_leave_rows_alone),
    };
    return cmocka_run_group_tests_name("embed encode", tests, find_width, remove_scratch);
}
