/* matmul.h - the products of linear layers, by cuBLASLt
 *
 * A product's algorithm depends on the GPU, the version of cuBLASLt, the layer's shape, and how
 * many rows a full chunk of its kind has, never on how many rows there are nor on what was
 * measured when: so that a text's embedding has the same bits in any batch, as far as the
 * algorithm itself treats every row alike (NVIDIA does not promise it; tests/gpu/run compares the
 * bytes). Steps of decoding have few rows, for which another algorithm is right.
 */
#ifndef LIB_CUDA_MATMUL_H
#define LIB_CUDA_MATMUL_H

#include "backend/backend.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <stdbool.h>

/* cuBLASLt on `device`, which is the current one; any thread may use it. */
embed_status matmul_open(cublasLtHandle_t *cublas, int device);
void matmul_close(cublasLtHandle_t cublas, int device); /* NULL is fine */

struct matmul; /* what one executor needs; one thread at a time */

/* For matrices of FP16, or of FP32 where `f32`. On `device`, which is the current one. */
embed_status matmul_create(struct matmul **matmul, int device, cublasLtHandle_t cublas,
                           bool f32);
void matmul_destroy(struct matmul *matmul); /* NULL is fine */

/* The rows of a full chunk of tokens, where the time goes. */
#define MATMUL_ROWS 8192

/* What a layer's algorithm is chosen for, besides its shape. */
struct matmul_kind {
    size_t rows;
    bool add_bias;
    bool is_f32; /* y and bias are FP32, whatever x and weight are */
};

/* y (N, O) = x (N, I) @ weight (O, I)^T, plus bias (O) where `add_bias`. Summed in FP32,
 * rounded once. */
embed_status matmul_run(struct matmul *matmul, void *y, const void *x,
                        const struct linear *layer, size_t N, struct matmul_kind kind,
                        cudaStream_t stream);

#endif
