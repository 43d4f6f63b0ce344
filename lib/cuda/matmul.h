/* matmul.h - the products of linear layers, by cuBLASLt
 *
 * A product's algorithm depends on the GPU, the version of cuBLASLt, the layer's shape, and how
 * many rows a full chunk of its kind has, but never on the actual number of rows or on
 * measurements. So a text's embedding has the same bits in any batch, as far as the algorithm
 * itself treats all rows alike (NVIDIA does not promise it; tests/gpu/run compares the bytes).
 * Decoding steps have few rows, which call for another algorithm.
 */
#ifndef LIB_CUDA_MATMUL_H
#define LIB_CUDA_MATMUL_H

#include "backend/backend.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <stdbool.h>

/* Opens cuBLASLt on `device`, which must be current. Any thread may use the handle. */
embed_status matmul_open(cublasLtHandle_t *cublas, int device);
void matmul_close(cublasLtHandle_t cublas, int device); /* NULL is fine */

struct matmul; /* state of one executor; one thread at a time */

/* Creates the state for matrices of FP16, or of FP32 if `f32`, on `device`, which must be
 * current. */
embed_status matmul_create(struct matmul **matmul, int device, cublasLtHandle_t cublas,
                           bool f32);
void matmul_destroy(struct matmul *matmul); /* NULL is fine */

/* The rows of a full chunk of tokens, where most time is spent. */
#define MATMUL_ROWS 8192

/* What a layer's algorithm depends on, besides its shape. */
struct matmul_kind {
    size_t rows;
    bool add_bias;
    bool is_f32; /* y and bias are FP32, whatever x and weight are */
};

/* y (N, O) = x (N, I) @ weight (O, I)^T, plus bias (O) if kind.add_bias. Summed in FP32, rounded
 * once. */
embed_status matmul_run(struct matmul *matmul, void *y, const void *x,
                        const struct linear *layer, size_t N, struct matmul_kind kind,
                        cudaStream_t stream);

#endif
