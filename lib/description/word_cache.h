/* word_cache.h - caches the words that one thread has encountered, and their tokens
 *
 * Text repeats its words, so most need not be cut again. The cache is a direct-mapped table: each
 * word has one place and replaces the word there. It is therefore bounded, and it never changes a
 * result. Words that are too long or have too many tokens, 1 in 50 of English text, are not cached.
 */
#ifndef LIB_DESCRIPTION_WORD_CACHE_H
#define LIB_DESCRIPTION_WORD_CACHE_H

#include "description/token_list.h"
#include "description/wordpiece.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WORD_CACHE_LONGEST  16 /* bytes of a word; as many after any word must be readable */
#define WORD_CACHE_IDS      3
#define WORD_CACHE_MAX_BITS 13 /* 256 KiB */

/* The bytes of a word, padded with zeros. */
struct word_key {
    uint64_t low, high;
};

struct cached_word {
    struct word_key key;
    uint8_t length; /* 0: the place is empty */
    uint8_t count;
    int32_t ids[WORD_CACHE_IDS];
};

/* Belongs to one thread and one tokenizer. Starts zeroed; grows; release with word_cache_free. */
struct word_cache {
    struct cached_word *words;
    unsigned bits; /* there are 2^bits places */
    size_t added;  /* words since the cache has had this size */
};

void word_cache_free(struct word_cache *cache);

/* Caches a word of 1 to WORD_CACHE_LONGEST bytes, unless it has more than WORD_CACHE_IDS tokens. */
embed_status word_cache_keep(struct word_cache *cache, struct word_key key, size_t length,
                             const int32_t *ids, size_t count);

/* Like wordpiece_encode, and caches the word. */
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

/* Uses the high bits of the products, as they depend on all bits of the factors. */
static inline struct cached_word *word_cache_place(const struct word_cache *cache,
                                                   struct word_key key)
{
    uint64_t hash =
        key.low * UINT64_C(0x9E3779B97F4A7C15) ^ key.high * UINT64_C(0xC2B2AE3D27D4EB4F);
    return &cache->words[hash >> (64 - cache->bits)];
}

/* Returns NULL if the word is not cached. */
static inline const struct cached_word *word_cache_find(const struct word_cache *cache,
                                                        struct word_key key, size_t length)
{
    if (cache->words == NULL) return NULL;
    const struct cached_word *known = word_cache_place(cache, key);
    return known->key.low == key.low && known->key.high == key.high && known->length == length
               ? known
               : NULL;
}

/* Like wordpiece_encode. WORD_CACHE_LONGEST bytes must be readable after the word. `cache` may be
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
