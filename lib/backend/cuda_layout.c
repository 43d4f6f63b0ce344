/* cuda_layout.c - memory sizes on a GPU, known without having one */
#include "backend/cuda_layout.h"

#include "base/memory.h"
#include "base/status.h"

/* Above this many tokens, kernels run longer than they take to start: starting MiniLM's 32 kernels
 * one by one takes 80 us, and computing 2,048 tokens 60 us at the rate of an H200. */
#define GRAPH_TOKENS 2048

/* Decoding steps between two checks for finished documents. What a document computes past its end
 * is wasted, as is the time in which a free slot waits for the next; with two chunks in flight, the
 * check itself costs no time. */
#define STEPS 8

/* At 64 rows (16 documents of 4 beams), BART-large's weights are read from memory in the time that
 * the products take. */
#define SLOTS 16

/* An instance keeps graphs up to this many bytes: 128 of them if one takes 64 KiB, a guess. Single
 * texts of up to 512 tokens need 24; 128 are enough for 98% of small batches of texts with 34
 * tokens on average. Bytes are bounded, not the number, since CUDA decides what a graph takes. */
#define GRAPH_BYTES ((size_t)8 << 20)

/* Allowances, not measurements: no GPU has reported them yet. The context's is a guess for 132
 * multiprocessors, with kernels that CUDA loads at their first launch; smaller GPUs take less. */
const struct device_costs cuda_allowances = {.context = (size_t)512 << 20,
                                             .library = (size_t)64 << 20,
                                             .stream = CUDA_BLOCK};

/* Rounds up to one of 16, 32, 48, ..., 256, 288, 320, ..., 512, 576, ...: above 128, at most an
 * eighth is computed for nothing. */
static size_t next_size(size_t n)
{
    size_t step = 16;
    while (16 * step < n) step *= 2;
    return n == 0 ? step : (n + step - 1) / step * step;
}

void cuda_round_up(const struct chunk_limits *limits, size_t *N, size_t *B, size_t *longest)
{
    size_t tokens = next_size(*N), texts = 1, length = 16;
    while (texts < *B) texts *= 2;
    while (length < *longest) length *= 2; /* costs only attention blocks that return at once */
    if (tokens > GRAPH_TOKENS || tokens > limits->N || texts > limits->B) return;
    *N = tokens;
    *B = texts;
    *longest = length;
}

/* Documents begin in a chunk of tokens. Chunks of steps need less: one slot index per document. */
size_t cuda_slot_numbers(const struct chunk_limits *limits)
{
    size_t documents = limits->D * sizeof(struct beam_document) / sizeof(int32_t);
    return (packed_batch_size(limits->N, limits->B) + documents + 63) / 64 *
           64; /* a multiple of 256 bytes */
}

static size_t chunk_tokens(const struct backend *backend, size_t C, size_t F)
{
    return cuda_chunk_tokens(&backend->card, C, F, backend->activation_bytes);
}

static size_t executor_bytes(const struct backend *backend, const struct chunk_limits *limits)
{
    return backend->workers * cuda_slot_numbers(limits) * sizeof(int32_t);
}

static size_t taken_memory(const struct backend *backend, size_t bytes)
{
    (void)backend;
    size_t step = bytes > CUDA_BLOCK / 2 ? CUDA_BLOCK : 512;
    return (bytes + step - 1) / step * step;
}

bool cuda_weight_is_float(const struct backend *backend, enum weight_kind kind)
{
    return backend->dtype == EMBED_DTYPE_F32 || kind == WEIGHT_VECTOR || kind == WEIGHT_SCORES ||
           kind == WEIGHT_WIDE_BIAS;
}

static size_t weight_bytes(const struct backend *backend, enum weight_kind kind, size_t rows,
                           size_t columns)
{
    size_t numbers, bytes;
    size_t width = cuda_weight_is_float(backend, kind) ? sizeof(float) : sizeof(uint16_t);
    if (!size_multiply(rows, columns, &numbers) || !size_multiply(numbers, width, &bytes))
        return SIZE_MAX;
    return bytes;
}

embed_status cuda_layout(struct backend *backend, int index, embed_dtype dtype)
{
    if (dtype == EMBED_DTYPE_AUTO) dtype = EMBED_DTYPE_F16;
    if (dtype != EMBED_DTYPE_F16 && dtype != EMBED_DTYPE_F32)
        return fail(EMBED_UNSUPPORTED, "on a GPU this version computes only in f16 and f32");
    backend->device = EMBED_DEVICE_CUDA;
    backend->device_index = index;
    backend->dtype = dtype;
    backend->activation_bytes = dtype == EMBED_DTYPE_F32 ? sizeof(float) : sizeof(uint16_t);
    backend->workers = CUDA_SLOTS;
    backend->is_queue = true;
    backend->steps = STEPS;
    backend->slots = SLOTS;
    backend->matrices_are_tables = true;
    backend->costs = cuda_allowances;
    backend->graph_bytes = GRAPH_BYTES;
    backend->taken_memory = taken_memory;
    backend->weight_bytes = weight_bytes;
    backend->chunk_tokens = chunk_tokens;
    backend->executor_bytes = executor_bytes;
    backend->round_up = cuda_round_up;
    return EMBED_OK;
}

static void close_layout(struct backend *backend)
{
    memory_free(backend);
}

embed_status cuda_layout_open(struct backend **out, int index, embed_dtype dtype)
{
    struct backend *backend = memory_allocate(1, sizeof *backend, "a plan");
    if (backend == NULL) return EMBED_OUT_OF_MEMORY;
    *backend = (struct backend){.references = 1, .close = close_layout};
    embed_status status = cuda_layout(backend, index, dtype);
    if (status != EMBED_OK) {
        memory_free(backend);
        return status;
    }
    *out = backend;
    return EMBED_OK;
}
