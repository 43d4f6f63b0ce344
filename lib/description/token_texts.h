/* token_texts.h - maps token ids to the bytes they stand for, in byte-level BPE */
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
    struct text_buffer bytes; /* of all tokens; not necessarily UTF-8 */
};

/* Sets the bytes of an id from 0 to TOKEN_TEXTS_MAX_ID whose token the vocabulary writes as
 * text[0..length), at most 4096 bytes. If a character of it stands for no byte, the token is taken
 * literally. */
embed_status token_texts_set(struct token_texts *texts, int32_t id, const char *text,
                             size_t length, bool is_special);
void token_texts_free(struct token_texts *texts);

#endif
