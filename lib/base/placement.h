/* placement.h - lays out matrices one after another in one block of memory
 *
 * The same code counts the bytes and places the buffers, so the memory reported beforehand and the
 * memory used cannot differ.
 */
#ifndef LIB_BASE_PLACEMENT_H
#define LIB_BASE_PLACEMENT_H

#include "base/memory.h"

#include <stdint.h>

struct placement {
    void *base;   /* NULL: only count bytes */
    size_t bytes; /* taken so far; SIZE_MAX: overflow */
};

/* Places a matrix of rows * columns elements and returns its address, or NULL without a base. Each
 * begins at a multiple of 256 bytes, which suits CUDA's vector loads and any cache line. */
static inline void *placement_take(struct placement *placement, size_t rows, size_t columns,
                                   size_t element_bytes)
{
    /* A multiple of 256, so that rounding up never goes beyond it. */
    const size_t most = SIZE_MAX / 16 / 256 * 256;
    size_t begin = placement->bytes, bytes;
    if (begin == SIZE_MAX || !size_multiply(rows, columns, &bytes) ||
        !size_multiply(bytes, element_bytes, &bytes) || bytes > most - begin) {
        placement->bytes = SIZE_MAX;
        return NULL;
    }
    placement->bytes = begin + (bytes + 255) / 256 * 256;
    return placement->base == NULL ? NULL : (char *)placement->base + begin;
}

#endif
