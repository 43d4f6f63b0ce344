/* fuzz_wordpiece.c - any text, encoded with WordPiece
 *
 * Uses tests/vectors/tokenizer/added, which has all kinds of added tokens, of raw and of normalized
 * text, and tests/vectors/tokenizer/cased, which keeps case and accents.
 */
#include "fuzz_tokenizer.h"

static void fuzz_input(const uint8_t *input, size_t length)
{
    static const char *const folders[] = {"tests/vectors/tokenizer/added",
                                          "tests/vectors/tokenizer/cased"};
    static struct tokenizer *tokenizers[2];
    static struct word_cache caches[2]; /* of all texts so far */
    char *text = malloc(length + 1);    /* AddressSanitizer finds reads past this */
    fuzz_claim(text != NULL);
    if (length > 0) memcpy(text, input, length);
    for (size_t i = 0; i < 2; i++) {
        if (tokenizers[i] == NULL)
            fuzz_claim(tokenizer_open(&tokenizers[i], folders[i]) == EMBED_OK);
        fuzz_check_encode(tokenizers[i], &caches[i], text, length);
    }
    free(text);
}
