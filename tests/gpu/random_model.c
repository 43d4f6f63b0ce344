/* random_model.c - a model folder of a known shape with random weights
 *
 *   usage: random_model SHAPE FOLDER       SHAPE: mpnet-base, bge-base, e5-small
 *
 * For measurements of speed, which do not depend on what the weights are, where the weights of
 * all-mpnet-base-v2, bge-base-en-v1.5 or e5-small are not at hand. FOLDER must not exist.
 * Matrices are in FP16. The vocabulary has the special tokens and words w1000, w1001, ... Texts
 * mean nothing to it.
 */
#include "formats/float_convert.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct shape {
    const char *name;
    bool is_mpnet, pools_cls;
    size_t L, C, F, NH, V, P, max_tokens;
} shapes[] = {
    {"mpnet-base", true, false, 12, 768, 3072, 12, 30527, 514, 384},
    {"bge-base", false, true, 12, 768, 3072, 12, 30522, 512, 512},
    {"e5-small", false, false, 12, 384, 1536, 12, 30522, 512, 512},
};

static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("random_model: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

static FILE *open_file(const char *folder, const char *name)
{
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = (size_t)length < sizeof path ? fopen(path, "wb") : NULL;
    if (file == NULL) die("%s/%s: %s", folder, name, strerror(errno));
    return file;
}

static void close_file(FILE *file)
{
    bool failed = ferror(file) != 0;
    if (fclose(file) != 0 || failed) die("a file cannot be written");
}

static void make_folder(const char *path)
{
    if (mkdir(path, 0777) != 0) die("%s: %s", path, strerror(errno));
}

/* ---- description ------------------------------------------------------------------------- */

static void write_config(const char *folder, const struct shape *s)
{
    FILE *file = open_file(folder, "config.json");
    fprintf(file,
            "{\"model_type\": \"%s\", \"hidden_size\": %zu, \"num_hidden_layers\": %zu,\n"
            " \"num_attention_heads\": %zu, \"intermediate_size\": %zu, \"vocab_size\": %zu,\n"
            " \"max_position_embeddings\": %zu, \"hidden_act\": \"gelu\",\n"
            " \"layer_norm_eps\": %s, \"%s\": %d}\n",
            s->is_mpnet ? "mpnet" : "bert", s->C, s->L, s->NH, s->F, s->V, s->P,
            s->is_mpnet ? "1e-05" : "1e-12",
            s->is_mpnet ? "relative_attention_num_buckets" : "type_vocab_size",
            s->is_mpnet ? 32 : 2);
    close_file(file);
}

static void write_modules(const char *folder, const struct shape *s)
{
    static const char *const modules[][2] = {
        {"Transformer", ""}, {"Pooling", "1_Pooling"}, {"Normalize", "2_Normalize"}};
    FILE *file = open_file(folder, "modules.json");
    for (int i = 0; i < 3; i++)
        fprintf(file,
                "%s{\"idx\": %d, \"name\": \"%d\", \"path\": \"%s\",\n"
                "  \"type\": \"sentence_transformers.models.%s\"}",
                i > 0 ? ",\n " : "[", i, i, modules[i][1], modules[i][0]);
    fputs("]\n", file);
    close_file(file);

    file = open_file(folder, "sentence_bert_config.json");
    fprintf(file, "{\"max_seq_length\": %zu, \"do_lower_case\": false}\n", s->max_tokens);
    close_file(file);

    file = open_file(folder, "1_Pooling/config.json");
    fprintf(file,
            "{\"word_embedding_dimension\": %zu, \"pooling_mode_cls_token\": %s,\n"
            " \"pooling_mode_mean_tokens\": %s}\n",
            s->C, s->pools_cls ? "true" : "false", s->pools_cls ? "false" : "true");
    close_file(file);
}

/* The special tokens have the ids that they have in BERT. */
static void write_vocabulary(const char *folder, const struct shape *s)
{
    FILE *file = open_file(folder, "vocab.txt");
    for (size_t id = 0; id < s->V; id++) {
        if (id == 0)
            fputs("[PAD]\n", file);
        else if (id == 100)
            fputs("[UNK]\n", file);
        else if (id == 101)
            fputs("[CLS]\n", file);
        else if (id == 102)
            fputs("[SEP]\n", file);
        else if (id == 103)
            fputs("[MASK]\n", file);
        else
            fprintf(file, "%c%zu\n", id < 1000 ? 'u' : 'w', id);
    }
    close_file(file);
}

/* ---- weights ----------------------------------------------------------------------------- */

struct tensors {
    FILE *header, *data;
    uint64_t offset;
    uint32_t random;
};

/* `count` numbers in [center - 0.02, center + 0.02), as large as BERT's when its training
 * begins. */
static void write_numbers(struct tensors *t, size_t count, float center)
{
    enum { PART = 4096 };
    float floats[PART];
    uint16_t halves[PART];
    for (size_t done = 0; done < count; done += PART) {
        size_t part = count - done < PART ? count - done : PART;
        for (size_t i = 0; i < part; i++) {
            t->random = t->random * 1664525u + 1013904223u; /* Numerical Recipes' */
            floats[i] = center + 0.04f * ((float)(t->random >> 8) / 16777216.0f - 0.5f);
        }
        float_to_f16(halves, floats, part);
        fwrite(halves, sizeof *halves, part, t->data);
    }
}

/* A tensor (rows, columns), or (columns) where rows is 0; its name is made of the format. */
__attribute__((format(printf, 5, 6))) static void add_tensor(struct tensors *t, size_t rows,
                                                             size_t columns, float center,
                                                             const char *format, ...)
{
    size_t count = (rows > 0 ? rows : 1) * columns;
    uint64_t end = t->offset + count * sizeof(uint16_t);
    va_list arguments;
    va_start(arguments, format);
    fputs(t->offset > 0 ? ",\"" : "{\"", t->header);
    vfprintf(t->header, format, arguments);
    va_end(arguments);
    fputs("\":{\"dtype\":\"F16\",\"shape\":[", t->header);
    if (rows > 0) fprintf(t->header, "%zu,", rows);
    fprintf(t->header, "%zu],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", columns, t->offset,
            end);
    write_numbers(t, count, center);
    t->offset = end;
}

static void add_linear(struct tensors *t, size_t outputs, size_t inputs, size_t layer,
                       const char *name)
{
    add_tensor(t, outputs, inputs, 0, "encoder.layer.%zu.%s.weight", layer, name);
    add_tensor(t, 0, outputs, 0, "encoder.layer.%zu.%s.bias", layer, name);
}

static void add_layernorm(struct tensors *t, size_t C, size_t layer, const char *name)
{
    add_tensor(t, 0, C, 1, "encoder.layer.%zu.%s.weight", layer, name);
    add_tensor(t, 0, C, 0, "encoder.layer.%zu.%s.bias", layer, name);
}

static void add_layer(struct tensors *t, const struct shape *s, size_t layer)
{
    static const char *const bert[] = {"attention.self.query", "attention.self.key",
                                       "attention.self.value", "attention.output.dense",
                                       "attention.output.LayerNorm"};
    static const char *const mpnet[] = {"attention.attn.q", "attention.attn.k",
                                        "attention.attn.v", "attention.attn.o",
                                        "attention.LayerNorm"};
    const char *const *names = s->is_mpnet ? mpnet : bert;
    for (int i = 0; i < 4; i++) add_linear(t, s->C, s->C, layer, names[i]);
    add_layernorm(t, s->C, layer, names[4]);
    add_linear(t, s->F, s->C, layer, "intermediate.dense");
    add_linear(t, s->C, s->F, layer, "output.dense");
    add_layernorm(t, s->C, layer, "output.LayerNorm");
}

static void add_all(struct tensors *t, const struct shape *s)
{
    add_tensor(t, s->V, s->C, 0, "embeddings.word_embeddings.weight");
    add_tensor(t, s->P, s->C, 0, "embeddings.position_embeddings.weight");
    if (s->is_mpnet)
        add_tensor(t, 32, s->NH, 0, "encoder.relative_attention_bias.weight");
    else
        add_tensor(t, 2, s->C, 0, "embeddings.token_type_embeddings.weight");
    add_tensor(t, 0, s->C, 1, "embeddings.LayerNorm.weight");
    add_tensor(t, 0, s->C, 0, "embeddings.LayerNorm.bias");
    for (size_t layer = 0; layer < s->L; layer++) add_layer(t, s, layer);
}

static void copy_file(FILE *out, FILE *in)
{
    char part[65536];
    size_t bytes;
    rewind(in);
    while ((bytes = fread(part, 1, sizeof part, in)) > 0) fwrite(part, 1, bytes, out);
    if (ferror(in)) die("a file cannot be read again");
}

static void write_weights(const char *folder, const struct shape *s)
{
    char *json;
    size_t length;
    struct tensors t = {open_memstream(&json, &length), tmpfile(), 0, 1};
    if (t.header == NULL || t.data == NULL) die("no memory, or no temporary file");
    add_all(&t, s);
    fputc('}', t.header);
    while (ftell(t.header) % 8 != 0) fputc(' ', t.header);
    close_file(t.header);
    if (fflush(t.data) != 0 || ferror(t.data)) die("a temporary file cannot be written");

    FILE *file = open_file(folder, "model.safetensors");
    uint64_t size = length; /* little-endian in the file, as on every machine with a GPU */
    fwrite(&size, sizeof size, 1, file);
    fwrite(json, 1, length, file);
    copy_file(file, t.data);
    close_file(file);
    fclose(t.data);
    free(json);
}

int main(int argc, char **argv)
{
    const struct shape *shape = NULL;
    for (size_t i = 0; argc == 3 && i < sizeof shapes / sizeof *shapes; i++)
        if (strcmp(argv[1], shapes[i].name) == 0) shape = &shapes[i];
    if (shape == NULL) {
        fputs("usage: random_model mpnet-base|bge-base|e5-small FOLDER\n", stderr);
        return 2;
    }
    char pooling[4096];
    if ((size_t)snprintf(pooling, sizeof pooling, "%s/1_Pooling", argv[2]) >= sizeof pooling)
        die("%s: too long", argv[2]);
    make_folder(argv[2]);
    make_folder(pooling);
    write_config(argv[2], shape);
    write_modules(argv[2], shape);
    write_vocabulary(argv[2], shape);
    write_weights(argv[2], shape);
    return 0;
}
