/* wordpiece.c - WordPiece: cuts a word into the longest tokens, from left to right */
#include "description/wordpiece.h"

#include "base/status.h"

embed_status wordpiece_encode(const struct wordpiece *model, const char *word, size_t length,
                              struct token_list *list)
{
    TRY(token_list_reserve(list, length)); /* a token covers at least one byte */
    size_t start_count = list->count, done = 0;
    for (uint32_t head = TOKEN_TRIE_ROOT; done < length; head = model->continuation) {
        int32_t id = model->unknown_id;
        size_t bytes =
            token_trie_longest(model->trie, head, word + done, length - done, &id);
        if (bytes == 0) {
            list->count = start_count;
            bytes = length - done;
        }
        list->ids[list->count++] = id;
        done += bytes;
    }
    return EMBED_OK;
}
