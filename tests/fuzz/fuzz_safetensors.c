/* fuzz_safetensors.c - a whole safetensors file */
#include "formats/safetensors.h"

#include "base/status.h"
#include "fuzz.h"

/* Claims that the tensors fill the file, one after another, and are found by name. */
static void check_tensors(const struct safetensors *file, uint64_t file_size)
{
    uint64_t end = 0;
    char byte;
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const struct safetensors_tensor *tensor = safetensors_at(file, i);
        fuzz_claim(i == 0 || tensor->offset == end);
        end = tensor->offset + tensor->bytes;
        fuzz_claim(end >= tensor->offset && end <= file_size);
        fuzz_claim(tensor->rank <= SAFETENSORS_MAX_RANK);
        fuzz_claim(tensor->dtype < SAFETENSORS_DTYPE_COUNT);
        uint64_t elements = 1;
        for (unsigned d = 0; d < tensor->rank; d++) elements *= tensor->shape[d];
        fuzz_claim(elements == tensor->elements);
        fuzz_claim(elements * safetensors_dtype_bits(tensor->dtype) == 8 * tensor->bytes);
        fuzz_claim(*tensor->name != '\0' && strlen(tensor->name) <= 512);
        fuzz_claim(safetensors_find(file, tensor->name) == tensor);
        if (tensor->bytes > 0)
            fuzz_claim(safetensors_read(file, tensor, tensor->bytes - 1, &byte, 1) == EMBED_OK);
        fuzz_claim(safetensors_read(file, tensor, tensor->bytes, &byte, 1) ==
                   EMBED_INVALID_ARGUMENT);
    }
    fuzz_claim(safetensors_count(file) == 0 || end == file_size);
    fuzz_claim(safetensors_find(file, "") == NULL);
}

static void fuzz_input(const uint8_t *input, size_t length)
{
    const char *path = fuzz_write("model.safetensors", input, length);
    struct safetensors *file = NULL;
    embed_status status = safetensors_open(&file, path);
    if (status == EMBED_OK) {
        check_tensors(file, length);
    } else {
        fuzz_claim(status == EMBED_BAD_FILE && file == NULL);
        fuzz_claim_message(error_message(), path);
    }
    safetensors_close(file);
}
