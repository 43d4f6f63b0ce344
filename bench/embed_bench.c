/* embed_bench.c - embed-bench: how fast a model runs on this machine
 *
 *   embed-bench latency -m FOLDER [options]                          one text at a time
 *   embed-bench throughput -m FOLDER [options] FILE                  all lines of FILE
 *   embed-bench throughput -m FOLDER [options] --texts N --tokens N  N texts of so many tokens each,
 *                                                                    given as ids: no tokenizing
 *   embed-bench summarize -m FOLDER [options] --texts N --tokens N   a batch of N documents, given as
 *       --new-tokens N --beams N                                     ids, through a model that generates
 * Options: --device auto|cpu|cuda, --dtype auto|f32|bf16|int8|f16, --threads N, --batch-tokens N,
 * --rounds N. Prints CSV with a header line: medians over the rounds, after one round that is not
 * counted.
 */
#include "embed_bench.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void die(const char *what)
{
    fprintf(stderr, "embed-bench: %s\n", what);
    exit(1);
}

static void usage(void)
{
    fputs("usage: embed-bench latency|throughput|summarize -m FOLDER [--device D] [--dtype T]\n"
          "           [--threads N] [--batch-tokens N] [--rounds N]\n"
          "           [FILE | --texts N --tokens N [--new-tokens N --beams N]]\n",
          stderr);
    exit(2);
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

void check(embed_status status)
{
    if (status != EMBED_OK) die(embed_error_message());
}

/* By the numbers that embed.h gives them. */
static const char *const devices[] = {"auto", "cpu", "cuda"};
static const char *const dtypes[] = {"auto", "f32", "bf16", "f16", "int8"};

const char *dtype_name(embed_dtype dtype)
{
    return dtypes[dtype];
}

/* Any ids do: the work depends on their number only. Below 1000 are BERT's special tokens. */
static int32_t any_id(size_t i, const embed_model_info *info)
{
    return (int32_t)((1000 + 37 * i) % info->vocabulary);
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
    for (size_t i = 0; i < 512; i++) ids[i] = any_id(i, info);

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
        printf("\"%s\",%s,%u,%s,%zu,%zu,%.4f,%.4f\n", info->device_name, info->instruction_set,
               info->threads, dtype_name(info->dtype), tokens, rounds,
               1e3 * percentile(times, rounds, 0.5), 1e3 * percentile(times, rounds, 0.99));
        fflush(stdout);
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

/* `count` texts that share the ids of one. */
static embed_text *repeat_ids(const int32_t *ids, size_t tokens, size_t count)
{
    embed_text *texts = calloc(count, sizeof *texts);
    if (texts == NULL) die("out of memory");
    for (size_t i = 0; i < count; i++) texts[i] = (embed_text){NULL, ids, tokens};
    return texts;
}

/* What the texts lie in comes in *memory. */
static embed_text *make_texts(void **memory, size_t *count, const struct settings *settings,
                              const embed_model_info *info)
{
    if (settings->file != NULL) {
        size_t length;
        char *bytes = read_file(settings->file, &length);
        *memory = bytes;
        return split_lines(bytes, length, count);
    }
    int32_t *ids = calloc(settings->tokens, sizeof *ids);
    if (ids == NULL) die("out of memory");
    for (size_t i = 0; i < settings->tokens; i++) ids[i] = any_id(i, info);
    *memory = ids;
    *count = settings->texts;
    return repeat_ids(ids, settings->tokens, settings->texts);
}

static void throughput(const struct settings *settings, embed_instance *instance,
                       const embed_model_info *info)
{
    size_t rounds = settings->rounds > 0 ? settings->rounds : 5, count, tokens = 0;
    void *memory;
    embed_text *texts = make_texts(&memory, &count, settings, info);
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
    printf("device,instruction_set,threads,dtype,batch_tokens,texts,tokens,rounds,texts_per_s,"
           "tokens_per_s\n");
    printf("\"%s\",%s,%u,%s,", info->device_name, info->instruction_set, info->threads,
           dtype_name(info->dtype));
    if (settings->batch_tokens > 0) printf("%zu", settings->batch_tokens);
    printf(",%zu,%zu,%zu,%.1f,%.0f\n", count, tokens, rounds, (double)count / median,
           (double)tokens / median);
    free(memory);
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

/* The index of `word` among words[], or a complaint. */
static int parse_word(const char *word, const char *const words[], int count)
{
    for (int i = 0; i < count; i++) {
        if (word != NULL && strcmp(word, words[i]) == 0) return i;
    }
    usage();
    return 0;
}

static bool is_command(const struct settings *settings)
{
    bool has_ids = settings->texts > 0 && settings->tokens > 0;
    bool has_size = settings->texts > 0 || settings->tokens > 0;
    bool has_search = settings->new_tokens > 0 && settings->beams > 0;
    if (settings->folder == NULL) return false;
    if (strcmp(settings->command, "summarize") == 0)
        return settings->file == NULL && has_ids && has_search;
    if (settings->new_tokens > 0 || settings->beams > 0) return false;
    if (strcmp(settings->command, "latency") == 0) return settings->file == NULL && !has_size;
    return strcmp(settings->command, "throughput") == 0 &&
           (settings->file != NULL ? !has_size : has_ids);
}

static struct settings parse(int argc, char **argv)
{
    struct settings settings = {.command = argc > 1 ? argv[1] : ""};
    for (int i = 2; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "-m") == 0) settings.folder = next, i++;
        else if (strcmp(argv[i], "--device") == 0)
            settings.device = (embed_device)parse_word(next, devices, 3), i++;
        else if (strcmp(argv[i], "--dtype") == 0)
            settings.dtype = (embed_dtype)parse_word(next, dtypes, 5), i++;
        else if (strcmp(argv[i], "--threads") == 0) settings.threads = number(next), i++;
        else if (strcmp(argv[i], "--batch-tokens") == 0) settings.batch_tokens = number(next), i++;
        else if (strcmp(argv[i], "--rounds") == 0) settings.rounds = number(next), i++;
        else if (strcmp(argv[i], "--texts") == 0) settings.texts = number(next), i++;
        else if (strcmp(argv[i], "--tokens") == 0) settings.tokens = number(next), i++;
        else if (strcmp(argv[i], "--new-tokens") == 0) settings.new_tokens = number(next), i++;
        else if (strcmp(argv[i], "--beams") == 0) settings.beams = number(next), i++;
        else if (argv[i][0] != '-' && settings.file == NULL) settings.file = argv[i];
        else usage();
    }
    if (!is_command(&settings)) usage();
    return settings;
}

/* Of a model that gives embeddings. */
static void encode(const struct settings *settings, embed_model *model,
                   const embed_model_info *info)
{
    embed_instance *instance = NULL;
    embed_instance_options options = EMBED_INSTANCE_OPTIONS_INIT;
    options.batch_tokens = settings->batch_tokens;
    check(embed_instance_create(&instance, model, &options));
    if (strcmp(settings->command, "latency") == 0) latency(settings, instance, info);
    else throughput(settings, instance, info);
    embed_instance_destroy(instance);
}

int main(int argc, char **argv)
{
    struct settings settings = parse(argc, argv);

    embed_model *model = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    options.device = settings.device;
    options.dtype = settings.dtype;
    options.threads = settings.threads;
    check(embed_model_open(&model, settings.folder, &options));
    check(embed_model_get_info(model, &info));
    if (strcmp(settings.command, "summarize") == 0) summarize(&settings, model, &info);
    else encode(&settings, model, &info);
    embed_model_close(model);
    return 0;
}
