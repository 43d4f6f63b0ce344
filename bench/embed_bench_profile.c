/* embed_bench_profile.c - writes the recommendation as a profile that a pool reads
 *
 * lib/service/batch_profile.h describes the format.
 */
#include "embed_bench_sweep.h"

#include <time.h>

/* Writes a JSON string; characters that are not printable ASCII become "?". */
static void put_text(FILE *file, const char *key, const char *text, const char *end)
{
    fprintf(file, "    \"%s\": \"", key);
    for (size_t i = 0; text[i] != '\0'; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') fprintf(file, "\\%c", c);
        else fputc(c < 0x20 || c > 0x7E ? '?' : c, file);
    }
    fprintf(file, "\"%s\n", end);
}

static void put_size(FILE *file, const char *key, uint64_t value)
{
    fprintf(file, "    \"%s\": %ju,\n", key, (uintmax_t)value);
}

bool profile_write(const char *path, const struct sweep *sweep,
                   const struct recommendation *recommendation)
{
    const embed_model_info *info = &sweep->info;
    char written[32];
    time_t seconds = time(NULL);
    strftime(written, sizeof written, "%Y-%m-%dT%H:%M:%SZ", gmtime(&seconds));
    FILE *file = output_begin(path);
    if (file == NULL) return false;
    fputs("{\n", file);
    put_text(file, "format", "libembed batch profile", ",");
    put_size(file, "format_version", 1);
    put_text(file, "library_version", embed_version(), ",");
    put_text(file, "device", info->device_name, ",");
    put_text(file, "instruction_set", info->instruction_set, ",");
    put_text(file, "dtype", dtype_name(info->dtype), ",");
    put_text(file, "family", info->family, ",");
    put_size(file, "width", info->width);
    put_size(file, "layers", info->layers);
    put_size(file, "parameters", info->parameters);
    put_size(file, "vocabulary", info->vocabulary);
    put_size(file, "max_tokens", info->max_tokens);
    put_size(file, "chunk_tokens", recommendation->chunk);
    put_size(file, "batch_tokens", recommendation->batch_tokens);
    put_size(file, "batch_texts", recommendation->batch);
    put_size(file, "instances", recommendation->instances);
    put_size(file, "delay_microseconds", recommendation->delay_microseconds);
    put_size(file, "largest_safe_batch_tokens", recommendation->largest_tokens);
    put_size(file, "peak_bytes", recommendation->peak);
    put_text(file, "written", written, ",");
    put_text(file, "command", sweep->settings->command_line, "");
    fputs("}\n", file);
    return output_commit(file, path);
}
