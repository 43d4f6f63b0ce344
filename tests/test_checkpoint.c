/* test_checkpoint.c - checkpoints of one file or of shards, and what an index must not contain */
#include "formats/checkpoint.h"

#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define INDEX "model.safetensors.index.json"

/* ---- a folder, created and emptied for each test ------------------------------------------- */

static char folder[] = "/tmp/embed-test-XXXXXX";
static const char *const names[] = {"model.safetensors", INDEX,
                                    "pytorch_model.bin", "one.safetensors",
                                    "two.safetensors",   "three"};

static int make_folder(void **state)
{
    (void)state;
    memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    char path[128];
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

static void put(const char *name, const char *bytes, size_t length)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static void put_text(const char *name, const char *text)
{
    put(name, text, strlen(text));
}

/* Writes a safetensors file with a tensor of one byte, `value`, for each letter. */
static void put_tensors(const char *name, const char *letters, char value)
{
    char bytes[1024] = {0}, *to = bytes + 8;
    for (size_t i = 0; letters[i] != '\0'; i++)
        to +=
            sprintf(to, "%c\"%c\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}",
                    i == 0 ? '{' : ',', letters[i], i, i + 1);
    to += sprintf(to, letters[0] == '\0' ? "{}" : "}");
    size_t n = (size_t)(to - bytes) - 8;
    bytes[0] = (char)(n & 0xFF);
    bytes[1] = (char)(n >> 8);
    memset(to, value, strlen(letters));
    put(name, bytes, 8 + n + strlen(letters));
}

/* ---- helpers ----------------------------------------------------------------------------- */

static struct checkpoint *open_sound(void)
{
    struct checkpoint *checkpoint = NULL;
    if (checkpoint_open(&checkpoint, folder) != EMBED_OK) fail_msg("%s", error_message());
    return checkpoint;
}

static char value_of(const struct checkpoint *checkpoint, const char *name)
{
    struct checkpoint_tensor found;
    char value = 0;
    assert_true(checkpoint_find(checkpoint, name, &found));
    assert_int_equal(safetensors_read(found.file, found.tensor, 0, &value, 1), EMBED_OK);
    return value;
}

/* Opening must fail with "FOLDER/`rest`" or, if rest begins with ':', "FOLDER`rest`". */
static void check_refused(embed_status expected, const char *rest)
{
    struct checkpoint *checkpoint = NULL;
    char message[512];
    snprintf(message, sizeof message, "%s%s%s", folder, rest[0] == ':' ? "" : "/", rest);
    assert_int_equal(checkpoint_open(&checkpoint, folder), expected);
    assert_string_equal(error_message(), message);
    assert_null(checkpoint);
}

/* ---- tests ------------------------------------------------------------------------------- */

static void test_single_file(void **state)
{
    struct checkpoint_tensor found;
    (void)state;
    put_tensors("model.safetensors", "ab", 'm');
    put_text(INDEX, "not read"); /* a single file takes precedence, as in transformers */
    struct checkpoint *checkpoint = open_sound();
    assert_int_equal(checkpoint_file_count(checkpoint), 1);
    assert_int_equal(safetensors_count(checkpoint_file(checkpoint, 0)), 2);
    assert_int_equal(value_of(checkpoint, "b"), 'm');
    assert_false(checkpoint_find(checkpoint, "c", &found));
    checkpoint_close(checkpoint);
    checkpoint_close(NULL);
}

static void test_no_tensors(void **state)
{
    struct checkpoint_tensor found;
    (void)state;
    put_tensors("model.safetensors", "", 0);
    struct checkpoint *checkpoint = open_sound();
    assert_false(checkpoint_find(checkpoint, "a", &found));
    checkpoint_close(checkpoint);
}

static void test_shards(void **state)
{
    struct checkpoint_tensor found;
    (void)state;
    put_tensors("one.safetensors", "da", '1');
    put_tensors("two.safetensors", "bcx", '2');
    put_text(INDEX, "{\"metadata\":{\"total_size\":4,\"x\":[{}]},\"weight_map\":{"
                    "\"a\":\"one.safetensors\",\"b\":\"two.safetensors\","
                    "\"\\u0063\":\"\\u0074wo.safetensors\",\"d\":\"one.safetensors\"},"
                    "\"other\":null}\n");
    struct checkpoint *checkpoint = open_sound();
    assert_int_equal(checkpoint_file_count(checkpoint), 2);
    assert_int_equal(value_of(checkpoint, "a"), '1');
    assert_int_equal(value_of(checkpoint, "b"), '2');
    assert_int_equal(value_of(checkpoint, "c"), '2');
    assert_int_equal(value_of(checkpoint, "d"), '1');
    assert_false(checkpoint_find(checkpoint, "e", &found));
    checkpoint_close(checkpoint);
}

static void test_nothing_there(void **state)
{
    struct checkpoint *checkpoint;
    (void)state;
    check_refused(EMBED_IO, ": neither model.safetensors nor " INDEX);
    put_text("pytorch_model.bin", "");
    check_refused(EMBED_IO, ": neither model.safetensors nor " INDEX
                            ", only pytorch_model.bin, which must be converted to safetensors "
                            "first");
    assert_int_equal(checkpoint_open(&checkpoint, "/nonexistent"), EMBED_IO);
    assert_string_equal(error_message(), "/nonexistent: No such file or directory");
}

static void test_link_to_nowhere(void **state)
{
    char path[128];
    (void)state;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    assert_int_equal(symlink("/nonexistent/blob", path), 0);
    check_refused(EMBED_IO, "model.safetensors: No such file or directory");
}

static void test_shard_missing_or_damaged(void **state)
{
    (void)state;
    put_text(INDEX, "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}");
    put_tensors("one.safetensors", "a", '1');
    check_refused(EMBED_IO, "two.safetensors: No such file or directory");
    put("two.safetensors", "1234567", 7);
    check_refused(EMBED_BAD_FILE, "two.safetensors: not a safetensors file (7 bytes)");
}

static void test_index_and_shards_disagree(void **state)
{
    (void)state;
    put_tensors("one.safetensors", "a", '1');
    put_tensors("two.safetensors", "b", '2');
    put_text(INDEX, "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"one.safetensors\"}}");
    check_refused(EMBED_BAD_FILE,
                  INDEX ": lists tensor \"b\" in one.safetensors, which does not contain it");
    put_text(INDEX, "{\"weight_map\":{\"a\":\"two.safetensors\",\"b\":\"one.safetensors\"}}");
    check_refused(EMBED_BAD_FILE,
                  INDEX ": lists tensor \"a\" in two.safetensors, which does not contain it");
    put_text(INDEX, "{\"weight_map\":{\"a\":\"one.safetensors\",\"a\":\"one.safetensors\"}}");
    check_refused(EMBED_BAD_FILE, INDEX ": lists tensor \"a\" twice");
    put_text(INDEX, "{\"weight_map\":{\"a\":\"one.safetensors\",\"a\":\"two.safetensors\"}}");
    check_refused(EMBED_BAD_FILE, INDEX ": lists tensor \"a\" twice");
}

static void test_tensor_in_two_shards(void **state)
{
    struct checkpoint *checkpoint = NULL;
    (void)state;
    put_tensors("one.safetensors", "ab", '1');
    put_tensors("two.safetensors", "bc", '2');
    put_text(INDEX, "{\"weight_map\":{\"a\":\"one.safetensors\",\"c\":\"two.safetensors\"}}");
    assert_int_equal(checkpoint_open(&checkpoint, folder), EMBED_BAD_FILE);
    assert_non_null(strstr(error_message(), ": tensor \"b\" is also in "));
}

/* An index must not make the reader open files elsewhere. */
static void test_names_that_lead_elsewhere(void **state)
{
    static const char *const bad[] = {
        "",
        ".",
        "..",
        "/etc/passwd",
        "../one.safetensors",
        "./one.safetensors",
        "sub/one.safetensors",
        "one.safetensors/",
        "\\\\\\\\host\\\\one.safetensors",
        "one.safetensors\\u0000.txt",
        "\\u002e\\u002e\\u002fone.safetensors",
    };
    (void)state;
    put_tensors("one.safetensors", "a", '1');
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct checkpoint *checkpoint = NULL;
        char index[256];
        snprintf(index, sizeof index, "{\"weight_map\":{\"a\":\"%s\"}}", bad[i]);
        put_text(INDEX, index);
        assert_int_equal(checkpoint_open(&checkpoint, folder), EMBED_BAD_FILE);
        assert_non_null(strstr(error_message(), INDEX ": byte "));
        assert_non_null(strstr(error_message(), "not a plain file name"));
    }
}

