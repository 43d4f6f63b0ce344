/* embed_bench.c - embed-bench: how fast a model runs on this machine
 *
 *   embed-bench latency -m FOLDER [--threads N] [--rounds N]     one text at a time
 *   embed-bench throughput -m FOLDER [--threads N] [--rounds N] FILE     all lines of FILE
 *
 * Prints CSV with a header line: medians over the rounds, after one round that is not counted.
 */
#include <embed.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct settings {
    const char *command, *folder, *file;
    unsigned threads, rounds;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "embed-bench: %s\n", what);
    exit(1);
}

static void usage(void)
{
    fputs("usage: embed-bench latency|throughput -m FOLDER [--threads N] [--rounds N] [FILE]\n",
          stderr);
    exit(2);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(double *values, size_t count, double share)
{
    qsort(values, count, sizeof *values, by_value);
    return values[(size_t)(share * (double)(count - 1) + 0.5)];
}

static void check(embed_status status)
{
    if (status != EMBED_OK) die(embed_error_message());
}

/* ---- latency ------------------------------------------------------------------------------- */

/* Token counts of the texts, special tokens included. */
static const size_t latency_tokens[] = {3, 12, 34, 128, 256, 512};

static void latency(const struct settings *settings, embed_instance *instance,
                    const embed_model_info *info)
{
    size_t rounds = settings->rounds > 0 ? settings->rounds : 200;
    float *row = malloc(info->width * sizeof *row);
    double *times = malloc(rounds * sizeof *times);
    int32_t ids[512];
    if (row == NULL || times == NULL) die("out of memory");
    /* Any ids do: the work depends on their number only. */
    for (size_t i = 0; i < 512; i++) ids[i] = (int32_t)((1000 + 37 * i) % info->vocabulary);

    printf("device,instruction_set,threads,dtype,tokens,rounds,median_ms,p99_ms\n");
    for (size_t t = 0; t < sizeof latency_tokens / sizeof *latency_tokens; t++) {
        size_t tokens = latency_tokens[t];
        if (tokens > info->max_tokens) break;
        embed_text text = {NULL, ids, tokens};
        check(embed_instance_encode(instance, &text, 1, NULL, row, info->width, NULL));
        for (size_t r = 0; r < rounds; r++) {
            double start = now();
            check(embed_instance_encode(instance, &text, 1, NULL, row, info->width, NULL));
            times[r] = now() - start;
        }
        printf("\"%s\",%s,%u,f32,%zu,%zu,%.3f,%.3f\n", info->device_name, info->instruction_set,
               info->threads, tokens, rounds, 1e3 * percentile(times, rounds, 0.5),
               1e3 * percentile(times, rounds, 0.99));
    }
    free(row);
    free(times);
}

/* ---- throughput ---------------------------------------------------------------------------- */

static char *read_file(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) die(strerror(errno));
    long size = ftell(file);
    rewind(file);
    char *bytes = size >= 0 ? malloc((size_t)size + 1) : NULL;
    if (bytes == NULL || fread(bytes, 1, (size_t)size, file) != (size_t)size) die(path);
    fclose(file);
    *length = (size_t)size;
    return bytes;
}

static embed_text *split_lines(const char *bytes, size_t length, size_t *count)
{
    size_t lines = 0;
    for (size_t i = 0; i < length; i++) lines += bytes[i] == '\n';
    embed_text *texts = calloc(lines + 1, sizeof *texts);
    if (texts == NULL) die("out of memory");
    size_t start = 0;
    for (size_t i = 0; i < lines; i++) {
        const char *end = memchr(bytes + start, '\n', length - start);
        texts[i] = (embed_text){bytes + start, NULL, (size_t)(end - bytes) - start};
        start = (size_t)(end - bytes) + 1;
    }
    *count = lines;
    return texts;
}

static void throughput(const struct settings *settings, embed_instance *instance,
                       const embed_model_info *info)
{
    if (settings->file == NULL) usage();
    size_t rounds = settings->rounds > 0 ? settings->rounds : 5, length, count, tokens = 0;
    char *bytes = read_file(settings->file, &length);
    embed_text *texts = split_lines(bytes, length, &count);
    if (count == 0) die("the file has no lines");
    float *rows = malloc(count * info->width * sizeof *rows);
    embed_item *items = calloc(count, sizeof *items);
    double *times = malloc(rounds * sizeof *times);
    if (rows == NULL || items == NULL || times == NULL) die("out of memory");

    size_t capacity = count * info->width;
    check(embed_instance_encode(instance, texts, count, NULL, rows, capacity, items));
    for (size_t i = 0; i < count; i++) tokens += items[i].tokens;
    for (size_t r = 0; r < rounds; r++) {
        double start = now();
        check(embed_instance_encode(instance, texts, count, NULL, rows, capacity, NULL));
        times[r] = now() - start;
    }
    double median = percentile(times, rounds, 0.5);
    printf("device,instruction_set,threads,dtype,texts,tokens,rounds,texts_per_s,tokens_per_s\n");
    printf("\"%s\",%s,%u,f32,%zu,%zu,%zu,%.1f,%.0f\n", info->device_name, info->instruction_set,
           info->threads, count, tokens, rounds, (double)count / median, (double)tokens / median);
    free(bytes);
    free(texts);
    free(rows);
    free(items);
    free(times);
}

/* ---- command line -------------------------------------------------------------------------- */

static unsigned number(const char *text)
{
    char *end;
    unsigned long value = text != NULL ? strtoul(text, &end, 10) : 0;
    if (text == NULL || *end != '\0' || value == 0 || value > 1000000) usage();
    return (unsigned)value;
}

int main(int argc, char **argv)
{
    struct settings settings = {.command = argc > 1 ? argv[1] : ""};
    for (int i = 2; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "-m") == 0) settings.folder = next, i++;
        else if (strcmp(argv[i], "--threads") == 0) settings.threads = number(next), i++;
        else if (strcmp(argv[i], "--rounds") == 0) settings.rounds = number(next), i++;
        else if (argv[i][0] != '-' && settings.file == NULL) settings.file = argv[i];
        else usage();
    }
    bool is_latency = strcmp(settings.command, "latency") == 0;
    if ((!is_latency && strcmp(settings.command, "throughput") != 0) || settings.folder == NULL)
        usage();

    embed_model *model = NULL;
    embed_instance *instance = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    options.threads = settings.threads;
    check(embed_model_open(&model, settings.folder, &options));
    check(embed_model_get_info(model, &info));
    check(embed_instance_create(&instance, model, NULL));
    if (is_latency) latency(&settings, instance, &info);
    else throughput(&settings, instance, &info);
    embed_instance_destroy(instance);
    embed_model_close(model);
    return 0;
}
