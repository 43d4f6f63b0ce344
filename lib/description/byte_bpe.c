/* byte_bpe.c - byte-level BPE: merges the bytes of a word into tokens */
#include "description/byte_bpe.h"

#include "base/memory.h"
#include "base/status.h"

#include <stdbool.h>
#include <string.h>

#define SHORT_WORD 32 /* bytes: up to this length, scanning all pairs is faster than a heap */
#define NOWHERE    UINT32_MAX

/* ---- short words ------------------------------------------------------------------------- */

/* Merges ids[0..count), count <= SHORT_WORD, in place; returns how many are left. */
static size_t merge_short(const struct merge_table *table, int32_t *ids, size_t count)
{
    struct merge merges[SHORT_WORD]; /* merges[i]: of ids[i] and ids[i + 1] */
    for (size_t i = 0; i + 1 < count; i++)
        merges[i] = merge_table_find(table, ids[i], ids[i + 1]);
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; i++)
            if (merges[i].rank < merges[best].rank) best = i;
        if (merges[best].rank == MERGE_NONE) break;

        ids[best] = merges[best].id;
        count--;
        memmove(ids + best + 1, ids + best + 2, (count - best - 1) * sizeof *ids);
        if (best + 1 < count) {
            memmove(merges + best + 1, merges + best + 2, (count - best - 2) * sizeof *merges);
            merges[best] = merge_table_find(table, ids[best], ids[best + 1]);
        }
        if (best > 0) merges[best - 1] = merge_table_find(table, ids[best - 1], ids[best]);
    }
    return count;
}

/* ---- long words: a list of symbols, and a heap of the merges between them ---------------- */

struct symbol {
    int32_t id; /* -1: merged into the previous symbol */
    uint32_t previous, next;
};

/* A min-heap of rank << 32 | index of the left symbol. An entry whose symbols have changed stays in
 * the heap and is discarded when it is taken. */
struct work {
    const struct merge_table *table;
    struct symbol *symbols;
    uint64_t *heap;
    size_t heap_count;
};

static void heap_add(struct work *work, uint64_t entry)
{
    size_t i = work->heap_count++;
    for (; i > 0 && work->heap[(i - 1) / 2] > entry; i = (i - 1) / 2)
        work->heap[i] = work->heap[(i - 1) / 2];
    work->heap[i] = entry;
}

static uint64_t heap_take(struct work *work)
{
    uint64_t least = work->heap[0], last = work->heap[--work->heap_count];
    size_t i = 0, child;
    for (; (child = 2 * i + 1) < work->heap_count; i = child) {
        if (child + 1 < work->heap_count && work->heap[child + 1] < work->heap[child]) child++;
        if (work->heap[child] >= last) break;
        work->heap[i] = work->heap[child];
    }
    work->heap[i] = last;
    return least;
}

/* Returns the merge of the symbol at `place` with the next one; its rank is MERGE_NONE if there is
 * none. */
static struct merge merge_at(const struct work *work, uint32_t place)
{
    const struct symbol *left = &work->symbols[place];
    if (left->id < 0 || left->next == NOWHERE) return (struct merge){MERGE_NONE, -1};
    return merge_table_find(work->table, left->id, work->symbols[left->next].id);
}

static void consider(struct work *work, uint32_t place)
{
    struct merge merge = merge_at(work, place);
    if (merge.rank != MERGE_NONE) heap_add(work, (uint64_t)merge.rank << 32 | place);
}

/* Each merge takes one entry from the heap and adds at most two, so the heap never holds more than
 * two per symbol. */
static void merge_all(struct work *work, size_t count)
{
    for (uint32_t i = 0; i + 1 < count; i++) consider(work, i);
    while (work->heap_count > 0) {
        uint64_t entry = heap_take(work);
        uint32_t place = (uint32_t)entry;
        struct merge merge = merge_at(work, place);
        if (merge.rank != entry >> 32) continue; /* the symbols have changed */
        struct symbol *left = &work->symbols[place], *right = &work->symbols[left->next];
        left->id = merge.id;
        left->next = right->next;
        right->id = -1;
        if (left->next != NOWHERE) work->symbols[left->next].previous = place;
        if (left->previous != NOWHERE) consider(work, left->previous);
        consider(work, place);
    }
}

/* Merges ids[0..*count) in place and sets *count to the number left. */
static embed_status merge_long(const struct merge_table *table, int32_t *ids, size_t *count)
{
    if (*count >= NOWHERE / 2)
        return fail(EMBED_UNSUPPORTED, "a text has a word of %zu bytes, more than 2^31",
                    *count);
    struct work work = {.table = table};
    work.symbols = memory_allocate(*count, sizeof *work.symbols, "a long word");
    work.heap = memory_allocate(2 * *count, sizeof *work.heap, "a long word");
    bool has_memory = work.symbols != NULL && work.heap != NULL;
    if (has_memory) {
        for (uint32_t i = 0; i < *count; i++)
            work.symbols[i] = (struct symbol){ids[i], i > 0 ? i - 1 : NOWHERE,
                                              i + 1 < *count ? i + 1 : NOWHERE};
        merge_all(&work, *count);
        *count = 0;
        for (uint32_t i = 0; i != NOWHERE; i = work.symbols[i].next)
            ids[(*count)++] = work.symbols[i].id;
    }
    memory_free(work.symbols);
    memory_free(work.heap);
    return has_memory ? EMBED_OK : EMBED_OUT_OF_MEMORY;
}

embed_status byte_bpe_encode(const struct byte_bpe *model, const char *word, size_t length,
                             struct token_list *list)
{
    TRY(token_list_reserve(list, length)); /* a token covers at least one byte */
    int32_t *ids = list->ids + list->count;
    size_t count = 0;
    for (size_t i = 0; i < length; i++) {
        int32_t id = model->bytes[(unsigned char)word[i]];
        if (id >= 0) ids[count++] = id;
    }
    if (count <= SHORT_WORD)
        count = merge_short(&model->merges, ids, count);
    else
        TRY(merge_long(&model->merges, ids, &count));
    list->count += count;
    return EMBED_OK;
}