static void test_malformed_index(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "null",
        "{\"weight_map\":[]}",
        "{\"weight_map\":null}",
        "{\"weight_map\":{\"a\":1}}",
        "{\"weight_map\":{\"a\":null}}",
        "{\"weight_map\":{\"a\":\"one.safetensors\"}",
        "{\"weight_map\":{\"a\":\"x\"}}}",
        "{\"weight_map\":{\"a\":\"one.safetensors\"},\"weight_map\":{}}",
        "{}",
        "{\"weight_map\":{},\"weight_map\":{\"a\":\"one.safetensors\"}}",
        "{\"weight_map\":{}}",
        "{\"weight_map\":{\"a\\u0000\":\"one.safetensors\"}}",
        "{\"metadata\":[[[[[[[[[[]]]]]]]]]],\"weight_map\":{\"a\":\"one.safetensors\"}}",
        "{\"weight_map\":{\"a\":\"one.safetensors\",}}",
        "{'weight_map':{}}",
    };
    (void)state;
    put_tensors("one.safetensors", "a", '1');
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct checkpoint *checkpoint = NULL;
        put_text(INDEX, bad[i]);
        if (checkpoint_open(&checkpoint, folder) != EMBED_BAD_FILE)
            fail_msg("not refused: %s", bad[i]);
        assert_non_null(strstr(error_message(), INDEX ": "));
    }
}

