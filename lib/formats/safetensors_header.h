/* safetensors_header.h - the header of a .safetensors file, parsed from memory */
#ifndef LIB_FORMATS_SAFETENSORS_HEADER_H
#define LIB_FORMATS_SAFETENSORS_HEADER_H

#include "formats/safetensors.h"

#define SAFETENSORS_LENGTH_BYTES 8 /* of N, the length of the JSON, little endian */

struct safetensors_header {
    struct safetensors_tensor *tensors; /* sorted by offset */
    size_t count, capacity;
    const struct safetensors_tensor **by_name;
};

/* Parses and checks the first `length` bytes of a file of file_size bytes: N and the whole JSON.
 * Modifies the bytes; the tensors' names point into them. EMBED_BAD_FILE with `path` and the cause.
 * *header must be zeroed; release it with safetensors_header_free, also after a failure. */
embed_status safetensors_header_parse(struct safetensors_header *header, const char *path,
                                      char *bytes, size_t length, uint64_t file_size);
void safetensors_header_free(struct safetensors_header *header);

#endif
