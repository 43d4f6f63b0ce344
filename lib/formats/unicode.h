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

/* Decodes the first character of text[0..length), length > 0. In text that is not UTF-8, each
 * maximal part of a sequence that could have become a character is read as U+FFFD, with `valid`
 * false, as in the WHATWG's encoding standard and Python's errors="replace". */
struct utf8_character utf8_decode(const char *text, size_t length);

/* Decodes the last character of text[0..length), length > 0: U+FFFD if the text does not end in
 * valid UTF-8. */
uint32_t utf8_decode_last(const char *text, size_t length);

/* Writes 1 to 4 bytes and returns how many. `code` must not be a surrogate. */
size_t utf8_encode(char out[4], uint32_t code);

/* Returns how much of a text a message quotes, for "%.*s": at most 64 bytes, or up to 3 less to
 * avoid cutting a character.
 * Text from a file may be of any length, and must not push the reason for its rejection out of the
 * message. */
int utf8_shown(const char *text, size_t length);

/* Writes the full canonical decomposition of `code` (itself if it has none) and returns its number
 * of code points. Hangul syllables become their jamo. */
size_t unicode_decompose(uint32_t out[UNICODE_MAX_DECOMPOSITION], uint32_t code);

#endif
