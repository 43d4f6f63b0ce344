/* test_unicode.c - UTF-8, decompositions, and the generated Unicode properties */
#include "test_vectors.h"

#include "base/memory.h"
#include "description/bert_unicode.h"
#include "formats/unicode.h"

/* ---- UTF-8 ------------------------------------------------------------------------------- */

/* Every code point survives encoding and decoding. */
static void test_round_trip(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < UNICODE_LIMIT; code++) {
        if (code >= 0xD800 && code <= 0xDFFF) continue;
        char bytes[4];
        size_t count = utf8_encode(bytes, code);
        struct utf8_character c = utf8_decode(bytes, count);
        if (c.code != code || c.bytes != count || !c.valid) fail_msg("U+%04X", (unsigned)code);
        if (utf8_decode_last(bytes, count) != code) fail_msg("U+%04X, last", (unsigned)code);
    }
}

/* Texts that are not UTF-8, and how many bytes each U+FFFD (R) or other character (.) covers, as
 * with Python's errors="replace". */
static void test_invalid(void **state)
{
    (void)state;
    static const struct {
        const char *text, *parts;
    } cases[] = {
        {"\xC0\x80", "R1R1"},
        {"\xC1\xBF", "R1R1"},
        {"\x80", "R1"},
        {"\xED\xA0\x80", "R1R1R1"},
        {"\xED\x9F\xBF", ".3"},
        {"\xF4\x90\x80\x80", "R1R1R1R1"},
        {"\xF4\x8F\xBF\xBF", ".4"},
        {"\xF5\x80\x80\x80", "R1R1R1R1"},
        {"\xE0\x80\x80", "R1R1R1"},
        {"\xE0\xA0", "R2"},
        {"\xE2\x82", "R2"},
        {"\xE2\x28\xA1", "R1.1R1"},
        {"\xE2\x82\x28", "R2.1"},
        {"\xF0\x9F\x98", "R3"},
        {"\xF0\x9F\x98\x41", "R3.1"},
        {"\xF0\x8F\xBF\xBF", "R1R1R1R1"},
        {"\xF0\x28\x8C\xBC", "R1.1R1R1"},
        {"\xF0\x9F\xF0\x9F\x98\x80", "R2.4"},
        {"\xFF\xFE", "R1R1"},
        {"\xF0", "R1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t length = strlen(cases[i].text), position = 0, written = 0;
        char parts[32];
        while (position < length) {
            struct utf8_character c = utf8_decode(cases[i].text + position, length - position);
            assert_int_equal(c.valid, c.code != UNICODE_REPLACEMENT);
            position += c.bytes;
            parts[written++] = c.valid ? '.' : 'R';
            parts[written++] = (char)('0' + c.bytes);
        }
        parts[written] = '\0';
        assert_string_equal(parts, cases[i].parts);
    }
}

static void test_last(void **state)
{
    (void)state;
    assert_int_equal(utf8_decode_last("ab", 2), 'b');
    assert_int_equal(utf8_decode_last("a\xC3\xA9", 3), 0xE9);
    assert_int_equal(utf8_decode_last("\xF0\x9F\x98\x80", 4), 0x1F600);
    assert_int_equal(utf8_decode_last("a\x80", 2), UNICODE_REPLACEMENT);
    assert_int_equal(utf8_decode_last("\xC3\xA9\x80", 3), UNICODE_REPLACEMENT);
    assert_int_equal(utf8_decode_last("\xE2\x82", 2), UNICODE_REPLACEMENT);
    assert_int_equal(utf8_decode_last("\x80\x80\x80\x80\x80", 5), UNICODE_REPLACEMENT);
}

/* ---- properties -------------------------------------------------------------------------- */

/* All canonical decompositions, which come from utf8proc, are the reference's. */
static void test_decompositions(void **state)
{
    (void)state;
    uint32_t out[UNICODE_MAX_DECOMPOSITION];
    assert_int_equal(bert_unicode_decompositions_checksum(), bert_unicode_expected_checksum());

    assert_int_equal(unicode_decompose(out, 0x1EBF), 3); /* e, circumflex, acute */
    assert_int_equal(out[0], 'e');
    assert_int_equal(out[2], 0x301);
    assert_int_equal(unicode_decompose(out, 0xAC01), 3); /* a Hangul syllable */
    assert_int_equal(out[1], 0x1161);
    assert_int_equal(unicode_decompose(out, 0xFB01), 1); /* fi: only compatibility */
    assert_int_equal(out[0], 0xFB01);
}

/* Each property has as many code points as the reference counted. */
static void test_properties(void **state)
{
    (void)state;
    static const struct {
        enum bert_property property;
        size_t count;
    } expected[] = {
        {BERT_REMOVED, 137681},      {BERT_CLEANED_TO_SPACE, 22}, {BERT_CJK, 81264},
        {BERT_WHITESPACE, 25},       {BERT_PUNCTUATION, 726},     {BERT_STARTER_MARK, 822},
        {BERT_NONSTARTER_MARK, 727}, {BERT_NONSTARTER, 83},       {BERT_DECOMPOSED, 13232},
        {BERT_HAS_LOWER_CASE, 1488},
    };
    uint16_t *properties = bert_unicode_properties();
    assert_non_null(properties);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        size_t count = 0;
        for (uint32_t code = 0; code < UNICODE_LIMIT; code++)
            count += (properties[code] & expected[i].property) != 0;
        assert_int_equal(count, expected[i].count);
    }
    /* Where Unicode has changed a property, the old version applies. */
    assert_true(properties[0x166D] & BERT_PUNCTUATION);
    assert_false(properties[0x2E43] & BERT_PUNCTUATION);
    assert_true(properties[0x1734] & BERT_NONSTARTER_MARK);
    assert_false(properties[0x08E2] & BERT_REMOVED);
    memory_free(properties);
}

