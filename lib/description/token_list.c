/* token_list.c - a growing list of token ids */
#include "description/token_list.h"

#include "base/memory.h"
#include "base/status.h"

#define FIRST_CAPACITY 256

embed_status token_list_reserve(struct token_list *list, size_t more)
{
    if (list->capacity - list->count >= more) return EMBED_OK;
    size_t needed, capacity;
    if (!size_add(list->count, more, &needed) || !size_multiply(needed, 2, &capacity))
        return fail(EMBED_OUT_OF_MEMORY, "out of memory: more token ids than memory can hold");
    if (capacity < FIRST_CAPACITY) capacity = FIRST_CAPACITY;
    int32_t *grown = memory_resize(list->ids, capacity, sizeof *grown, "a list of token ids");
    if (grown == NULL) return EMBED_OUT_OF_MEMORY;
    list->ids = grown;
    list->capacity = capacity;
    return EMBED_OK;
}

embed_status token_list_add(struct token_list *list, int32_t id)
{
    TRY(token_list_reserve(list, 1));
    list->ids[list->count++] = id;
    return EMBED_OK;
}

void token_list_free(struct token_list *list)
{
    memory_free(list->ids);
    *list = (struct token_list){0};
}
