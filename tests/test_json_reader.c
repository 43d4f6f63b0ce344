/* test_json_reader.c - the grammar of RFC 8259, values, and errors as callers see them
 *
 * The accept and reject tables follow the idea of https://github.com/nst/JSONTestSuite: one small
 * document for each rule.
 */
#include "formats/json_reader.h"

#include "base/status.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FILE_NAME "dir/some file.json"

/* Copies a document so that its bytes end where its memory ends, and AddressSanitizer and valgrind
 * detect reads past the end. */
static char *exact_copy(const char *text, size_t length)
{
    char *copy = malloc(length > 0 ? length : 1);
    assert_non_null(copy);
    memcpy(copy, text, length);
    return copy;
}

static embed_status skip_document(const char *text, size_t length, unsigned max_depth)
{
    char *copy = exact_copy(text, length);
    struct json_reader json;
    json_reader_init(&json, FILE_NAME, copy, length, max_depth);
    embed_status status = json_skip(&json);
    if (status == EMBED_OK) status = json_finish(&json);
    free(copy);
    return status;
}

/* Documents that contain NUL need a length. */
struct document {
    const char *text;
    size_t length;
};
/* clang-format off */
#define DOC(literal) {literal, sizeof(literal) - 1}

static const struct document accepted[] = {
    DOC("[]"), DOC("{}"), DOC("null"), DOC("true"), DOC("false"), DOC("0"), DOC("-0"),
    DOC("\"\""), DOC(" [ ] "), DOC("\t\n\r {\r\n}"), DOC("[[]   ]"), DOC("[\"\"]"),
    DOC("[1,null,[2,[]],{\"a\":{}}]"), DOC("{\"a\":1,\"a\":2}"), DOC("{\"\":0}"),
    DOC("{\"a\":[],\"b\":{},\"c\":\"d\",\"e\":-1.5e-3,\"f\":true,\"g\":null}"),
    DOC("[0e+1]"), DOC("[0e1]"), DOC("[20e1]"), DOC("[123e65]"), DOC("[123.456e78]"),
    DOC("[1E+2]"), DOC("[1E22]"), DOC("[1E-2]"), DOC("[-1]"), DOC("[-123]"),
    DOC("[123.456789]"),
    DOC("[1e9999]"), /* grammar only: its value is not requested */
    DOC("[100000000000000000000000000000000000]"),
    DOC("\"\\u0000\""), DOC("\"\\uDBFF\\uDFFF\""), DOC("\"\\ud83d\\uDE00\""),
    DOC("\"\\uFFFF\""),
    DOC("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), DOC("\"\x7F\""), DOC("\"\xC3\xA9\""),
    DOC("\"\xE2\x82\xAC\""), DOC("\"\xF0\x9D\x84\x9E\""), DOC("\"\xF4\x8F\xBF\xBF\""),
    DOC("\"\xEF\xBF\xBF\""), DOC("\"\xED\x9F\xBF\""), DOC("\"\xEE\x80\x80\""),
    DOC("\"\xE2\x80\xA8\""), DOC("\"/* no comment */\""), DOC("\"\xEF\xBB\xBF\""),
};

