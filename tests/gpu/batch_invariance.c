/* batch_invariance.c - checks that a text's row has the same bytes whatever it is encoded with
 *
 *   usage: batch_invariance FOLDER DEVICE DTYPE FILE      DEVICE: cpu, cuda; DTYPE: f32, f16
 *
 * Encodes all lines of FILE at once; then again, alone, in tens, in the smallest chunks, and in
 * reverse order. Prints one line; exit status 1 if a byte differs or a row is not finite.
 */
#include <embed.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct texts {
    char *bytes;
    embed_text *all;
    size_t count;
};

static void die(const char *what)
{
    printf("%s\n", what);
    exit(1);
}

static void check(embed_status status)
{
    if (status != EMBED_OK) die(embed_error_message());
}

static void *allocate(size_t count, size_t size)
{
    void *block = calloc(count > 0 ? count : 1, size);
    if (block == NULL) die("out of memory");
    return block;
}

static struct texts read_texts(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) die("the file of texts cannot be read");
    long size = ftell(file);
    rewind(file);
    struct texts texts = {allocate((size_t)size + 1, 1), NULL, 0};
    if (fread(texts.bytes, 1, (size_t)size, file) != (size_t)size)
        die("the texts cannot be read");
    fclose(file);

    const char *at = texts.bytes, *end = at + size;
    for (long i = 0; i < size; i++) texts.count += texts.bytes[i] == '\n';
    if (texts.count == 0) die("the file has no lines");
    texts.all = allocate(texts.count, sizeof *texts.all);
    for (size_t i = 0; i < texts.count; i++) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        texts.all[i] = (embed_text){at, NULL, (size_t)(line_end - at)};
        at = line_end + 1;
    }
    return texts;
}

/* Encodes the texts, `group` per call. */
static void encode(float *rows, embed_instance *instance, const embed_text *texts, size_t count,
                   size_t group, size_t width)
{
    for (size_t i = 0; i < count; i += group) {
        size_t n = count - i < group ? count - i : group;
        check(embed_instance_encode(instance, texts + i, n, NULL, rows + i * width, n * width,
                                    NULL));
    }
}

static void compare(const char *how, const float *rows, const float *expected, size_t count,
                    size_t width)
{
    size_t different = 0, first = 0;
    for (size_t i = count; i-- > 0;) {
        if (memcmp(rows + i * width, expected + i * width, width * sizeof *rows) == 0) continue;
        different++;
        first = i;
    }
    if (different == 0) return;
    printf("%s: %zu of %zu rows have other bytes, row %zu first\n", how, different, count,
           first + 1);
    exit(1);
}

static void compare_companies(embed_model *model, embed_instance *instance,
                              const struct texts *texts, size_t width)
{
    size_t count = texts->count;
    float *expected = allocate(count * width, sizeof *expected);
    float *rows = allocate(count * width, sizeof *rows);
    encode(expected, instance, texts->all, count, count, width);
    encode(rows, instance, texts->all, count, count, width);
    compare("the same once more", rows, expected, count, width);
    encode(rows, instance, texts->all, count, 1, width);
    compare("alone", rows, expected, count, width);
    encode(rows, instance, texts->all, count, 10, width);
    compare("in tens", rows, expected, count, width);

    embed_instance *small = NULL;
    embed_instance_options options = EMBED_INSTANCE_OPTIONS_INIT;
    options.batch_tokens = 1; /* raised to the model's longest text */
    check(embed_instance_create(&small, model, &options));
    encode(rows, small, texts->all, count, count, width);
    compare("in the smallest chunks", rows, expected, count, width);
    embed_instance_destroy(small);

    embed_text *reversed = allocate(count, sizeof *reversed);
    float *turned = allocate(count * width, sizeof *turned);
    for (size_t i = 0; i < count; i++) reversed[i] = texts->all[count - 1 - i];
    encode(rows, instance, reversed, count, count, width);
    for (size_t i = 0; i < count; i++)
        memcpy(turned + i * width, rows + (count - 1 - i) * width, width * sizeof *rows);
    compare("in reverse order", turned, expected, count, width);

    free(turned);
    free(reversed);
    free(rows);
    free(expected);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fputs("usage: batch_invariance FOLDER cpu|cuda f32|f16 FILE\n", stderr);
        return 2;
    }
    embed_model *model = NULL;
    embed_instance *instance = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    options.device = strcmp(argv[2], "cuda") == 0 ? EMBED_DEVICE_CUDA : EMBED_DEVICE_CPU;
    options.dtype = strcmp(argv[3], "f16") == 0 ? EMBED_DTYPE_F16 : EMBED_DTYPE_F32;
    struct texts texts = read_texts(argv[4]);
    check(embed_model_open(&model, argv[1], &options));
    check(embed_model_get_info(model, &info));
    check(embed_instance_create(&instance, model, NULL));
    compare_companies(model, instance, &texts, info.width);
    printf("%zu rows, same bytes: twice, alone, in tens, in the smallest chunks, in reverse\n",
           texts.count);
    embed_instance_destroy(instance);
    embed_model_close(model);
    free(texts.all);
    free(texts.bytes);
    return 0;
}
