/* fuzz_normalizer.c - UTF-8, and what BertNormalizer turns each character into
 *
 * The first byte of an input has the options, one per bit; the rest is a text.
 */
#include "description/normalizer.h"

#include "fuzz.h"

static const struct normalizer *normalizer_with(unsigned bits)
{
    static struct normalizer *normalizers[16];
    struct normalizer_options options = {bits & 1, bits & 2, bits & 4, bits & 8};
    if (normalizers[bits] == NULL)
        fuzz_claim(normalizer_create(&normalizers[bits], options) == EMBED_OK);
    return normalizers[bits];
}

static void check_character(const struct normalizer *normalizer, uint32_t code)
{
    struct normalized units[NORMALIZER_MAX_EXPANSION], one;
    size_t count = normalizer_expand(normalizer, code, units), characters = 0;
    fuzz_claim(count <= NORMALIZER_MAX_EXPANSION);
    for (size_t i = 0; i < count; i++) {
        fuzz_claim(units[i].code < UNICODE_LIMIT && units[i].kind <= NORMALIZED_BARRIER);
        characters += units[i].kind != NORMALIZED_BARRIER;
    }
    if (normalizer_expand_to_one(normalizer, code, &one)) {
        fuzz_claim(count == 1 && characters == 1);
        fuzz_claim(one.code == units[0].code && one.kind == units[0].kind);
    }
}

static void fuzz_input(const uint8_t *input, size_t length)
{
    if (length == 0) return;
    const struct normalizer *normalizer = normalizer_with(input[0] & 15);
    char *text = malloc(length); /* one byte more than the text: finds reads past that */
    fuzz_claim(text != NULL);
    memcpy(text, input + 1, length - 1);
    for (size_t at = 0; at < length - 1;) {
        struct utf8_character c = utf8_decode(text + at, length - 1 - at);
        char again[4];
        fuzz_claim(c.bytes >= 1 && c.bytes <= 4 && c.bytes <= length - 1 - at);
        fuzz_claim(c.code < UNICODE_LIMIT && (c.code < 0xD800 || c.code > 0xDFFF));
        size_t bytes = utf8_encode(again, c.code);
        if (c.valid)
            fuzz_claim(bytes == c.bytes && memcmp(again, text + at, bytes) == 0);
        else
            fuzz_claim(c.code == UNICODE_REPLACEMENT && c.bytes <= 3);
        check_character(normalizer, c.code);
        at += c.bytes;
        if (c.valid) fuzz_claim(utf8_decode_last(text, at) == c.code);
    }
    free(text);
}
