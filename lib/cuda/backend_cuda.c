/* backend_cuda.c - the operations on a GPU, in FP16, or in FP32 for checking
 *
 * Operations only enqueue: errors of a kernel appear when the executor waits for the chunk.
 */
#include "backend/backend.h"

#include "backend/cuda_layout.h"
#include "base/memory.h"
#include "base/status.h"
#include "cuda/cuda_error.h"
#include "cuda/decoder.h"
#include "cuda/device.h"
#include "cuda/device_library.h"
#include "cuda/executor.h"
#include "cuda/linear.h"
#include "formats/float_convert.h"
#include "kernels/kernels_cuda.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- memory ------------------------------------------------------------------------------ */

/* Makes the backend's device current until device_leave restores the calling thread's own. */
static embed_status enter(const struct backend *backend, int *previous)
{
    return device_enter(backend->device_index, previous);
}

/* Fails an allocation, with the bytes needed and free. */
static embed_status out_of_memory(int device, size_t bytes, const char *what)
{
    size_t free_bytes = 0, all = 0;
    RELEASE_CUDA(device, cudaMemGetInfo(&free_bytes, &all), "asking for the free memory");
    TRY(cuda_check(device));
    return fail(EMBED_OUT_OF_MEMORY, "cuda:%d: %s: %zu bytes are needed, %zu of %zu are free",
                device, what, bytes, free_bytes, all);
}

static embed_status cuda_allocate(struct backend *backend, void **out, size_t bytes,
                                  const char *what)
{
    int previous, device = backend->device_index;
    TRY(enter(backend, &previous));
    embed_status status = cuda_status(device, cudaMalloc(out, bytes > 0 ? bytes : 1), what);
    if (status == EMBED_OUT_OF_MEMORY) status = out_of_memory(device, bytes, what);
    device_leave(previous);
    return status;
}

/* cudaFree works from any current device, but would begin to use one that is not in use yet. */
static void cuda_release(struct backend *backend, void *memory)
{
    int previous, device = backend->device_index;
    if (memory == NULL || cuda_is_lost(device)) return;
    bool entered = enter(backend, &previous) == EMBED_OK;
    RELEASE_CUDA(device, cudaFree(memory), "releasing memory");
    if (entered) device_leave(previous);
}

static embed_status cuda_free_memory(const struct backend *backend, uint64_t *bytes)
{
    int previous;
    size_t free_bytes = 0, all = 0;
    TRY(enter(backend, &previous));
    embed_status status = cuda_status(backend->device_index, cudaMemGetInfo(&free_bytes, &all),
                                      "asking for the free memory");
    device_leave(previous);
    if (status == EMBED_OK) /* less one block, which small allocations may take */
        *bytes = free_bytes > CUDA_BLOCK ? free_bytes - CUDA_BLOCK : 0;
    return status;
}

static embed_status cuda_staging_allocate(struct backend *backend, void **out, size_t bytes,
                                          const char *what)
{
    int previous;
    TRY(enter(backend, &previous));
    embed_status status =
        cuda_status(backend->device_index, cudaMallocHost(out, bytes > 0 ? bytes : 1), what);
    device_leave(previous);
    return status;
}

static void cuda_staging_release(struct backend *backend, void *memory)
{
    int previous, device = backend->device_index;
    if (memory == NULL || cuda_is_lost(device)) return;
    bool entered = enter(backend, &previous) == EMBED_OK;
    RELEASE_CUDA(device, cudaFreeHost(memory), "releasing staging memory");
    if (entered) device_leave(previous);
}

/* ---- weights ----------------------------------------------------------------------------- */

static embed_status copy_to_device(const struct backend *backend, void *to, const void *from,
                                   size_t bytes)
{
    int previous;
    TRY(enter(backend, &previous));
    cudaError_t error = cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice);
    /* It may return while the last bytes are in flight, and executors' streams do not wait for
     * it. */
    if (error == cudaSuccess) error = cudaStreamSynchronize(NULL);
    embed_status status = cuda_status(backend->device_index, error, "copying a weight");
    device_leave(previous);
    return status;
}

