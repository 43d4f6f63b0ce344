/* word_cache.c - adds words to the cache */
#include "description/word_cache.h"

#include "base/memory.h"
#include "base/status.h"

#define FIRST_BITS 9 /* 16 KiB: enough for a few sentences */

_Static_assert(sizeof(struct cached_word) == 32, "two in a line of the processor's cache");

/* Allocates the cache at its first use. Replaces it with an empty one of full size once as many
 * words have been added as it has places. */
static embed_status make_room(struct word_cache *cache)
{
    unsigned bits = cache->bits == 0 ? FIRST_BITS : WORD_CACHE_MAX_BITS;
    if (bits == cache->bits || ++cache->added >> cache->bits == 0) return EMBED_OK;
    struct cached_word *words =
        memory_allocate((size_t)1 << bits, sizeof *words, "a cache of words");
    if (words == NULL) return EMBED_OUT_OF_MEMORY;
    memory_free(cache->words);
    *cache = (struct word_cache){.words = words, .bits = bits};
    return EMBED_OK;
}

embed_status word_cache_keep(struct word_cache *cache, struct word_key key, size_t length,
                             const int32_t *ids, size_t count)
{
    if (count > WORD_CACHE_IDS) return EMBED_OK;
    TRY(make_room(cache));
    struct cached_word *place = word_cache_place(cache, key);
    place->key = key;
    place->length = (uint8_t)length;
    place->count = (uint8_t)count;
    memcpy(place->ids, ids, count * sizeof *place->ids);
    return EMBED_OK;
}

embed_status word_cache_encode_new(struct word_cache *cache, const struct wordpiece *model,
                                   const char *word, size_t length, struct token_list *list)
{
    size_t start = list->count;
    TRY(wordpiece_encode(model, word, length, list));
    return word_cache_keep(cache, word_key(word, length), length, list->ids + start,
                           list->count - start);
}

void word_cache_free(struct word_cache *cache)
{
    memory_free(cache->words);
    *cache = (struct word_cache){0};
}
