/* test_tokenizer_words.c - the tokenizer's fast paths give what the plain ones give: blocks of 64
 * bytes and single bytes, with and without the word cache, the trie and the vocabulary
 */
#include "base/status.h" /* before cmocka, which has a macro fail() */

#include "test_vectors.h"

#include "test_folder.h"

#include "description/ascii_block.h"
#include "description/tokenizer_parts.h"
#include "description/word_splitter.h"

#include <ctype.h>

#define FOLDER "tests/vectors/tokenizer/"

static uint64_t seed = 1;

static unsigned random_below(unsigned limit)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)((seed >> 33) % limit);
}

static void check(embed_status status)
{
    if (status != EMBED_OK) fail_msg("%s", error_message());
}

static void assert_lists_equal(const char *name, size_t line, const struct token_list *a,
                               const struct token_list *b)
{
    assert_ids_equal(name, line, a->ids, a->count, b->ids, b->count);
}

/* ---- blocks ------------------------------------------------------------------------------ */

static void check_block(const char *text, size_t length, bool lowercase)
{
    struct ascii_block block;
    ascii_block_read(&block, text, length, lowercase);
    for (size_t i = 0; i < sizeof block.text; i++) {
        unsigned char byte = i < length && i < ASCII_BLOCK ? (unsigned char)text[i] : 0;
        bool in_word = byte < 0x80 && isalnum(byte);
        if (lowercase && byte < 0x80) byte = (unsigned char)tolower(byte);
        assert_int_equal((unsigned char)block.text[i], byte);
        if (i < ASCII_BLOCK) assert_int_equal(block.word >> i & 1, in_word);
    }
    size_t run = 0;
    for (size_t i = ASCII_BLOCK; i-- > 0;) {
        run = block.word >> i & 1 ? run + 1 : 0;
        if (run > 0) assert_int_equal(ascii_block_word_length(&block, i), run);
    }
}

static void test_blocks(void **state)
{
    (void)state;
    for (size_t round = 0; round < 20000; round++) {
        size_t length = random_below(90);
        char *text = malloc(length > 0 ? length : 1); /* so that sanitizers see reads past it */
        assert_non_null(text);
        for (size_t i = 0; i < length; i++)
            text[i] = (char)(round % 2 ? random_below(256) : 'a' + random_below(26));
        check_block(text, length, round % 4 < 2);
        free(text);
    }
    char all[256];
    for (size_t i = 0; i < 256; i++) all[i] = (char)i;
    for (size_t i = 0; i < 256; i += ASCII_BLOCK) check_block(all + i, 256 - i, true);
}

/* ---- the trie ---------------------------------------------------------------------------- */

/* WordPiece by definition: the longest token first, each looked up with its prefix. */
static void encode_simply(const struct vocabulary *vocabulary, const char *word, size_t length,
                          struct token_list *list)
{
    size_t start_count = list->count, start = 0;
    while (start < length) {
        char piece[64] = "##";
        size_t head = start > 0 ? 2 : 0, end = length;
        int32_t id = -1;
        for (; end > start; end--) {
            memcpy(piece + head, word + start, end - start);
            id = vocabulary_find(vocabulary, piece, head + end - start);
            if (id >= 0) break;
        }
        if (id < 0) list->count = start_count, end = length;
        check(token_list_add(list, id >= 0 ? id : 0));
        start = end;
    }
}

/* Makes a word of characters of one and two bytes; few different ones, so that words share many
 * tokens. */
static size_t random_word(char word[40], unsigned characters)
{
    static const char *const alphabet[] = {"a",        "b",        "c",       "d",
                                           "\xC3\xA9", "\xC3\xA8", "\xD0\xA9"};
    size_t length = 0;
    for (unsigned count = 1 + random_below(characters); count > 0; count--) {
        const char *character = alphabet[random_below(7)];
        memcpy(word + length, character, strlen(character));
        length += strlen(character);
    }
    return length;
}

static void add_tokens(struct vocabulary *vocabulary, size_t count, unsigned characters)
{
    for (size_t i = 0; i < count; i++) {
        char token[48] = "##";
        size_t head = random_below(2) * 2, length = random_word(token + head, characters);
        check(vocabulary_add(vocabulary, "test", token, head + length, (int32_t)i + 1));
    }
}

