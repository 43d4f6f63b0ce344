/* safetensors_header.h - the header of a .safetensors file, from bytes in memory */
#ifndef LIB_FORMATS_SAFETENSORS_HEADER_H
#define LIB_FORMATS_SAFETENSORS_HEADER_H

#include "formats/safetensors.h"

#define SAFETENSORS_LENGTH_BYTES 8 /* of N, the length of the JSON, little endian */

struct safetensors_header {
    struct safetensors_tensor *tensors; /* by offset */
    size_t count, capacity;
    const struct safetensors_tensor **by_name;
};

/* Reads and checks the first `length` bytes of a file of file_size bytes: N and the whole JSON.
 * The bytes are changed, and the tensors' names point into them. EMBED_BAD_FILE with `path` and
 * the cause. *header starts zeroed; also after a failure, safetensors_header_free releases it. */
embed_status safetensors_header_parse(struct safetensors_header *header, const char *path,
                                      char *bytes, size_t length, uint64_t file_size);
void safetensors_header_free(struct safetensors_header *header);

#endif
