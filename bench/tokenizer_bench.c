/* tokenizer_bench.c - tokenizer-bench: how fast texts become token ids
 *
 *   tokenizer-bench -m FOLDER [--threads N] [--rounds N] [--max-tokens N] FILE...
 *
 * One row of CSV for each file, whose lines are the texts: the best of the rounds. A round is one
 * call of embed_tokenize for all lines, so it begins without knowing any word. MB/s are of text,
 * line ends not counted; one thread unless told otherwise.
 */
#include <embed.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct settings {
    const char *folder;
    unsigned threads, rounds;
    size_t max_tokens;
    char **files;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void die(const char *what, const char *cause)
{
    fprintf(stderr, "tokenizer-bench: %s: %s\n", what, cause);
    exit(1);
}

static void usage(void)
{
    fputs("usage: tokenizer-bench -m FOLDER [--threads N] [--rounds N] [--max-tokens N] FILE...\n",
          stderr);
    exit(2);
}

static void check(embed_status status)
{
    if (status != EMBED_OK) die("failed", embed_error_message());
}

static char *read_file(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) die(path, strerror(errno));
    long size = ftell(file);
    rewind(file);
    char *bytes = size > 0 ? malloc((size_t)size) : NULL;
    if (bytes == NULL || fread(bytes, 1, (size_t)size, file) != (size_t)size)
        die(path, size == 0 ? "is empty" : "cannot be read");
    fclose(file);
    *length = (size_t)size;
    return bytes;
}

/* The lines, with or without an end of the last one, and the bytes in them. */
static embed_text *split_lines(const char *bytes, size_t length, size_t *count, size_t *text_bytes)
{
    size_t lines = bytes[length - 1] != '\n';
    for (size_t i = 0; i < length; i++) lines += bytes[i] == '\n';
    embed_text *texts = calloc(lines, sizeof *texts);
    if (texts == NULL) die("lines", "out of memory");
    const char *start = bytes, *end = bytes + length;
    *text_bytes = 0;
    for (size_t i = 0; i < lines; i++) {
        const char *stop = memchr(start, '\n', (size_t)(end - start));
        if (stop == NULL) stop = end;
        texts[i] = (embed_text){start, NULL, (size_t)(stop - start)};
        *text_bytes += texts[i].length;
        start = stop + 1;
    }
    *count = lines;
    return texts;
}

static void measure(const struct settings *settings, const embed_model *model, const char *path)
{
    size_t length, count, text_bytes, tokens = 0;
    char *bytes = read_file(path, &length);
    embed_text *texts = split_lines(bytes, length, &count, &text_bytes);
    embed_tokenize_options options = EMBED_TOKENIZE_OPTIONS_INIT;
    options.max_tokens = settings->max_tokens;
    double best = 0;
    for (unsigned r = 0; r < settings->rounds; r++) {
        embed_tokens out = EMBED_TOKENS_INIT;
        double start = now();
        check(embed_tokenize(model, texts, count, &options, &out));
        double seconds = now() - start;
        if (r == 0 || seconds < best) best = seconds;
        tokens = out.offsets[count];
        embed_tokens_free(&out);
    }
    printf("\"%s\",%u,%zu,%zu,%zu,%u,%.1f,%.2f\n", path, settings->threads, count, text_bytes,
           tokens, settings->rounds, 1e-6 * (double)text_bytes / best,
           1e-6 * (double)tokens / best);
    fflush(stdout);
    free(texts);
    free(bytes);
}

/* ---- command line -------------------------------------------------------------------------- */

static unsigned number(const char *text)
{
    char *end;
    unsigned long value = text != NULL ? strtoul(text, &end, 10) : 0;
    if (text == NULL || *end != '\0' || value == 0 || value > 1000000) usage();
    return (unsigned)value;
}

static struct settings parse(int argc, char **argv)
{
    struct settings settings = {.threads = 1, .rounds = 30};
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "-m") == 0) settings.folder = value;
        else if (strcmp(argv[i], "--threads") == 0) settings.threads = number(value);
        else if (strcmp(argv[i], "--rounds") == 0) settings.rounds = number(value);
        else if (strcmp(argv[i], "--max-tokens") == 0) settings.max_tokens = number(value);
        else usage();
    }
    if (settings.folder == NULL || i >= argc) usage();
    settings.files = argv + i;
    return settings;
}

int main(int argc, char **argv)
{
    struct settings settings = parse(argc, argv);
    embed_model *model = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CPU;
    options.threads = settings.threads;
    check(embed_model_open(&model, settings.folder, &options));
    printf("file,threads,texts,bytes,tokens,rounds,mb_per_s,mtokens_per_s\n");
    for (char **file = settings.files; *file != NULL; file++) measure(&settings, model, *file);
    embed_model_close(model);
    return 0;
}
