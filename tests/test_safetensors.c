/* test_safetensors.c - which files are accepted and how they are read, and that no bytes do harm */
#include "formats/safetensors.h"

#include "base/status.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "temporary_file.h"

#define CASES "tests/vectors/safetensors_cases.txt"

/* ---- requirements for any file, opened or rejected ----------------------------------------- */

static void check_accepted(const struct safetensors *file)
{
    uint64_t end = 0;
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const struct safetensors_tensor *tensor = safetensors_at(file, i);
        unsigned char byte;
        uint64_t elements = 1;
        for (unsigned d = 0; d < tensor->rank; d++) elements *= tensor->shape[d];
        assert_int_equal(elements, tensor->elements);
        assert_int_equal(tensor->bytes, elements * safetensors_dtype_bits(tensor->dtype) / 8);
        assert_true(i == 0 || tensor->offset == end);
        end = tensor->offset + tensor->bytes;
        if (tensor->bytes > 0)
            assert_int_equal(safetensors_read(file, tensor, tensor->bytes - 1, &byte, 1),
                             EMBED_OK);
        assert_ptr_equal(safetensors_find(file, tensor->name), tensor);
    }
}

static void check_refused(embed_status status, embed_status expected)
{
    assert_int_equal(status, expected);
    if (strncmp(error_message(), temporary_path, strlen(temporary_path)) != 0)
        fail_msg("the message does not name the file: %s", error_message());
    /* "/tmp/NAME: " and a cause. */
    assert_true(strlen(error_message()) > strlen(temporary_path) + 5);
}

/* Returns whether a file of these bytes is accepted. */
static bool accepts(const void *bytes, size_t length)
{
    struct safetensors *file = NULL;
    temporary_file_write(bytes, length);
    embed_status status = safetensors_open(&file, temporary_path);
    if (status == EMBED_OK)
        check_accepted(file);
    else
        check_refused(status, EMBED_BAD_FILE);
    safetensors_close(file);
    return status == EMBED_OK;
}

/* Builds a file with this header. */
static size_t build(char *out, size_t capacity, const char *header, size_t data_bytes)
{
    size_t n = strlen(header);
    assert_true(8 + n + data_bytes <= capacity);
    for (size_t i = 0; i < 8; i++) out[i] = (char)((uint64_t)n >> 8 * i & 0xFF);
    memcpy(out + 8, header, n);
    for (size_t i = 0; i < data_bytes; i++) out[8 + n + i] = (char)i;
    return 8 + n + data_bytes;
}

/* ---- the cases, compared with the reference implementation --------------------------------- */

static char *append_escaped(char *to, const char *from, const char *end)
{
    while (from < end) {
        unsigned byte;
        if (*from != '\\') {
            *to++ = *from++;
        } else if (from[1] == 'x') {
            assert_int_equal(sscanf(from + 2, "%2x", &byte), 1);
            *to++ = (char)byte;
            from += 4;
        } else if (from[1] == 'R') {
            char *open;
            unsigned long count = strtoul(from + 2, &open, 10);
            const char *close = strchr(open, ')');
            assert_true(*open == '(' && close != NULL);
            while (count-- > 0) to = append_escaped(to, open + 1, close);
            from = close + 1;
        } else {
            *to++ = '\\';
            from += 2;
        }
    }
    return to;
}

static void test_cases(void **state)
{
    static char line[8192];
    char *bytes = malloc((size_t)20 << 20); /* the largest case has 17 MiB */
    FILE *cases = fopen(CASES, "r");
    size_t count = 0, stricter = 0;
    (void)state;
    assert_non_null(bytes);
    if (cases == NULL) fail_msg("%s is not there: run the tests from the root", CASES);
    while (fgets(line, sizeof line, cases) != NULL) {
        if (line[0] == '#') continue;
        char *fields[5], *rest = line;
        line[strcspn(line, "\n")] = '\0';
        for (size_t i = 0; i < 5; i++) {
            fields[i] = strsep(&rest, "\t");
            assert_non_null(fields[i]);
        }
        bool theirs = strcmp(fields[0], "accept") == 0, ours = strcmp(fields[1], "accept") == 0;
        assert_true(theirs || !ours); /* never laxer than the reference */
        if (theirs && !ours) {
            assert_string_not_equal(fields[3], "-");
            stricter++;
        }
        char *end = append_escaped(bytes, fields[4], fields[4] + strlen(fields[4]));
        if (accepts(bytes, (size_t)(end - bytes)) != ours)
            fail_msg("%s: should be %sed, but is not (%s)", fields[2], fields[1],
                     error_message());
        count++;
    }
    fclose(cases);
    free(bytes);
    assert_true(count > 90);
    print_message("%zu cases, in %zu of them stricter than the reference\n", count, stricter);
}

