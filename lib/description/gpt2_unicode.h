/* gpt2_unicode.h - how Hugging Face tokenizers 0.23.3 classifies each code point for GPT-2's
 * pattern: \p{L}, \p{N}, \s or none of these
 */
#ifndef LIB_DESCRIPTION_GPT2_UNICODE_H
#define LIB_DESCRIPTION_GPT2_UNICODE_H

#include "formats/unicode.h"

#include <stdint.h>

enum gpt2_class { GPT2_OTHER, GPT2_LETTER, GPT2_NUMBER, GPT2_SPACE };

struct gpt2_classes {
    uint8_t ascii[128];
    uint8_t four[UNICODE_LIMIT / 4]; /* two bits per code point, lowest bits first */
};

/* Returns NULL if out of memory. Release with memory_free. */
struct gpt2_classes *gpt2_classes_create(void);

static inline enum gpt2_class gpt2_class_of(const struct gpt2_classes *classes, uint32_t code)
{
    return (enum gpt2_class)(classes->four[code / 4] >> code % 4 * 2 & 3);
}

#endif
