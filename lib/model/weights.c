/* weights.c - loads a checkpoint into the device's memory
 *
 * weights_list.c lists which tensors make up each weight. The list is walked three times: to find
 * the tensors and check their shapes (weights_find.c), to place the weights in one block, and to
 * read them.
 */
#include "model/weights.h"

#include "base/first_failure.h"
#include "base/memory.h"
#include "base/status.h"
#include "formats/float_convert.h"
#include "model/distance_bucket.h"
#include "model/weights_list.h"

#include <stdatomic.h>
#include <string.h>

/* Tensors are read in pieces of this size, so that conversion finds them in the cache. */
#define PIECE_BYTES ((size_t)256 << 10)
#define ALIGNMENT   256

/* ---- placing ------------------------------------------------------------------------------- */

static size_t slot_bytes(const struct slot *slot, const struct backend *backend)
{
    if (slot->weight == NULL) return 0;
    size_t rows = slot->kind == WEIGHT_BIAS ? 1 : slot->rows * slot->parts;
    size_t columns = slot->kind == WEIGHT_BIAS ? slot->columns * slot->parts : slot->columns;
    return backend->weight_bytes(backend, slot->kind, rows, columns);
}

/* Sets each slot's offset, and weights->bytes to the total. */
static embed_status place(struct weights *weights, struct slot_list *list,
                          const struct backend *backend)
{
    size_t total = 0;
    for (size_t i = 0; i < list->count; i++) {
        size_t bytes = slot_bytes(&list->slots[i], backend);
        list->slots[i].offset = total;
        if (bytes > SIZE_MAX - ALIGNMENT ||
            !size_add(total, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT, &total))
            return fail(EMBED_OUT_OF_MEMORY, "the weights are too large for any memory");
    }
    weights->bytes = total;
    return EMBED_OK;
}

static embed_status allocate(struct weights *weights, const struct slot_list *list,
                             struct backend *backend)
{
    TRY(backend->allocate(backend, &weights->block, weights->bytes, "the weights"));
    for (size_t i = 0; i < list->count; i++)
        if (list->slots[i].weight != NULL)
            *list->slots[i].weight = (char *)weights->block + list->slots[i].offset;
    const struct transformer_config *config = &weights->encoder.config;
    if (config->decoder.L == 0) return EMBED_OK;
    void *word = weights->encoder.embeddings.word;
    weights->decoder.embeddings.word = word;
    if (weights_share_words(config, backend)) weights->decoder.head.weight = word;
    return EMBED_OK;
}

/* ---- reading ------------------------------------------------------------------------------- */

struct load {
    struct slot_list *list;
    struct backend *backend;
    atomic_size_t next;
    struct first_failure failure;
};

/* A thread's buffers for reading. */
struct staging {
    float *floats;
    size_t count; /* of floats: what the largest weight so far needed */
    void *raw;    /* PIECE_BYTES for numbers as they are in the file */
};

static embed_status grow(struct staging *staging, size_t count)
{
    if (count <= staging->count) return EMBED_OK;
    memory_free(staging->floats);
    staging->floats = memory_allocate_aligned(count * sizeof(float), "load staging");
    staging->count = staging->floats != NULL ? count : 0;
    return staging->floats != NULL ? EMBED_OK : EMBED_OUT_OF_MEMORY;
}

/* Reads `count` numbers, starting with number `first`, as floats. */
static embed_status read_floats(float *out, const struct staging *staging,
                                const struct checkpoint_tensor *tensor, size_t first, size_t count)
{
    enum safetensors_dtype dtype = tensor->tensor->dtype;
    size_t width = safetensors_dtype_bits(dtype) / 8, most = PIECE_BYTES / width;
    if (dtype == SAFETENSORS_F32)
        return safetensors_read(tensor->file, tensor->tensor, (uint64_t)first * width, out,
                                count * width);
    for (size_t done = 0; done < count; done += most) {
        size_t some = count - done < most ? count - done : most;
        TRY(safetensors_read(tensor->file, tensor->tensor, (uint64_t)(first + done) * width,
                             staging->raw, some * width));
        float_convert(out + done, staging->raw, dtype, some);
    }
    return EMBED_OK;
}

