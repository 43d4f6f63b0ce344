/* normalizer.h - BertNormalizer: what each character of a text becomes
 *
 * One table lookup per character does all of BertNormalizer (clean_text, handle_chinese_chars,
 * strip_accents, lowercase, in this order) and gives the classes that BertPreTokenizer needs. The
 * exception is canonical order: stripping accents sorts combining marks by class. Nearly all marks
 * are then stripped; the rest are reported to the caller as NORMALIZED_NONSTARTER.
 */
#ifndef LIB_DESCRIPTION_NORMALIZER_H
#define LIB_DESCRIPTION_NORMALIZER_H

#include "embed.h"
#include "formats/unicode.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct normalizer_options {
    bool clean_text, handle_chinese_chars, strip_accents, lowercase;
};

enum normalized_kind {
    NORMALIZED_WORD,        /* part of a word */
    NORMALIZED_SPACE,       /* ends a word; dropped */
    NORMALIZED_PUNCTUATION, /* ends a word; a word of its own */
    NORMALIZED_NONSTARTER,  /* part of a word; the caller moves it before the directly
                               preceding nonstarters of higher bert_unicode_combining_rank ... */
    NORMALIZED_BARRIER      /* ... but not past this, which is not a character */
};

struct normalized {
    uint32_t code;
    enum normalized_kind kind;
};

/* A canonical decomposition into 4, each doubled by lower-casing, with a space on each side. */
#define NORMALIZER_MAX_EXPANSION 10

/* A two-stage table: 8,704 blocks of 128 characters, about 150 of them distinct. An entry has a
 * kind in the high byte and a value in the other three: a normalized_kind and its code point (0
 * means the character itself, so that blocks can be shared), or an entry_kind of normalizer.c. */
#define NORMALIZER_BLOCK_BITS 7

struct normalizer {
    uint16_t block_of[UNICODE_LIMIT >> NORMALIZER_BLOCK_BITS];
    uint32_t *entries;
    uint32_t *sequences;
};

/* On success the caller owns *normalizer. */
embed_status normalizer_create(struct normalizer **normalizer,
                               struct normalizer_options options);
void normalizer_destroy(struct normalizer *normalizer); /* NULL is fine */

static inline uint32_t normalizer_entry(const struct normalizer *normalizer, uint32_t code)
{
    size_t block = normalizer->block_of[code >> NORMALIZER_BLOCK_BITS];
    return normalizer->entries[block << NORMALIZER_BLOCK_BITS |
                               (code & ((1u << NORMALIZER_BLOCK_BITS) - 1))];
}

static inline struct normalized normalizer_entry_unit(uint32_t entry, uint32_t code)
{
    uint32_t value = entry & 0xFFFFFFu;
    return (struct normalized){value != 0 ? value : code, (enum normalized_kind)(entry >> 24)};
}

/* Writes what `code` becomes if that is one character, as it nearly always is, or returns false. */
static inline bool normalizer_expand_to_one(const struct normalizer *normalizer, uint32_t code,
                                            struct normalized *out)
{
    *out = normalizer_entry_unit(normalizer_entry(normalizer, code), code);
    return out->kind < NORMALIZED_BARRIER;
}

/* Writes what `code` (below UNICODE_LIMIT) becomes and returns the number of units, possibly 0. */
size_t normalizer_expand(const struct normalizer *normalizer, uint32_t code,
                         struct normalized out[NORMALIZER_MAX_EXPANSION]);

#endif
