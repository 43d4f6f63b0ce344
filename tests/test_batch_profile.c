/* test_batch_profile.c - a batch profile is read as written, or rejected with the reason
 *
 * Every case is tests/batch-profile.json with one change.
 */
#include "base/status.h"
#include "base/version.h"
#include "service/batch_profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "temporary_file.h"

#define EXAMPLE "tests/batch-profile.json"

static char as_committed[4096];
static char example[4096]; /* the same, with this version of the library */
static size_t example_length;

static int read_example(void **state)
{
    FILE *file = fopen(EXAMPLE, "rb");
    if (file == NULL) return -1;
    size_t length = fread(as_committed, 1, sizeof as_committed - 1, file);
    fclose(file);
    const char *version = strstr(as_committed, "0.1.0");
    if (length == 0 || version == NULL) return -1;
    example_length = (size_t)snprintf(example, sizeof example, "%.*s%s%s",
                                      (int)(version - as_committed), as_committed, VERSION_TEXT,
                                      version + strlen("0.1.0"));
    return temporary_file_make(state);
}

/* The model of the example. */
static embed_model_info example_model(void)
{
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    strcpy(info.family, "bert");
    strcpy(info.device_name, "NVIDIA H200");
    strcpy(info.instruction_set, "sm_90");
    info.device = EMBED_DEVICE_CUDA;
    info.dtype = EMBED_DTYPE_F16;
    info.width = 384, info.layers = 6, info.parameters = 22565376;
    info.vocabulary = 30522, info.max_tokens = 256;
    return info;
}

static void test_example(void **state)
{
    (void)state;
    embed_model_info info = example_model();
    struct batch_profile profile;
    temporary_file_write(example, example_length);
    assert_int_equal(batch_profile_read(&profile, temporary_path, &info), EMBED_OK);
    assert_int_equal(profile.chunk_tokens, 16384);
    assert_int_equal(profile.batch_tokens, 65536);
    assert_int_equal(profile.batch_texts, 1024);
    assert_int_equal(profile.instances, 2);
    assert_int_equal(profile.delay_microseconds, 500);
    assert_int_equal(profile.largest_safe_batch_tokens, 262144);
    assert_int_equal(profile.peak_bytes, 1073741824);
}

/* batch_profile.h shows the same file, with comments after the fields. */
static void test_header(void **state)
{
    (void)state;
    FILE *header = fopen("lib/service/batch_profile.h", "rb");
    assert_non_null(header);
    char line[512];
    const char *at = as_committed;
    while (fgets(line, sizeof line, header) != NULL && *at != '\0') {
        if (strncmp(line, " *     ", 7) != 0) continue;
        size_t length = strcspn(at, "\n");
        if (strncmp(line + 7, at, length) != 0 || strchr(" \n", line[7 + length]) == NULL)
            fail_msg("the header has\n%sinstead of\n%.*s", line + 7, (int)length, at);
        at += length + 1;
    }
    fclose(header);
    assert_string_equal(at, "");
}

/* ---- rejections ---------------------------------------------------------------------------- */

/* Reads `text`, which must give this status and, after the path, this message. */
static void check_text(const char *text, size_t length, embed_status wanted, const char *message)
{
    embed_model_info info = example_model();
    struct batch_profile profile, before;
    char whole[1024];
    memset(&profile, 0x5A, sizeof profile);
    before = profile;
    temporary_file_write(text, length);
    embed_status status = batch_profile_read(&profile, temporary_path, &info);
    snprintf(whole, sizeof whole, "%s: %s", temporary_path, message);
    if (status != wanted) fail_msg("%s: status %d", message, (int)status);
    if (status == EMBED_OK) return;
    if (strcmp(error_message(), whole) != 0)
        fail_msg("\"%s\", must be \"%s\"", error_message(), whole);
    assert_memory_equal(&profile, &before, sizeof profile);
}

