/* word_cache.h - the words that one thread has met, and their tokens
 *
 * Text repeats its words: most need not be cut again. The cache is a table in which each word
 * has one place, where it replaces what was there; so it is bounded, and never changes a
 * result. A longer word, or one of more tokens, has no place: 1 in 50 of English text.
 */
#ifndef LIB_DESCRIPTION_WORD_CACHE_H
#define LIB_DESCRIPTION_WORD_CACHE_H

#include "description/token_list.h"
#include "description/wordpiece.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WORD_CACHE_LONGEST  16 /* bytes of a word; so many behind any word must be readable */
#define WORD_CACHE_IDS      3
#define WORD_CACHE_MAX_BITS 13 /* 256 KiB */

/* The bytes of a word, and zeros behind them. */
struct word_key {
    uint64_t low, high;
};

struct cached_word {
    struct word_key key;
    uint8_t length; /* 0: nothing is here */
    uint8_t count;
    int32_t ids[WORD_CACHE_IDS];
};

/* Of one thread and one tokenizer. Starts zeroed; grows; release with word_cache_free. */
struct word_cache {
    struct cached_word *words;
    unsigned bits; /* there is room for 2^bits words */
    size_t added;  /* since there has been this room */
};

void word_cache_free(struct word_cache *cache);

/* Keeps a word of 1 to WORD_CACHE_LONGEST bytes, unless it has more than WORD_CACHE_IDS tokens. */
embed_status word_cache_keep(struct word_cache *cache, struct word_key key, size_t length,
                             const int32_t *ids, size_t count);

/* As wordpiece_encode, and keeps the word. */
embed_status word_cache_encode_new(struct word_cache *cache, const struct wordpiece *model,
                                   const char *word, size_t length, struct token_list *list);

static inline struct word_key word_key(const char *word, size_t length)
{
    static const uint64_t masks[4] = {UINT64_MAX, UINT64_MAX, 0, 0};
    struct word_key key, mask;
    memcpy(&key, word, sizeof key);
    memcpy(&mask, (const char *)masks + WORD_CACHE_LONGEST - length, sizeof mask);
    return (struct word_key){key.low & mask.low, key.high & mask.high};
}

/* A product's high bits depend on all bits of its factors. */
static inline struct cached_word *word_cache_place(const struct word_cache *cache,
                                                   struct word_key key)
{
    uint64_t hash =
        key.low * UINT64_C(0x9E3779B97F4A7C15) ^ key.high * UINT64_C(0xC2B2AE3D27D4EB4F);
    return &cache->words[hash >> (64 - cache->bits)];
}

/* NULL where the word is not there. */
static inline const struct cached_word *word_cache_find(const struct word_cache *cache,
                                                        struct word_key key, size_t length)
{
    if (cache->words == NULL) return NULL;
    const struct cached_word *known = word_cache_place(cache, key);
    return known->key.low == key.low && known->key.high == key.high && known->length == length
               ? known
               : NULL;
}

/* As wordpiece_encode. Behind the word WORD_CACHE_LONGEST bytes can be read; `cache` may be
 * NULL. */
static inline embed_status word_cache_encode(struct word_cache *cache,
                                             const struct wordpiece *model, const char *word,
                                             size_t length, struct token_list *list)
{
    if (length > WORD_CACHE_LONGEST || cache == NULL)
        return wordpiece_encode(model, word, length, list);
    if (cache->words == NULL || list->capacity - list->count < WORD_CACHE_IDS)
        return word_cache_encode_new(cache, model, word, length, list);

    struct word_key key = word_key(word, length);
    const struct cached_word *known = word_cache_place(cache, key);
    if ((known->key.low ^ key.low) | (known->key.high ^ key.high) | (known->length ^ length))
        return word_cache_encode_new(cache, model, word, length, list);
    memcpy(list->ids + list->count, known->ids,
           sizeof known->ids); /* faster than `count` ids */
    list->count += known->count;
    return EMBED_OK;
}

#endif