static void test_every_truncation_of_the_index(void **state)
{
    static const char sound[] =
        "{\"weight_map\":{\"a\":\"one.safetensors\",\"\\u0062\":\"two.safetensors\"}}";
    (void)state;
    put_tensors("one.safetensors", "a", '1');
    put_tensors("two.safetensors", "b", '2');
    put_text(INDEX, sound);
    checkpoint_close(open_sound());
    for (size_t n = 0; n < strlen(sound); n++) {
        struct checkpoint *checkpoint = NULL;
        put(INDEX, sound, n);
        assert_int_equal(checkpoint_open(&checkpoint, folder), EMBED_BAD_FILE);
    }
}

static void test_too_many_shards(void **state)
{
    struct checkpoint *checkpoint = NULL;
    char *index = malloc(64 * 1000), *to = index;
    (void)state;
    assert_non_null(index);
    to += sprintf(to, "{\"weight_map\":{");
    for (unsigned i = 0; i < 1000; i++)
        to += sprintf(to, "%s\"t%u\":\"%u.safetensors\"", i == 0 ? "" : ",", i, i);
    strcpy(to, "}}");
    put_text(INDEX, index);
    free(index);
    assert_int_equal(checkpoint_open(&checkpoint, folder), EMBED_BAD_FILE);
    assert_non_null(strstr(error_message(), INDEX ": names 1000 files, more than 512"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_single_file),
        TEST(test_no_tensors),
        TEST(test_shards),
        TEST(test_nothing_there),
        TEST(test_link_to_nowhere),
        TEST(test_shard_missing_or_damaged),
        TEST(test_index_and_shards_disagree),
        TEST(test_tensor_in_two_shards),
        TEST(test_names_that_lead_elsewhere),
        TEST(test_malformed_index),
        TEST(test_every_truncation_of_the_index),
        TEST(test_too_many_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
