/* token_texts.h - ids to what they stand for in a text, in byte-level BPE */
#ifndef LIB_DESCRIPTION_TOKEN_TEXTS_H
#define LIB_DESCRIPTION_TOKEN_TEXTS_H

#include "base/text_buffer.h"
#include "embed.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKEN_TEXTS_MAX_ID (((int32_t)1 << 22) - 1)

struct token_text {
    uint32_t offset; /* in `bytes` */
    uint16_t length;
    bool is_known, is_special;
};

/* Starts zeroed; release with token_texts_free. */
struct token_texts {
    struct token_text *tokens; /* by id */
    size_t count;
    struct text_buffer bytes; /* of all of them; they need not be UTF-8 */
};

/* Sets the text of an id, 0 to TOKEN_TEXTS_MAX_ID, which a vocabulary writes as
 * text[0..length), at most 4096 bytes. What has a character that stands for no byte is the
 * bytes as they are. */
embed_status token_texts_set(struct token_texts *texts, int32_t id, const char *text,
                             size_t length, bool is_special);
void token_texts_free(struct token_texts *texts);

#endif