/* Writes the example with `after` in place of `before`, which it contains once. */
static size_t change(char *out, size_t capacity, const char *before, const char *after)
{
    const char *at = strstr(example, before);
    if (at == NULL || strstr(at + 1, before) != NULL) fail_msg("not once: %s", before);
    int length = snprintf(out, capacity, "%.*s%s%s", (int)(at - example), example, after,
                          at + strlen(before));
    assert_true(length > 0 && (size_t)length < capacity);
    return (size_t)length;
}

static void check(const char *before, const char *after, embed_status wanted, const char *message)
{
    char text[8192];
    size_t length = change(text, sizeof text, before, after);
    check_text(text, length, wanted, message);
}

static void test_mismatches(void **state)
{
    (void)state;
    check("\"libembed batch profile\"", "\"sheet music\"", EMBED_UNSUPPORTED,
          "\"format\" is \"sheet music\", must be \"libembed batch profile\"");
    check("\"format_version\": 1", "\"format_version\": 2", EMBED_UNSUPPORTED,
          "\"format_version\" is 2, this library reads 1");
    check("\"" VERSION_TEXT "\"", "\"0.0.9\"", EMBED_UNSUPPORTED,
          "\"library_version\" is \"0.0.9\", this library's is \"" VERSION_TEXT "\"");
    check("\"NVIDIA H200\"", "\"NVIDIA L4\"", EMBED_UNSUPPORTED,
          "\"device\" is \"NVIDIA L4\", the model's is \"NVIDIA H200\"");
    check("\"sm_90\"", "\"sm_89\"", EMBED_UNSUPPORTED,
          "\"instruction_set\" is \"sm_89\", the model's is \"sm_90\"");
    check("\"f16\"", "\"f32\"", EMBED_UNSUPPORTED, "\"dtype\" is \"f32\", the model's is \"f16\"");
    check("\"f16\"", "\"F16\"", EMBED_UNSUPPORTED, "\"dtype\" is \"F16\", the model's is \"f16\"");
    check("\"bert\"", "\"mpnet\"", EMBED_UNSUPPORTED,
          "\"family\" is \"mpnet\", the model's is \"bert\"");
    check(": 384", ": 768", EMBED_UNSUPPORTED, "\"width\" is 768, the model's is 384");
    check("\"layers\": 6", "\"layers\": 12", EMBED_UNSUPPORTED,
          "\"layers\" is 12, the model's is 6");
    check("22565376", "22565377", EMBED_UNSUPPORTED,
          "\"parameters\" is 22565377, the model's is 22565376");
    check("30522", "0", EMBED_UNSUPPORTED, "\"vocabulary\" is 0, the model's is 30522");
    check("\"max_tokens\": 256", "\"max_tokens\": 512", EMBED_UNSUPPORTED,
          "\"max_tokens\" is 512, the model's is 256");
}

/* The model section: each dtype by name, and another GPU with the same file. */
static void test_other_models(void **state)
{
    (void)state;
    static const struct {
        embed_dtype dtype;
        const char *name;
    } cases[] = {{EMBED_DTYPE_F32, "\"f32\""},
                 {EMBED_DTYPE_BF16, "\"bf16\""},
                 {EMBED_DTYPE_F16, "\"f16\""},
                 {EMBED_DTYPE_INT8, "\"int8\""}};
    char text[8192];
    for (size_t i = 0; i < 4; i++) {
        size_t length = change(text, sizeof text, "\"f16\"", cases[i].name);
        temporary_file_write(text, length);
        for (size_t k = 0; k < 4; k++) {
            embed_model_info info = example_model();
            struct batch_profile profile;
            info.dtype = cases[k].dtype;
            assert_int_equal(batch_profile_read(&profile, temporary_path, &info),
                             i == k ? EMBED_OK : EMBED_UNSUPPORTED);
        }
    }
}

