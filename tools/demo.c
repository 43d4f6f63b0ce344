/* demo.c - embeds the lines of a text file and prints the pairs closest in meaning
 *
 *     demo MODEL_FOLDER FILE
 */
#include <embed.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#define SENTENCES_MAX 2000 /* all pairs are compared: at most two million */
#define PAIRS_SHOWN   8
#define SHOWN_BYTES   88 /* of a sentence, at most */

typedef struct pair {
    double cosine;
    size_t first, second;
} pair;

typedef struct demo {
    embed_text texts[SENTENCES_MAX];
    embed_item items[SENTENCES_MAX];
    size_t count;
    float *rows; /* (count, width), of length 1 */
    embed_model *model;
    embed_instance *instance;
    embed_model_info info;
    double milliseconds;
    pair best[PAIRS_SHOWN]; /* the most similar first */
    size_t found;
} demo;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static int failed(const char *what, const char *why)
{
    fprintf(stderr, "demo: %s%s%s\n", what, *what != '\0' ? ": " : "", why);
    return -1;
}

/* Reads the lines that are not empty. */
static int read_sentences(demo *d, const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) return failed(path, strerror(errno));
    errno = 0;
    while (d->count < SENTENCES_MAX) {
        char *line = NULL;
        size_t capacity = 0;
        ssize_t length = getline(&line, &capacity, file);
        if (length > 0 && line[length - 1] == '\n') length--;
        if (length > 0)
            d->texts[d->count++] = (embed_text){line, NULL, (size_t)length};
        else
            free(line);
        if (length < 0) break;
    }
    int error = ferror(file) ? errno : 0;
    fclose(file);
    if (error != 0) return failed(path, strerror(error));
    return d->count >= 2 ? 0 : failed(path, "needs at least two lines");
}

static int embed_sentences(demo *d, const char *folder)
{
    if (embed_model_open(&d->model, folder, NULL) != EMBED_OK ||
        embed_model_get_info(d->model, &d->info) != EMBED_OK ||
        embed_instance_create(&d->instance, d->model, NULL) != EMBED_OK)
        return failed("", embed_error_message());

    size_t floats = d->count * d->info.width;
    d->rows = calloc(floats, sizeof *d->rows);
    if (d->rows == NULL) return failed("", "out of memory");

    embed_encode_options options = EMBED_ENCODE_OPTIONS_INIT;
    options.normalize = EMBED_ON; /* so the dot product of two rows is their cosine */
    double started = now();
    if (embed_instance_encode(d->instance, d->texts, d->count, &options, d->rows, floats,
                              d->items) != EMBED_OK)
        return failed("", embed_error_message());
    d->milliseconds = now() - started;
    return 0;
}

/* Inserts the candidate into the sorted list of the best pairs, if it is good enough. */
static void keep(demo *d, pair candidate)
{
    size_t i = d->found < PAIRS_SHOWN ? d->found++ : PAIRS_SHOWN;
    for (; i > 0 && d->best[i - 1].cosine < candidate.cosine; i--) {
        if (i < PAIRS_SHOWN) d->best[i] = d->best[i - 1];
    }
    if (i < PAIRS_SHOWN) d->best[i] = candidate;
}

static void compare_all(demo *d)
{
    size_t width = d->info.width;
    for (size_t i = 0; i < d->count; i++) {
        for (size_t k = i + 1; k < d->count; k++) {
            const float *a = d->rows + i * width, *b = d->rows + k * width;
            double cosine = 0;
            for (size_t c = 0; c < width; c++) cosine += (double)a[c] * (double)b[c];
            keep(d, (pair){cosine, i, k});
        }
    }
}

/* Prints the text on one line, cut between two UTF-8 characters. */
static void print_sentence(const embed_text *text)
{
    size_t n = text->length;
    if (n > SHOWN_BYTES) {
        n = SHOWN_BYTES;
        while (n > 0 && ((unsigned char)text->data[n] & 0xC0) == 0x80) n--;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text->data[i];
        putchar(c < 0x20 || c == 0x7F ? ' ' : c);
    }
    printf("%s\n", n < text->length ? "..." : "");
}

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

static void print_results(const demo *d, const char *program, const char *folder,
                          const char *path)
{
    static const char *const dtypes[] = {"auto", "f32", "bf16", "f16", "int8"};
    const embed_model_info *info = &d->info;
    size_t tokens = 0;
    for (size_t i = 0; i < d->count; i++) tokens += d->items[i].tokens;

    printf("model     %s: %s, %zu layers, %.1f million parameters\n", file_name(folder),
           info->family, info->layers, 1e-6 * (double)info->parameters);
    printf("device    %s (%s, %s, %u threads)\n", info->device_name,
           info->device == EMBED_DEVICE_CPU ? info->instruction_set : "GPU",
           dtypes[info->dtype], info->threads);
    printf("loaded    in %.0f ms\n", 1e3 * info->load_seconds);
    printf("embedded  %zu sentences, %zu tokens, in %.1f ms: %zu numbers each\n", d->count,
           tokens, d->milliseconds, info->width);

    printf("\nThe most similar pairs (1 means the same, 0 nothing in common):\n\n");
    for (size_t i = 0; i < d->found; i++) {
        printf("  %6.3f  ", d->best[i].cosine);
        print_sentence(&d->texts[d->best[i].first]);
        printf("          ");
        print_sentence(&d->texts[d->best[i].second]);
    }
    printf("\nTo keep the numbers: %.*sembed encode -m %s -o rows.npy %s\n",
           (int)(file_name(program) - program), program, folder, path);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: demo MODEL_FOLDER FILE\n");
        return 2;
    }
    demo *d = calloc(1, sizeof *d);
    if (d == NULL) return failed("", "out of memory") != 0;
    d->info = (embed_model_info)EMBED_MODEL_INFO_INIT;
    int status = read_sentences(d, argv[2]);
    if (status == 0) status = embed_sentences(d, argv[1]);
    if (status == 0) {
        compare_all(d);
        print_results(d, argv[0], argv[1], argv[2]);
        if (fflush(stdout) != 0) status = failed("standard output", strerror(errno));
    }
    embed_instance_destroy(d->instance);
    embed_model_close(d->model);
    for (size_t i = 0; i < d->count; i++) free((char *)d->texts[i].data);
    free(d->rows);
    free(d);
    return status != 0;
}
