/* test_tokenizer_memory.c - the tokenizer when memory runs out
 *
 * Has its own base/memory.c, which the linker takes instead of the library's: it fails at the n-th
 * allocation, for each n in turn, and counts what has not been released.
 */
#include "base/memory.h"
#include "base/status.h" /* before cmocka, which has a macro fail() */

#include <string.h>

static size_t allocations_left, blocks;

static embed_status out_of_memory(const char *what)
{
    return fail(EMBED_OUT_OF_MEMORY, "out of memory: %s", what);
}

#include "test_vectors.h"

#include "description/tokenizer.h"

#define FOLDER "tests/vectors/tokenizer/"

void *memory_resize(void *old, size_t count, size_t size, const char *what)
{
    size_t bytes;
    if (allocations_left == 0 || !size_multiply(count, size, &bytes)) {
        out_of_memory(what);
        return NULL;
    }
    allocations_left--;
    /* Always moves the block, so that use of a stale pointer is detected. */
    char *block = malloc(bytes + sizeof(size_t));
    assert_non_null(block);
    memcpy(block, &bytes, sizeof bytes);
    if (old != NULL) {
        char *old_block = (char *)old - sizeof(size_t);
        size_t old_bytes;
        memcpy(&old_bytes, old_block, sizeof old_bytes);
        memcpy(block + sizeof(size_t), old, old_bytes < bytes ? old_bytes : bytes);
        free(old_block);
    } else {
        blocks++;
    }
    return block + sizeof(size_t);
}

void *memory_allocate(size_t count, size_t size, const char *what)
{
    void *block = memory_resize(NULL, count, size, what);
    if (block != NULL) memset(block, 0, count * size);
    return block;
}

void *memory_allocate_aligned(size_t bytes, const char *what)
{
    (void)bytes;
    out_of_memory(what); /* no tokenizer calls it */
    return NULL;
}

char *memory_copy_text(const char *text, size_t length, const char *what)
{
    char *copy = memory_allocate(length + 1, 1, what);
    if (copy != NULL) memcpy(copy, text, length);
    return copy;
}

void memory_free(void *block)
{
    if (block == NULL) return;
    free((char *)block - sizeof(size_t));
    blocks--;
}

/* Opens a tokenizer and uses it. */
static embed_status use(const char *folder)
{
    struct tokenizer *tokenizer = NULL;
    embed_status status = tokenizer_open(&tokenizer, folder);
    if (status != EMBED_OK) return status;
    struct token_list list = {0};
    struct word_cache cache = {0};
    static const char text[] = "Yesterday a foo in New York [MASK] said 3.14, unaffably so.";
    for (size_t i = 0; i < 50 && status == EMBED_OK; i++) {
        size_t before = list.count;
        status = tokenizer_encode(tokenizer, &cache, text, sizeof text - 1, 0, &list, NULL);
        if (status != EMBED_OK) assert_int_equal(list.count, before);
    }
    token_list_free(&list);
    word_cache_free(&cache);
    tokenizer_close(tokenizer);
    return status;
}

static void check(const char *folder)
{
    embed_status status = EMBED_OUT_OF_MEMORY;
    for (size_t n = 0; n < 100000 && status != EMBED_OK; n++) {
        allocations_left = n;
        status = use(folder);
        /* Without memory for its path, a file seems to be missing. */
        if (status != EMBED_OK && n > 2) assert_int_equal(status, EMBED_OUT_OF_MEMORY);
        assert_int_equal(blocks, 0);
    }
    assert_int_equal(status, EMBED_OK);
}

static void test_tokenizer_json(void **state)
{
    (void)state;
    check(FOLDER "added");
}

static void test_byte_bpe(void **state)
{
    (void)state;
    check(FOLDER "bpe-added");
}

static void test_vocab_txt(void **state)
{
    (void)state;
    check(FOLDER "uncased-vocab");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer_json),
        cmocka_unit_test(test_byte_bpe),
        cmocka_unit_test(test_vocab_txt),
    };
    return cmocka_run_group_tests_name("tokenizer_memory", tests, NULL, NULL);
}