/* Returns the first of the slot's parts, whose numbers follow one another, that the backend cannot
 * store. Overwrites the weight. */
static size_t refused_part(const struct slot *slot, struct backend *backend, const float *values)
{
    size_t part = 0, size = slot->rows * slot->columns;
    while (part + 1 < slot->parts &&
           backend->weight_store(backend, *slot->weight, slot->kind, values + part * size, 0,
                                 slot->rows, slot->columns) == EMBED_OK)
        part++;
    return part;
}

/* Stores rows [first, first + count) of the slot's weight. If the dtype cannot hold a value, the
 * message names its tensor. */
static embed_status store(const struct slot *slot, struct backend *backend, const float *values,
                          size_t first, size_t count, size_t columns)
{
    embed_status status =
        backend->weight_store(backend, *slot->weight, slot->kind, values, first, count, columns);
    if (status != EMBED_UNSUPPORTED) return status;
    const struct checkpoint_tensor *tensor = &slot->tensors[refused_part(slot, backend, values)];
    return fail(status, "%s: tensor \"%s\": %s", safetensors_path(tensor->file),
                tensor->tensor->name, error_message());
}

/* Returns how many rows of a table are read at a time. */
static size_t piece_rows(const struct slot *slot)
{
    size_t rows = PIECE_BYTES / sizeof(float) / slot->columns;
    return rows > 0 ? rows : 1;
}

static embed_status load_pieces(const struct slot *slot, struct backend *backend,
                                const struct staging *staging)
{
    size_t rows = piece_rows(slot), columns = slot->columns;
    for (size_t first = 0; first < slot->rows; first += rows) {
        size_t count = slot->rows - first < rows ? slot->rows - first : rows;
        TRY(read_floats(staging->floats, staging, &slot->tensors[0], first * columns,
                        count * columns));
        if (slot->scale != 1)
            for (size_t i = 0; i < count * columns; i++) staging->floats[i] *= slot->scale;
        TRY(store(slot, backend, staging->floats, first, count, columns));
    }
    return EMBED_OK;
}

/* Checks that a copy equals the words. A checkpoint may have all of its tied tensors; if they
 * differ, it was not trained as config.json says. */
static embed_status compare_with_words(const struct slot *copy, const struct slot *words,
                                       const struct staging *staging)
{
    const struct checkpoint_tensor *a = &copy->tensors[0], *b = &words->tensors[0];
    if (a->tensor == NULL || a->tensor == b->tensor) return EMBED_OK;
    size_t count = copy->rows * copy->columns, most = staging->count / 2;
    float *other = staging->floats + most;
    for (size_t first = 0; first < count; first += most) {
        size_t some = count - first < most ? count - first : most;
        TRY(read_floats(staging->floats, staging, a, first, some));
        TRY(read_floats(other, staging, b, first, some));
        if (memcmp(staging->floats, other, some * sizeof *other) != 0)
            return fail(EMBED_UNSUPPORTED,
                        "%s: tensor \"%s\" differs from \"%s\"; this version supports only models "
                        "where they are tied",
                        safetensors_path(a->file), a->tensor->name, b->tensor->name);
    }
    return EMBED_OK;
}

/* Stores one row per head: for each distance, the number in the table at the distance's bucket. */
static embed_status load_by_distance(const struct slot *slot, struct backend *backend,
                                     const struct staging *staging)
{
    size_t NH = slot->rows, buckets = slot->tensor_rows;
    ptrdiff_t zero = (ptrdiff_t)(slot->columns - 64 - 1) / 2;
    float *row = staging->floats, *table = row + slot->columns; /* (buckets, NH) */
    TRY(read_floats(table, staging, &slot->tensors[0], 0, buckets * NH));
    for (size_t h = 0; h < NH; h++) {
        memset(row, 0, slot->columns * sizeof *row);
        for (ptrdiff_t d = -zero; d <= zero; d++)
            row[zero + d] = table[distance_bucket(d, buckets) * NH + h];
        TRY(store(slot, backend, row, h, 1, slot->columns));
    }
    return EMBED_OK;
}

