/* placement.h - matrices one after another in one block of memory
 *
 * What counts the bytes also places the buffers: what is reported before and what is used after
 * cannot differ.
 */
#ifndef LIB_BASE_PLACEMENT_H
#define LIB_BASE_PLACEMENT_H

#include "base/memory.h"

#include <stdint.h>

struct placement {
    void *base;   /* NULL: only the bytes are counted */
    size_t bytes; /* taken so far; SIZE_MAX: more than fits */
};

/* Where a matrix of so many elements is; NULL without a base. Each begins at a multiple of 256 bytes:
 * what CUDA's vector loads and any cache line like. */
static inline void *placement_take(struct placement *placement, size_t rows, size_t columns,
                                   size_t element_bytes)
{
    size_t begin = placement->bytes, bytes;
    if (begin == SIZE_MAX || !size_multiply(rows, columns, &bytes) ||
        !size_multiply(bytes, element_bytes, &bytes) || bytes > SIZE_MAX / 16 - begin) {
        placement->bytes = SIZE_MAX;
        return NULL;
    }
    placement->bytes = begin + (bytes + 255) / 256 * 256;
    return placement->base == NULL ? NULL : (char *)placement->base + begin;
}

#endif
