/* memory.h - allocation: the only file that calls malloc
 *
 * Every function returns NULL on failure, with this thread's error set to a sentence that names
 * `what` and the bytes; the caller returns EMBED_OUT_OF_MEMORY. Sizes are checked for overflow.
 */
#ifndef LIB_BASE_MEMORY_H
#define LIB_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* count * size bytes, zeroed; never NULL for 0 bytes. Release with memory_free. */
void *memory_allocate(size_t count, size_t size, const char *what);

/* As realloc: the old block stays valid when this fails. New bytes are not zeroed. */
void *memory_resize(void *old, size_t count, size_t size, const char *what);

/* At least `bytes`, aligned to 64 bytes (a cache line and an AVX-512 register), not zeroed.
 * Large blocks ask for huge pages. Release with memory_free. */
void *memory_allocate_aligned(size_t bytes, const char *what);

/* A copy of text[0..length) with a NUL after it. */
char *memory_copy_text(const char *text, size_t length, const char *what);

/* NULL is fine. */
void memory_free(void *block);

/* out = a * b or a + b; false where that does not fit (out is then undefined). */
static inline bool size_multiply(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool size_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

#endif
