/* unicode.c - UTF-8 and canonical decomposition */
#include "formats/unicode.h"

#include <utf8proc.h>

static bool is_continuation(char byte)
{
    return ((unsigned char)byte & 0xC0) == 0x80;
}

static struct utf8_character invalid(size_t bytes)
{
    return (struct utf8_character){UNICODE_REPLACEMENT, (uint8_t)bytes, false};
}

/* utf8proc_iterate reports that a sequence is invalid, but not how many of its bytes belong
 * together, so this is our own. Table 3-7 of the Unicode standard: the first byte limits the
 * second. */
struct utf8_character utf8_decode(const char *text, size_t length)
{
    unsigned char first = (unsigned char)text[0];
    if (first < 0x80) return (struct utf8_character){first, 1, true};
    if (first < 0xC2 || first > 0xF4) return invalid(1);

    size_t wanted = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    unsigned char least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    unsigned char most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (length < 2 || (unsigned char)text[1] < least || (unsigned char)text[1] > most)
        return invalid(1);

    uint32_t code = first & (0x7Fu >> wanted);
    code = code << 6 | ((unsigned char)text[1] & 0x3F);
    for (size_t i = 2; i < wanted; i++) {
        if (i >= length || !is_continuation(text[i])) return invalid(i);
        code = code << 6 | ((unsigned char)text[i] & 0x3F);
    }
    return (struct utf8_character){code, (uint8_t)wanted, true};
}

uint32_t utf8_decode_last(const char *text, size_t length)
{
    size_t start = length - 1;
    while (start > 0 && length - start < 4 && is_continuation(text[start])) start--;
    struct utf8_character last = utf8_decode(text + start, length - start);
    return last.bytes == length - start ? last.code : UNICODE_REPLACEMENT;
}

size_t utf8_encode(char out[4], uint32_t code)
{
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)code, (utf8proc_uint8_t *)out);
}

int utf8_shown(const char *text, size_t length)
{
    enum { MOST = 64 };
    if (length <= MOST) return (int)length;
    int shown = MOST;
    while (shown > MOST - 3 && is_continuation(text[shown])) shown--;
    return shown;
}

size_t unicode_decompose(uint32_t out[UNICODE_MAX_DECOMPOSITION], uint32_t code)
{
    utf8proc_int32_t parts[UNICODE_MAX_DECOMPOSITION];
    int boundclass = 0;
    utf8proc_ssize_t count =
        utf8proc_decompose_char((utf8proc_int32_t)code, parts, UNICODE_MAX_DECOMPOSITION,
                                UTF8PROC_DECOMPOSE, &boundclass);
    if (count < 1 || count > UNICODE_MAX_DECOMPOSITION) {
        out[0] = code;
        return 1;
    }
    for (utf8proc_ssize_t i = 0; i < count; i++) out[i] = (uint32_t)parts[i];
    return (size_t)count;
}
