/* tokenizer_test.h - texts for the tests of the tokenizer, and helpers to run it */
#ifndef TESTS_TOKENIZER_TEST_H
#define TESTS_TOKENIZER_TEST_H

#include "test_vectors.h"

#include "description/tokenizer.h"

#include <sys/mman.h>

struct texts {
    size_t count;
    char **text;
    size_t *length;
};

static inline unsigned hex_digit(char digit)
{
    return digit <= '9' ? (unsigned)(digit - '0') : (unsigned)(digit - 'a') + 10;
}

/* Reads texts, one a line in hexadecimal. Each is at the end of its own block, so that sanitizers
 * see reads past it. */
static inline struct texts load_texts(const char *path)
{
    struct vector_lines lines = vector_lines_load(path);
    struct texts texts = {lines.count, calloc(lines.count, sizeof(char *)),
                          calloc(lines.count, sizeof(size_t))};
    for (size_t i = 0; i < lines.count; i++) {
        size_t length = texts.length[i] = lines.length[i] / 2;
        char *text = texts.text[i] = malloc(length);
        const char *hex = lines.text[i];
        for (size_t k = 0; k < length; k++)
            text[k] = (char)(hex_digit(hex[2 * k]) << 4 | hex_digit(hex[2 * k + 1]));
    }
    vector_lines_free(&lines);
    return texts;
}

static inline void free_texts(struct texts *texts)
{
    for (size_t i = 0; i < texts->count; i++) free(texts->text[i]);
    free(texts->text);
    free(texts->length);
}

static inline struct tokenizer *open_tokenizer(const char *folder)
{
    struct tokenizer *tokenizer = NULL;
    if (tokenizer_open(&tokenizer, folder) != EMBED_OK) fail_msg("%s", error_message());
    return tokenizer;
}

static inline struct token_list encode(const struct tokenizer *tokenizer, const char *text,
                                size_t length, size_t max_tokens, struct tokenizer_facts *facts)
{
    struct token_list list = {0};
    struct word_cache cache = {0};
    if (tokenizer_encode(tokenizer, &cache, text, length, max_tokens, &list, facts) != EMBED_OK)
        fail_msg("%s", error_message());
    assert_int_equal(list.count, facts->tokens);
    word_cache_free(&cache);
    return list;
}

/* Encodes an endless text: only its beginning may be read, since no memory is mapped after it. */
static inline void check_early_stop(const struct tokenizer *tokenizer, const char *part)
{
    const size_t readable = (size_t)1 << 16, length = (size_t)1 << 40;
    char *text =
        mmap(NULL, 2 * readable, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(text != MAP_FAILED);
    assert_int_equal(mprotect(text + readable, readable, PROT_NONE), 0);
    for (size_t i = 0; i < readable; i++) text[i] = part[i % strlen(part)];
    struct tokenizer_facts facts;
    struct token_list list = encode(tokenizer, text, length, 256, &facts);
    assert_int_equal(list.count, 256);
    assert_true(facts.truncated);
    token_list_free(&list);
    munmap(text, 2 * readable);
}

#endif
