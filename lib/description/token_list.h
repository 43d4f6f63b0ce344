/* token_list.h - a growing list of token ids */
#ifndef LIB_DESCRIPTION_TOKEN_LIST_H
#define LIB_DESCRIPTION_TOKEN_LIST_H

#include "embed.h"

#include <stddef.h>
#include <stdint.h>

/* The ids of one text after another. Starts zeroed; grows; release with token_list_free. */
struct token_list {
    int32_t *ids;
    size_t count, capacity;
};

/* Makes room for `more` ids after the first `count`. */
embed_status token_list_reserve(struct token_list *list, size_t more);
/* Appends one id. */
embed_status token_list_add(struct token_list *list, int32_t id);
/* Leaves an empty list, which may be used again. */
void token_list_free(struct token_list *list);

#endif
