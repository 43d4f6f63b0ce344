/* fuzz_safetensors_header.c - the header of a safetensors file of any size
 *
 * An input is the file's number of data bytes (8 bytes, little endian) and the header's JSON, so
 * that files larger than any input are tried too.
 */
#include "formats/safetensors_header.h"

#include "base/status.h"
#include "fuzz.h"

static const char name[] = "large.safetensors";

static void fuzz_input(const uint8_t *input, size_t length)
{
    uint64_t data_bytes = 0;
    if (length < SAFETENSORS_LENGTH_BYTES) return;
    for (size_t i = SAFETENSORS_LENGTH_BYTES; i-- > 0;) data_bytes = data_bytes << 8 | input[i];
    data_bytes &= INT64_MAX >> 1; /* no file is larger than an off_t can express */
    uint64_t file_size = data_bytes + length;

    char *bytes = malloc(length);
    fuzz_claim(bytes != NULL);
    memcpy(bytes, input, length);
    struct safetensors_header header = {0};
    embed_status status = safetensors_header_parse(&header, name, bytes, length, file_size);
    if (status == EMBED_OK) {
        uint64_t end = length;
        for (size_t i = 0; i < header.count; i++) {
            const struct safetensors_tensor *tensor = &header.tensors[i];
            fuzz_claim(tensor->offset == end && tensor->bytes <= file_size - end);
            end += tensor->bytes;
        }
        fuzz_claim(end == file_size);
    } else {
        fuzz_claim(status == EMBED_BAD_FILE);
        fuzz_claim_message(error_message(), name);
    }
    safetensors_header_free(&header);
    free(bytes);
}
