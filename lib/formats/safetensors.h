/* safetensors.h - reads one .safetensors file: 8 bytes N, N bytes of JSON, then the tensors' bytes
 *
 * Format: https://github.com/huggingface/safetensors#format. The whole header is checked when the
 * file is opened: sizes, offsets without holes or overlaps, names, shapes, and that the file ends
 * where the last tensor does. The file is not mapped (if another process truncated it, our process
 * would be killed): bytes are read with pread into the caller's memory.
 */
#ifndef LIB_FORMATS_SAFETENSORS_H
#define LIB_FORMATS_SAFETENSORS_H

#include "embed.h"

#include <stddef.h>
#include <stdint.h>

#define SAFETENSORS_MAX_RANK 8

enum safetensors_dtype {
    SAFETENSORS_BOOL, SAFETENSORS_F4, SAFETENSORS_F6_E2M3, SAFETENSORS_F6_E3M2, SAFETENSORS_U8,
    SAFETENSORS_I8, SAFETENSORS_F8_E5M2, SAFETENSORS_F8_E4M3, SAFETENSORS_F8_E8M0,
    SAFETENSORS_F8_E4M3FNUZ, SAFETENSORS_F8_E5M2FNUZ, SAFETENSORS_I16, SAFETENSORS_U16,
    SAFETENSORS_F16, SAFETENSORS_BF16, SAFETENSORS_I32, SAFETENSORS_U32, SAFETENSORS_F32,
    SAFETENSORS_C64, SAFETENSORS_F64, SAFETENSORS_I64, SAFETENSORS_U64
};
#define SAFETENSORS_DTYPE_COUNT (SAFETENSORS_U64 + 1)

struct safetensors_tensor {
    const char *name; /* NUL-terminated, no control characters */
    enum safetensors_dtype dtype;
    unsigned rank;
    uint64_t shape[SAFETENSORS_MAX_RANK];
    uint64_t elements; /* product of the shape */
    uint64_t offset;   /* of its first byte in the file */
    uint64_t bytes;
};

struct safetensors;

/* On success the caller owns *file. Failures name the path and the cause: EMBED_IO or
 * EMBED_BAD_FILE. */
embed_status safetensors_open(struct safetensors **file, const char *path);
void safetensors_close(struct safetensors *file); /* NULL is fine */

const char *safetensors_path(const struct safetensors *file);

/* Identifies a file and its state when it was opened: equal for two openings of the same file if it
 * was not written to between them. */
struct safetensors_identity {
    uint64_t device, inode, size;
    int64_t seconds, nanoseconds; /* of its last modification */
};
struct safetensors_identity safetensors_identity(const struct safetensors *file);

size_t safetensors_count(const struct safetensors *file);
/* Sorted by offset. Valid until the file is closed. */
const struct safetensors_tensor *safetensors_at(const struct safetensors *file, size_t i);
/* Returns NULL if there is no tensor of that name. */
const struct safetensors_tensor *safetensors_find(const struct safetensors *file,
                                                  const char *name);

/* Reads bytes [first, first + bytes) of the tensor. Thread-safe. EMBED_IO if the file's size has
 * changed since it was opened. */
embed_status safetensors_read(const struct safetensors *file,
                              const struct safetensors_tensor *tensor, uint64_t first, void *out,
                              size_t bytes);

/* "F32", ...; static text. */
const char *safetensors_dtype_name(enum safetensors_dtype dtype);
/* Bits of one element. */
unsigned safetensors_dtype_bits(enum safetensors_dtype dtype);

#endif
