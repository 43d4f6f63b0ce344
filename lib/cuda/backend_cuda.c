/* backend_cuda.c - the operations on a GPU, in FP16, or in FP32 for checking
 *
 * Operations only enqueue: errors of a kernel show where the executor waits for the chunk.
 */
#include "backend/backend.h"

#include "base/memory.h"
#include "base/status.h"
#include "cuda/cuda_error.h"
#include "cuda/device.h"
#include "cuda/executor.h"
#include "formats/float_convert.h"
#include "kernels/kernels_cuda.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Tokens of a chunk. Large enough that every layer fills the GPU several times over, small
 * enough that MiniLM's activations, 4.6 KB a token, stay in the second-level cache of a large
 * GPU (50 MB). */
#define CHUNK_TOKENS 8192

/* ---- memory --------------------------------------------------------------------------------
 */

/* Calls of `device` between these two leave the calling thread's current device as it was. */
static embed_status enter(const struct backend *backend, int *previous)
{
    return device_enter(backend->device_index, previous);
}

static embed_status cuda_allocate(struct backend *backend, void **out, size_t bytes,
                                  const char *what)
{
    int previous;
    TRY(enter(backend, &previous));
    cudaError_t error = cudaMalloc(out, bytes > 0 ? bytes : 1);
    if (error == cudaErrorMemoryAllocation) {
        size_t free_bytes = 0, all = 0;
        cudaGetLastError();
        cudaMemGetInfo(&free_bytes, &all);
        device_leave(previous);
        return fail(EMBED_OUT_OF_MEMORY,
                    "cuda:%d: %s: %zu bytes are needed, %zu of %zu are free",
                    backend->device_index, what, bytes, free_bytes, all);
    }
    device_leave(previous);
    TRY_CUDA(error, what);
    return EMBED_OK;
}

/* Memory is released from any device, but a call on one that is not in use yet would begin to
 * use it. */
static void cuda_release(struct backend *backend, void *memory)
{
    int previous;
    if (memory == NULL) return;
    bool entered = enter(backend, &previous) == EMBED_OK;
    cudaFree(memory);
    if (entered) device_leave(previous);
}

static embed_status cuda_staging_allocate(struct backend *backend, void **out, size_t bytes,
                                          const char *what)
{
    int previous;
    TRY(enter(backend, &previous));
    cudaError_t error = cudaMallocHost(out, bytes > 0 ? bytes : 1);
    device_leave(previous);
    TRY_CUDA(error, what);
    return EMBED_OK;
}

static void cuda_staging_release(struct backend *backend, void *memory)
{
    int previous;
    if (memory == NULL) return;
    bool entered = enter(backend, &previous) == EMBED_OK;
    cudaFreeHost(memory);
    if (entered) device_leave(previous);
}

/* ---- weights -------------------------------------------------------------------------------
 */

/* LayerNorm's vectors, the token type and the relative bias are small, and are added or
 * multiplied in FP32: there they lose nothing. */
static bool is_float(const struct backend *backend, enum weight_kind kind)
{
    return backend->dtype == EMBED_DTYPE_F32 || kind == WEIGHT_VECTOR || kind == WEIGHT_SCORES;
}

static size_t cuda_weight_bytes(const struct backend *backend, enum weight_kind kind,
                                size_t rows, size_t columns)
{
    size_t bytes;
    if (!size_multiply(rows, columns, &bytes) ||
        !size_multiply(bytes, is_float(backend, kind) ? sizeof(float) : sizeof(uint16_t),
                       &bytes))
        return SIZE_MAX;
    return bytes;
}

static embed_status copy_to_device(const struct backend *backend, void *to, const void *from,
                                   size_t bytes)
{
    int previous;
    TRY(enter(backend, &previous));
    cudaError_t error = cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice);
    /* It may return while the last bytes are under way, and executors' streams do not wait for
     * it. */
    if (error == cudaSuccess) error = cudaStreamSynchronize(NULL);
    device_leave(previous);
    TRY_CUDA(error, "copying a weight");
    return EMBED_OK;
}

static embed_status cuda_weight_store(struct backend *backend, void *weight,
                                      enum weight_kind kind, const float *values, size_t first,
                                      size_t count, size_t columns)
{
    size_t size = count * columns;
    if (is_float(backend, kind))
        return copy_to_device(backend, (float *)weight + first * columns, values,
                              size * sizeof *values);

    uint16_t *halves = memory_allocate(size, sizeof *halves, "a weight in f16");
    if (halves == NULL) return EMBED_OUT_OF_MEMORY;
    size_t overflow = float_to_f16(halves, values, size);
    embed_status status =
        overflow < size
            ? fail(EMBED_UNSUPPORTED, "%g is too large for f16; dtype f32 can hold it",
                   (double)values[overflow])
            : copy_to_device(backend, (uint16_t *)weight + first * columns, halves,
                             size * sizeof *halves);
    memory_free(halves);
    return status;
}

