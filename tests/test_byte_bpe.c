/* test_byte_bpe.c - byte-level BPE compared with Hugging Face tokenizers (tests/vectors/tokenizer),
 * and what the reference does not cover: truncation, counting, long words
 */
#include "base/status.h" /* before cmocka, which has a macro fail() */

#include "tokenizer_test.h"

#include "base/memory.h"
#include "description/byte_bpe.h"
#include "description/byte_level.h"
#include "description/gpt2_words.h"

#include <sys/mman.h>
#include <time.h>

#define FOLDER "tests/vectors/tokenizer/"

/* ---- vectors ----------------------------------------------------------------------------- */

/* Truncated to max_tokens, the ids must be the first ones of the whole text, then </s>. */
static void check_cut(const struct tokenizer *tokenizer, const char *name, size_t line,
                      const char *text, size_t length, size_t max_tokens,
                      const struct token_list *whole)
{
    struct tokenizer_facts facts;
    struct token_list list = encode(tokenizer, text, length, max_tokens, &facts);
    assert_int_equal(facts.truncated, whole->count > max_tokens);
    size_t kept = facts.truncated ? max_tokens : whole->count;
    assert_ids_equal(name, line, list.ids, list.count - 1, whole->ids, kept - 1);
    assert_int_equal(list.ids[list.count - 1], whole->ids[whole->count - 1]);
    token_list_free(&list);
}

static void check_ids(const char *name)
{
    char path[256];
    struct texts texts = load_texts(FOLDER "bpe-texts.hex");
    snprintf(path, sizeof path, FOLDER "%s.ids", name);
    struct vector_ids expected = vector_ids_load(path);
    snprintf(path, sizeof path, FOLDER "%s", name);
    struct tokenizer *tokenizer = open_tokenizer(path);
    assert_int_equal(texts.count, expected.count);
    assert_int_equal(tokenizer_added_tokens(tokenizer), 2);
    for (size_t i = 0; i < texts.count; i++) {
        struct tokenizer_facts facts;
        struct token_list list = encode(tokenizer, texts.text[i], texts.length[i], 0, &facts);
        assert_ids_equal(name, i, list.ids, list.count, expected.ids + expected.offsets[i],
                         expected.offsets[i + 1] - expected.offsets[i]);
        assert_false(facts.truncated);
        for (size_t k = 0; k < list.count; k++)
            assert_true((size_t)list.ids[k] < tokenizer_id_limit(tokenizer));
        for (size_t max_tokens = 2; max_tokens <= list.count + 1; max_tokens += 3)
            check_cut(tokenizer, name, i, texts.text[i], texts.length[i], max_tokens, &list);
        token_list_free(&list);
    }
    tokenizer_close(tokenizer);
    vector_ids_free(&expected);
    free_texts(&texts);
}

/* tokenizer.json; vocab.json and merges.txt with a prefix space; added tokens of every kind. */
static const char *const names[] = {"bart", "roberta", "bpe-added"};

static void test_ids(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) check_ids(names[i]);
}

/* Lines of `decoded` from `line` on; even ones are decoded without the special tokens. */
static void check_decoded(const struct tokenizer *tokenizer, const char *name,
                          const char *ids_file, const struct texts *decoded, size_t *line)
{
    char path[256];
    snprintf(path, sizeof path, FOLDER "%s%s.ids", name, ids_file);
    struct vector_ids ids = vector_ids_load(path);
    struct text_buffer text = {0};
    for (size_t i = 0; i < ids.count; i++, ++*line) {
        text.length = 0;
        assert_true(*line < decoded->count);
        assert_int_equal(tokenizer_decode(tokenizer, ids.ids + ids.offsets[i],
                                          ids.offsets[i + 1] - ids.offsets[i], *line % 2 == 0,
                                          &text),
                         EMBED_OK);
        if (text.length != decoded->length[*line] ||
            (text.length > 0 && memcmp(text.data, decoded->text[*line], text.length) != 0))
            fail_msg("%s: decoded text %zu is \"%.*s\", expected \"%.*s\"", name, *line,
                     (int)text.length, text.data, (int)decoded->length[*line],
                     decoded->text[*line]);
    }
    text_buffer_free(&text);
    vector_ids_free(&ids);
}

