/* weights_list.c - lists the tensors that make up each weight */
#include "model/weights_list.h"

#include "base/memory.h"
#include "base/status.h"

#include <stdio.h>

#define MODEL_SLOTS         6 /* besides the layers' */
#define LAYER_SLOTS         12
#define DECODER_SLOTS       8
#define DECODER_LAYER_SLOTS 20
#define DENSE_SLOTS         2

static struct slot *add(struct slot_list *list, void **weight, enum weight_kind kind, size_t rows,
                        size_t columns)
{
    struct slot *slot = &list->slots[list->count++];
    *slot = (struct slot){.weight = weight, .kind = kind, .parts = 1, .rows = rows,
                          .columns = columns, .tensor_rows = rows, .scale = 1};
    return slot;
}

void weight_name(char out[NAME_SIZE], const char *pattern, size_t layer, const char *suffix)
{
    /* The patterns are constants in weight_names.c; those without %zu ignore the layer. */
    char base[NAME_SIZE];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
    snprintf(base, sizeof base, pattern, layer);
#pragma GCC diagnostic pop
    snprintf(out, NAME_SIZE, "%.100s.%s", base, suffix);
}

static void name(struct slot *slot, size_t part, const char *pattern, size_t layer,
                 const char *suffix)
{
    weight_name(slot->names[part], pattern, layer, suffix);
}

/* Returns the slot of the bias. */
static struct slot *add_linear(struct slot_list *list, struct linear *linear,
                               const char *const *patterns, size_t parts, size_t layer, size_t O,
                               size_t I)
{
    linear->O = O * parts;
    linear->I = I;
    struct slot *weight = add(list, &linear->weight, WEIGHT_MATRIX, O, I);
    struct slot *bias = add(list, &linear->bias, WEIGHT_BIAS, 1, O);
    weight->parts = bias->parts = parts;
    for (size_t p = 0; p < parts; p++) {
        name(weight, p, patterns[p], layer, "weight");
        name(bias, p, patterns[p], layer, "bias");
    }
    return bias;
}

static void add_layernorm(struct slot_list *list, struct layernorm *norm, const char *pattern,
                          size_t layer, size_t C)
{
    struct slot *weight = add(list, &norm->weight, WEIGHT_VECTOR, 1, C);
    struct slot *bias = add(list, &norm->bias, WEIGHT_VECTOR, 1, C);
    weight->need = bias->need = SLOT_LAYERNORM;
    name(weight, 0, pattern, layer, "weight");
    name(bias, 0, pattern, layer, "bias");
}

/* ---- the encoder --------------------------------------------------------------------------- */

static void add_embeddings(struct slot_list *list, struct embeddings *embeddings,
                           const struct transformer_config *config,
                           const struct weight_names *names)
{
    size_t C = config->C;
    struct slot *word = add(list, &embeddings->word, WEIGHT_TABLE, config->V, C);
    word->need = SLOT_WORDS;
    word->scale = config->word_scale;
    name(word, 0, names->word, 0, "weight");
    name(add(list, &embeddings->position, WEIGHT_TABLE, config->positions, C), 0, names->position,
         0, "weight");
    add_layernorm(list, &embeddings->norm, names->embeddings_norm, 0, C);
    if (names->type == NULL) return;
    struct slot *type = add(list, &embeddings->type, WEIGHT_VECTOR, 1, C);
    type->tensor_rows = config->token_types;
    name(type, 0, names->type, 0, "weight");
}

static void add_relative_bias(struct slot_list *list, struct relative_bias *bias,
                              const struct transformer_config *config,
                              const struct weight_names *names)
{
    if (names->relative_bias == NULL) return;
    bias->zero = transformer_config_max_tokens(config) - 1;
    bias->columns = 2 * bias->zero + 1 + 64;
    struct slot *slot = add(list, &bias->table, WEIGHT_SCORES, config->NH, bias->columns);
    slot->tensor_rows = config->distance_buckets;
    name(slot, 0, names->relative_bias, 0, "weight");
}

static void add_layer(struct slot_list *list, struct encoder_layer *layer, size_t l,
                      const struct transformer_config *config, const struct weight_names *names)
{
    size_t C = config->C, F = config->F;
    const char *const qkv[] = {names->query, names->key, names->value};
    add_linear(list, &layer->qkv, qkv, 3, l, C, C);
    add_linear(list, &layer->attention_output, &names->attention_output, 1, l, C, C);
    add_layernorm(list, &layer->attention_norm, names->attention_norm, l, C);
    add_linear(list, &layer->feed_forward_in, &names->feed_forward_in, 1, l, F, C);
    add_linear(list, &layer->feed_forward_out, &names->feed_forward_out, 1, l, C, F);
    add_layernorm(list, &layer->feed_forward_norm, names->feed_forward_norm, l, C);
}

/* ---- the decoder --------------------------------------------------------------------------- */

bool weights_share_words(const struct transformer_config *config, const struct backend *backend)
{
    return backend->matrices_are_tables && config->word_scale == 1;
}

