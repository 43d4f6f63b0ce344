/* fuzz_byte_bpe.c - any text, encoded with byte-level BPE and decoded again
 *
 * Unless an added token swallows spaces, the decoded text is the original byte for byte, with
 * invalid UTF-8 replaced. The input's bytes are also decoded as ids; the text must be UTF-8 in any
 * case.
 */
#include "fuzz_tokenizer.h"

static const char *const folders[] = {"tests/vectors/tokenizer/bart",
                                      "tests/vectors/tokenizer/bpe-added"};

/* Writes the text with invalid UTF-8 replaced by U+FFFD, up to three times as long; returns its
 * length. */
static size_t write_valid(char *out, const char *text, size_t length)
{
    size_t written = 0;
    for (size_t at = 0; at < length;) {
        struct utf8_character c = utf8_decode(text + at, length - at);
        written += utf8_encode(out + written, c.code);
        at += c.bytes;
    }
    return written;
}

static void check_round_trip(const struct tokenizer *tokenizer, const char *text, size_t length)
{
    struct token_list ids = {0};
    struct text_buffer decoded = {0};
    char *valid = malloc(3 * length + 1);
    fuzz_claim(valid != NULL);
    fuzz_claim(tokenizer_encode(tokenizer, NULL, text, length, 0, &ids, NULL) == EMBED_OK);
    size_t around = tokenizer_added_tokens(tokenizer) / 2; /* as many before as after */
    fuzz_claim(tokenizer_decode(tokenizer, ids.ids + around, ids.count - 2 * around, false,
                                &decoded) == EMBED_OK);
    size_t expected = write_valid(valid, text, length);
    bool swallows = memmem(text, length, "<mask>", 6) != NULL; /* the white space on its left */
    if (!swallows)
        fuzz_claim(decoded.length == expected &&
                   (expected == 0 || memcmp(decoded.data, valid, expected) == 0));
    text_buffer_free(&decoded);
    token_list_free(&ids);
    free(valid);
}

static void check_decode(const struct tokenizer *tokenizer, const uint8_t *input, size_t length)
{
    struct text_buffer decoded = {0};
    size_t count = length / 2;
    int32_t *ids = malloc(count * sizeof *ids + 1);
    fuzz_claim(ids != NULL);
    for (size_t i = 0; i < count; i++) ids[i] = (int16_t)(input[2 * i] | input[2 * i + 1] << 8);
    fuzz_claim(tokenizer_decode(tokenizer, ids, count, length % 2 == 1, &decoded) == EMBED_OK);
    fuzz_claim(fuzz_is_utf8(decoded.data, decoded.length));
    text_buffer_free(&decoded);
    free(ids);
}

static void fuzz_input(const uint8_t *input, size_t length)
{
    static struct tokenizer *tokenizers[2];
    static struct word_cache caches[2]; /* of all texts so far */
    char *text = malloc(length + 1);    /* AddressSanitizer finds reads past this */
    fuzz_claim(text != NULL);
    if (length > 0) memcpy(text, input, length);
    for (size_t i = 0; i < 2; i++) {
        if (tokenizers[i] == NULL)
            fuzz_claim(tokenizer_open(&tokenizers[i], folders[i]) == EMBED_OK);
        fuzz_check_encode(tokenizers[i], &caches[i], text, length);
        check_decode(tokenizers[i], input, length);
    }
    check_round_trip(tokenizers[0], text, length);
    free(text);
}