/* Tests one field: missing, null, duplicated, and of each wrong type. */
static void check_field(const char *line, bool is_text)
{
    char name[64], key[80], before[512], text[8192], message[512];
    assert_int_equal(sscanf(line, " \"%63[a-z_]\"", name), 1);
    snprintf(key, sizeof key, "\"%s\"", name);
    snprintf(before, sizeof before, "%.*s", (int)strcspn(line, "\n"), line);
    const char *comma = before[strlen(before) - 1] == ',' ? "," : "";
    static const char *const values[] = {"true", "[]", "{}", "null", "\"7\"", "7.5"};
    static const char *const shown[] = {"true", "an array", "an object", NULL, "\"7\"", "7.5"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        if (is_text && *values[i] == '"') continue;
        char after[128];
        snprintf(after, sizeof after, "    %s: %s%s", key, values[i], comma);
        size_t length = change(text, sizeof text, before, after);
        if (shown[i] == NULL) snprintf(message, sizeof message, "%s is missing", key);
        else snprintf(message, sizeof message, "%s is %s, must be a ", key, shown[i]);
        embed_model_info info = example_model();
        struct batch_profile profile;
        temporary_file_write(text, length);
        assert_int_equal(batch_profile_read(&profile, temporary_path, &info), EMBED_BAD_FILE);
        if (strstr(error_message(), message) == NULL)
            fail_msg("\"%s\", must have \"%s\"", error_message(), message);
    }
    char renamed[600];
    snprintf(renamed, sizeof renamed, "    \"not_%s", strchr(before, '"') + 1);
    snprintf(message, sizeof message, "%s is missing", key);
    check(before, renamed, EMBED_BAD_FILE, message);
    snprintf(text, sizeof text, "%s%s\n%s", before, *comma == '\0' ? "," : "", before);
    char again[8192];
    size_t length = change(again, sizeof again, before, text);
    snprintf(message, sizeof message, "byte %zu: a duplicate of %s",
             length - strlen("\n"), key);
    check_text(again, length, EMBED_BAD_FILE, message);
}

static void test_every_field(void **state)
{
    (void)state;
    size_t fields = 0;
    const char *line = strchr(example, '\n') + 1;
    for (; *line == ' '; line = strchr(line, '\n') + 1) {
        check_field(line, strstr(line, ": ")[2] == '"');
        fields++;
    }
    assert_int_equal(fields, 21);
}

static void test_numbers(void **state)
{
    (void)state;
#define RANGE(least, most) "must be a whole number from " least " to " most
    static const char tokens[] = RANGE("1", "16777216");
    char message[256];
    static const char *const wrong[] = {"0", "-1", "16777217", "1e4", "16384.0",
                                        "18446744073709551616",
                                        "99999999999999999999999999999999999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        snprintf(message, sizeof message, "\"chunk_tokens\" is %s, %s", wrong[i], tokens);
        check("16384", wrong[i], EMBED_BAD_FILE, message);
        snprintf(message, sizeof message, "\"batch_tokens\" is %s, %s", wrong[i], tokens);
        check("65536", wrong[i], EMBED_BAD_FILE, message);
        snprintf(message, sizeof message, "\"largest_safe_batch_tokens\" is %s, %s", wrong[i],
                 tokens);
        check("262144", wrong[i], EMBED_BAD_FILE, message);
    }
    check("\"instances\": 2", "\"instances\": 0", EMBED_BAD_FILE,
          "\"instances\" is 0, " RANGE("1", "1024"));
    check("\"instances\": 2", "\"instances\": 1025", EMBED_BAD_FILE,
          "\"instances\" is 1025, " RANGE("1", "1024"));
    check("500", "60000001", EMBED_BAD_FILE,
          "\"delay_microseconds\" is 60000001, " RANGE("0", "60000000"));
    check("\"batch_texts\": 1024", "\"batch_texts\": 16777217", EMBED_BAD_FILE,
          "\"batch_texts\" is 16777217, " RANGE("0", "16777216"));
    check("1073741824", "0", EMBED_BAD_FILE,
          "\"peak_bytes\" is 0, " RANGE("1", "1125899906842624"));
    check("1073741824", "1125899906842625", EMBED_BAD_FILE,
          "\"peak_bytes\" is 1125899906842625, " RANGE("1", "1125899906842624"));
    check(": 384", ": -384", EMBED_BAD_FILE, "\"width\" is -384, " RANGE("0", "9007199254740992"));
    check("262144", "65535", EMBED_BAD_FILE,
          "\"largest_safe_batch_tokens\" is 65535, less than \"batch_tokens\", 65536");

    /* The ranges include their ends. */
    check("500", "0", EMBED_OK, "");
    check("500", "60000000", EMBED_OK, "");
    check("\"batch_texts\": 1024", "\"batch_texts\": 0", EMBED_OK, "");
    check("262144", "65536", EMBED_OK, "");
    check("16384", "16777216", EMBED_OK, "");
}

