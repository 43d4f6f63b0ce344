/* memory.h - allocation; only memory.c calls malloc
 *
 * Every function that allocates returns NULL on failure and sets this thread's error to a message
 * with `what` and the size; the caller returns EMBED_OUT_OF_MEMORY. Sizes are checked for overflow.
 */
#ifndef LIB_BASE_MEMORY_H
#define LIB_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Allocates count * size zeroed bytes; 0 bytes give a valid block too. Release with memory_free. */
void *memory_allocate(size_t count, size_t size, const char *what);

/* Like realloc: on failure the old block stays valid. New bytes are not zeroed. */
void *memory_resize(void *old, size_t count, size_t size, const char *what);

/* Allocates at least `bytes`, not zeroed, aligned to 64 bytes (a cache line and an AVX-512
 * register). Large blocks request huge pages. Release with memory_free. */
void *memory_allocate_aligned(size_t bytes, const char *what);

/* Returns a copy of text[0..length) with a terminating NUL. Release with memory_free. */
char *memory_copy_text(const char *text, size_t length, const char *what);

/* NULL is fine. */
void memory_free(void *block);

/* Compute *out = a * b or a + b. Return false on overflow; *out is then undefined. */
static inline bool size_multiply(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool size_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

#endif