/* ---- operations ----------------------------------------------------------------------------
 */

static embed_status cuda_embed_layernorm(void *y, const struct packed_batch *batch,
                                         const struct embeddings *embeddings, size_t C,
                                         float eps, struct execution *execution)
{
    const struct embeddings *w = embeddings;
    TRY_CUDA(execution->kernels->embed_layernorm(
                 y, batch->ids, batch->positions, w->word, w->position, w->type, w->norm.weight,
                 w->norm.bias, batch->N, C, eps, execution->stream),
             "embed_layernorm");
    return EMBED_OK;
}

/* cuBLASLt adds a bias to the FP32 sums before they are rounded. It also knows a GELU, but that
 * is the tanh approximation, off by up to 5e-4: the models' own is a kernel of ours. */
static embed_status cuda_linear(void *y, const void *x, const struct linear *layer, size_t N,
                                enum activation activation, struct execution *execution)
{
    bool gelu = activation == ACTIVATION_GELU;
    TRY(matmul_run(execution->matmul, y, x, layer, N, !gelu, execution->stream));
    if (gelu)
        TRY_CUDA(execution->kernels->bias_gelu(y, layer->bias, N, layer->O, execution->stream),
                 "bias_gelu");
    return EMBED_OK;
}

static embed_status cuda_attention(void *context, const void *qkv,
                                   const struct relative_bias *bias,
                                   const struct packed_batch *batch, size_t NH, size_t HS,
                                   struct execution *execution)
{
    TRY_CUDA(execution->kernels->attention(context, qkv, bias->table, bias->columns, bias->zero,
                                           batch->offsets, batch->B, batch->longest, NH, HS,
                                           1.0f / sqrtf((float)HS), execution->stream),
             "attention");
    return EMBED_OK;
}

static embed_status cuda_add_layernorm(void *y, const void *x, const void *residual,
                                       const struct layernorm *norm, size_t N, size_t C,
                                       float eps, struct execution *execution)
{
    TRY_CUDA(execution->kernels->add_layernorm(y, x, residual, norm->weight, norm->bias, N, C,
                                               eps, execution->stream),
             "add_layernorm");
    return EMBED_OK;
}

static embed_status cuda_pool(float *rows, const void *x, const struct packed_batch *batch,
                              size_t C, enum pooling pooling, size_t D, bool normalize,
                              struct execution *execution)
{
    TRY_CUDA(execution->kernels->pool(rows, x, batch->offsets, batch->B, C, pooling, D,
                                      normalize, execution->stream),
             "pool");
    return EMBED_OK;
}

/* ---- open and close ------------------------------------------------------------------------
 */

static void cuda_close(struct backend *backend)
{
    memory_free(backend);
}

embed_status backend_cuda_open(struct backend **out, int index, embed_dtype dtype)
{
    if (dtype == EMBED_DTYPE_AUTO) dtype = EMBED_DTYPE_F16;
    if (dtype != EMBED_DTYPE_F16 && dtype != EMBED_DTYPE_F32)
        return fail(EMBED_UNSUPPORTED, "this version computes in f16 and f32 only on a GPU");

    char name[sizeof(((struct backend *)0)->device_name)];
    int capability;
    TRY(device_check(index, name, sizeof name, &capability));
    struct cuda_backend *cuda = memory_allocate(1, sizeof *cuda, "the CUDA backend");
    if (cuda == NULL) return EMBED_OUT_OF_MEMORY;

    cuda->kernels = dtype == EMBED_DTYPE_F16 ? &cuda_kernels_f16 : &cuda_kernels_f32;
    cuda->backend = (struct backend){
        .references = 1,
        .device = EMBED_DEVICE_CUDA,
        .device_index = index,
        .dtype = dtype,
        .activation_bytes = cuda->kernels->element_bytes,
        .chunk_tokens = CHUNK_TOKENS,
        .workers = CUDA_SLOTS,
        .is_queue = true,
        .close = cuda_close,
        .allocate = cuda_allocate,
        .release = cuda_release,
        .staging_allocate = cuda_staging_allocate,
        .staging_release = cuda_staging_release,
        .weight_bytes = cuda_weight_bytes,
        .weight_store = cuda_weight_store,
        .executor_create = executor_create,
        .executor_bytes = executor_bytes,
        .executor_destroy = executor_destroy,
        .run = executor_run,
        .finish = executor_finish,
        .begin = executor_begin,
        .fetch = executor_fetch,
        .embed_layernorm = cuda_embed_layernorm,
        .linear = cuda_linear,
        .attention = cuda_attention,
        .add_layernorm = cuda_add_layernorm,
        .pool = cuda_pool,
    };
    snprintf(cuda->backend.device_name, sizeof cuda->backend.device_name, "%s", name);
    snprintf(cuda->backend.instruction_set, sizeof cuda->backend.instruction_set, "sm_%d",
             capability);
    *out = &cuda->backend;
    return EMBED_OK;
}