static const struct document rejected[] = {
    /* structure */
    DOC(""), DOC(" "), DOC("["), DOC("]"), DOC("{"), DOC("}"), DOC("[1"), DOC("[1,"),
    DOC("[,]"),
    DOC("[1,]"), DOC("[1,,2]"), DOC("[,1]"), DOC("[1 2]"), DOC("[1:2]"), DOC("[1}"), DOC("{]"),
    DOC("[]]"), DOC("[][]"), DOC("{}{}"), DOC("[] x"), DOC("1 2"), DOC("[[]"), DOC("{\"a\"}"),
    DOC("{\"a\":}"), DOC("{\"a\" 1}"), DOC("{\"a\":1,}"), DOC("{,\"a\":1}"), DOC("{\"a\"::1}"),
    DOC("{\"a\":1 \"b\":2}"), DOC("{\"a\":1,,\"b\":2}"), DOC("{1:1}"), DOC("{null:1}"),
    DOC("{a:1}"), DOC("{'a':1}"), DOC("{[]:1}"), DOC("{\"a\":1"), DOC("{\"a\":"), DOC("{\"a\""),
    DOC("{\"a"), DOC("{\"a\",1}"), DOC("{\"a\":1]"), DOC("{\"a\":1}}"), DOC(","), DOC(":"),
    DOC("*"), DOC("[*]"), DOC("a"), DOC("<null>"), DOC("[<null>]"), DOC("{}\0"), DOC("[]\0"),
    DOC("\0"), DOC("[1]\x1A"),
    /* not JSON */
    DOC("\xEF\xBB\xBF{}"), DOC("\xFF\xFE[\0]\0"), DOC("\xEF\xBB"), DOC("/**/[]"), DOC("[]//x"),
    DOC("[1/**/]"), DOC("#x\n[]"), DOC("[\f]"), DOC("[\v]"), DOC("[\xC2\xA0]"),
    DOC("\xE2\x81\xA0[]"), DOC("[\xE2\x80\xA8]"), DOC("undefined"),
    /* words */
    DOC("nul"), DOC("nulll"), DOC("tru"), DOC("truth"), DOC("True"), DOC("FALSE"), DOC("fals"),
    DOC("NaN"), DOC("[NaN]"), DOC("[Infinity]"), DOC("[-Infinity]"), DOC("[-NaN]"),
    DOC("[nan]"),
    /* numbers */
    DOC("01"), DOC("-01"), DOC("00"), DOC("-"), DOC("--1"), DOC("+1"), DOC("[+1]"), DOC(".1"),
    DOC("-.1"), DOC("1."), DOC("[1.]"), DOC("-2."), DOC("1.e1"), DOC("0.e1"), DOC("1e"),
    DOC("1e+"),
    DOC("1E-"), DOC("0e"), DOC("0e+"), DOC("1e1.5"), DOC("1.2.3"), DOC("1eE2"), DOC("0x1"),
    DOC("1_000"), DOC("1 000"), DOC("[1a]"), DOC("[- 1]"), DOC("[-foo]"), DOC("[0.1.2]"),
    DOC("[1\xE5]"), DOC("[\xEF\xBC\x91]"), DOC("1f"), DOC("Inf"), DOC("[1e1\xE5]"),
    /* strings */
    DOC("\""), DOC("\"a"), DOC("'a'"), DOC("[\"a]"), DOC("\"\\\""), DOC("\"\\"),
    DOC("\"\\x41\""),
    DOC("\"\\q\""), DOC("\"\\U0041\""), DOC("\"\\u\""), DOC("\"\\u00\""), DOC("\"\\u00A\""),
    DOC("\"\\u00G0\""), DOC("\"\\u 041\""), DOC("\"\\u+041\""), DOC("\"\\\n\""),
    DOC("\"\\\0\""),
    DOC("\"a\0b\""), DOC("\"\x01\""), DOC("\"\t\""), DOC("\"\n\""), DOC("\"\x1F\""),
    DOC("\"\\u004"), DOC("\"\\u00"), DOC("\"\\ud83d\\ude0"),
    /* unpaired surrogates */
    DOC("\"\\uD800\""), DOC("\"\\uDC00\""), DOC("\"\\uD800\\n\""), DOC("\"\\uD800\\uD800\""),
    DOC("\"\\uD800\\u0041\""), DOC("\"\\uDFFF\\uD800\""), DOC("\"\\uD800x\\uDC00\""),
    DOC("\"\\uD800\\uDC0\""), DOC("\"\\uD800\\"), DOC("\"\\uD800\\u"),
    /* invalid UTF-8 */
    DOC("\"\x80\""), DOC("\"\xBF\""), DOC("\"\xC0\xAF\""), DOC("\"\xC1\xBF\""), DOC("\"\xC3\""),
    DOC("\"\xC3\x28\""), DOC("\"\xE0\x80\xAF\""), DOC("\"\xE0\x9F\xBF\""), DOC("\"\xE2\x82\""),
    DOC("\"\xE2\x28\xA1\""), DOC("\"\xE2\x82\x28\""), DOC("\"\xED\xA0\x80\""),
    DOC("\"\xED\xBF\xBF\""), DOC("\"\xF0\x80\x80\x80\""), DOC("\"\xF0\x8F\xBF\xBF\""),
    DOC("\"\xF0\x9D\x84\""), DOC("\"\xF4\x90\x80\x80\""), DOC("\"\xF5\x80\x80\x80\""),
    DOC("\"\xFC\x80\x80\x80\x80\x80\""), DOC("\"\xFE\""), DOC("\"\xFF\""), DOC("\"\xF0\x9D"),
    DOC("\xC3\xA9"), DOC("{\"\xFF\":1}"),
};
/* clang-format on */

