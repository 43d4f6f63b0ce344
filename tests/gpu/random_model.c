/* random_model.c - makes a model folder of a known shape with random weights
 *
 *   usage: random_model SHAPE FOLDER       SHAPE: mpnet-base, bge-base, e5-small, bart-large-cnn,
 *                                                 bart-base
 *
 * For measurements of speed, which does not depend on the weights, when those of all-mpnet-base-v2,
 * bge-base-en-v1.5, e5-small, bart-large-cnn or bart-base are not at hand. FOLDER must not exist.
 * Matrices are in FP16. The vocabulary has the special tokens and words w1000, w1001, ...; the
 * model's results are meaningless.
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

enum family { BERT, MPNET, BART };

static const struct shape {
    const char *name;
    enum family family;
    bool pools_cls;
    size_t L, C, F, NH, V, P, max_tokens; /* BART's decoder has another L layers */
} shapes[] = {
    {"mpnet-base", MPNET, false, 12, 768, 3072, 12, 30527, 514, 384},
    {"bge-base", BERT, true, 12, 768, 3072, 12, 30522, 512, 512},
    {"e5-small", BERT, false, 12, 384, 1536, 12, 30522, 512, 512},
    {"bart-large-cnn", BART, false, 12, 1024, 4096, 16, 50264, 1026, 1024},
    {"bart-base", BART, false, 6, 768, 3072, 12, 50265, 1026, 1024},
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
            s->family == MPNET ? "mpnet" : "bert", s->C, s->L, s->NH, s->F, s->V, s->P,
            s->family == MPNET ? "1e-05" : "1e-12",
            s->family == MPNET ? "relative_attention_num_buckets" : "type_vocab_size",
            s->family == MPNET ? 32 : 2);
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

/* Includes the generation settings of bart-large-cnn's folder. */
static void write_bart_config(const char *folder, const struct shape *s)
{
    FILE *file = open_file(folder, "config.json");
    fprintf(file,
            "{\"model_type\": \"bart\", \"architectures\": [\"BartForConditionalGeneration\"],\n"
            " \"is_encoder_decoder\": true, \"activation_function\": \"gelu\", \"d_model\": %zu,\n"
            " \"encoder_layers\": %zu, \"encoder_attention_heads\": %zu, \"encoder_ffn_dim\": %zu,\n"
            " \"decoder_layers\": %zu, \"decoder_attention_heads\": %zu, \"decoder_ffn_dim\": %zu,\n"
            " \"vocab_size\": %zu, \"max_position_embeddings\": %zu, \"normalize_before\": false,\n"
            " \"bos_token_id\": 0, \"pad_token_id\": 1, \"eos_token_id\": 2}\n",
            s->C, s->L, s->NH, s->F, s->L, s->NH, s->F, s->V, s->max_tokens);
    close_file(file);

    file = open_file(folder, "generation_config.json");
    fputs("{\"decoder_start_token_id\": 2, \"bos_token_id\": 0, \"pad_token_id\": 1,\n"
          " \"eos_token_id\": 2, \"forced_bos_token_id\": 0, \"forced_eos_token_id\": 2,\n"
          " \"num_beams\": 4, \"length_penalty\": 2.0, \"min_length\": 56, \"max_length\": 142,\n"
          " \"no_repeat_ngram_size\": 3, \"early_stopping\": true}\n",
          file);
    close_file(file);
}

/* Writes the characters that stand for bytes: a printable byte's own, else one of those from 256
 * on, escaped in JSON. */
static void write_byte_tokens(FILE *file, size_t first_id)
{
    unsigned others = 256;
    for (unsigned byte = 0; byte < 256; byte++) {
        bool is_printed = (byte >= 33 && byte < 127) || (byte >= 161 && byte != 173);
        fprintf(file, ", \"\\u%04x\": %zu", is_printed ? byte : others++, first_id + byte);
    }
}

static void write_bart_vocabulary(const char *folder, const struct shape *s)
{
    FILE *file = open_file(folder, "vocab.json");
    fputs("{\"<s>\": 0, \"<pad>\": 1, \"</s>\": 2, \"<unk>\": 3", file);
    write_byte_tokens(file, 4);
    for (size_t id = 4 + 256; id < s->V; id++) fprintf(file, ",\n \"w%zu\": %zu", id, id);
    fputs("}\n", file);
    close_file(file);

    file = open_file(folder, "merges.txt");
    fputs("#version: 0.2\n", file);
    close_file(file);
}

/* The special tokens have their ids in BERT. */
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

/* Writes `count` numbers in [center - 0.02, center + 0.02), the range of BERT's initial weights. */
static void write_numbers(struct tensors *t, size_t count, float center)
{
    enum { PART = 4096 };
    float floats[PART];
    uint16_t halves[PART];
    for (size_t done = 0; done < count; done += PART) {
        size_t part = count - done < PART ? count - done : PART;
        for (size_t i = 0; i < part; i++) {
            t->random = t->random * 1664525u + 1013904223u; /* Numerical Recipes */
            floats[i] = center + 0.04f * ((float)(t->random >> 8) / 16777216.0f - 0.5f);
        }
        float_to_f16(halves, floats, part);
        fwrite(halves, sizeof *halves, part, t->data);
    }
}

/* Adds a tensor (rows, columns), or (columns) if rows is 0; its name is given by the format. */
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

