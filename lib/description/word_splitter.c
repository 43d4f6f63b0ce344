/* word_splitter.c - gathers words and cuts them into tokens */
#include "description/word_splitter.h"

#include "base/status.h"
#include "description/bert_unicode.h"

#include <string.h>

void word_splitter_begin(struct word_splitter *splitter, const struct wordpiece *model,
                         struct word_cache *cache, struct token_list *list)
{
    splitter->model = model;
    splitter->cache = cache;
    splitter->list = list;
    splitter->length = splitter->characters = splitter->barrier = 0;
    splitter->too_long = false;
}

embed_status word_splitter_end(struct word_splitter *splitter)
{
    size_t length = splitter->length;
    bool is_done = splitter->too_long || length == 0;
    splitter->length = splitter->characters = splitter->barrier = 0;
    splitter->too_long = false;
    if (is_done) return EMBED_OK;
    return word_cache_encode(splitter->cache, splitter->model, splitter->word, length,
                             splitter->list);
}

/* Returns where in the word a combining mark belongs: after the marks whose class is not higher. */
static size_t place_of_mark(const struct word_splitter *splitter, uint32_t code)
{
    unsigned rank = bert_unicode_combining_rank(code);
    size_t place = splitter->length;
    while (place > splitter->barrier) {
        size_t before = place - 1;
        while (before > 0 && ((unsigned char)splitter->word[before] & 0xC0) == 0x80) before--;
        uint32_t other = utf8_decode(splitter->word + before, place - before).code;
        if (bert_unicode_combining_rank(other) <= rank) break;
        place = before;
    }
    return place;
}

static embed_status add_to_word(struct word_splitter *splitter, struct normalized unit)
{
    if (splitter->too_long) return EMBED_OK;
    if (splitter->characters == splitter->model->max_characters) {
        splitter->too_long = true;
        return token_list_add(splitter->list, splitter->model->unknown_id);
    }
    size_t place = splitter->length;
    if (unit.kind == NORMALIZED_NONSTARTER) {
        char bytes[4];
        place = place_of_mark(splitter, unit.code);
        memmove(splitter->word + place + utf8_encode(bytes, unit.code), splitter->word + place,
                splitter->length - place);
    }
    splitter->length += utf8_encode(splitter->word + place, unit.code);
    splitter->characters++;
    return EMBED_OK;
}

embed_status word_splitter_take(struct word_splitter *splitter, struct normalized unit)
{
    switch (unit.kind) {
    case NORMALIZED_WORD:
    case NORMALIZED_NONSTARTER: return add_to_word(splitter, unit);
    case NORMALIZED_SPACE: return word_splitter_end(splitter);
    case NORMALIZED_PUNCTUATION:
        TRY(word_splitter_end(splitter));
        TRY(add_to_word(splitter, unit));
        return word_splitter_end(splitter);
    case NORMALIZED_BARRIER: splitter->barrier = splitter->length; break;
    }
    return EMBED_OK;
}