static void test_grammar_accepts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; i++)
        if (skip_document(accepted[i].text, accepted[i].length, 8) != EMBED_OK)
            fail_msg("refused: %s (%s)", accepted[i].text, error_message());
}

static void test_grammar_rejects(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rejected / sizeof rejected[0]; i++) {
        if (skip_document(rejected[i].text, rejected[i].length, 8) != EMBED_BAD_FILE)
            fail_msg("not refused: number %zu, %s", i, rejected[i].text);
        if (strncmp(error_message(), FILE_NAME ": byte ", strlen(FILE_NAME) + 7) != 0)
            fail_msg("%s: the message is \"%s\"", rejected[i].text, error_message());
    }
}

/* Every prefix of a document that is not itself a document is rejected, with no read past its
 * end. */
static void test_every_truncation(void **state)
{
    static const char text[] =
        "{\"k\\u00e9\\ud83d\\ude00\xC3\xA9\": [1, -2.5e-3, true, false, null,"
        " {\"\": \"\\n\xF0\x9D\x84\x9E\"}]}";
    (void)state;
    assert_int_equal(skip_document(text, sizeof text - 1, 3), EMBED_OK);
    for (size_t length = 0; length < sizeof text - 1; length++)
        assert_int_equal(skip_document(text, length, 3), EMBED_BAD_FILE);
}

/* Changes each single byte to any value: it must give a result, without memory errors. */
static void test_every_byte_changed(void **state)
{
    static const char text[] =
        "{\"a\\u0041\\\"\xC3\xA9\": [10, -2.5e-3, true, null, \"\"], \"b\": {}}";
    char changed[sizeof text];
    size_t accepted_count = 0;
    (void)state;
    for (size_t i = 0; i < sizeof text - 1; i++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            memcpy(changed, text, sizeof text);
            changed[i] = (char)byte;
            embed_status status = skip_document(changed, sizeof text - 1, 4);
            assert_true(status == EMBED_OK || status == EMBED_BAD_FILE);
            accepted_count += status == EMBED_OK;
        }
    }
    assert_true(accepted_count > sizeof text); /* at least the unchanged ones */
}

static void test_depth(void **state)
{
    enum { DEEP = 100000 };
    char *text = malloc(2 * DEEP);
    (void)state;
    assert_non_null(text);
    assert_int_equal(skip_document("[[[]]]", 6, 3), EMBED_OK);
    assert_int_equal(skip_document("[[[]]]", 6, 2), EMBED_BAD_FILE);
    assert_string_equal(error_message(), FILE_NAME ": byte 2: nested deeper than 2 levels");
    assert_int_equal(skip_document("[{},{},[]]", 10, 2), EMBED_OK);
    assert_int_equal(skip_document("1", 1, 0), EMBED_OK);
    assert_int_equal(skip_document("[]", 2, 0), EMBED_BAD_FILE);

    memset(text, '[', DEEP);
    memset(text + DEEP, ']', DEEP);
    assert_int_equal(skip_document(text, 2 * DEEP, JSON_MAX_DEPTH), EMBED_BAD_FILE);
    assert_int_equal(skip_document(text + DEEP - JSON_MAX_DEPTH, 2 * JSON_MAX_DEPTH, 100000),
                     EMBED_OK); /* no more than JSON_MAX_DEPTH */
    assert_int_equal(
        skip_document(text + DEEP - JSON_MAX_DEPTH - 1, 2 * JSON_MAX_DEPTH + 2, 100000),
        EMBED_BAD_FILE);
    free(text);
}