static embed_status cuda_weight_store(struct backend *backend, void *weight,
                                      enum weight_kind kind, const float *values, size_t first,
                                      size_t count, size_t columns)
{
    size_t size = count * columns;
    if (cuda_weight_is_float(backend, kind))
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

/* ---- operations -------------------------------------------------------------------------- */

static embed_status cuda_embed_layernorm(void *y, const struct packed_batch *batch,
                                         const struct embeddings *embeddings, size_t C,
                                         float eps, struct execution *execution)
{
    if (execution->mode == EXECUTION_REPLAYED) return EMBED_OK;
    const struct embeddings *w = embeddings;
    TRY_CUDA(execution->device,
             execution->kernels->embed_layernorm(
                 y, batch->ids, batch->positions, w->word, w->position, w->type, w->norm.weight,
                 w->norm.bias, batch->N, C, eps, execution->stream),
             "embed_layernorm");
    return EMBED_OK;
}

static embed_status cuda_attention(void *context, const void *qkv,
                                   const struct relative_bias *bias,
                                   const struct packed_batch *batch, size_t NH, size_t HS,
                                   struct execution *execution)
{
    if (execution->mode == EXECUTION_REPLAYED) return EMBED_OK;
    TRY_CUDA(execution->device,
             execution->kernels->attention(context, qkv, bias->table, bias->columns, bias->zero,
                                           batch->offsets, batch->B, batch->longest, NH, HS,
                                           1.0f / sqrtf((float)HS), execution->stream),
             "attention");
    return EMBED_OK;
}

static embed_status cuda_pool(float *rows, size_t stride, const void *x,
                              const struct packed_batch *batch, size_t C, enum pooling pooling,
                              size_t D, bool normalize, struct execution *execution)
{
    if (execution->mode == EXECUTION_REPLAYED) return EMBED_OK;
    TRY_CUDA(execution->device,
             execution->kernels->pool(rows, stride, x, batch->offsets, batch->skipped, batch->B, C,
                                      pooling, D, normalize, execution->stream),
             "pool");
    return EMBED_OK;
}

static embed_status dense_run(float *y, const float *x, const struct dense *layer, size_t B,
                              struct execution *execution)
{
    if (execution->mode == EXECUTION_REPLAYED) return EMBED_OK;
    TRY_CUDA(execution->device,
             cuda_dense(y, x, layer->weight, layer->bias, B, layer->O, layer->I, layer->activation,
                        execution->stream),
             "dense");
    return EMBED_OK;
}

static embed_status l2_normalize_run(float *rows, size_t B, size_t W, size_t D,
                                     struct execution *execution)
{
    if (execution->mode == EXECUTION_REPLAYED) return EMBED_OK;
    TRY_CUDA(execution->device, cuda_l2_normalize(rows, B, W, D, execution->stream),
             "l2_normalize");
    return EMBED_OK;
}

/* ---- open and close ---------------------------------------------------------------------- */

static void cuda_close(struct backend *backend)
{
    int previous, device = backend->device_index;
    bool entered = !cuda_is_lost(device) && enter(backend, &previous) == EMBED_OK;
    device_library_close(device);
    if (entered) device_leave(previous);
    memory_free(backend);
}

static embed_status open_library(struct cuda_backend *cuda)
{
    int previous, device = cuda->backend.device_index;
    TRY(enter(&cuda->backend, &previous));
    embed_status status = device_begin_use(device, previous);
    if (status == EMBED_OK)
        status = device_library_open(&cuda->cublas, &cuda->backend.costs, device);
    device_leave(previous);
    return status;
}

embed_status backend_cuda_open(struct backend **out, int index, embed_dtype dtype)
{
    char name[sizeof(((struct backend *)0)->device_name)];
    struct cuda_card card;
    TRY(device_check(index, name, sizeof name, &card));
    struct cuda_backend *cuda = memory_allocate(1, sizeof *cuda, "the CUDA backend");
    if (cuda == NULL) return EMBED_OUT_OF_MEMORY;

    embed_status status = cuda_layout(&cuda->backend, index, dtype);
    if (status == EMBED_OK) status = linear_path_choose(&cuda->linear_path, name);
    if (status == EMBED_OK) status = open_library(cuda);
    if (status != EMBED_OK) {
        memory_free(cuda);
        return status;
    }
    cuda->kernels =
        cuda->backend.dtype == EMBED_DTYPE_F16 ? &cuda_kernels_f16 : &cuda_kernels_f32;
    struct backend *backend = &cuda->backend;
    backend->card = card;
    atomic_init(&backend->references, 1);
    backend->close = cuda_close;
    backend->allocate = cuda_allocate;
    backend->release = cuda_release;
    backend->free_memory = cuda_free_memory;
    backend->staging_allocate = cuda_staging_allocate;
    backend->staging_release = cuda_staging_release;
    backend->weight_store = cuda_weight_store;
    backend->executor_create = executor_create;
    backend->executor_destroy = executor_destroy;
    backend->run = executor_run;
    backend->finish = executor_finish;
    backend->begin = executor_begin;
    backend->begin_steps = executor_begin_steps;
    backend->fetch = executor_fetch;
    backend->embed_layernorm = cuda_embed_layernorm;
    backend->linear = linear_run;
    backend->attention = cuda_attention;
    backend->linear_add_layernorm = linear_add_layernorm;
    backend->pool = cuda_pool;
    backend->dense = dense_run;
    backend->l2_normalize = l2_normalize_run;
    backend->beam_start = decoder_beam_start;
    backend->embed_beams = decoder_embed_beams;
    backend->residual_linear = linear_residual;
    backend->residual_layernorm = decoder_residual_layernorm;
    backend->self_attention = decoder_self_attention;
    backend->cross_attention = decoder_cross_attention;
    backend->logits = linear_logits;
    backend->beam_candidates = decoder_beam_candidates;
    backend->beam_step = decoder_beam_step;
    snprintf(backend->device_name, sizeof backend->device_name, "%s", name);
    snprintf(backend->instruction_set, sizeof backend->instruction_set, "sm_%d",
             card.capability);
    *out = backend;
    return EMBED_OK;
}