static void test_decode(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char path[256];
        snprintf(path, sizeof path, FOLDER "%s.decoded", names[i]);
        struct texts decoded = load_texts(path);
        snprintf(path, sizeof path, FOLDER "%s", names[i]);
        struct tokenizer *tokenizer = open_tokenizer(path);
        size_t line = 0;
        check_decoded(tokenizer, names[i], "", &decoded, &line);
        check_decoded(tokenizer, names[i], "-random", &decoded, &line);
        assert_int_equal(line, decoded.count);
        tokenizer_close(tokenizer);
        free_texts(&decoded);
    }
}

/* Ids that do not exist; appending; WordPiece. */
static void test_decode_odd(void **state)
{
    (void)state;
    struct tokenizer *tokenizer = open_tokenizer(FOLDER "bart");
    static const int32_t ids[] = {INT32_MIN, -1, 4, 1500, INT32_MAX, 2}; /* 4 is "!" */
    struct text_buffer text = {0};
    assert_int_equal(tokenizer_decode(tokenizer, ids, 6, true, &text), EMBED_OK);
    assert_int_equal(tokenizer_decode(tokenizer, ids, 6, false, &text), EMBED_OK);
    assert_int_equal(tokenizer_decode(tokenizer, NULL, 0, false, &text), EMBED_OK);
    assert_int_equal(text.length, 6);
    assert_memory_equal(text.data, "!!</s>", 6);
    tokenizer_close(tokenizer);
    tokenizer = open_tokenizer(FOLDER "uncased");
    assert_int_equal(tokenizer_decode(tokenizer, ids, 6, true, &text), EMBED_UNSUPPORTED);
    assert_int_equal(text.length, 6);
    text_buffer_free(&text);
    tokenizer_close(tokenizer);
}

/* ---- bytes, characters, words ------------------------------------------------------------ */

static void test_byte_level(void **state)
{
    (void)state;
    size_t bytes = 0;
    for (uint32_t code = 0; code < 0x400; code++) {
        int byte = byte_level_byte(code);
        if (byte < 0) continue;
        assert_int_equal(byte_level_character((unsigned char)byte), code);
        bytes++;
    }
    assert_int_equal(bytes, 256);
    assert_int_equal(byte_level_character(' '), 0x120);
    assert_int_equal(byte_level_character('\n'), 0x10A);
    assert_int_equal(byte_level_character(0xAD), 0x143);
}

/* Each class has as many characters as in the reference. */
static void test_classes(void **state)
{
    (void)state;
    struct gpt2_classes *classes = gpt2_classes_create();
    assert_non_null(classes);
    size_t counts[4] = {0};
    for (uint32_t code = 0; code < UNICODE_LIMIT; code++)
        counts[gpt2_class_of(classes, code)]++;
    assert_int_equal(counts[GPT2_LETTER], 141028);
    assert_int_equal(counts[GPT2_NUMBER], 1911);
    assert_int_equal(counts[GPT2_SPACE], 25);
    memory_free(classes);
}

/* The reference's words, also where a vocabulary does not distinguish them. Texts that are not
 * UTF-8 are compared by ids only. */
static void test_words(void **state)
{
    (void)state;
    struct texts texts = load_texts(FOLDER "bpe-texts.hex");
    struct vector_ids lengths = vector_ids_load(FOLDER "bpe-texts.words");
    struct gpt2_classes *classes = gpt2_classes_create();
    assert_non_null(classes);
    assert_int_equal(texts.count, lengths.count);
    for (size_t i = 0; i < texts.count; i++) {
        size_t at = 0, invalid_bytes = 0, count = 0;
        int32_t words[1000];
        while (at < texts.length[i] && count < 1000) {
            struct gpt2_word word =
                gpt2_word_first(classes, texts.text[i] + at, texts.length[i] - at, false);
            invalid_bytes += word.invalid_bytes;
            words[count++] = (int32_t)word.length;
            at += word.length;
        }
        if (invalid_bytes == 0)
            assert_ids_equal("words", i, words, count, lengths.ids + lengths.offsets[i],
                             lengths.offsets[i + 1] - lengths.offsets[i]);
    }
    memory_free(classes);
    vector_ids_free(&lengths);
    free_texts(&texts);
}