static void test_no_json(void **state)
{
    (void)state;
    static const char *const numbers[] = {"NaN", "Infinity", "-Infinity", "0x10",
                                          "007", "+5",       "1e999"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        embed_model_info info = example_model();
        struct batch_profile profile;
        char text[8192];
        temporary_file_write(text, change(text, sizeof text, "500", numbers[i]));
        if (batch_profile_read(&profile, temporary_path, &info) != EMBED_BAD_FILE)
            fail_msg("%s was read", numbers[i]);
        assert_non_null(strstr(error_message(), ": byte "));
    }
    check_text("[]", 2, EMBED_BAD_FILE, "must be a JSON object");
    check_text("{}", 2, EMBED_BAD_FILE, "\"format\" is missing");
    check_text("\"libembed batch profile\"", 24, EMBED_BAD_FILE, "must be a JSON object");
}

/* Truncated at any place, the file is malformed. */
static void test_truncated(void **state)
{
    (void)state;
    embed_model_info info = example_model();
    struct batch_profile profile;
    for (size_t length = 0; length < example_length - strlen("}\n") + 1; length++) {
        temporary_file_write(example, length);
        if (batch_profile_read(&profile, temporary_path, &info) != EMBED_BAD_FILE)
            fail_msg("the first %zu bytes were read", length);
    }
    temporary_file_write(example, example_length - strlen("\n"));
    assert_int_equal(batch_profile_read(&profile, temporary_path, &info), EMBED_OK);
}

/* A long text is not repeated in the message, which has no room for it. */
static void test_long_text(void **state)
{
    (void)state;
    char text[400] = "\"";
    memset(text + 1, 'x', 128);
    strcpy(text + 129, "\"");
    check("\"NVIDIA H200\"", text, EMBED_BAD_FILE, "\"device\" is longer than 127 bytes");
}

static void test_no_file(void **state)
{
    (void)state;
    embed_model_info info = example_model();
    struct batch_profile profile;
    assert_int_equal(batch_profile_read(&profile, "tests/no-such.json", &info), EMBED_IO);
    assert_string_equal(error_message(), "tests/no-such.json: No such file or directory");
    assert_int_equal(batch_profile_read(&profile, "tests", &info), EMBED_IO);
    assert_string_equal(error_message(), "tests: not a regular file");
}

/* Fields added by a later version are ignored. */
static void test_unknown_field(void **state)
{
    (void)state;
    check("\"layers\": 6,", "\"layers\": 6, \"note\": [{\"by\": null}],", EMBED_OK, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example),     cmocka_unit_test(test_header),
        cmocka_unit_test(test_mismatches),  cmocka_unit_test(test_other_models),
        cmocka_unit_test(test_every_field), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_no_json),     cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_long_text),   cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_unknown_field),
    };
    return cmocka_run_group_tests_name("batch profiles", tests, read_example,
                                       temporary_file_remove);
}