/* `layers` is the prefix of the names of a stack's layers. */
static void add_linear(struct tensors *t, size_t outputs, size_t inputs, const char *layers,
                       size_t layer, const char *name)
{
    add_tensor(t, outputs, inputs, 0, "%s.%zu.%s.weight", layers, layer, name);
    add_tensor(t, 0, outputs, 0, "%s.%zu.%s.bias", layers, layer, name);
}

static void add_layernorm(struct tensors *t, size_t C, const char *layers, size_t layer,
                          const char *name)
{
    add_tensor(t, 0, C, 1, "%s.%zu.%s.weight", layers, layer, name);
    add_tensor(t, 0, C, 0, "%s.%zu.%s.bias", layers, layer, name);
}

static void add_layer(struct tensors *t, const struct shape *s, size_t layer)
{
    static const char *const bert[] = {"attention.self.query", "attention.self.key",
                                       "attention.self.value", "attention.output.dense",
                                       "attention.output.LayerNorm"};
    static const char *const mpnet[] = {"attention.attn.q", "attention.attn.k",
                                        "attention.attn.v", "attention.attn.o",
                                        "attention.LayerNorm"};
    const char *const *names = s->family == MPNET ? mpnet : bert;
    const char *layers = "encoder.layer";
    for (int i = 0; i < 4; i++) add_linear(t, s->C, s->C, layers, layer, names[i]);
    add_layernorm(t, s->C, layers, layer, names[4]);
    add_linear(t, s->F, s->C, layers, layer, "intermediate.dense");
    add_linear(t, s->C, s->F, layers, layer, "output.dense");
    add_layernorm(t, s->C, layers, layer, "output.LayerNorm");
}

static void add_encoder(struct tensors *t, const struct shape *s)
{
    add_tensor(t, s->V, s->C, 0, "embeddings.word_embeddings.weight");
    add_tensor(t, s->P, s->C, 0, "embeddings.position_embeddings.weight");
    if (s->family == MPNET)
        add_tensor(t, 32, s->NH, 0, "encoder.relative_attention_bias.weight");
    else
        add_tensor(t, 2, s->C, 0, "embeddings.token_type_embeddings.weight");
    add_tensor(t, 0, s->C, 1, "embeddings.LayerNorm.weight");
    add_tensor(t, 0, s->C, 0, "embeddings.LayerNorm.bias");
    for (size_t layer = 0; layer < s->L; layer++) add_layer(t, s, layer);
}

static void add_bart_attention(struct tensors *t, size_t C, const char *layers, size_t layer,
                               const char *name)
{
    static const char *const parts[] = {"q_proj", "k_proj", "v_proj", "out_proj"};
    char full[64];
    for (int i = 0; i < 4; i++) {
        snprintf(full, sizeof full, "%s.%s", name, parts[i]);
        add_linear(t, C, C, layers, layer, full);
    }
    snprintf(full, sizeof full, "%s_layer_norm", name);
    add_layernorm(t, C, layers, layer, full);
}

/* Adds the encoder or the decoder. */
static void add_bart_stack(struct tensors *t, const struct shape *s, const char *stack,
                           bool attends_to_source)
{
    char layers[64];
    snprintf(layers, sizeof layers, "model.%s.layers", stack);
    add_tensor(t, s->P, s->C, 0, "model.%s.embed_positions.weight", stack);
    add_tensor(t, 0, s->C, 1, "model.%s.layernorm_embedding.weight", stack);
    add_tensor(t, 0, s->C, 0, "model.%s.layernorm_embedding.bias", stack);
    for (size_t layer = 0; layer < s->L; layer++) {
        add_bart_attention(t, s->C, layers, layer, "self_attn");
        if (attends_to_source) add_bart_attention(t, s->C, layers, layer, "encoder_attn");
        add_linear(t, s->F, s->C, layers, layer, "fc1");
        add_linear(t, s->C, s->F, layers, layer, "fc2");
        add_layernorm(t, s->C, layers, layer, "final_layer_norm");
    }
}

static void add_bart(struct tensors *t, const struct shape *s)
{
    add_tensor(t, 1, s->V, 0, "final_logits_bias");
    add_tensor(t, s->V, s->C, 0, "model.shared.weight");
    add_bart_stack(t, s, "encoder", false);
    add_bart_stack(t, s, "decoder", true);
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
    if (s->family == BART) add_bart(&t, s);
    else add_encoder(&t, s);
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

static void write_folder(const char *folder, const struct shape *s)
{
    char pooling[4096];
    if (s->family == BART) {
        write_bart_config(folder, s);
        write_bart_vocabulary(folder, s);
        return;
    }
    if ((size_t)snprintf(pooling, sizeof pooling, "%s/1_Pooling", folder) >= sizeof pooling)
        die("%s: too long", folder);
    make_folder(pooling);
    write_config(folder, s);
    write_modules(folder, s);
    write_vocabulary(folder, s);
}

int main(int argc, char **argv)
{
    const struct shape *shape = NULL;
    for (size_t i = 0; argc == 3 && i < sizeof shapes / sizeof *shapes; i++)
        if (strcmp(argv[1], shapes[i].name) == 0) shape = &shapes[i];
    if (shape == NULL) {
        fputs("usage: random_model mpnet-base|bge-base|e5-small|bart-large-cnn|bart-base FOLDER\n",
              stderr);
        return 2;
    }
    make_folder(argv[2]);
    write_folder(argv[2], shape);
    write_weights(argv[2], shape);
    return 0;
}
