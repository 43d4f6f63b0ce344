/* gpt2_words.h - splits text into words as GPT-2's pattern does
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * That is: a contraction; else a run of letters, digits or other characters, with the space before
 * it if there is one; else white space, without its last character if a word follows.
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
    size_t invalid_bytes; /* of these, invalid UTF-8, in the class "other" */
    bool is_open; /* ends with the text; more text could change it */
};

/* Returns the word that text[0..length) begins with, length > 0. has_space: treats the text as if a
 * space came before it; the word may then be that space alone, with no byte of the text. */
struct gpt2_word gpt2_word_first(const struct gpt2_classes *classes, const char *text,
                                 size_t length, bool has_space);

/* A fast path for most words: ASCII letters, optionally after a space, followed by another ASCII
 * character. Returns the length of the word, or 0 if it is not such a word or the text ends within
 * a few bytes. */
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