static void check_trie(size_t tokens, unsigned characters)
{
    struct vocabulary vocabulary = {0};
    struct token_trie trie = {0};
    struct token_list simple = {0}, list = {0};
    add_tokens(&vocabulary, tokens, characters);
    check(token_trie_create(&trie, &vocabulary, "test"));
    struct wordpiece model = {&trie, token_trie_walk(&trie, "##", 2), 0, 100};
    for (size_t i = 0; i < 20000; i++) {
        char word[40 + WORD_CACHE_LONGEST] = {0};
        size_t length = random_word(word, 12);
        simple.count = list.count = 0;
        encode_simply(&vocabulary, word, length, &simple);
        check(wordpiece_encode(&model, word, length, &list));
        assert_lists_equal(word, i, &list, &simple);
    }
    token_list_free(&simple);
    token_list_free(&list);
    token_trie_free(&trie);
    vocabulary_free(&vocabulary);
}

static void test_trie(void **state)
{
    (void)state;
    check_trie(1, 1);
    check_trie(10, 2);
    check_trie(500, 4);
    check_trie(3000, 6);
    check_trie(3000, 18); /* few shared prefixes: the trie must grow */
}

/* ---- the cache --------------------------------------------------------------------------- */

static void test_cache(void **state)
{
    (void)state;
    struct vocabulary vocabulary = {0};
    struct token_trie trie = {0};
    struct token_list with = {0}, without = {0};
    struct word_cache cache = {0};
    add_tokens(&vocabulary, 2000, 5);
    check(token_trie_create(&trie, &vocabulary, "test"));
    struct wordpiece model = {&trie, token_trie_walk(&trie, "##", 2), 0, 100};
    for (size_t i = 0; i < 300000; i++) {
        char word[40 + WORD_CACHE_LONGEST];
        size_t length = random_word(word, i % 2 ? 4 : 12);
        if (i % 4 == 0) { /* many words of one length that differ only in their second half */
            memcpy(word, "abcdabcd", 8);
            for (length = 8; length < 15; length++)
                word[length] = (char)('a' + random_below(4));
        }
        with.count = without.count = 0;
        /* What follows the word does not matter. */
        memset(word + length, (int)random_below(256), sizeof word - length);
        check(word_cache_encode(&cache, &model, word, length, &with));
        check(word_cache_encode(NULL, &model, word, length, &without));
        assert_lists_equal("word", i, &with, &without);
    }
    assert_int_equal(cache.bits, WORD_CACHE_MAX_BITS);
    word_cache_free(&cache);
    assert_null(cache.words);
    token_list_free(&with);
    token_list_free(&without);
    token_trie_free(&trie);
    vocabulary_free(&vocabulary);
}

/* A word is not confused with one that has zeros appended, nor a zero with the end of a word. */
static void test_zeros(void **state)
{
    (void)state;
    struct vocabulary vocabulary = {0};
    struct token_trie trie = {0};
    struct token_list list = {0};
    struct word_cache cache = {0};
    static const char word[WORD_CACHE_LONGEST + 4] =
        "\0\0a"; /* "a", "a\0", "\0a" and "\0\0a" */
    static const struct {
        size_t start, length;
    } tokens[] = {{2, 1}, {2, 2}, {1, 2}, {0, 3}};
    for (size_t i = 0; i < 4; i++)
        check(vocabulary_add(&vocabulary, "test", word + tokens[i].start, tokens[i].length,
                             (int32_t)i + 1));
    check(token_trie_create(&trie, &vocabulary, "test"));
    struct wordpiece model = {&trie, TOKEN_TRIE_NONE, 0, 100};
    for (size_t i = 0; i < 8; i++)
        check(word_cache_encode(&cache, &model, word + tokens[i % 4].start,
                                tokens[i % 4].length, &list));
    static const int32_t expected[] = {1, 2, 3, 4, 1, 2, 3, 4};
    assert_ids_equal("zeros", 0, list.ids, list.count, expected, 8);
    word_cache_free(&cache);
    token_list_free(&list);
    token_trie_free(&trie);
    vocabulary_free(&vocabulary);
}