/* Reads all parts, one after another in memory, and stores them at once. */
static embed_status load_whole(const struct slot *slot, struct backend *backend,
                               const struct staging *staging)
{
    size_t part = slot->rows * slot->columns;
    for (size_t p = 0; p < slot->parts; p++) {
        float *floats = staging->floats + p * part;
        if (slot->tensors[p].tensor != NULL)
            TRY(read_floats(floats, staging, &slot->tensors[p], 0, part));
        else
            memset(floats, 0, part * sizeof *floats);
    }
    bool bias = slot->kind == WEIGHT_BIAS;
    return store(slot, backend, staging->floats, 0, bias ? 1 : slot->rows * slot->parts,
                 bias ? slot->columns * slot->parts : slot->columns);
}

static embed_status load_slot(const struct slot *slot, const struct slot *words,
                              struct backend *backend, struct staging *staging)
{
    bool scores = slot->kind == WEIGHT_SCORES, table = slot->kind == WEIGHT_TABLE;
    size_t floats = slot->rows * slot->columns * slot->parts;
    if (scores) floats = slot->columns + slot->tensor_rows * slot->rows;
    if (table) floats = 2 * piece_rows(slot) * slot->columns; /* two, to compare */
    TRY(grow(staging, floats));
    if (slot->need == SLOT_WORDS_COPY) return compare_with_words(slot, words, staging);
    if (scores) return load_by_distance(slot, backend, staging);
    return table ? load_pieces(slot, backend, staging) : load_whole(slot, backend, staging);
}

static void load_some(void *argument, unsigned rank)
{
    (void)rank;
    struct load *load = argument;
    struct staging staging = {.raw = memory_allocate_aligned(PIECE_BYTES, "load staging")};
    embed_status status = staging.raw != NULL ? EMBED_OK : EMBED_OUT_OF_MEMORY;

    const struct slot *slots = load->list->slots;
    size_t i;
    while (status == EMBED_OK && !first_failure_seen(&load->failure) &&
           (i = atomic_fetch_add(&load->next, 1)) < load->list->count)
        status = load_slot(&slots[i], &slots[0], load->backend, &staging);

    first_failure_note(&load->failure, status);
    memory_free(staging.floats);
    memory_free(staging.raw);
}

static embed_status load_all(struct slot_list *list, struct backend *backend,
                             struct thread_team *team)
{
    struct load load = {.list = list, .backend = backend};
    thread_team_run(team, load_some, &load);
    return first_failure_result(&load.failure);
}

/* ---- all of it ----------------------------------------------------------------------------- */

/* Lists the slots of all weights, finds and checks their tensors, and places the weights. */
static embed_status describe(struct weights *weights, struct slot_list *list,
                             const struct transformer_config *config,
                             const struct backend *backend, const struct weight_files *files)
{
    *weights = (struct weights){.encoder.config = *config};
    *list = (struct slot_list){0};
    TRY(weights_list(list, weights, backend, files));
    TRY(weights_find(list, &weights->parameters, files, weight_names_of(config->family)));
    return place(weights, list, backend);
}

embed_status weights_measure(struct weights *weights, const struct transformer_config *config,
                             const struct backend *backend, const struct weight_files *files)
{
    struct slot_list list;
    embed_status status = describe(weights, &list, config, backend, files);
    memory_free(list.slots);
    memory_free(weights->encoder.layers);
    memory_free(weights->decoder.layers);
    weights->encoder.layers = NULL;
    weights->decoder.layers = NULL;
    return status;
}

embed_status weights_load(struct weights *weights, const struct transformer_config *config,
                          struct backend *backend, const struct weight_files *files,
                          struct thread_team *team)
{
    struct slot_list list;
    embed_status status = describe(weights, &list, config, backend, files);
    if (status == EMBED_OK) weights_warn_of_layers(config, files);
    if (status == EMBED_OK) status = allocate(weights, &list, backend);
    if (status == EMBED_OK) status = load_all(&list, backend, team);
    memory_free(list.slots);
    return status;
}

void weights_release(struct weights *weights, struct backend *backend)
{
    backend->release(backend, weights->block);
    memory_free(weights->encoder.layers);
    memory_free(weights->decoder.layers);
    *weights = (struct weights){0};
}