static void test_lower(void **state)
{
    (void)state;
    static const uint32_t pairs[][2] = {{'A', 'a'},      {'Z', 'z'},       {'[', '['},
                                        {0x3A3, 0x3C3},  {0x1E9E, 0xDF},   {0x1C5, 0x1C6},
                                        {0x1C4, 0x1C6},  {0x100, 0x101},   {0x101, 0x101},
                                        {0x2126, 0x3C9}, {0x13A0, 0xAB70}, {0x10400, 0x10428}};
    uint32_t out[2];
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        assert_int_equal(bert_unicode_lower(out, pairs[i][0]), 1);
        assert_int_equal(out[0], pairs[i][1]);
    }
    assert_int_equal(bert_unicode_lower(out, 0x130), 2);
    assert_int_equal(out[0], 'i');
    assert_int_equal(out[1], 0x307);
}

static void test_word_and_rank(void **state)
{
    (void)state;
    static const uint32_t word[] = {'a', 'Z', '0', '_', 0xE9, 0x301, 0x65E5, 0x200D, 0x24B6};
    static const uint32_t other[] = {0, ' ', '-', '@', 0xA9, 0x2028, 0xFFFD, 0x10FFFF};
    for (size_t i = 0; i < sizeof word / sizeof word[0]; i++)
        assert_true(bert_unicode_is_word(word[i]));
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++)
        assert_false(bert_unicode_is_word(other[i]));

    assert_int_equal(bert_unicode_combining_rank('a'), 0);
    /* Classes 9, 216, 224, 230. */
    static const uint32_t ascending[] = {0x1B44, 0x1D165, 0x302E, 0x1E000};
    for (size_t i = 0; i + 1 < sizeof ascending / sizeof ascending[0]; i++)
        assert_true(bert_unicode_combining_rank(ascending[i]) <
                    bert_unicode_combining_rank(ascending[i + 1]));
}

/* What messages quote: 64 bytes, and no incomplete character. */
static void test_shown(void **state)
{
    (void)state;
    char text[68];
    memset(text, 'x', sizeof text);
    assert_int_equal(utf8_shown(text, 0), 0);
    assert_int_equal(utf8_shown(text, 64), 64);
    assert_int_equal(utf8_shown(text, 65), 64);
    for (int start = 60; start <= 64; start++) {
        memset(text, 'x', sizeof text);
        memcpy(text + start, "\xF0\x9F\x90\x88", 4);
        assert_int_equal(utf8_shown(text, sizeof text), start == 60 ? 64 : start);
    }
    memset(text, 0x80, sizeof text); /* not UTF-8 */
    assert_int_equal(utf8_shown(text, sizeof text), 61);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_invalid),
        cmocka_unit_test(test_last),          cmocka_unit_test(test_decompositions),
        cmocka_unit_test(test_properties),    cmocka_unit_test(test_lower),
        cmocka_unit_test(test_word_and_rank), cmocka_unit_test(test_shown),
    };
    return cmocka_run_group_tests_name("unicode", tests, NULL, NULL);
}
