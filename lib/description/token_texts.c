/* token_texts.c - maps token ids to the bytes they stand for, in byte-level BPE */
#include "description/token_texts.h"

#include "base/memory.h"
#include "base/status.h"
#include "description/byte_level.h"
#include "description/vocabulary.h"
#include "formats/unicode.h"

#include <string.h>

static embed_status grow(struct token_texts *texts, size_t count)
{
    if (count <= texts->count) return EMBED_OK;
    if (count < 2 * texts->count) count = 2 * texts->count;
    struct token_text *tokens =
        memory_resize(texts->tokens, count, sizeof *tokens, "the texts of tokens");
    if (tokens == NULL) return EMBED_OUT_OF_MEMORY;
    memset(tokens + texts->count, 0, (count - texts->count) * sizeof *tokens);
    texts->tokens = tokens;
    texts->count = count;
    return EMBED_OK;
}

/* Writes the bytes that the characters of `text` stand for; returns their number, at most `length`,
 * or 0 if a character stands for no byte. */
static size_t bytes_of(char *bytes, const char *text, size_t length)
{
    size_t count = 0;
    for (size_t at = 0; at < length; count++) {
        struct utf8_character c = utf8_decode(text + at, length - at);
        int byte = byte_level_byte(c.code);
        if (byte < 0) return 0;
        bytes[count] = (char)byte;
        at += c.bytes;
    }
    return count;
}

embed_status token_texts_set(struct token_texts *texts, int32_t id, const char *text,
                             size_t length, bool is_special)
{
    char bytes[VOCABULARY_MAX_BYTES];
    size_t count = bytes_of(bytes, text, length), offset = texts->bytes.length;
    TRY(grow(texts, (size_t)id + 1));
    TRY(text_buffer_add(&texts->bytes, count > 0 ? bytes : text, count > 0 ? count : length));
    texts->tokens[id] = (struct token_text){
        (uint32_t)offset, (uint16_t)(texts->bytes.length - offset), true, is_special};
    return EMBED_OK;
}

void token_texts_free(struct token_texts *texts)
{
    memory_free(texts->tokens);
    text_buffer_free(&texts->bytes);
    *texts = (struct token_texts){0};
}
