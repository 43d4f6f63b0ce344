/* bert_unicode.h - how Hugging Face tokenizers 0.23.3 classifies each code point for BERT
 *
 * That library mixes Unicode 8, 9, 16 and 17, so equal ids require exactly its sets.
 * make_bert_unicode_tables.py generates them; they do not depend on the Unicode version of any
 * other library.
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
    BERT_CJK = 1 << 2,              /* surrounded with spaces by handle_chinese_chars */
    BERT_WHITESPACE = 1 << 3,
    BERT_PUNCTUATION = 1 << 4,
    BERT_STARTER_MARK = 1 << 5,    /* category Mn (stripped as an accent), combining class 0 */
    BERT_NONSTARTER_MARK = 1 << 6, /* category Mn, combining class not 0 */
    BERT_NONSTARTER = 1 << 7,      /* not category Mn, combining class not 0 */
    BERT_DECOMPOSED = 1 << 8,      /* has a canonical decomposition: unicode_decompose */
    BERT_HAS_LOWER_CASE = 1 << 9
};

/* Returns the bert_property flags of each of the UNICODE_LIMIT code points, or NULL if out of
 * memory. Release with memory_free. */
uint16_t *bert_unicode_properties(void);

/* Writes the lower case of `code`, or `code` itself if it has none; returns the number of code
 * points written. */
size_t bert_unicode_lower(uint32_t out[2], uint32_t code);

/* Returns a rank that orders BERT_NONSTARTER code points as their combining classes do; 0 for all
 * others. */
unsigned bert_unicode_combining_rank(uint32_t code);

/* Returns true if `code` is \w: an added token with single_word does not match next to it. */
bool bert_unicode_is_word(uint32_t code);

/* The checksum of all decompositions, and its expected value. The decompositions come from
 * utf8proc. Unicode guarantees that they never change; a test compares the two to check that
 * utf8proc's have not. */
uint64_t bert_unicode_decompositions_checksum(void);
uint64_t bert_unicode_expected_checksum(void);

#endif
