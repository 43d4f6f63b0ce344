/* test_tokenizer.c - token ids compared with those of Hugging Face tokenizers
 * (tests/vectors/tokenizer), and what the reference does not cover: truncation, counting, long
 * texts
 */
#include "base/status.h" /* before cmocka, which has a macro fail() */

#include "test_vectors.h"

#include "tokenizer_test.h"

#include <sys/mman.h>
#include <unistd.h>

#define FOLDER "tests/vectors/tokenizer/"

/* Truncated to max_tokens, the ids must be the first ones of the whole text, then [SEP]. */
static void check_cut(const struct tokenizer *tokenizer, const char *name, size_t line,
                      const char *text, size_t length, size_t max_tokens,
                      const struct token_list *whole)
{
    struct tokenizer_facts facts;
    struct token_list list = encode(tokenizer, text, length, max_tokens, &facts);
    assert_int_equal(facts.truncated, whole->count > max_tokens);
    if (facts.truncated) {
        assert_int_equal(list.count, max_tokens);
        assert_int_equal(list.ids[max_tokens - 1], whole->ids[whole->count - 1]);
        assert_ids_equal(name, line, list.ids, max_tokens - 1, whole->ids, max_tokens - 1);
    } else {
        assert_ids_equal(name, line, list.ids, list.count, whole->ids, whole->count);
    }
    token_list_free(&list);
}

/* Checks that every text gives the ids of the file, whole and truncated. */
static void check_texts(const char *texts_file, const char *folder, const char *ids_file)
{
    struct texts texts = load_texts(texts_file);
    struct vector_ids expected = vector_ids_load(ids_file);
    struct tokenizer *tokenizer = open_tokenizer(folder);
    assert_int_equal(texts.count, expected.count);
    assert_int_equal(tokenizer_added_tokens(tokenizer), 2);
    for (size_t i = 0; i < texts.count; i++) {
        struct tokenizer_facts facts;
        struct token_list list = encode(tokenizer, texts.text[i], texts.length[i], 0, &facts);
        assert_ids_equal(folder, i, list.ids, list.count, expected.ids + expected.offsets[i],
                         expected.offsets[i + 1] - expected.offsets[i]);
        assert_false(facts.truncated);
        for (size_t k = 0; k < list.count; k++)
            assert_true((size_t)list.ids[k] < tokenizer_id_limit(tokenizer));
        for (size_t max_tokens = 2; max_tokens <= list.count + 1; max_tokens += 3)
            check_cut(tokenizer, folder, i, texts.text[i], texts.length[i], max_tokens, &list);
        token_list_free(&list);
    }
    tokenizer_close(tokenizer);
    vector_ids_free(&expected);
    free_texts(&texts);
}

static void check_vectors(const char *folder, const char *ids_file)
{
    check_texts(FOLDER "texts.hex", folder, ids_file);
}

static void test_uncased(void **state)
{
    (void)state;
    check_vectors(FOLDER "uncased", FOLDER "uncased.ids");
}

static void test_cased(void **state)
{
    (void)state;
    check_vectors(FOLDER "cased", FOLDER "cased.ids");
}

static void test_vocab_txt(void **state)
{
    (void)state;
    check_vectors(FOLDER "uncased-vocab", FOLDER "uncased.ids");
    check_vectors(FOLDER "cased-vocab", FOLDER "cased.ids");
}

static void test_added_tokens(void **state)
{
    (void)state;
    check_vectors(FOLDER "added", FOLDER "added.ids");
}

static void test_other_options(void **state)
{
    (void)state;
    check_vectors(FOLDER "unclean", FOLDER "unclean.ids");
}

/* Returns the folder of all-MiniLM-L6-v2, or skips. */
static const char *minilm(void)
{
    const char *folder = getenv("MODEL");
    if (folder == NULL || access(folder, R_OK) != 0) {
        print_message("skipped: no model in $MODEL\n");
        skip();
    }
    return folder;
}

static void test_minilm(void **state)
{
    (void)state;
    check_vectors(minilm(), FOLDER "minilm.ids");
}

static void link_file(const char *from_folder, const char *to_folder, const char *name)
{
    char from[4096], to[4096], absolute[4096];
    snprintf(from, sizeof from, "%s/%s", from_folder, name);
    snprintf(to, sizeof to, "%s/%s", to_folder, name);
    assert_non_null(realpath(from, absolute));
    assert_int_equal(symlink(absolute, to), 0);
}

/* Its vocab.txt and tokenizer_config.json alone give the same ids. */
static void test_minilm_vocab_txt(void **state)
{
    (void)state;
    const char *model = minilm();
    char folder[] = "/tmp/libembed-test-XXXXXX", path[4096];
    static const char *const names[] = {"vocab.txt", "tokenizer_config.json"};
    snprintf(path, sizeof path, "%s/vocab.txt", model);
    if (access(path, R_OK) != 0) {
        print_message("skipped: the model in $MODEL has no vocab.txt\n");
        skip();
    }
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < 2; i++) link_file(model, folder, names[i]);
    check_vectors(folder, FOLDER "minilm.ids");
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

