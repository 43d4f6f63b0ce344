/* executor.h - what one instance owns on a GPU to compute its chunks
 *
 * An executor has one stream, which computes chunks in order while the CPU prepares the next one.
 * The functions are those of the same names in struct backend.
 */
#ifndef LIB_CUDA_EXECUTOR_H
#define LIB_CUDA_EXECUTOR_H

#include "backend/backend.h"
#include "cuda/chunk_graph.h"
#include "cuda/linear_path.h"
#include "cuda/matmul.h"
#include "kernels/kernels_cuda.h"

#include <cuda_runtime_api.h>

struct cuda_backend {
    struct backend backend; /* first, so that a struct backend * is a struct cuda_backend * */
    const struct cuda_kernels *kernels;
    cublasLtHandle_t cublas;
    enum linear_path linear_path;
};

/* A chunk in flight. */
struct execution {
    int device;
    const struct cuda_kernels *kernels;
    cudaStream_t stream;
    struct matmul *matmul;
    enum linear_path linear_path;
    const struct cuda_card *card;
    const struct chunk_limits *limits;
    int32_t *batch;      /* on the device: the arrays of a packed_batch, or the slots of steps */
    struct beam_document *documents; /* on the device: documents that begin */
    size_t rows;         /* of a full chunk of this kind: see matmul.h */
    cudaEvent_t fetched; /* the results are in staging memory */
    bool is_busy;
    enum execution_mode mode;
    unsigned slot;
    struct chunk_graph *graph;   /* of this chunk's shape */
    struct chunk_graphs *graphs; /* of all slots */
    bool is_discarded;           /* the operations were lost: no graph could be made of them */
};

embed_status executor_create(struct executor **executor, struct backend *backend,
                             const struct chunk_limits *limits);
void executor_destroy(struct executor *executor);
embed_status executor_run(struct executor *executor, size_t count,
                          const struct chunk_work *work);
embed_status executor_finish(struct executor *executor, const struct chunk_work *work);
embed_status executor_begin(struct packed_batch *device, const struct packed_batch *host,
                            struct execution *execution);
embed_status executor_begin_steps(struct decode_batch *device, const struct decode_batch *host,
                                  struct execution *execution);
embed_status executor_fetch(void *out, const void *memory, size_t bytes,
                            struct execution *execution);

#endif