/* ---- values ------------------------------------------------------------------------------ */

static void check_string(const char *source, const char *meaning, size_t length)
{
    char *copy = exact_copy(source, strlen(source));
    struct json_reader json;
    struct json_string out;
    json_reader_init(&json, FILE_NAME, copy, strlen(source), 1);
    assert_int_equal(json_read_string(&json, &out), EMBED_OK);
    assert_int_equal(out.length, length);
    assert_memory_equal(out.data, meaning, length);
    assert_int_equal(json_finish(&json), EMBED_OK);
    free(copy);
}

static void test_strings(void **state)
{
    (void)state;
    check_string("\"\"", "", 0);
    check_string(" \"plain\" ", "plain", 5);
    check_string("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8);
    check_string("\"a\\u0000b\"", "a\0b", 3);
    check_string("\"\\u0041\\u007f\\u0080\\u07ff\"", "A\x7F\xC2\x80\xDF\xBF", 6);
    check_string("\"\\u0800\\uFFFF\\uD7ff\\uE000\"",
                 "\xE0\xA0\x80\xEF\xBF\xBF\xED\x9F\xBF\xEE\x80\x80", 12);
    check_string("\"\\ud83d\\ude00\\uD800\\uDC00\\uDBFF\\uDFFF\"",
                 "\xF0\x9F\x98\x80\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", 12);
    check_string("\"x\\u00e9\xC3\xA9y\"", "x\xC3\xA9\xC3\xA9y", 6);
}

static void check_number(const char *source, embed_status status, double value)
{
    char *copy = exact_copy(source, strlen(source));
    struct json_reader json;
    double out = -77;
    json_reader_init(&json, FILE_NAME, copy, strlen(source), 1);
    if (json_read_number(&json, &out) != status) fail_msg("%s: %s", source, error_message());
    if (status == EMBED_OK && memcmp(&out, &value, sizeof out) != 0)
        fail_msg("%s was read as %.17g", source, out);
    free(copy);
}

static void test_numbers(void **state)
{
    char digits[300];
    (void)state;
    check_number("0", EMBED_OK, 0.0);
    check_number("-0", EMBED_OK, -0.0);
    check_number("-0.0e5", EMBED_OK, -0.0);
    check_number("1e-12", EMBED_OK, 1e-12);
    check_number("-13.625", EMBED_OK, -13.625);
    check_number("9007199254740993", EMBED_OK, 9007199254740992.0);
    check_number("0.1", EMBED_OK, 0.1);
    check_number("123456789012345678901234567890", EMBED_OK, 123456789012345678901234567890.0);
    check_number("2.2250738585072011e-308", EMBED_OK, 2.2250738585072011e-308);
    check_number("4.9406564584124654e-324", EMBED_OK, 4.9406564584124654e-324);
    check_number("1e-400", EMBED_OK, 0.0);
    check_number("1.7976931348623157e308", EMBED_OK, 1.7976931348623157e308);
    check_number("1.7976931348623159e308", EMBED_BAD_FILE, 0);
    check_number("1e400", EMBED_BAD_FILE, 0);
    check_number("-1e99999999999999999999", EMBED_BAD_FILE, 0);
    check_number("\"1\"", EMBED_BAD_FILE, 0);
    check_number("NaN", EMBED_BAD_FILE, 0);

    memset(digits, '1', sizeof digits);
    digits[1] = '.';
    digits[255] = '\0';
    check_number(digits, EMBED_OK, 1.1111111111111112);
    digits[255] = '1';
    digits[256] = '\0';
    check_number(digits, EMBED_BAD_FILE, 0);
}

/* The result must not depend on the program's locale for numbers. */
static void test_numbers_in_another_locale(void **state)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
    bool found = false;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !found; i++)
        found = setlocale(LC_NUMERIC, names[i]) != NULL;
    if (!found) {
        print_message("no locale with a decimal comma on this machine\n");
        skip();
    }
    check_number("0.5", EMBED_OK, 0.5);
    setlocale(LC_NUMERIC, "C");
}

