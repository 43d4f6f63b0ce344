/* wordpiece.c - WordPiece: cuts a word into the longest tokens, from left to right */
#include "description/wordpiece.h"

#include "base/status.h"

/* The longest token that text[0..length) begins with, after `head` (of which `head_hash` is the
 * hash): returns its bytes without the head, 0 where there is none. */
static size_t find_longest(const struct vocabulary *vocabulary, const char *head,
                           size_t head_length, uint64_t head_hash, const char *text,
                           size_t length, int32_t *id)
{
    if (vocabulary->longest <= head_length) return 0;
    size_t end = vocabulary->longest - head_length;
    if (end > length) end = length;

    uint64_t hashes[WORDPIECE_MAX_BYTES]; /* [i]: of head and text[0..i] */
    uint64_t hash = head_hash;
    for (size_t i = 0; i < end; i++) hashes[i] = hash = vocabulary_hash_byte(hash, text[i]);

    for (; end > 0; end--) {
        /* Tokens are whole characters. */
        if (end < length && ((unsigned char)text[end] & 0xC0) == 0x80) continue;
        *id = vocabulary_find_hashed(vocabulary, hashes[end - 1], head, head_length, text, end);
        if (*id >= 0) return end;
    }
    return 0;
}

embed_status wordpiece_encode(const struct wordpiece *model, const char *word, size_t length,
                              struct token_list *list)
{
    TRY(token_list_reserve(list, length)); /* a token takes a byte at least */
    size_t start_count = list->count;

    /* Most words are one token. */
    uint64_t hash = vocabulary_hash(VOCABULARY_HASH_START, word, length);
    int32_t id = vocabulary_find_hashed(model->vocabulary, hash, "", 0, word, length);
    if (id >= 0) {
        list->ids[list->count++] = id;
        return EMBED_OK;
    }
    size_t done =
        find_longest(model->vocabulary, "", 0, VOCABULARY_HASH_START, word, length, &id);
    size_t bytes = done;
    while (bytes > 0) {
        list->ids[list->count++] = id;
        if (done == length) return EMBED_OK;
        bytes = find_longest(model->vocabulary, model->prefix, model->prefix_length,
                             model->prefix_hash, word + done, length - done, &id);
        done += bytes;
    }
    list->count = start_count;
    list->ids[list->count++] = model->unknown_id;
    return EMBED_OK;
}