/* ---- damage ------------------------------------------------------------------------------ */

static const char sound_header[] =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"a.weight\":{\"dtype\":\"F32\",\"shape\":[3,2],\"data_offsets\":[0,24]},"
    "\"\\u0062\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]},"
    "\"empty\":{\"dtype\":\"I64\",\"shape\":[0],\"data_offsets\":[32,32]}}   ";
#define SOUND_DATA 32

static void test_truncated_anywhere(void **state)
{
    char bytes[1024];
    size_t length = build(bytes, sizeof bytes, sound_header, SOUND_DATA);
    (void)state;
    assert_true(accepts(bytes, length));
    for (size_t n = 0; n < length; n++)
        if (accepts(bytes, n)) fail_msg("accepted when cut to %zu bytes", n);
}

/* The header alone, truncated anywhere, with its length adjusted. */
static void test_header_truncated_anywhere(void **state)
{
    char header[sizeof sound_header], bytes[1024];
    size_t whole = strlen(sound_header) - 3; /* without the padding */
    (void)state;
    for (size_t n = 0; n < whole; n++) {
        memcpy(header, sound_header, n);
        header[n] = '\0';
        size_t length = build(bytes, sizeof bytes, header, SOUND_DATA);
        if (accepts(bytes, length)) fail_msg("accepted with a header of %zu bytes", n);
    }
}

static void test_bits_flipped(void **state)
{
    char bytes[1024];
    size_t length = build(bytes, sizeof bytes, sound_header, SOUND_DATA), accepted = 0;
    (void)state;
    for (size_t bit = 0; bit < 8 * (length - SOUND_DATA); bit++) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        bool ok = accepts(bytes, length);
        accepted += ok;
        if (ok && bit < 64) fail_msg("accepted with bit %zu of its length flipped", bit);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
    /* A changed letter in a name or in the metadata is just as valid. */
    assert_true(accepted > 0 && accepted < 300);
}

static void test_bytes_replaced(void **state)
{
    static const char signs[] = "\"\\{}[]:,09-.eE \n\0\xFFxu";
    char bytes[1024];
    size_t length = build(bytes, sizeof bytes, sound_header, SOUND_DATA);
    (void)state;
    for (size_t i = 8; i < length - SOUND_DATA; i++) {
        char old = bytes[i];
        for (size_t s = 0; s < sizeof signs - 1; s++) {
            bytes[i] = signs[s];
            (void)accepts(bytes, length);
        }
        bytes[i] = old;
    }
}

/* Each number of the header, set to values at which integers overflow. */
static void test_numbers(void **state)
{
    static const char *const numbers[] = {
        "0",
        "1",
        "2",
        "3",
        "4",
        "7",
        "8",
        "9",
        "16",
        "127",
        "128",
        "255",
        "256",
        "65535",
        "65536",
        "2147483647",
        "2147483648",
        "2147483649",
        "4294967295",
        "4294967296",
        "4294967297",
        "281474976710655",
        "281474976710656",
        "281474976710657",
        "9007199254740993",
        "4611686018427387904",
        "9223372036854775807",
        "9223372036854775808",
        "9223372036854775809",
        "18446744073709551608",
        "18446744073709551615",
        "18446744073709551616",
        "36893488147419103232",
        "99999999999999999999999999999999",
        "-1",
        "-8",
        "-0",
        "-9223372036854775808",
        "0.0",
        "2.0",
        "1e0",
        "8e0",
        "1E400",
        "00",
        "02",
        "+2",
        "0x2",
        "",
        " ",
        "null",
        "true",
        "\"2\"",
        "[2]",
        "{}",
        "NaN",
        "2 2",
    };
    static const char *const right[] = {"1", "2", "0", "8", "8", "16"};
    (void)state;
    for (size_t field = 0; field < 6; field++) {
        for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
            const char *v[6];
            char header[1024], bytes[2048];
            memcpy(v, right, sizeof v);
            v[field] = numbers[i];
            snprintf(header, sizeof header,
                     "{\"a\":{\"dtype\":\"F32\",\"shape\":[%s,%s],\"data_offsets\":[%s,%s]},"
                     "\"b\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[%s,%s]}}",
                     v[0], v[1], v[2], v[3], v[4], v[5]);
            bool ok = accepts(bytes, build(bytes, sizeof bytes, header, 16));
            if (ok != (strcmp(numbers[i], right[field]) == 0))
                fail_msg("number %zu as %s: %s", field, numbers[i],
                         ok ? "accepted" : "refused");
        }
    }
}

