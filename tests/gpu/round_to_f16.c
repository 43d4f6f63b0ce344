/* round_to_f16.c - copies model.safetensors with its matrices in FP16: half the size
 *
 *   usage: round_to_f16 IN OUT
 *
 * A GPU rounds them to FP16 in any case, so rows computed in FP16 are those of the original file.
 * Vectors (biases, LayerNorm) are small and stay as they are, as do tensors that are not F32.
 */
#include "formats/float_convert.h"
#include "formats/safetensors.h"

#include <embed.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("round_to_f16: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

static void *allocate(uint64_t bytes)
{
    void *block = malloc(bytes > 0 ? bytes : 1);
    if (block == NULL) die("out of memory");
    return block;
}

static bool is_rounded(const struct safetensors_tensor *tensor)
{
    return tensor->dtype == SAFETENSORS_F32 && tensor->rank >= 2;
}

static uint64_t bytes_after(const struct safetensors_tensor *tensor)
{
    return is_rounded(tensor) ? tensor->elements * sizeof(uint16_t) : tensor->bytes;
}

/* Writes the header: JSON, padded with blanks to a multiple of 8 bytes. */
static void write_header(FILE *out, const struct safetensors *in)
{
    char *json;
    size_t length;
    FILE *text = open_memstream(&json, &length);
    if (text == NULL) die("out of memory");
    uint64_t offset = 0;
    for (size_t i = 0; i < safetensors_count(in); i++) {
        const struct safetensors_tensor *tensor = safetensors_at(in, i);
        if (strpbrk(tensor->name, "\"\\") != NULL) die("a tensor's name has a quote");
        enum safetensors_dtype dtype = is_rounded(tensor) ? SAFETENSORS_F16 : tensor->dtype;
        fprintf(text, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i > 0 ? "," : "{", tensor->name,
                safetensors_dtype_name(dtype));
        for (unsigned r = 0; r < tensor->rank; r++)
            fprintf(text, "%s%" PRIu64, r > 0 ? "," : "", tensor->shape[r]);
        fprintf(text, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", offset,
                offset + bytes_after(tensor));
        offset += bytes_after(tensor);
    }
    fputc('}', text);
    while (ftell(text) % 8 != 0) fputc(' ', text);
    if (fclose(text) != 0) die("out of memory");

    uint64_t size = length; /* little-endian in the file, as on every machine with a GPU */
    fwrite(&size, sizeof size, 1, out);
    fwrite(json, 1, length, out);
    free(json);
}

static void write_tensor(FILE *out, const struct safetensors *in,
                         const struct safetensors_tensor *tensor)
{
    void *values = allocate(tensor->bytes);
    if (safetensors_read(in, tensor, 0, values, tensor->bytes) != EMBED_OK)
        die("%s", embed_error_message());
    if (is_rounded(tensor)) {
        uint16_t *halves = allocate(bytes_after(tensor));
        if (float_to_f16(halves, values, tensor->elements) < tensor->elements)
            die("%s: too large for f16", tensor->name);
        fwrite(halves, 1, bytes_after(tensor), out);
        free(halves);
    } else {
        fwrite(values, 1, tensor->bytes, out);
    }
    free(values);
}

int main(int argc, char **argv)
{
    struct safetensors *in;
    if (argc != 3) {
        fputs("usage: round_to_f16 IN OUT\n", stderr);
        return 2;
    }
    if (safetensors_open(&in, argv[1]) != EMBED_OK) die("%s", embed_error_message());
    FILE *out = fopen(argv[2], "wb");
    if (out == NULL) die("%s cannot be written", argv[2]);
    write_header(out, in);
    for (size_t i = 0; i < safetensors_count(in); i++)
        write_tensor(out, in, safetensors_at(in, i));
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) die("%s cannot be written", argv[2]);
    safetensors_close(in);
    return 0;
}
