/* byte_level.h - the characters that GPT-2's vocabularies write for bytes
 *
 * A vocabulary file is text and cannot hold every byte, so each byte is written as a character. The
 * 188 bytes that are printable in Latin-1 stand for themselves; the others are U+0100 and up, in
 * order.
 */
#ifndef LIB_DESCRIPTION_BYTE_LEVEL_H
#define LIB_DESCRIPTION_BYTE_LEVEL_H

#include <stdbool.h>
#include <stdint.h>

static inline bool byte_level_is_itself(uint32_t byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
}

static inline uint32_t byte_level_character(unsigned char byte)
{
    if (byte_level_is_itself(byte)) return byte;
    if (byte <= ' ') return 0x100u + byte;
    return byte == 0xAD ? 0x143u : 0x121u + byte - 0x7Fu;
}

/* Returns the byte that a character stands for, or -1 if it stands for none. */
static inline int byte_level_byte(uint32_t code)
{
    if (code <= 0xFF) return byte_level_is_itself(code) ? (int)code : -1;
    if (code <= 0x120) return (int)(code - 0x100);
    if (code <= 0x142) return (int)(code - 0x121 + 0x7F);
    return code == 0x143 ? 0xAD : -1;
}

#endif