static void check_unsigned(const char *source, embed_status status, uint64_t value)
{
    char *copy = exact_copy(source, strlen(source));
    struct json_reader json;
    uint64_t out = 77;
    json_reader_init(&json, FILE_NAME, copy, strlen(source), 1);
    if (json_read_unsigned(&json, &out) != status) fail_msg("%s: %s", source, error_message());
    if (status == EMBED_OK && out != value) fail_msg("%s was read wrongly", source);
    if (status != EMBED_OK) assert_int_equal(out, 77);
    free(copy);
}

static void test_unsigned(void **state)
{
    (void)state;
    check_unsigned("0", EMBED_OK, 0);
    check_unsigned(" 384", EMBED_OK, 384);
    check_unsigned("4294967296", EMBED_OK, UINT64_C(4294967296));
    check_unsigned("9223372036854775808", EMBED_OK, UINT64_C(9223372036854775808));
    check_unsigned("18446744073709551615", EMBED_OK, UINT64_MAX);
    check_unsigned("18446744073709551616", EMBED_BAD_FILE, 0);
    check_unsigned("18446744073709551620", EMBED_BAD_FILE, 0);
    check_unsigned("99999999999999999999999999", EMBED_BAD_FILE, 0);
    check_unsigned("-0", EMBED_BAD_FILE, 0);
    check_unsigned("-1", EMBED_BAD_FILE, 0);
    check_unsigned("1.0", EMBED_BAD_FILE, 0);
    check_unsigned("1e0", EMBED_BAD_FILE, 0);
    check_unsigned("01", EMBED_BAD_FILE, 0);
    check_unsigned("true", EMBED_BAD_FILE, 0);
    check_unsigned("", EMBED_BAD_FILE, 0);
}

/* ---- walking ----------------------------------------------------------------------------- */

static void test_walk(void **state)
{
    static const char text[] = " { \"version\" : 1.5 , \"skip\":[{\"x\":[]}], \"on\":true,"
                               "\"none\":null,\"list\":[ 1,2 ],\"empty\":[],\"none too\":{} } ";
    char *copy = exact_copy(text, sizeof text - 1);
    struct json_reader json;
    struct json_string key;
    enum json_kind kind;
    bool more, on = false;
    double version;
    uint64_t n, sum = 0;
    (void)state;
    json_reader_init(&json, FILE_NAME, copy, sizeof text - 1, 8);

    assert_int_equal(json_peek(&json, &kind), EMBED_OK);
    assert_int_equal(kind, JSON_OBJECT);
    assert_int_equal(json_enter_object(&json), EMBED_OK);
    assert_int_equal(json_next_key(&json, &more, &key), EMBED_OK);
    assert_true(more && json_string_is(key, "version") && !json_string_is(key, "versio"));
    assert_int_equal(json_peek(&json, &kind), EMBED_OK);
    assert_int_equal(kind, JSON_NUMBER);
    assert_int_equal(json_read_number(&json, &version), EMBED_OK);
    assert_true(version == 1.5);
    assert_int_equal(json_next_key(&json, &more, &key), EMBED_OK);
    assert_int_equal(json_skip(&json), EMBED_OK);
    assert_int_equal(json_next_key(&json, &more, &key), EMBED_OK);
    assert_int_equal(json_read_boolean(&json, &on), EMBED_OK);
    assert_true(on);
    assert_int_equal(json_next_key(&json, &more, &key), EMBED_OK);
    assert_int_equal(json_read_null(&json), EMBED_OK);
    assert_int_equal(json_next_key(&json, &more, &key), EMBED_OK);
    assert_int_equal(json_enter_array(&json), EMBED_OK);
    for (;;) {
        assert_int_equal(json_next_element(&json, &more), EMBED_OK);
        if (!more) break;
        assert_int_equal(json_read_unsigned(&json, &n), EMBED_OK);
        sum += n;
    }
    assert_int_equal(sum, 3);
    assert_int_equal(json_next_key(&json, &more, &key), EMBED_OK);
    assert_int_equal(json_enter_array(&json), EMBED_OK);
    assert_int_equal(json_next_element(&json, &more), EMBED_OK);
    assert_false(more);
    assert_int_equal(json_next_key(&json, &more, &key), EMBED_OK);
    assert_true(more && json_string_is(key, "none too"));
    assert_int_equal(json_skip(&json), EMBED_OK);
    assert_int_equal(json_next_key(&json, &more, &key), EMBED_OK);
    assert_false(more);
    assert_int_equal(json_finish(&json), EMBED_OK);
    free(copy);
}

