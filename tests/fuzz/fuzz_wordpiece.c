/* fuzz_wordpiece.c - any text, cut by WordPiece: tests/vectors/tokenizer/added, which has tokens of
 * all kinds that are found in the raw or the normalized text, and one that keeps case and accents
 */
#include "fuzz_tokenizer.h"

static void fuzz_input(const uint8_t *input, size_t length)
{
    static const char *const folders[] = {"tests/vectors/tokenizer/added",
                                          "tests/vectors/tokenizer/cased"};
    static struct tokenizer *tokenizers[2];
    static struct word_cache caches[2]; /* of all texts so far */
    char *text = malloc(length + 1);    /* of its very size: what is read behind it is found */
    fuzz_claim(text != NULL);
    if (length > 0) memcpy(text, input, length);
    for (size_t i = 0; i < 2; i++) {
        if (tokenizers[i] == NULL)
            fuzz_claim(tokenizer_open(&tokenizers[i], folders[i]) == EMBED_OK);
        fuzz_check_encode(tokenizers[i], &caches[i], text, length);
    }
    free(text);
}