/* ---- words ------------------------------------------------------------------------------- */

/* Marks are ordered by combining class, but not across a barrier. */
static void test_marks(void **state)
{
    (void)state;
    enum { TONE = 0x302E, STEM = 0x1D165, VIRAMA = 0xA953 }; /* classes 224, 216 and 9 */
    static const struct normalized units[] = {
        {'a', NORMALIZED_WORD},          {TONE, NORMALIZED_NONSTARTER},
        {STEM, NORMALIZED_NONSTARTER},   {VIRAMA, NORMALIZED_NONSTARTER},
        {0, NORMALIZED_BARRIER},         {STEM, NORMALIZED_NONSTARTER},
        {VIRAMA, NORMALIZED_NONSTARTER}, {TONE, NORMALIZED_NONSTARTER},
    };
    struct vocabulary vocabulary = {0};
    struct token_trie trie = {0};
    struct token_list list = {0};
    static const char *const tokens[] = {"a", "##\u302E", "##\U0001D165", "##\uA953"};
    for (int32_t i = 0; i < 4; i++)
        check(vocabulary_add(&vocabulary, "test", tokens[i], strlen(tokens[i]), i + 1));
    check(token_trie_create(&trie, &vocabulary, "test"));
    struct wordpiece model = {&trie, token_trie_walk(&trie, "##", 2), 0, 100};
    struct word_splitter splitter;
    word_splitter_begin(&splitter, &model, NULL, &list);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        check(word_splitter_take(&splitter, units[i]));
    check(word_splitter_end(&splitter));
    static const int32_t expected[] = {1, 4, 3, 2, 4, 3, 2};
    assert_ids_equal("marks", 0, list.ids, list.count, expected, 7);
    token_list_free(&list);
    token_trie_free(&trie);
    vocabulary_free(&vocabulary);
}

/* ---- texts ------------------------------------------------------------------------------- */

struct both {
    struct tokenizer *tokenizer;
    struct word_cache cache;
    struct token_list fast, plain;
};

static void open_both(struct both *both, const char *folder)
{
    *both = (struct both){0};
    check(tokenizer_open(&both->tokenizer, folder));
}

static void close_both(struct both *both)
{
    token_list_free(&both->fast);
    token_list_free(&both->plain);
    word_cache_free(&both->cache);
    tokenizer_close(both->tokenizer);
}

/* The text must have the same ids with blocks and a cache as without. */
static void check_text(struct both *both, const char *name, size_t line, const char *text,
                       size_t length, size_t max_tokens)
{
    struct tokenizer *tokenizer = both->tokenizer;
    bool has_plain_words = tokenizer->has_plain_words;
    struct tokenizer_facts fast, plain;
    both->fast.count = both->plain.count = 0;
    check(tokenizer_encode(tokenizer, &both->cache, text, length, max_tokens, &both->fast,
                           &fast));
    tokenizer->has_plain_words = false;
    check(tokenizer_encode(tokenizer, NULL, text, length, max_tokens, &both->plain, &plain));
    tokenizer->has_plain_words = has_plain_words;
    assert_lists_equal(name, line, &both->fast, &both->plain);
    assert_int_equal(fast.tokens, plain.tokens);
    assert_int_equal(fast.truncated, plain.truncated);
    assert_int_equal(fast.invalid_bytes, plain.invalid_bytes);
}

/* Every line, after enough spaces that its words lie anywhere in a block, whole and truncated. */
static void check_lines(const char *folder)
{
    struct vector_lines lines = vector_lines_load("tests/vectors/lines.txt");
    struct both both;
    open_both(&both, folder);
    for (size_t i = 0; i < lines.count; i++) {
        size_t spaces = random_below(2 * ASCII_BLOCK), length = lines.length[i] + spaces;
        char *text = malloc(length > 0 ? length : 1);
        assert_non_null(text);
        memset(text, ' ', spaces);
        memcpy(text + spaces, lines.text[i], lines.length[i]);
        check_text(&both, "line", i, text, length, 0);
        check_text(&both, "cut line", i, text, length, 2 + random_below(40));
        free(text);
    }
    close_both(&both);
    vector_lines_free(&lines);
}