/* A value of another kind than requested is rejected at its position. */
static void test_wrong_kinds(void **state)
{
    static const char *const values[] = {"null", "true", "1", "\"s\"", "[]", "{}"};
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        char *copy = exact_copy(values[i], strlen(values[i]));
        struct json_reader json;
        struct json_string string;
        uint64_t number;
        bool boolean;
        json_reader_init(&json, FILE_NAME, copy, strlen(values[i]), 8);
        if (i != 0) assert_int_equal(json_read_null(&json), EMBED_BAD_FILE);
        if (i != 1) assert_int_equal(json_read_boolean(&json, &boolean), EMBED_BAD_FILE);
        if (i != 2) assert_int_equal(json_read_unsigned(&json, &number), EMBED_BAD_FILE);
        if (i != 3) assert_int_equal(json_read_string(&json, &string), EMBED_BAD_FILE);
        if (i != 4) assert_int_equal(json_enter_array(&json), EMBED_BAD_FILE);
        if (i != 5) assert_int_equal(json_enter_object(&json), EMBED_BAD_FILE);
        assert_int_equal(json.position, 0);
        free(copy);
    }
}

static void test_messages(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", FILE_NAME ": byte 0: expected a value, found the end of the document"},
        {"{\"a\":1,}", FILE_NAME ": byte 7: a comma before the closing }"},
        {"[1;2]", FILE_NAME ": byte 2: expected a comma or ], found ;"},
        {"[\"a\nb\"]", FILE_NAME ": byte 3: a control character in a string"},
        {"[\"a\\x\"]", FILE_NAME ": byte 3: invalid escape"},
        {"[\"\\ud800\"]", FILE_NAME ": byte 2: a lone surrogate"},
        {"[\"\xFF\"]", FILE_NAME ": byte 2: invalid UTF-8"},
        {"[ \"abc", FILE_NAME ": byte 2: unterminated string"},
        {"[-007]", FILE_NAME ": byte 2: a number with a leading zero"},
        {"\xEF\xBB\xBF[]", FILE_NAME ": byte 0: expected a value, found byte 0xEF"},
        {"[] []", FILE_NAME ": byte 3: expected nothing more, found ["},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(skip_document(cases[i].text, strlen(cases[i].text), 8),
                         EMBED_BAD_FILE);
        assert_string_equal(error_message(), cases[i].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grammar_accepts),
        cmocka_unit_test(test_grammar_rejects),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_every_byte_changed),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_numbers_in_another_locale),
        cmocka_unit_test(test_unsigned),
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_wrong_kinds),
        cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