/* A word that is complete is the same whatever follows. */
static void test_open_words(void **state)
{
    (void)state;
    static const char *const parts[] = {"'",    "r", "e",       "l",        " ",
                                        "\n",   "1", "!",       "\xC3\xA9", "\xE3\x80\x80",
                                        "\xFF", "s", "wordlike"};
    const size_t count = sizeof parts / sizeof parts[0];
    struct gpt2_classes *classes = gpt2_classes_create();
    assert_non_null(classes);
    for (size_t n = 0; n < count * count * count * count; n++) {
        char text[48] = "";
        size_t lengths[4];
        for (size_t i = 0, rest = n; i < 4; i++, rest /= count) {
            strcat(text, parts[rest % count]);
            lengths[i] = strlen(text);
        }
        for (unsigned has_space = 0; has_space < 2; has_space++) {
            if (has_space && text[0] == ' ') continue;
            struct gpt2_word whole = gpt2_word_first(classes, text, lengths[3], has_space);
            for (size_t i = 0; i < 3; i++) {
                struct gpt2_word part = gpt2_word_first(classes, text, lengths[i], has_space);
                if (!part.is_open) assert_int_equal(part.length, whole.length);
                size_t plain = has_space ? 0 : gpt2_word_plain(text, lengths[i]);
                if (plain > 0) assert_int_equal(plain, whole.length);
            }
        }
    }
    memory_free(classes);
}

/* ---- merging ----------------------------------------------------------------------------- */

static uint32_t random_state = 1;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % limit;
}

/* Merges by definition: repeatedly the pair of the lowest rank, of these the leftmost. */
static size_t merge_slowly(const struct merge_table *table, int32_t *ids, size_t count)
{
    for (;;) {
        struct merge best = {MERGE_NONE, -1};
        size_t place = 0;
        for (size_t i = 0; i + 1 < count; i++) {
            struct merge merge = merge_table_find(table, ids[i], ids[i + 1]);
            if (merge.rank < best.rank) {
                best = merge;
                place = i;
            }
        }
        if (best.rank == MERGE_NONE) return count;
        ids[place] = best.id;
        memmove(ids + place + 1, ids + place + 2, (--count - place - 1) * sizeof *ids);
    }
}

/* Merges with ranks in any order, so that one may prevent another. */
static void test_merging(void **state)
{
    (void)state;
    for (size_t round = 0; round < 300; round++) {
        struct byte_bpe model;
        struct token_list list = {0};
        memset(&model, 0, sizeof model);
        memset(model.bytes, 0xFF, sizeof model.bytes);
        for (int32_t i = 0; i < 3; i++) model.bytes['a' + i] = i;
        uint32_t first_rank = random_below(1000);
        for (int32_t id = 3; id < 40; id++) {
            int32_t left = (int32_t)random_below((uint32_t)id);
            int32_t right = (int32_t)random_below((uint32_t)id);
            struct merge merge = {(first_rank + (uint32_t)id * 7919u) % 1000u, id};
            assert_int_equal(merge_table_add(&model.merges, "a file", left, right, merge),
                             EMBED_OK);
        }
        for (size_t length = 1; length < 150; length += 1 + length / 16) {
            char word[150];
            int32_t expected[150];
            for (size_t i = 0; i < length; i++) {
                expected[i] = (int32_t)random_below(3);
                word[i] = (char)('a' + expected[i]);
            }
            size_t count = merge_slowly(&model.merges, expected, length);
            list.count = 0;
            assert_int_equal(byte_bpe_encode(&model, word, length, &list), EMBED_OK);
            assert_ids_equal("merged", length, list.ids, list.count, expected, count);
        }
        token_list_free(&list);
        merge_table_free(&model.merges);
    }
}

