/* merge_table.c - maps pairs of tokens to the token they become */
#include "description/merge_table.h"

#include "base/memory.h"
#include "base/status.h"

#define FIRST_BITS 8
#define MAX_PROBES 1024 /* chance needs fewer than 100; more is malice */

/* Returns the slot of this key or the empty slot where it belongs; NULL if too many collide. */
static struct merge_slot *slot_for(const struct merge_table *table, uint64_t key)
{
    size_t mask = ((size_t)1 << table->bits) - 1, i = merge_table_first(table, key);
    for (size_t probes = 0; probes < MAX_PROBES; probes++, i = (i + 1) & mask)
        if (table->slots[i].key == key || table->slots[i].key == 0) return &table->slots[i];
    return NULL;
}

static embed_status fail_collisions(const char *file)
{
    return fail(EMBED_BAD_FILE, "%s: more than %d merges collide in a hash table", file,
                MAX_PROBES);
}

static embed_status grow(struct merge_table *table, const char *file)
{
    struct merge_table old = *table;
    size_t old_count = old.slots != NULL ? (size_t)1 << old.bits : 0;
    unsigned bits = old.slots != NULL ? old.bits + 1 : FIRST_BITS;
    struct merge_slot *slots = memory_allocate((size_t)1 << bits, sizeof *slots, "the merges");
    if (slots == NULL) return EMBED_OUT_OF_MEMORY;
    table->slots = slots;
    table->bits = bits;

    embed_status status = EMBED_OK;
    for (size_t i = 0; i < old_count && status == EMBED_OK; i++) {
        if (old.slots[i].key == 0) continue;
        struct merge_slot *slot = slot_for(table, old.slots[i].key);
        if (slot == NULL)
            status = fail_collisions(file);
        else
            *slot = old.slots[i];
    }
    memory_free(old.slots);
    return status;
}

embed_status merge_table_add(struct merge_table *table, const char *file, int32_t left,
                             int32_t right, struct merge merge)
{
    if (table->count == MERGE_TABLE_MAX_MERGES)
        return fail(EMBED_BAD_FILE, "%s: more than %zu merges", file, MERGE_TABLE_MAX_MERGES);
    if (table->slots == NULL || table->count >= (size_t)1 << (table->bits - 1))
        TRY(grow(table, file));
    struct merge_slot *slot = slot_for(table, merge_table_key(left, right));
    if (slot == NULL) return fail_collisions(file);
    if (slot->key == 0) table->count++;
    *slot = (struct merge_slot){merge_table_key(left, right), merge};
    return EMBED_OK;
}

void merge_table_free(struct merge_table *table)
{
    memory_free(table->slots);
    *table = (struct merge_table){0};
}