/* ---- facts and limits -------------------------------------------------------------------- */

static void test_invalid_bytes(void **state)
{
    (void)state;
    struct tokenizer *tokenizer = open_tokenizer(FOLDER "uncased");
    static const struct {
        const char *text;
        size_t invalid;
    } cases[] = {{"abc", 0}, {"a\xFF", 1}, {"\xE2\x82 x \xC0\x80", 4}, {"\xEF\xBF\xBD", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tokenizer_facts facts;
        struct token_list list =
            encode(tokenizer, cases[i].text, strlen(cases[i].text), 0, &facts);
        assert_int_equal(facts.invalid_bytes, cases[i].invalid);
        token_list_free(&list);
    }
    tokenizer_close(tokenizer);
}

static void test_max_tokens_too_small(void **state)
{
    (void)state;
    struct tokenizer *tokenizer = open_tokenizer(FOLDER "uncased");
    struct token_list list = {0};
    struct word_cache cache = {0};
    assert_int_equal(tokenizer_encode(tokenizer, &cache, "a", 1, 1, &list, NULL),
                     EMBED_INVALID_ARGUMENT);
    assert_int_equal(list.count, 0);
    assert_int_equal(tokenizer_encode(tokenizer, &cache, "a b", 3, 2, &list, NULL), EMBED_OK);
    assert_int_equal(list.count, 2);
    /* Appends to the list. */
    assert_int_equal(tokenizer_encode(tokenizer, &cache, "a b", 3, SIZE_MAX, &list, NULL),
                     EMBED_OK);
    assert_int_equal(list.count, 6);
    word_cache_free(&cache);
    token_list_free(&list);
    tokenizer_close(tokenizer);
}

/* `count` repetitions of `part` must give [CLS], `tokens` equal ids, [SEP]. */
static void check_repeated(const struct tokenizer *tokenizer, const char *part, size_t count,
                           size_t tokens)
{
    size_t length = strlen(part);
    char *text = malloc(count * length);
    assert_non_null(text);
    for (size_t i = 0; i < count; i++) memcpy(text + i * length, part, length);
    struct tokenizer_facts facts;
    struct token_list list = encode(tokenizer, text, count * length, 0, &facts);
    assert_int_equal(list.count, tokens + 2);
    for (size_t i = 2; i <= tokens; i++) assert_int_equal(list.ids[i], list.ids[1]);
    token_list_free(&list);
    free(text);
}

/* Time is proportional to the length of the text: this needs a second, and tests/run allows 600. */
static void test_long_texts(void **state)
{
    (void)state;
    struct tokenizer *tokenizer = open_tokenizer(FOLDER "added");
    check_repeated(tokenizer, "a", 1000000, 1);
    check_repeated(tokenizer, "\xF0\x9D\x94\x98", 250000, 1);
    check_repeated(tokenizer, " ", 1000000, 0);
    check_repeated(tokenizer, ".", 100000, 100000);
    check_repeated(tokenizer, "[MASK]", 100000, 100000);
    check_repeated(tokenizer, "[", 1000000, 1000000);
    check_repeated(tokenizer, "\xE2\x80\x8B", 300000, 0); /* zero-width spaces */
    check_repeated(tokenizer, "\xF0\x9D\x85\xA5\xE1\xAD\x84", 150000,
                   1);                                          /* combining marks to sort */
    check_repeated(tokenizer, "\xCC\x81", 500000, 0);           /* accents */
    check_repeated(tokenizer, "<\xE2\x80\x8B", 250000, 250000); /* <pad> might follow */
    tokenizer_close(tokenizer);
}

static void test_early_stop(void **state)
{
    (void)state;
    static const char *const folders[] = {FOLDER "uncased", FOLDER "added"};
    for (size_t i = 0; i < 2; i++) {
        struct tokenizer *tokenizer = open_tokenizer(folders[i]);
        check_early_stop(tokenizer, "the dog ");
        check_early_stop(tokenizer, "\xE6\x97\xA5\xE6\x9C\xAC ");
        check_early_stop(tokenizer, "[MASK]");
        tokenizer_close(tokenizer);
    }
}

/* Tokenizers of whole model folders, as transformers makes them. */
static void test_families(void **state)
{
    (void)state;
    check_texts(FOLDER "bpe-texts.hex", VECTORS "tiny-roberta", FOLDER "tiny-roberta.ids");
    check_vectors(VECTORS "tiny-distilbert", FOLDER "tiny-distilbert.ids");
    check_vectors(VECTORS "tiny-e5", FOLDER "tiny-e5.ids");
    check_vectors(VECTORS "tiny-arctic", FOLDER "tiny-arctic.ids");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uncased),
        cmocka_unit_test(test_cased),
        cmocka_unit_test(test_vocab_txt),
        cmocka_unit_test(test_added_tokens),
        cmocka_unit_test(test_other_options),
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_minilm),
        cmocka_unit_test(test_minilm_vocab_txt),
        cmocka_unit_test(test_invalid_bytes),
        cmocka_unit_test(test_max_tokens_too_small),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_early_stop),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
