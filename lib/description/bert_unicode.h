/* bert_unicode.h - what Hugging Face tokenizers 0.23.3 takes each code point for, in BERT
 *
 * That library mixes Unicode 8, 9, 16 and 17; ids are only equal to its own if these are its
 * very sets. They are made by make_bert_unicode_tables.py, and do not change with the Unicode
 * version of any other library.
 */
#ifndef LIB_DESCRIPTION_BERT_UNICODE_H
#define LIB_DESCRIPTION_BERT_UNICODE_H

#include "formats/unicode.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bert_property {
    BERT_REMOVED = 1 << 0,          /* by clean_text */
    BERT_CLEANED_TO_SPACE = 1 << 1, /* by clean_text */
    BERT_CJK = 1 << 2,              /* gets spaces around it by handle_chinese_chars */
    BERT_WHITESPACE = 1 << 3,
    BERT_PUNCTUATION = 1 << 4,
    BERT_STARTER_MARK = 1 << 5,    /* category Mn (stripped as an accent), combining class 0 */
    BERT_NONSTARTER_MARK = 1 << 6, /* category Mn, another combining class */
    BERT_NONSTARTER = 1 << 7,      /* not Mn, though its combining class is not 0 */
    BERT_DECOMPOSED = 1 << 8,      /* has a canonical decomposition: unicode_decompose */
    BERT_HAS_LOWER_CASE = 1 << 9
};

/* Sums of bert_property, one for each of UNICODE_LIMIT code points. Release with memory_free;
 * NULL when out of memory. */
uint16_t *bert_unicode_properties(void);

/* Writes the lower case, or `code` itself; returns how many code points. */
size_t bert_unicode_lower(uint32_t out[2], uint32_t code);

/* Orders the code points that are BERT_NONSTARTER as their combining classes do; 0 for others.
 */
unsigned bert_unicode_combining_rank(uint32_t code);

/* Is it \w, so that no added token with single_word is matched beside it? */
bool bert_unicode_is_word(uint32_t code);

/* The sum over all decompositions, and what it has to be. They come from utf8proc: Unicode
 * promises never to change them, and a test that utf8proc has not. */
uint64_t bert_unicode_decompositions_checksum(void);
uint64_t bert_unicode_expected_checksum(void);

#endif
