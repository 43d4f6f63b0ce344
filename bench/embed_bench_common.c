/* embed_bench_common.c - time, errors, models and texts for all commands */
#include "embed_bench.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void say(const char *format, va_list values)
{
    fputs("embed-bench: ", stderr);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
}

void die(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    fflush(stdout);
    say(format, values);
    va_end(values);
    exit(1);
}

int wrong_call(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    say(format, values);
    va_end(values);
    return EXIT_WRONG_CALL;
}

void check(embed_status status)
{
    if (status != EMBED_OK) die("%s", embed_error_message());
}

void *allocate(size_t count, size_t size)
{
    void *block = calloc(count > 0 ? count : 1, size);
    if (block == NULL) die("out of memory");
    return block;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double percentile(double *values, size_t count, double share)
{
    qsort(values, count, sizeof *values, by_value);
    return values[(size_t)(share * (double)(count - 1) + 0.5)];
}

/* ---- the model ----------------------------------------------------------------------------- */

embed_model *open_model(const struct settings *settings, bool generates, embed_model_info *info)
{
    embed_model *model = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = settings->device;
    options.dtype = settings->dtype;
    options.threads = (unsigned)settings->threads;
    *info = (embed_model_info)EMBED_MODEL_INFO_INIT;
    check(embed_model_open(&model, settings->folder, &options));
    check(embed_model_get_info(model, info));
    if (info->generates && !generates)
        die("%s: a %s model writes summaries, and gives no embeddings: embed-bench summarize "
            "measures it", settings->folder, info->family);
    if (!info->generates && generates)
        die("%s: a %s model gives embeddings, and writes no summaries", settings->folder,
            info->family);
    return model;
}

/* ---- texts --------------------------------------------------------------------------------- */

static char *read_file(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) die("%s: %s", path, strerror(errno));
    long size = ftell(file);
    rewind(file);
    if (size == 0) die("%s: the file is empty", path);
    char *bytes = allocate(size > 0 ? (size_t)size : 1, 1);
    if (size < 0 || fread(bytes, 1, (size_t)size, file) != (size_t)size)
        die("%s: cannot be read", path);
    fclose(file);
    *length = (size_t)size;
    return bytes;
}

struct lines read_lines(const char *path)
{
    struct lines lines = {0};
    size_t length;
    lines.bytes = read_file(path, &length);
    const char *start = lines.bytes, *end = lines.bytes + length;
    lines.count = end[-1] != '\n';
    for (size_t i = 0; i < length; i++) lines.count += start[i] == '\n';
    lines.texts = allocate(lines.count, sizeof *lines.texts);
    for (size_t i = 0; i < lines.count; i++) {
        const char *stop = memchr(start, '\n', (size_t)(end - start));
        if (stop == NULL) stop = end;
        lines.texts[i] = (embed_text){start, NULL, (size_t)(stop - start)};
        lines.text_bytes += lines.texts[i].length;
        start = stop + 1;
    }
    return lines;
}

void free_lines(struct lines *lines)
{
    free(lines->bytes);
    free(lines->texts);
}

int32_t any_id(size_t i, const embed_model_info *info)
{
    return (int32_t)((1000 + 37 * i) % info->vocabulary);
}
