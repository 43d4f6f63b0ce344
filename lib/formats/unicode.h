/* unicode.h - UTF-8 and canonical decomposition; the only user of utf8proc */
#ifndef LIB_FORMATS_UNICODE_H
#define LIB_FORMATS_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNICODE_LIMIT             0x110000u /* code points are below this */
#define UNICODE_REPLACEMENT       0xFFFDu
#define UNICODE_MAX_DECOMPOSITION 4

struct utf8_character {
    uint32_t code;
    uint8_t bytes; /* that it takes, 1 to 4 */
    bool valid;
};

/* The first character of text[0..length), length > 0. Bytes that are not UTF-8 are read as
 * U+FFFD for each maximal part of a sequence that could have become one, `valid` being false:
 * so the WHATWG's encoding standard has it, and Python's errors="replace". */
struct utf8_character utf8_decode(const char *text, size_t length);

/* The last character of text[0..length), length > 0: U+FFFD where its end is not UTF-8. */
uint32_t utf8_decode_last(const char *text, size_t length);

/* Writes 1 to 4 bytes and returns how many. `code` must not be a surrogate. */
size_t utf8_encode(char out[4], uint32_t code);

/* As much of a text as a message quotes, for "%.*s": 64 bytes, or up to 3 less where a
 * character would be cut.
 * What a file says may be of any length, and must not push out why it is refused. */
int utf8_shown(const char *text, size_t length);

/* Writes the full canonical decomposition of `code` (itself where it has none) and returns how
 * many code points that is. Hangul syllables become their jamo. */
size_t unicode_decompose(uint32_t out[UNICODE_MAX_DECOMPOSITION], uint32_t code);

#endif
