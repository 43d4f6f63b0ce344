/* executor.c - chunks on a stream
 *
 * Two chunks are in flight: while the GPU computes one, the CPU packs the next and enqueues it.
 */
#include "cuda/executor.h"

#include "backend/cuda_layout.h"
#include "base/memory.h"
#include "base/status.h"
#include "cuda/cuda_error.h"
#include "cuda/device.h"

struct executor {
    int device;
    struct chunk_limits limits;
    cudaStream_t stream;
    struct matmul *matmul;
    int32_t *batches; /* of all slots */
    struct chunk_graphs graphs;
    struct execution slots[CUDA_SLOTS];
    unsigned next; /* the slot of the next chunk, which holds the oldest in flight */
};

void executor_destroy(struct executor *executor)
{
    int previous;
    if (executor == NULL) return;
    static const char what[] = "releasing what computes chunks";
    int device = executor->device;
    bool entered = !cuda_is_lost(device) && device_enter(device, &previous) == EMBED_OK;
    matmul_destroy(executor->matmul);
    chunk_graphs_destroy(device, &executor->graphs);
    for (int i = 0; i < CUDA_SLOTS; i++) {
        struct execution *slot = &executor->slots[i];
        if (slot->fetched != NULL) RELEASE_CUDA(device, cudaEventDestroy(slot->fetched), what);
    }
    if (executor->batches != NULL) RELEASE_CUDA(device, cudaFree(executor->batches), what);
    if (executor->stream != NULL)
        RELEASE_CUDA(device, cudaStreamDestroy(executor->stream), what);
    if (entered) device_leave(previous);
    memory_free(executor);
}

static embed_status fill_executor(struct executor *executor, const struct cuda_backend *cuda,
                                  const struct chunk_limits *limits)
{
    int device = executor->device;
    TRY_CUDA(device, cudaStreamCreateWithFlags(&executor->stream, cudaStreamNonBlocking),
             "making a stream");
    TRY_CUDA(device,
             cudaMalloc((void **)&executor->batches,
                        cuda->backend.executor_bytes(&cuda->backend, limits)),
             "the chunks' tokens");
    TRY(matmul_create(&executor->matmul, device, cuda->cublas,
                      cuda->backend.dtype == EMBED_DTYPE_F32));
    executor->graphs.most_bytes = cuda->backend.graph_bytes;
    for (unsigned i = 0; i < CUDA_SLOTS; i++) {
        struct execution *slot = &executor->slots[i];
        slot->device = device;
        slot->slot = i;
        slot->graphs = &executor->graphs;
        slot->kernels = cuda->kernels;
        slot->stream = executor->stream;
        slot->matmul = executor->matmul;
        slot->linear_path = cuda->linear_path;
        slot->card = &cuda->backend.card;
        slot->limits = &executor->limits;
        slot->batch = executor->batches + (size_t)i * cuda_slot_numbers(limits);
        slot->documents = (void *)(slot->batch + packed_batch_size(limits->N, limits->B));
        TRY_CUDA(device, cudaEventCreateWithFlags(&slot->fetched, cudaEventDisableTiming),
                 "making an event");
    }
    return EMBED_OK;
}

embed_status executor_create(struct executor **out, struct backend *backend,
                             const struct chunk_limits *limits)
{
    if (limits->HS > CUDA_LARGEST_HEAD)
        return fail(EMBED_UNSUPPORTED, "head size %zu exceeds the GPU limit of %d", limits->HS,
                    CUDA_LARGEST_HEAD);
    if (limits->N > CUDA_MOST_TOKENS)
        return fail(EMBED_OUT_OF_MEMORY, "chunks of %zu tokens exceed the GPU limit of %d",
                    limits->N, CUDA_MOST_TOKENS);
    struct executor *executor = memory_allocate(1, sizeof *executor, "an executor");
    if (executor == NULL) return EMBED_OUT_OF_MEMORY;
    executor->device = backend->device_index;
    executor->limits = *limits;

    int previous;
    embed_status status = device_enter(executor->device, &previous);
    if (status == EMBED_OK) {
        status = fill_executor(executor, (const struct cuda_backend *)backend, limits);
        device_leave(previous);
    }
    if (status != EMBED_OK) {
        executor_destroy(executor);
        return status;
    }
    *out = executor;
    return EMBED_OK;
}

/* Waits for the chunk in the slot, if there is one, and delivers it. */
static embed_status complete(struct executor *executor, unsigned slot,
                             const struct chunk_work *work)
{
    struct execution *execution = &executor->slots[slot];
    if (!execution->is_busy) return EMBED_OK;
    execution->is_busy = false;
    TRY_CUDA(executor->device, cudaEventSynchronize(execution->fetched), "computing a chunk");
    work->deliver(work->argument, slot);
    return EMBED_OK;
}

