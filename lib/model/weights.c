/* weights.c - from a checkpoint into the device's memory
 *
 * A list of slots says which tensors make up each weight. It is walked three times: to find the
 * tensors and check their shapes, to place the weights in one block, and to read them.
 */
#include "model/weights.h"

#include "base/first_failure.h"
#include "base/memory.h"
#include "base/status.h"
#include "description/weight_names.h"
#include "formats/float_convert.h"
#include "model/distance_bucket.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* A table is read in pieces of this size, so that it is converted in the cache. */
#define PIECE_BYTES ((size_t)256 << 10)
#define ALIGNMENT   256
#define MAX_PARTS   3
#define NAME_SIZE   128

struct slot {
    void **weight;
    enum weight_kind kind;
    size_t parts;         /* tensors that follow each other along the rows */
    size_t rows, columns; /* read from each part */
    size_t tensor_rows;   /* each part's shape is (tensor_rows, columns), or (columns) for vectors */
    bool alternative;     /* LayerNorm's old names, gamma and beta, are accepted */
    char names[MAX_PARTS][NAME_SIZE];
    struct checkpoint_tensor tensors[MAX_PARTS];
    size_t offset; /* in the block */
};

struct slot_list {
    struct slot *slots;
    size_t count;
};

/* ---- the list ------------------------------------------------------------------------------ */

static struct slot *add(struct slot_list *list, void **weight, enum weight_kind kind, size_t rows,
                        size_t columns)
{
    struct slot *slot = &list->slots[list->count++];
    *slot = (struct slot){.weight = weight, .kind = kind, .parts = 1, .rows = rows,
                          .columns = columns, .tensor_rows = rows};
    return slot;
}

static void name(struct slot *slot, size_t part, const char *pattern, size_t layer,
                 const char *suffix)
{
    /* The patterns are constants of weight_names.c; those without %zu ignore the layer. */
    char base[NAME_SIZE];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
    snprintf(base, sizeof base, pattern, layer);
#pragma GCC diagnostic pop
    snprintf(slot->names[part], NAME_SIZE, "%.100s.%s", base, suffix);
}

static void add_linear(struct slot_list *list, struct linear *linear, const char *const *patterns,
                       size_t parts, size_t layer, size_t O, size_t I)
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
}

static void add_layernorm(struct slot_list *list, struct layernorm *norm, const char *pattern,
                          size_t layer, size_t C)
{
    struct slot *weight = add(list, &norm->weight, WEIGHT_VECTOR, 1, C);
    struct slot *bias = add(list, &norm->bias, WEIGHT_VECTOR, 1, C);
    weight->alternative = bias->alternative = true;
    name(weight, 0, pattern, layer, "weight");
    name(bias, 0, pattern, layer, "bias");
}