/* A byte that the vocabulary lacks is dropped, and its neighbours become adjacent. */
static void test_missing_byte(void **state)
{
    (void)state;
    struct byte_bpe model;
    struct token_list list = {0};
    memset(&model, 0, sizeof model);
    memset(model.bytes, 0xFF, sizeof model.bytes);
    model.bytes['a'] = 5;
    model.bytes['b'] = 6;
    assert_int_equal(merge_table_add(&model.merges, "a file", 5, 6, (struct merge){1, 9}),
                     EMBED_OK);
    assert_int_equal(byte_bpe_encode(&model, "axxbaxb!", 8, &list), EMBED_OK);
    static const int32_t expected[] = {9, 9};
    assert_ids_equal("missing byte", 0, list.ids, list.count, expected, 2);
    list.count = 0;
    assert_int_equal(byte_bpe_encode(&model, "xyz", 3, &list), EMBED_OK);
    assert_int_equal(list.count, 0);
    token_list_free(&list);
    merge_table_free(&model.merges);
}

/* ---- facts and limits -------------------------------------------------------------------- */

static void test_invalid_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t invalid;
    } cases[] = {{"abc", 0},          {"a\xFF", 1},    {"\xE2\x82 x \xC0\x80", 4},
                 {"\xEF\xBF\xBD", 0}, {"\xFF\xFE", 2}, {"\xE2\x82<mask>\x80", 3}};
    for (size_t k = 0; k < 3; k++) {
        char path[256];
        snprintf(path, sizeof path, FOLDER "%s", names[k]);
        struct tokenizer *tokenizer = open_tokenizer(path);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            struct tokenizer_facts facts;
            struct token_list list =
                encode(tokenizer, cases[i].text, strlen(cases[i].text), 0, &facts);
            assert_int_equal(facts.invalid_bytes, cases[i].invalid);
            token_list_free(&list);
        }
        tokenizer_close(tokenizer);
    }
}

/* Digits followed by a text that begins with a letter have the ids of both, one after the other. */
static void check_behind_digits(const struct tokenizer *tokenizer, const char *part,
                                size_t digits)
{
    size_t length = digits + strlen(part);
    char *text = malloc(length); /* of the exact size, so that sanitizers see reads past it */
    assert_non_null(text);
    memset(text, '1', digits);
    memcpy(text + digits, part, strlen(part));
    struct tokenizer_facts facts;
    struct token_list whole = encode(tokenizer, text, length, 0, &facts);
    struct token_list first = encode(tokenizer, text, digits, 0, &facts);
    /* A digit goes first, so that the text is not at the start of its piece, which may get a prefix
     * space. */
    char one[64] = "1";
    strcat(one, part);
    struct token_list second = encode(tokenizer, one, strlen(one), 0, &facts);
    struct token_list digit = encode(tokenizer, one, 1, 0, &facts);
    size_t before = first.count - 1, after = second.count - (digit.count - 1);
    assert_int_equal(whole.count, before + after);
    assert_ids_equal("digits", digits, whole.ids, before, first.ids, before);
    assert_ids_equal(part, digits, whole.ids + before, after, second.ids + digit.count - 1,
                     after);
    token_list_free(&whole);
    token_list_free(&first);
    token_list_free(&second);
    token_list_free(&digit);
    free(text);
}