static void test_length_boundaries(void **state)
{
    char bytes[1024];
    size_t length = build(bytes, sizeof bytes, sound_header, SOUND_DATA);
    const uint64_t n = strlen(sound_header);
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        for (int delta = -1; delta <= 1; delta++) {
            uint64_t wrong = ((uint64_t)1 << bit) + (uint64_t)(int64_t)delta;
            if (wrong == n) continue;
            for (size_t i = 0; i < 8; i++) bytes[i] = (char)(wrong >> 8 * i & 0xFF);
            if (accepts(bytes, length)) fail_msg("accepted with a length of %" PRIu64, wrong);
        }
    }
}

/* ---- what is read ------------------------------------------------------------------------ */

static void test_contents(void **state)
{
    char bytes[1024];
    unsigned char out[SOUND_DATA + 1];
    struct safetensors *file;
    (void)state;
    temporary_file_write(bytes, build(bytes, sizeof bytes, sound_header, SOUND_DATA));
    assert_int_equal(safetensors_open(&file, temporary_path), EMBED_OK);
    assert_string_equal(safetensors_path(file), temporary_path);
    assert_int_equal(safetensors_count(file), 3);

    const struct safetensors_tensor *a = safetensors_find(file, "a.weight");
    assert_ptr_equal(a, safetensors_at(file, 0));
    assert_int_equal(a->dtype, SAFETENSORS_F32);
    assert_int_equal(a->rank, 2);
    assert_int_equal(a->shape[0], 3);
    assert_int_equal(a->shape[1], 2);
    assert_int_equal(a->elements, 6);
    assert_int_equal(a->offset, 8 + strlen(sound_header));
    const struct safetensors_tensor *b = safetensors_find(file, "b");
    assert_ptr_equal(b, safetensors_at(file, 1));
    assert_int_equal(b->bytes, 8);
    assert_null(safetensors_find(file, "c"));
    assert_null(safetensors_find(file, ""));
    assert_null(safetensors_find(file, "__metadata__"));

    assert_int_equal(safetensors_read(file, a, 0, out, 24), EMBED_OK);
    for (unsigned i = 0; i < 24; i++) assert_int_equal(out[i], i);
    assert_int_equal(safetensors_read(file, b, 3, out, 2), EMBED_OK);
    assert_int_equal(out[0], 27);
    assert_int_equal(out[1], 28);
    assert_int_equal(safetensors_read(file, b, 8, out, 0), EMBED_OK);
    check_refused(safetensors_read(file, b, 0, out, 9), EMBED_INVALID_ARGUMENT);
    check_refused(safetensors_read(file, b, 9, out, 0), EMBED_INVALID_ARGUMENT);
    check_refused(safetensors_read(file, b, UINT64_MAX, out, 2), EMBED_INVALID_ARGUMENT);
    safetensors_close(file);
    safetensors_close(NULL);
}

static void test_dtypes(void **state)
{
    static const struct {
        const char *name;
        unsigned bits;
    } expected[] = {
        {"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
        {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
        {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
        {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
        {"I64", 64},        {"U64", 64},
    };
    (void)state;
    assert_int_equal(sizeof expected / sizeof expected[0], SAFETENSORS_DTYPE_COUNT);
    for (unsigned d = 0; d < SAFETENSORS_DTYPE_COUNT; d++) {
        char header[256], bytes[512];
        struct safetensors *file;
        assert_string_equal(safetensors_dtype_name(d), expected[d].name);
        assert_int_equal(safetensors_dtype_bits(d), expected[d].bits);
        snprintf(header, sizeof header,
                 "{\"t\":{\"dtype\":\"%s\",\"shape\":[4],\"data_offsets\":[0,%u]}}",
                 expected[d].name, expected[d].bits / 2);
        temporary_file_write(bytes, build(bytes, sizeof bytes, header, expected[d].bits / 2));
        assert_int_equal(safetensors_open(&file, temporary_path), EMBED_OK);
        assert_int_equal(safetensors_at(file, 0)->dtype, d);
        safetensors_close(file);
    }
}

static void test_messages(void **state)
{
    static const struct {
        const char *header, *cause;
    } cases[] = {
        {"{\"a\":{\"dtype\":\"F128\",\"shape\":[2],\"data_offsets\":[0,8]}}",
         "tensor \"a\": unknown dtype \"F128\""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}",
         "tensor \"a\": 8 bytes, but dtype and shape need 12"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,16]}}",
         "tensor \"a\": 16 bytes, but dtype and shape need 8"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}",
         "the file is truncated: 71 of 79 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[18446744073709551600,"
         "18446744073709551608]}}",
         "tensor \"a\": data_offsets [18446744073709551600, 18446744073709551608]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         "tensor \"a\" begins at byte 4 of the data, not at 0 where the one before it ends"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         "the last 4 bytes belong to no tensor"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", "tensor \"a\": no data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"\\u0061\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[8,8]}}",
         "two tensors are named \"a\""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"shape\":[2],\"data_offsets\":[0,8]}}",
         "\"a\" has the key \"shape\" twice"},
        {"{\"a\":1}", "byte 13: expected an object, found 1"},
        {"[]", "byte 8: expected an object, found ["},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char bytes[1024];
        assert_false(accepts(bytes, build(bytes, sizeof bytes, cases[i].header, 8)));
        assert_string_equal(error_message() + strlen(temporary_path) + 2, cases[i].cause);
    }
}