static void add_embeddings(struct slot_list *list, struct embeddings *embeddings,
                           const struct transformer_config *config,
                           const struct weight_names *names)
{
    size_t C = config->C;
    name(add(list, &embeddings->word, WEIGHT_TABLE, config->V, C), 0, names->word, 0, "weight");
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

#define MODEL_SLOTS 6 /* besides the layers' */
#define LAYER_SLOTS 12

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

/* ---- finding and checking ------------------------------------------------------------------ */

/* Checkpoints of one family come with and without its prefix, and, from TensorFlow's time, with
 * gamma and beta for LayerNorm's weight and bias. */
static bool find(const struct checkpoint *checkpoint, const struct weight_names *names,
                 const char *plain, bool alternative, struct checkpoint_tensor *out)
{
    char prefixed[NAME_SIZE + 16];
    snprintf(prefixed, sizeof prefixed, "%s%s", names->prefix, plain);
    if (checkpoint_find(checkpoint, plain, out) || checkpoint_find(checkpoint, prefixed, out))
        return true;
    if (!alternative) return false;
    char old[NAME_SIZE];
    const char *dot = strrchr(plain, '.');
    snprintf(old, sizeof old, "%.*s.%s", (int)(dot - plain), plain,
             strcmp(dot, ".weight") == 0 ? "gamma" : "beta");
    return find(checkpoint, names, old, false, out);
}

static embed_status check_shape(const struct slot *slot, const struct checkpoint_tensor *found)
{
    const struct safetensors_tensor *t = found->tensor;
    const char *path = safetensors_path(found->file);
    bool scores = slot->kind == WEIGHT_SCORES; /* by bucket in the file, (buckets, NH) */
    bool matrix = slot->kind == WEIGHT_TABLE || slot->kind == WEIGHT_MATRIX || scores ||
                  slot->tensor_rows > 1;
    bool vector = !matrix && t->rank == 1 && t->shape[0] == slot->columns;
    size_t columns = scores ? slot->rows : slot->columns;
    bool table = t->rank == 2 && t->shape[0] == slot->tensor_rows && t->shape[1] == columns;
    if (!vector && !table)
        return fail(EMBED_BAD_FILE,
                    "%s: tensor \"%s\" has rank %u and shape (%llu, %llu, ...), config.json implies "
                    "%zu x %zu",
                    path, t->name, t->rank, t->rank > 0 ? (unsigned long long)t->shape[0] : 0,
                    t->rank > 1 ? (unsigned long long)t->shape[1] : 0, slot->tensor_rows, columns);
    if (!float_convert_supports(t->dtype))
        return fail(EMBED_UNSUPPORTED, "%s: tensor \"%s\" is %s, this version reads F32, F16, BF16",
                    path, t->name, safetensors_dtype_name(t->dtype));
    return EMBED_OK;
}

static embed_status find_tensors(struct slot_list *list, const struct checkpoint *checkpoint,
                                 const struct weight_names *names, uint64_t *parameters)
{
    for (size_t i = 0; i < list->count; i++) {
        struct slot *slot = &list->slots[i];
        for (size_t p = 0; p < slot->parts; p++) {
            struct checkpoint_tensor *tensor = &slot->tensors[p];
            if (!find(checkpoint, names, slot->names[p], slot->alternative, tensor))
                return fail(EMBED_BAD_FILE, "%s: tensor \"%s\" is missing",
                            safetensors_path(checkpoint_file(checkpoint, 0)), slot->names[p]);
            TRY(check_shape(slot, tensor));
            *parameters += tensor->tensor->elements;
        }
    }
    return EMBED_OK;
}

/* ---- placing ------------------------------------------------------------------------------- */

static size_t slot_bytes(const struct slot *slot, const struct backend *backend)
{
    size_t rows = slot->kind == WEIGHT_BIAS ? 1 : slot->rows * slot->parts;
    size_t columns = slot->kind == WEIGHT_BIAS ? slot->columns * slot->parts : slot->columns;
    return backend->weight_bytes(backend, slot->kind, rows, columns);
}

/* Gives each slot its offset, and weights->bytes the sum. */
static embed_status place(struct weights *weights, struct slot_list *list,
                          const struct backend *backend)
{
    size_t total = 0;
    for (size_t i = 0; i < list->count; i++) {
        size_t bytes = slot_bytes(&list->slots[i], backend);
        list->slots[i].offset = total;
        if (bytes > SIZE_MAX - ALIGNMENT ||
            !size_add(total, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT, &total))
            return fail(EMBED_OUT_OF_MEMORY, "the weights do not fit any memory");
    }
    weights->bytes = total;
    return EMBED_OK;
}

static embed_status allocate(struct weights *weights, const struct slot_list *list,
                             struct backend *backend)
{
    TRY(backend->allocate(backend, &weights->block, weights->bytes, "the weights"));
    for (size_t i = 0; i < list->count; i++)
        *list->slots[i].weight = (char *)weights->block + list->slots[i].offset;
    return EMBED_OK;
}

/* ---- reading ------------------------------------------------------------------------------- */

struct load {
    struct slot_list *list;
    struct backend *backend;
    size_t staging_floats; /* enough for any matrix and for a piece of a table */
    atomic_size_t next;
    struct first_failure failure;
};

/* `count` numbers from the `first` on, as floats. `raw` has room for them. */
static embed_status read_floats(float *out, void *raw, const struct checkpoint_tensor *tensor,
                                size_t first, size_t count)
{
    size_t width = safetensors_dtype_bits(tensor->tensor->dtype) / 8;
    bool direct = tensor->tensor->dtype == SAFETENSORS_F32;
    TRY(safetensors_read(tensor->file, tensor->tensor, (uint64_t)first * width,
                         direct ? (void *)out : raw, count * width));
    if (!direct) float_convert(out, raw, tensor->tensor->dtype, count);
    return EMBED_OK;
}

/* Rows [first, first + count) of the slot's weight. A value that the dtype cannot hold is told with the
 * tensor it is in. */
static embed_status store(const struct slot *slot, struct backend *backend, const float *values,
                          size_t first, size_t count, size_t columns)
{
    embed_status status =
        backend->weight_store(backend, *slot->weight, slot->kind, values, first, count, columns);
    if (status != EMBED_UNSUPPORTED) return status;
    return fail(status, "%s: tensor \"%s\": %s", safetensors_path(slot->tensors[0].file),
                slot->names[0], error_message());
}

static embed_status load_pieces(const struct slot *slot, struct backend *backend, float *staging,
                                void *raw)
{
    size_t rows = PIECE_BYTES / sizeof(float) / slot->columns;
    if (rows == 0) rows = 1;
    for (size_t first = 0; first < slot->rows; first += rows) {
        size_t count = slot->rows - first < rows ? slot->rows - first : rows;
        TRY(read_floats(staging, raw, &slot->tensors[0], first * slot->columns,
                        count * slot->columns));
        TRY(store(slot, backend, staging, first, count, slot->columns));
    }
    return EMBED_OK;
}

/* The bucket's row of the table for each distance, head by head. */
static embed_status load_by_distance(const struct slot *slot, struct backend *backend,
                                     float *staging, void *raw)
{
    size_t NH = slot->rows, buckets = slot->tensor_rows;
    ptrdiff_t zero = (ptrdiff_t)(slot->columns - 64 - 1) / 2;
    float *table = staging + slot->columns; /* (buckets, NH) */
    TRY(read_floats(table, raw, &slot->tensors[0], 0, buckets * NH));
    for (size_t h = 0; h < NH; h++) {
        memset(staging, 0, slot->columns * sizeof *staging);
        for (ptrdiff_t d = -zero; d <= zero; d++)
            staging[zero + d] = table[distance_bucket(d, buckets) * NH + h];
        TRY(store(slot, backend, staging, h, 1, slot->columns));
    }
    return EMBED_OK;
}

static embed_status load_slot(const struct slot *slot, struct backend *backend, float *staging,
                              void *raw)
{
    if (slot->kind == WEIGHT_SCORES) return load_by_distance(slot, backend, staging, raw);
    if (slot->kind == WEIGHT_TABLE) return load_pieces(slot, backend, staging, raw);
    size_t part = slot->rows * slot->columns;
    for (size_t p = 0; p < slot->parts; p++)
        TRY(read_floats(staging + p * part, raw, &slot->tensors[p], 0, part));
    bool bias = slot->kind == WEIGHT_BIAS;
    return store(slot, backend, staging, 0, bias ? 1 : slot->rows * slot->parts,
                 bias ? slot->columns * slot->parts : slot->columns);
}

static void load_some(void *argument, unsigned rank)
{
    (void)rank;
    struct load *load = argument;
    float *staging = memory_allocate_aligned(load->staging_floats * sizeof(float), "load staging");
    void *raw = memory_allocate_aligned(load->staging_floats * 2, "load staging"); /* 16 bits each */
    embed_status status = staging != NULL && raw != NULL ? EMBED_OK : EMBED_OUT_OF_MEMORY;

    size_t i;
    while (status == EMBED_OK && !first_failure_seen(&load->failure) &&
           (i = atomic_fetch_add(&load->next, 1)) < load->list->count)
        status = load_slot(&load->list->slots[i], load->backend, staging, raw);

    first_failure_note(&load->failure, status);
    memory_free(staging);
    memory_free(raw);
}

static embed_status load_all(struct slot_list *list, struct backend *backend,
                             struct thread_team *team)
{
    struct load load = {.list = list, .backend = backend};
    for (size_t i = 0; i < list->count; i++) {
        const struct slot *slot = &list->slots[i];
        size_t floats = slot->rows * slot->columns * slot->parts;
        if (slot->kind == WEIGHT_SCORES) floats = slot->columns + slot->tensor_rows * slot->rows;
        else if (slot->kind == WEIGHT_TABLE) floats = PIECE_BYTES / sizeof(float) + slot->columns;
        if (floats > load.staging_floats) load.staging_floats = floats;
    }
    thread_team_run(team, load_some, &load);
    return first_failure_result(&load.failure);
}

/* ---- all of it ----------------------------------------------------------------------------- */

/* The slots of all weights, with their tensors found, checked and placed. */
static embed_status describe(struct weights *weights, struct slot_list *list,
                             const struct transformer_config *config,
                             const struct backend *backend, const struct checkpoint *checkpoint)
{
    const struct weight_names *names = weight_names_of(config->family);
    *weights = (struct weights){.encoder.config = *config};
    *list = (struct slot_list){0};
    struct encoder *encoder = &weights->encoder;
    encoder->layers = memory_allocate(config->L, sizeof *encoder->layers, "the layers");
    list->slots = memory_allocate(MODEL_SLOTS + LAYER_SLOTS * config->L, sizeof *list->slots,
                                  "the list of weights");
    if (encoder->layers == NULL || list->slots == NULL) return EMBED_OUT_OF_MEMORY;

    add_embeddings(list, &encoder->embeddings, config, names);
    add_relative_bias(list, &encoder->relative_bias, config, names);
    for (size_t l = 0; l < config->L; l++) add_layer(list, &encoder->layers[l], l, config, names);
    TRY(find_tensors(list, checkpoint, names, &weights->parameters));
    return place(weights, list, backend);
}

embed_status weights_measure(struct weights *weights, const struct transformer_config *config,
                             const struct backend *backend, const struct checkpoint *checkpoint)
{
    struct slot_list list;
    embed_status status = describe(weights, &list, config, backend, checkpoint);
    memory_free(list.slots);
    memory_free(weights->encoder.layers);
    weights->encoder.layers = NULL;
    return status;
}

embed_status weights_load(struct weights *weights, const struct transformer_config *config,
                          struct backend *backend, const struct checkpoint *checkpoint,
                          struct thread_team *team)
{
    struct slot_list list;
    embed_status status = describe(weights, &list, config, backend, checkpoint);
    if (status == EMBED_OK) status = allocate(weights, &list, backend);
    if (status == EMBED_OK) status = load_all(&list, backend, team);
    memory_free(list.slots);
    return status;
}

void weights_release(struct weights *weights, struct backend *backend)
{
    backend->release(backend, weights->block);
    memory_free(weights->encoder.layers);
    *weights = (struct weights){0};
}