static embed_status enqueue(struct executor *executor, size_t i, const struct chunk_work *work)
{
    unsigned slot = executor->next;
    struct execution *execution = &executor->slots[slot];
    TRY(complete(executor, slot, work));
    execution->is_discarded = false;
    TRY(work->compute(work->argument, i, slot, execution));
    if (execution->is_discarded) TRY(work->compute(work->argument, i, slot, execution));
    TRY_CUDA(executor->device, cudaEventRecord(execution->fetched, execution->stream),
             "computing a chunk");
    execution->is_busy = true;
    executor->next = (slot + 1) % CUDA_SLOTS;
    return EMBED_OK;
}

/* After a failure, chunks in flight still use the instance's buffers: waits for them and drops
 * them. On a lost device, only drops them. */
static embed_status stop_after(struct executor *executor, embed_status status)
{
    int device = executor->device;
    if (status == EMBED_OK) return EMBED_OK;
    for (unsigned slot = 0; slot < CUDA_SLOTS; slot++) {
        struct execution *execution = &executor->slots[slot];
        if (execution->mode == EXECUTION_CAPTURED)
            chunk_graph_discard(device, execution->stream);
        execution->mode = EXECUTION_DIRECT;
        execution->is_busy = false;
    }
    RELEASE_CUDA(device, cudaStreamSynchronize(executor->stream), "computing a chunk");
    TRY(cuda_check(device)); /* whatever failed first, a lost device is what the caller must know */
    return status;
}

embed_status executor_run(struct executor *executor, size_t count,
                          const struct chunk_work *work)
{
    int previous;
    embed_status status = device_enter(executor->device, &previous);
    if (status != EMBED_OK) return stop_after(executor, status);
    for (size_t i = 0; i < count && status == EMBED_OK; i++)
        status = enqueue(executor, i, work);
    status = stop_after(executor, status);
    device_leave(previous);
    return status;
}

embed_status executor_finish(struct executor *executor, const struct chunk_work *work)
{
    int previous;
    embed_status status = device_enter(executor->device, &previous);
    if (status != EMBED_OK) return stop_after(executor, status);
    for (unsigned n = 0; n < CUDA_SLOTS && status == EMBED_OK; n++)
        status = complete(executor, (executor->next + n) % CUDA_SLOTS, work);
    executor->next = 0; /* so that single chunks always find the graphs of the same slot */
    status = stop_after(executor, status);
    device_leave(previous);
    return status;
}

/* ---- one chunk --------------------------------------------------------------------------- */

/* Chooses the chunk's mode, begins the capture if there is one, and copies the chunk's numbers to
 * the device unless its graph does so. */
static embed_status begin(struct execution *execution, const struct chunk_shape *shape,
                          const int32_t *numbers, size_t count)
{
    chunk_graph_find(&execution->mode, &execution->graph, execution->device, execution->graphs,
                     shape, execution->slot, execution->limits);
    if (execution->mode == EXECUTION_REPLAYED) return EMBED_OK;
    if (execution->mode == EXECUTION_CAPTURED)
        TRY(chunk_graph_begin(execution->device, execution->stream));
    TRY_CUDA(execution->device,
             cudaMemcpyAsync(execution->batch, numbers, count * sizeof *numbers,
                             cudaMemcpyHostToDevice, execution->stream),
             "copying a chunk's tokens");
    return EMBED_OK;
}

embed_status executor_begin(struct packed_batch *device, const struct packed_batch *host,
                            struct execution *execution)
{
    const struct chunk_shape shape = {false, host->N, host->B, host->longest, host->variant};
    int32_t *ids = execution->batch;
    *device = *host;
    device->ids = ids;
    device->positions = ids + host->N;
    device->offsets = ids + 2 * host->N;
    device->skipped = device->offsets + host->B + 1;
    execution->rows = MATMUL_ROWS;
    return begin(execution, &shape, host->ids, packed_batch_size(host->N, host->B));
}

embed_status executor_begin_steps(struct decode_batch *device, const struct decode_batch *host,
                                  struct execution *execution)
{
    const struct chunk_shape shape = {.is_steps = true, .N = host->D, .B = host->K};
    *device = *host;
    device->slots = execution->batch;
    execution->rows = execution->limits->D * execution->limits->K;
    return begin(execution, &shape, host->slots, host->D);
}

embed_status executor_fetch(void *out, const void *memory, size_t bytes,
                            struct execution *execution)
{
    if (execution->mode != EXECUTION_REPLAYED)
        TRY_CUDA(execution->device,
                 cudaMemcpyAsync(out, memory, bytes, cudaMemcpyDeviceToHost, execution->stream),
                 "copying a chunk's result");
    if (execution->mode == EXECUTION_DIRECT) return EMBED_OK;
    if (execution->mode == EXECUTION_CAPTURED) {
        execution->mode = EXECUTION_DIRECT; /* the capture is over, whatever the result */
        chunk_graph_end(execution->device, execution->graph, execution->graphs,
                        execution->stream);
        execution->is_discarded = execution->graph->executable == NULL;
        if (execution->is_discarded) return cuda_check(execution->device);
    }
    return chunk_graph_launch(execution->device, execution->graph, execution->stream);
}
