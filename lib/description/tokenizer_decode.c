/* tokenizer_decode.c - token ids to text */
#include "description/tokenizer.h"

#include "base/status.h"
#include "description/tokenizer_parts.h"
#include "formats/unicode.h"

/* Appends the bytes that the tokens stand for, UTF-8 or not. */
static embed_status add_bytes(struct text_buffer *bytes, const struct token_texts *texts,
                              const int32_t *ids, size_t n, bool skip_special)
{
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= texts->count) continue;
        const struct token_text *token = &texts->tokens[ids[i]];
        if (!token->is_known || (token->is_special && skip_special)) continue;
        TRY(text_buffer_add(bytes, texts->bytes.data + token->offset, token->length));
    }
    return EMBED_OK;
}

/* Appends text[0..length) with invalid UTF-8 replaced by U+FFFD. */
static embed_status add_text(struct text_buffer *out, const char *text, size_t length)
{
    size_t done = 0;
    if (length == 0) return EMBED_OK;
    for (size_t at = 0; at < length;) {
        struct utf8_character c = utf8_decode(text + at, length - at);
        if (!c.valid) {
            TRY(text_buffer_add(out, text + done, at - done));
            TRY(text_buffer_add(out, "\xEF\xBF\xBD", 3));
            done = at + c.bytes;
        }
        at += c.bytes;
    }
    return text_buffer_add(out, text + done, length - done);
}

embed_status tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t n,
                              bool skip_special, struct text_buffer *text)
{
    const struct tokenizer_parts *parts = &tokenizer->parts;
    if (!parts->is_byte_bpe)
        return fail(EMBED_UNSUPPORTED, "%s: WordPiece ids cannot be decoded", parts->file);
    if (!parts->has_byte_level_decoder)
        return fail(EMBED_UNSUPPORTED, "%s: its decoder is not ByteLevel", parts->file);
    struct text_buffer bytes = {0};
    size_t before = text->length;
    embed_status status = add_bytes(&bytes, &tokenizer->texts, ids, n, skip_special);
    if (status == EMBED_OK) status = add_text(text, bytes.data, bytes.length);
    if (status != EMBED_OK) text->length = before;
    text_buffer_free(&bytes);
    return status;
}