/* ---- the file itself --------------------------------------------------------------------- */

static void test_changed_while_open(void **state)
{
    char bytes[1024];
    unsigned char out[SOUND_DATA];
    struct safetensors *file;
    size_t length = build(bytes, sizeof bytes, sound_header, SOUND_DATA);
    (void)state;
    temporary_file_write(bytes, length);
    assert_int_equal(safetensors_open(&file, temporary_path), EMBED_OK);
    const struct safetensors_tensor *a = safetensors_at(file, 0);
    assert_int_equal(truncate(temporary_path, (off_t)length + 1), 0);
    check_refused(safetensors_read(file, a, 0, out, 24), EMBED_IO);
    assert_int_equal(truncate(temporary_path, (off_t)length - SOUND_DATA + 4), 0);
    check_refused(safetensors_read(file, a, 0, out, 24), EMBED_IO);
    check_refused(safetensors_read(file, a, 0, out, 4), EMBED_IO);
    safetensors_close(file);
}

static void test_no_regular_file(void **state)
{
    struct safetensors *file = NULL;
    char path[64];
    (void)state;
    assert_int_equal(safetensors_open(&file, "/nonexistent/model.safetensors"), EMBED_IO);
    assert_string_equal(error_message(),
                        "/nonexistent/model.safetensors: No such file or directory");
    assert_int_equal(safetensors_open(&file, "/tmp"), EMBED_IO);
    assert_string_equal(error_message(), "/tmp: not a regular file");
    assert_int_equal(safetensors_open(&file, "/dev/zero"), EMBED_IO);
    assert_string_equal(error_message(), "/dev/zero: not a regular file");

    snprintf(path, sizeof path, "%s.fifo", temporary_path);
    assert_int_equal(mkfifo(path, 0600), 0);
    embed_status status = safetensors_open(&file, path); /* must not wait for a writer */
    unlink(path);
    assert_int_equal(status, EMBED_IO);
    assert_null(file);
}

/* A header full of tensors must not take long: the test's time limit would show it. */
static void test_many_tensors(void **state)
{
    enum { COUNT = 100000, ROOM = 100 };
    char *header = malloc((size_t)COUNT * ROOM), *bytes = malloc((size_t)COUNT * ROOM + 64);
    struct safetensors *file;
    (void)state;
    assert_true(header != NULL && bytes != NULL);
    char *to = header;
    for (unsigned i = 0; i < COUNT; i++) /* their places in the opposite order */
        to += sprintf(to,
                      "%c\"encoder.layer.%u\":{\"dtype\":\"U8\",\"shape\":[1],"
                      "\"data_offsets\":[%u,%u]}",
                      i == 0 ? '{' : ',', i, COUNT - 1 - i, COUNT - i);
    strcpy(to, "}");
    temporary_file_write(bytes, build(bytes, (size_t)COUNT * ROOM + 64, header, COUNT));
    assert_int_equal(safetensors_open(&file, temporary_path), EMBED_OK);
    assert_int_equal(safetensors_count(file), COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        char name[64];
        snprintf(name, sizeof name, "encoder.layer.%u", i);
        assert_ptr_equal(safetensors_find(file, name), safetensors_at(file, COUNT - 1 - i));
    }
    safetensors_close(file);
    free(header);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_truncated_anywhere),
        cmocka_unit_test(test_header_truncated_anywhere),
        cmocka_unit_test(test_bits_flipped),
        cmocka_unit_test(test_bytes_replaced),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_length_boundaries),
        cmocka_unit_test(test_contents),
        cmocka_unit_test(test_dtypes),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_changed_while_open),
        cmocka_unit_test(test_no_regular_file),
        cmocka_unit_test(test_many_tensors),
    };
    return cmocka_run_group_tests(tests, temporary_file_make, temporary_file_remove);
}