static void add_head(struct slot_list *list, struct linear *head, const char *words,
                     const struct transformer_config *config, const struct backend *backend,
                     const struct decoder_names *names)
{
    size_t V = config->V, C = config->C;
    head->O = V;
    head->I = C;
    if (!weights_share_words(config, backend)) {
        struct slot *weight = add(list, &head->weight, WEIGHT_MATRIX, V, C);
        weight->need = SLOT_WORDS_AGAIN;
        name(weight, 0, words, 0, "weight");
    }
    struct slot *bias = add(list, &head->bias, WEIGHT_WIDE_BIAS, 1, V);
    bias->need = SLOT_OR_ZEROS;
    snprintf(bias->names[0], NAME_SIZE, "%s", names->logits_bias);
    for (size_t i = 0; names->other_words[i] != NULL; i++) {
        struct slot *copy = add(list, NULL, WEIGHT_TABLE, V, C);
        copy->need = SLOT_WORDS_COPY;
        name(copy, 0, names->other_words[i], 0, "weight");
    }
}

/* Adds a linear layer whose result is added to the residual stream. */
static void add_residual_linear(struct slot_list *list, struct linear *linear,
                                const char *const *pattern, size_t layer, size_t O, size_t I)
{
    add_linear(list, linear, pattern, 1, layer, O, I)->kind = WEIGHT_WIDE_BIAS;
}

static void add_decoder_layer(struct slot_list *list, struct decoder_layer *layer, size_t l,
                              const struct transformer_config *config,
                              const struct decoder_names *names)
{
    size_t C = config->C, F = config->decoder.F;
    const char *const qkv[] = {names->query, names->key, names->value};
    const char *const cross[] = {names->cross_key, names->cross_value};
    add_linear(list, &layer->qkv, qkv, 3, l, C, C);
    add_residual_linear(list, &layer->attention_output, &names->attention_output, l, C, C);
    add_layernorm(list, &layer->attention_norm, names->attention_norm, l, C);
    add_linear(list, &layer->cross_query, &names->cross_query, 1, l, C, C);
    add_linear(list, &layer->cross_key_value, cross, 2, l, C, C);
    add_residual_linear(list, &layer->cross_output, &names->cross_output, l, C, C);
    add_layernorm(list, &layer->cross_norm, names->cross_norm, l, C);
    add_linear(list, &layer->feed_forward_in, &names->feed_forward_in, 1, l, F, C);
    add_residual_linear(list, &layer->feed_forward_out, &names->feed_forward_out, l, C, F);
    add_layernorm(list, &layer->feed_forward_norm, names->feed_forward_norm, l, C);
}

static void add_decoder(struct slot_list *list, struct decoder *decoder,
                        const struct transformer_config *config, const struct backend *backend,
                        const struct weight_names *names)
{
    const struct decoder_names *own = names->decoder;
    add_head(list, &decoder->head, names->word, config, backend, own);
    name(add(list, &decoder->embeddings.position, WEIGHT_TABLE, config->positions, config->C), 0,
         own->position, 0, "weight");
    add_layernorm(list, &decoder->embeddings.norm, own->embeddings_norm, 0, config->C);
    for (size_t l = 0; l < config->decoder.L; l++)
        add_decoder_layer(list, &decoder->layers[l], l, config, own);
}

/* ---- Dense modules ------------------------------------------------------------------------- */

/* The weights are WEIGHT_VECTORs: pooled rows are computed in FP32 in any dtype. */
static void add_dense(struct slot_list *list, struct dense *dense, const struct weight_files *files,
                      size_t i)
{
    const struct dense_config *config = &files->dense[i];
    dense->O = config->O;
    dense->I = config->I;
    dense->activation = config->activation;
    struct slot *weight = add(list, &dense->weight, WEIGHT_VECTOR, config->O, config->I);
    weight->need = SLOT_DENSE;
    weight->dense = i;
    name(weight, 0, "linear", 0, "weight");
    if (!config->has_bias) return;
    struct slot *bias = add(list, &dense->bias, WEIGHT_VECTOR, 1, config->O);
    bias->need = SLOT_DENSE;
    bias->dense = i;
    name(bias, 0, "linear", 0, "bias");
}

/* ---- all of it ----------------------------------------------------------------------------- */

embed_status weights_list(struct slot_list *list, struct weights *weights,
                          const struct backend *backend, const struct weight_files *files)
{
    struct encoder *encoder = &weights->encoder;
    struct decoder *decoder = &weights->decoder;
    const struct transformer_config *config = &encoder->config;
    const struct weight_names *names = weight_names_of(config->family);
    encoder->layers = memory_allocate(config->L, sizeof *encoder->layers, "the layers");
    decoder->layers = memory_allocate(config->decoder.L, sizeof *decoder->layers, "the layers");
    list->slots = memory_allocate(MODEL_SLOTS + LAYER_SLOTS * config->L + DECODER_SLOTS +
                                      DECODER_LAYER_SLOTS * config->decoder.L +
                                      DENSE_SLOTS * files->dense_count,
                                  sizeof *list->slots, "the list of weights");
    if (encoder->layers == NULL || decoder->layers == NULL || list->slots == NULL)
        return EMBED_OUT_OF_MEMORY;

    add_embeddings(list, &encoder->embeddings, config, names);
    add_relative_bias(list, &encoder->relative_bias, config, names);
    for (size_t l = 0; l < config->L; l++) add_layer(list, &encoder->layers[l], l, config, names);
    if (config->decoder.L > 0) add_decoder(list, decoder, config, backend, names);
    for (size_t i = 0; i < files->dense_count; i++) add_dense(list, &weights->dense[i], files, i);
    return EMBED_OK;
}
