/* merge_table.h - a hash table of pairs of tokens to the token they become, and its rank */
#ifndef LIB_DESCRIPTION_MERGE_TABLE_H
#define LIB_DESCRIPTION_MERGE_TABLE_H

#include "embed.h"

#include <stddef.h>
#include <stdint.h>

#define MERGE_TABLE_MAX_MERGES ((size_t)1 << 21)
#define MERGE_NONE             UINT32_MAX /* no rank */

struct merge {
    uint32_t rank; /* lower ranks are merged first; MERGE_NONE: never merged */
    int32_t id;    /* what they become */
};

struct merge_slot {
    uint64_t key; /* of the pair; 0: the slot is empty */
    struct merge merge;
};

/* Open addressing with linear probing, at most half full. Starts zeroed; release with
 * merge_table_free. */
struct merge_table {
    struct merge_slot *slots;
    unsigned bits; /* there are 2^bits slots */
    size_t count;
};

/* Adds a merge of two non-negative ids, replacing any earlier one of the same pair. EMBED_BAD_FILE,
 * naming `file`, if there are too many merges or collisions. */
embed_status merge_table_add(struct merge_table *table, const char *file, int32_t left,
                             int32_t right, struct merge merge);
void merge_table_free(struct merge_table *table);

static inline uint64_t merge_table_key(int32_t left, int32_t right)
{
    return ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) + 1;
}

/* Uses the high bits of the product, as they depend on all bits of the factors. */
static inline size_t merge_table_first(const struct merge_table *table, uint64_t key)
{
    key ^= key >> 29;
    return (size_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> (64 - table->bits));
}

static inline struct merge merge_table_find(const struct merge_table *table, int32_t left,
                                            int32_t right)
{
    uint64_t key = merge_table_key(left, right);
    size_t mask = ((size_t)1 << table->bits) - 1;
    if (table->count > 0)
        for (size_t i = merge_table_first(table, key); table->slots[i].key != 0;
             i = (i + 1) & mask)
            if (table->slots[i].key == key) return table->slots[i].merge;
    return (struct merge){MERGE_NONE, -1};
}

#endif
