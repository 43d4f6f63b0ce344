/* ascii_block.h - finds the words in 64 bytes of text, and lower-cases them
 *
 * Works on eight bytes at a time in a 64-bit register, in plain C, the same on every machine. Takes
 * half a cycle per byte; a byte-by-byte loop takes two.
 */
#ifndef LIB_DESCRIPTION_ASCII_BLOCK_H
#define LIB_DESCRIPTION_ASCII_BLOCK_H

#include "description/word_cache.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ASCII_BLOCK 64

struct ascii_block {
    uint64_t word;                               /* bit i: byte i is an ASCII letter or digit */
    char text[ASCII_BLOCK + WORD_CACHE_LONGEST]; /* in lower case, if requested */
};

#define EACH_BYTE(byte) (UINT64_C(0x0101010101010101) * (byte))

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "byte 0 has to be the lowest");

/* Sets the high bit of each byte that is in first..last, and no other bit. Every byte must be below
 * 0x80. */
static inline uint64_t bytes_in_range(uint64_t bytes, unsigned first, unsigned last)
{
    return (bytes + EACH_BYTE(0x80 - first)) & ~(bytes + EACH_BYTE(0x7F - last)) &
           EACH_BYTE(0x80);
}

/* Packs the high bits of the eight bytes into one byte, byte 0's lowest. */
static inline uint64_t gather_high_bits(uint64_t bytes)
{
    return (bytes >> 7) * UINT64_C(0x0102040810204080) >> 56;
}

/* Reads the first 64 bytes of text[0..length); a shorter text is padded with zeros. */
static inline void ascii_block_read(struct ascii_block *block, const char *text, size_t length,
                                    bool lowercase)
{
    char padded[ASCII_BLOCK];
    if (length < ASCII_BLOCK) {
        memset(padded, 0, sizeof padded);
        memcpy(padded, text, length);
        text = padded;
    }
    uint64_t case_bits = lowercase ? EACH_BYTE(0x20) : 0, word = 0;
    for (size_t i = 0; i < ASCII_BLOCK; i += 8) {
        uint64_t bytes;
        memcpy(&bytes, text + i, 8);
        uint64_t low = bytes & EACH_BYTE(0x7F), ascii = ~bytes & EACH_BYTE(0x80);
        uint64_t capital = bytes_in_range(low, 'A', 'Z') & ascii;
        uint64_t other =
            (bytes_in_range(low, 'a', 'z') | bytes_in_range(low, '0', '9')) & ascii;
        word |= gather_high_bits(capital | other) << i;
        bytes |= capital >> 2 & case_bits;
        memcpy(block->text + i, &bytes, 8);
    }
    block->word = word;
    memset(block->text + ASCII_BLOCK, 0, WORD_CACHE_LONGEST);
}

/* Returns the length of the word that begins at byte i, up to the end of the block. */
static inline size_t ascii_block_word_length(const struct ascii_block *block, size_t i)
{
    uint64_t behind = ~(block->word >> i);
    return behind != 0 ? (size_t)__builtin_ctzll(behind) : ASCII_BLOCK;
}

#endif
