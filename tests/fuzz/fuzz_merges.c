/* fuzz_merges.c - merges.txt, with a small vocabulary */
#include "fuzz_tokenizer.h"

static const char vocabulary[] =
    "{\"<s>\":0,\"</s>\":1,\"a\":2,\"b\":3,\"c\":4,\"ab\":5,\"abc\":6,\"bc\":7,\"aa\":8,\"aaa\":9,"
    "\"aaaa\":10,\"\xC4\xA0\":11,\"\xC4\xA0""a\":12,\"ca\":13,\"bca\":14,\"abab\":15,\"\":16,"
    "\" \":17,\"#version\":18}";

static void fuzz_input(const uint8_t *input, size_t length)
{
    static bool has_vocabulary;
    if (!has_vocabulary) fuzz_write("vocab.json", vocabulary, sizeof vocabulary - 1);
    has_vocabulary = true;
    fuzz_write("merges.txt", input, length);
    fuzz_check_tokenizer_files(length % 8 == 0);

    static const char words[] = "abcabc aaaaaaa cab bca  ababababababababababababababababab a";
    struct tokenizer *tokenizer = NULL;
    struct word_cache cache = {0};
    if (tokenizer_open(&tokenizer, fuzz_folder()) == EMBED_OK)
        fuzz_check_encode(tokenizer, &cache, words, sizeof words - 1);
    word_cache_free(&cache);
    tokenizer_close(tokenizer);
}
