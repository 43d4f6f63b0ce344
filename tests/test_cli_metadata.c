/* test_cli_metadata.c - embed encode --metadata, and the fingerprints of embed info */
#include "run_command.h"

#include <jansson.h>

#define TINY_BERT "tests/vectors/tiny-bert"
#define TINY_CLS  "tests/vectors/tiny-bert-cls"

static json_t *read_json(const char *path)
{
    json_error_t error;
    json_t *all = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (all == NULL) fail_msg("%s: %s", path, error.text);
    return all;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (text == NULL) fail_msg("there is no text \"%s\"", key);
    return text;
}

/* Copies the fingerprint that info prints for the model in that dtype. */
static void get_fingerprint(char out[64], const char *model, const char *dtype)
{
    json_error_t error;
    program_result r = run_well(
        WORDS("embed", "info", "-m", model, "--json", "--device", "cpu", "--dtype", dtype),
        NULL, 0);
    json_t *info = json_loadb(r.out, r.out_length, 0, &error);
    assert_non_null(info);
    snprintf(out, 64, "%s", text_of(info, "fingerprint"));
    assert_int_equal(strlen(out), 32);
    assert_int_equal(strlen(text_of(info, "weights_fingerprint")), 32);
    assert_int_equal(strlen(text_of(info, "tokenizer_fingerprint")), 32);
    assert_int_equal(strlen(text_of(info, "pipeline_fingerprint")), 32);
    json_decref(info);
    free_result(&r);
}

static void test_metadata(void **state)
{
    (void)state;
    char rows[600], path[600], fingerprint[64];
    snprintf(rows, sizeof rows, "%s", scratch("rows.npy"));
    snprintf(path, sizeof path, "%s", scratch("rows.json"));
    program_result r =
        run_well(WORDS("embed", "encode", "-m", TINY_CLS, "--device", "cpu", "--dtype", "f32",
                       "-o", rows, "--metadata", path, "--prompt", "title", "--dimensions", "5",
                       "--max-tokens", "7", "--log-level", "error"),
                 "one\ntwo\nthree\n", 14);
    free_result(&r);
    json_t *all = read_json(path);
    get_fingerprint(fingerprint, TINY_CLS, "f32");
    assert_string_equal(text_of(all, "fingerprint"), fingerprint);
    assert_string_equal(text_of(all, "family"), "bert");
    assert_string_equal(text_of(all, "dtype"), "f32");
    assert_string_equal(text_of(all, "format"), "npy");
    assert_string_equal(text_of(all, "prompt"), "title");
    assert_non_null(text_of(all, "library"));
    assert_true(json_is_false(json_object_get(all, "normalized")));
    assert_int_equal(json_integer_value(json_object_get(all, "width")), 5);
    assert_int_equal(json_integer_value(json_object_get(all, "max_tokens")), 7);
    assert_int_equal(json_integer_value(json_object_get(all, "rows")), 3);
    json_decref(all);
    size_t length;
    char *line = read_file(path, &length);
    assert_ptr_equal(strchr(line, '\n'), line + length - 1); /* one line */
    free(line);
}

/* The folder's own prompt and normalization; rows on standard output. */
static void test_defaults(void **state)
{
    (void)state;
    char path[600];
    snprintf(path, sizeof path, "%s", scratch("defaults.json"));
    program_result r =
        run_well(WORDS("embed", "encode", "-m", TINY_BERT, "--metadata", path), "one\n", 4);
    free_result(&r);
    json_t *all = read_json(path);
    assert_true(json_is_null(json_object_get(all, "prompt")));
    assert_true(json_is_true(json_object_get(all, "normalized")));
    assert_string_equal(text_of(all, "format"), "text");
    json_decref(all);
}

/* Only the requested files are written; if encoding fails, there is no metadata. */
static void test_no_file_that_was_not_asked_for(void **state)
{
    (void)state;
    char rows[600], path[600];
    snprintf(rows, sizeof rows, "%s", scratch("alone.npy"));
    snprintf(path, sizeof path, "%s", scratch("none.json"));
    program_result r = run(WORDS("embed", "encode", "-m", TINY_BERT, "-o", rows, "--metadata",
                                 path, "--jsonl", "x"),
                           "no JSON\n", 8);
    assert_int_equal(r.status, 1);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_not_equal(access(rows, F_OK), 0);
    free_result(&r);
}

static void test_file_that_cannot_be(void **state)
{
    (void)state;
    char rows[600];
    snprintf(rows, sizeof rows, "%s", scratch("kept.npy"));
    program_result r = run(WORDS("embed", "encode", "-m", TINY_BERT, "-o", rows, "--metadata",
                                 "/nowhere/at/all.json"),
                           "one\n", 4);
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(r.err, "/nowhere/at/all.json"));
    free_result(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_no_file_that_was_not_asked_for),
        cmocka_unit_test(test_file_that_cannot_be),
    };
    return cmocka_run_group_tests_name("embed encode --metadata", tests, make_scratch,
                                       remove_scratch);
}
