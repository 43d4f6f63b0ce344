/* gpt2_words.h - splits text into words, as GPT-2's pattern does
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * That is: a contraction; else letters, digits or other characters, with a space before them
 * where there is one; else white space, without its last character where a word follows.
 */
#ifndef LIB_DESCRIPTION_GPT2_WORDS_H
#define LIB_DESCRIPTION_GPT2_WORDS_H

#include "description/ascii_block.h"
#include "description/gpt2_unicode.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct gpt2_word {
    size_t length;        /* bytes of text */
    size_t invalid_bytes; /* of them, not UTF-8: characters of the class "other" */
    bool is_open; /* it ends where the text does, and might be another if there were more */
};

/* The word that text[0..length) begins with, length > 0. has_space: as if a space were before
 * the text; the word may then have no byte of the text, but be that space alone. */
struct gpt2_word gpt2_word_first(const struct gpt2_classes *classes, const char *text,
                                 size_t length, bool has_space);

/* The same where the word is ASCII letters, with or without a space before them, and another
 * character of ASCII follows: most words. Its length, or 0 where it is not so, or the text ends
 * within a few bytes. */
static inline size_t gpt2_word_plain(const char *text, size_t length)
{
    size_t start = text[0] == ' ';
    for (size_t at = start; length - at >= 8; at += 8) {
        uint64_t bytes;
        memcpy(&bytes, text + at, 8);
        uint64_t others =
            ~bytes_in_range((bytes | EACH_BYTE(0x20)) & EACH_BYTE(0x7F), 'a', 'z') &
            EACH_BYTE(0x80);
        others |= bytes & EACH_BYTE(0x80);
        if (others == 0) continue;
        at += (size_t)__builtin_ctzll(others) / 8;
        return at > start && (unsigned char)text[at] < 0x80 ? at : 0;
    }
    return 0;
}

#endif
