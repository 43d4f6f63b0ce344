/* word_splitter.h - BertPreTokenizer and WordPiece: normalized characters in, token ids out
 *
 * Gathers the characters between spaces and punctuation into a word of at most a few KiB, and cuts
 * it into tokens when it ends.
 */
#ifndef LIB_DESCRIPTION_WORD_SPLITTER_H
#define LIB_DESCRIPTION_WORD_SPLITTER_H

#include "description/normalizer.h"
#include "description/word_cache.h"

#include <stdbool.h>
#include <stddef.h>

struct word_splitter {
    const struct wordpiece *model;
    struct word_cache *cache;
    struct token_list *list;
    /* The word being gathered. No mark may be moved before `barrier`. */
    size_t length, characters, barrier;
    bool too_long; /* the unknown token has been added for it */
    char word[WORDPIECE_MAX_BYTES + WORD_CACHE_LONGEST];
};

/* Starts between words. Leaves `word` unset, as it takes 4 KiB. */
void word_splitter_begin(struct word_splitter *splitter, const struct wordpiece *model,
                         struct word_cache *cache, struct token_list *list);

embed_status word_splitter_take(struct word_splitter *splitter, struct normalized unit);

/* Ends the word, if there is one. */
embed_status word_splitter_end(struct word_splitter *splitter);

static inline bool word_splitter_is_between_words(const struct word_splitter *splitter)
{
    return splitter->length == 0 && !splitter->too_long;
}

#endif