/* Texts of fragments that may end a word or a block early. */
static void check_fragments(const char *folder)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcd";
    static const char *const fragments[] = {" ",
                                            ".",
                                            "-",
                                            "the",
                                            "<a>",
                                            "<",
                                            "[MASK]",
                                            "[",
                                            "</s>",
                                            "\xC3\xA9",
                                            "\xE6\x97\xA5",
                                            "\xFF",
                                            "\x01",
                                            "\xCC\x81",
                                            "\xE2\x80\x8B",
                                            "\n",
                                            "  "};
    struct both both;
    open_both(&both, folder);
    for (size_t round = 0; round < 20000; round++) {
        char text[800];
        size_t length = 0;
        for (unsigned parts = random_below(24); parts > 0 && length < 700; parts--) {
            const char *part = random_below(2) ? letters : fragments[random_below(17)];
            size_t bytes = part != letters        ? strlen(part)
                           : random_below(8) == 0 ? 50 + random_below(17)
                                                  : 1 + random_below(8);
            memcpy(text + length, part, bytes);
            length += bytes;
        }
        char *copy = malloc(length > 0 ? length : 1); /* so that sanitizers see reads past it */
        assert_non_null(copy);
        memcpy(copy, text, length);
        check_text(&both, "fragments", round, copy, length,
                   round % 4 == 0 ? 2 + round % 20 : 0);
        free(copy);
    }
    close_both(&both);
}

static void test_texts(void **state)
{
    (void)state;
    static const char *const names[] = {"uncased", "cased", "added", "unclean"};
    for (size_t i = 0; i < 4; i++) {
        char folder[64];
        snprintf(folder, sizeof folder, FOLDER "%s", names[i]);
        check_lines(folder);
        check_fragments(folder);
    }
}

/* Added tokens with which words stay plain: one that begins with a punctuation mark and is searched
 * in normalized text, and one in the middle of words. */
static void test_added_tokens(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(FOLDER "uncased");
    test_edit_file(
        folder, "tokenizer.json", "\"added_tokens\":[",
        "\"added_tokens\":[{\"id\":2000,\"content\":\"<a>\",\"normalized\":true},"
        "{\"id\":2001,\"content\":\"cde\",\"normalized\":false},"
        "{\"id\":2002,\"content\":\"<b>\",\"normalized\":true,\"single_word\":true},");
    struct both both;
    open_both(&both, folder);
    assert_true(both.tokenizer->has_plain_words);
    check_text(&both, "added", 0, "word<a>word <A> <a", 18, 0);
    assert_int_equal(both.fast.ids[2], 2000);
    check_text(&both, "added", 1, "wordcdeword", 11, 0);
    assert_int_equal(both.fast.ids[2], 2001);
    check_text(&both, "added", 2, ".<b> _<b>", 9, 0);
    assert_int_equal(both.fast.ids[2], 2002);
    assert_int_not_equal(both.fast.ids[4], 2002); /* next to a \\w, which _ is */
    close_both(&both);
    check_fragments(folder);
    test_remove_folder(folder);
}

/* Which tokenizers take the fast path: not one with an added token that begins with a letter. */
static void test_who_has_plain_words(void **state)
{
    (void)state;
    static const struct {
        const char *folder;
        bool has_plain_words;
    } cases[] = {{FOLDER "uncased", true}, {FOLDER "cased", true}, {FOLDER "added", false}};
    for (size_t i = 0; i < 3; i++) {
        struct tokenizer *tokenizer = NULL;
        check(tokenizer_open(&tokenizer, cases[i].folder));
        assert_int_equal(tokenizer->has_plain_words, cases[i].has_plain_words);
        tokenizer_close(tokenizer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks),       cmocka_unit_test(test_trie),
        cmocka_unit_test(test_cache),        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_marks),        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_added_tokens), cmocka_unit_test(test_who_has_plain_words),
    };
    return cmocka_run_group_tests_name("tokenizer_words", tests, NULL, NULL);
}