/* The search for added tokens proceeds 4 KiB at a time; the boundaries make no difference. */
static void test_search_steps(void **state)
{
    (void)state;
    static const char *const parts[] = {"a  <mask> b<mask>",
                                        "a<LR>   <LR> <mask>\n",
                                        "a<R>   x<R>\t\t",
                                        "a\xE3\x80\x80\xE3\x80\x80<mask>",
                                        "a one ones on<one",
                                        "a'r're'll'l",
                                        "a\xF0\x9D\x94\x98\xFF\xF0\x9D <N>",
                                        "a \xC3\xA9t\xC3\xA9<N>  \xE6\x97\xA5   x",
                                        "a     \n    b   ",
                                        "a \xC3\xA9t\xC3\xA9  x \xC3\xA9t\xC3\xA9s",
                                        "a\xF0\x9D\x94\x98\xF0\x9D\x94\x98\xF0\x9D\x94\x98"};
    for (size_t k = 0; k < 3; k++) {
        char path[256];
        snprintf(path, sizeof path, FOLDER "%s", names[k]);
        struct tokenizer *tokenizer = open_tokenizer(path);
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
            for (size_t digits = 4094 - strlen(parts[i]); digits < 4098; digits++)
                check_behind_digits(tokenizer, parts[i], digits);
        tokenizer_close(tokenizer);
    }
}

/* `count` repetitions of `part` must survive encoding and decoding. */
static void check_repeated(const struct tokenizer *tokenizer, const char *part, size_t count)
{
    size_t length = strlen(part);
    char *text = malloc(count * length);
    struct text_buffer decoded = {0};
    assert_non_null(text);
    for (size_t i = 0; i < count; i++) memcpy(text + i * length, part, length);
    struct tokenizer_facts facts;
    struct token_list list = encode(tokenizer, text, count * length, 0, &facts);
    assert_int_equal(tokenizer_decode(tokenizer, list.ids + 1, list.count - 2, false, &decoded),
                     EMBED_OK);
    assert_int_equal(decoded.length, count * length);
    assert_memory_equal(decoded.data, text, decoded.length);
    text_buffer_free(&decoded);
    token_list_free(&list);
    free(text);
}

/* The time is about proportional to the length: these take 2 s; quadratic time would take hours. */
static void test_long_texts(void **state)
{
    (void)state;
    struct tokenizer *tokenizer = open_tokenizer(FOLDER "bart");
    clock_t start = clock();
    check_repeated(tokenizer, "a", 1000000);
    check_repeated(tokenizer, "the", 300000);
    check_repeated(tokenizer, "=", 1000000);
    check_repeated(tokenizer, " ", 1000000);
    check_repeated(tokenizer, "\n", 1000000);
    check_repeated(tokenizer, "\xE3\x80\x80", 300000);
    check_repeated(tokenizer, "\xF0\x9D\x94\x98", 250000);
    check_repeated(tokenizer, "<", 1000000);
    check_repeated(tokenizer, "<mask>", 150000);
    check_repeated(tokenizer, "'r", 300000);
    tokenizer_close(tokenizer);
    tokenizer = open_tokenizer(FOLDER "bpe-added");
    struct tokenizer_facts facts;
    char *text = malloc(1000000);
    assert_non_null(text);
    memset(text, ' ', 1000000);
    for (size_t i = 0; i + 4 < 1000000; i += 5000) memcpy(text + i, "<LR>", 4);
    struct token_list list = encode(tokenizer, text, 1000000, 0, &facts);
    assert_int_equal(list.count, 2 + 200);
    token_list_free(&list);
    free(text);
    tokenizer_close(tokenizer);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 300);
}

static void test_early_stop(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char path[256];
        snprintf(path, sizeof path, FOLDER "%s", names[i]);
        struct tokenizer *tokenizer = open_tokenizer(path);
        check_early_stop(tokenizer, "the dog ");
        check_early_stop(tokenizer, "\xE6\x97\xA5\xE6\x9C\xAC ");
        check_early_stop(tokenizer, "<mask> ");
        check_early_stop(tokenizer, "a <");
        tokenizer_close(tokenizer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),          cmocka_unit_test(test_decode),
        cmocka_unit_test(test_decode_odd),   cmocka_unit_test(test_byte_level),
        cmocka_unit_test(test_classes),      cmocka_unit_test(test_words),
        cmocka_unit_test(test_open_words),   cmocka_unit_test(test_merging),
        cmocka_unit_test(test_missing_byte), cmocka_unit_test(test_invalid_bytes),
        cmocka_unit_test(test_search_steps), cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_early_stop),
    };
    return cmocka_run_group_tests_name("byte_bpe", tests, NULL, NULL);
}
