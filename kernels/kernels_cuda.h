/* kernels_cuda.h - the operations of the forward pass on a GPU: launchers, in C
 *
 * The formulas, shapes and letters are those of kernels.h. An operation here is over a whole packed
 * batch. Activations, embedding tables and the weights and biases of linear layers are of the
 * table's element type; all else (LayerNorm's vectors, the token type, the relative bias, pooled
 * rows) is FP32, as are statistics, softmax and sums. Pointers are of the device, 16-byte aligned
 * at the beginning of every matrix.
 *
 * Launchers only enqueue work on `stream` and return what the launch returned: an error of the
 * kernel itself shows at a later call that waits. N = 0 or B = 0 is not allowed. Linear layers
 * are not in the table: cuBLASLt computes them (lib/cuda/matmul.c), all but the activation, or
 * cuda_linear_f16 and its kin do.
 * Limits: N and B up to CUDA_MOST_TOKENS, NH < 65536, HS up to CUDA_LARGEST_HEAD; in a decoder HS
 * is a multiple of 8, or up to 128 of 4, and beams are at most MOST_BEAMS.
 *
 * A row of a result has the same bits whatever other sequences are in the batch.
 */
#ifndef KERNELS_CUDA_H
#define KERNELS_CUDA_H

#if defined(__CUDACC__)
#define BEAM_FUNCTION static inline __device__
#endif
#include "kernels/beam_search.h"
#include "kernels/kernels.h"

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { CUDA_MOST_TOKENS = 1 << 24, CUDA_LARGEST_HEAD = 256, CUDA_WIDEST_LAYER = 1 << 20 };

struct cuda_kernels {
    const char *name; /* "f16", "f32" */
    size_t element_bytes;

    /* y (N, C) = layernorm(word (V, C)[ids (N)] + position (., C)[positions (N)] + type (C));
     * type may be NULL: none. Ids and positions are checked by the caller. */
    cudaError_t (*embed_layernorm)(void *y, const int32_t *ids, const int32_t *positions,
                                   const void *word, const void *position, const float *type,
                                   const float *weight, const float *bias, size_t N, size_t C,
                                   float eps, cudaStream_t stream);

    /* y (N, C) = layernorm(x (N, C) + residual (N, C)); y may be x or residual. */
    cudaError_t (*add_layernorm)(void *y, const void *x, const void *residual, const float *weight,
                                 const float *bias, size_t N, size_t C, float eps,
                                 cudaStream_t stream);

    /* x (N, F) = gelu(x (N, F) + bias (F)), in place, with the erf of ACTIVATION_GELU. */
    cudaError_t (*bias_gelu)(void *x, const void *bias, size_t N, size_t F, cudaStream_t stream);

    /* context (N, C) from qkv (N, 3C), which has q, k and v side by side, each NH heads of HS:
     * for every sequence b, the tokens offsets[b] to offsets[b + 1] - 1, and every head h,
     * softmax(q k^T * scale + bias) v. offsets (B + 1) is on the device; `longest` is the length of
     * the longest sequence. bias[t, s] = relative[h * columns + zero + s - t] in FP32; relative may
     * be NULL: none. scale > 0. Sequences without tokens are allowed. */
    cudaError_t (*attention)(void *context, const void *qkv, const float *relative, size_t columns,
                             size_t zero, const int32_t *offsets, size_t B, size_t longest,
                             size_t NH, size_t HS, float scale, cudaStream_t stream);

    /* A row for each sequence, in FP32, row b at rows + b * stride, from x (N, C): its tokens, but
     * for the first skipped[b], pooled to one row, of which the first D components are written;
     * with `normalize`, divided by max(|first D|, 1e-12). skipped (B) may be NULL: none. The row
     * of a sequence without tokens is left as it is. */
    cudaError_t (*pool)(float *rows, size_t stride, const void *x, const int32_t *offsets,
                        const int32_t *skipped, size_t B, size_t C, enum pooling pooling, size_t D,
                        bool normalize, cudaStream_t stream);

    /* ---- one step of a decoder; states and letters: kernels/beam_search.h ----
     * What a slot says of its document (length, source, ancestors) is read on the device, and never
     * taken for more than batch->beams has room for, or most_sources. */

    /* x (D * K, C) = layernorm(word (V, C)[last token of each beam] +
     * position (., C)[first_position + its position]). residual (D * K, C) is the same in FP32;
     * NULL: there is none. */
    cudaError_t (*embed_beams)(void *x, float *residual, const struct decode_batch *batch,
                               const void *word, const void *position, const float *weight,
                               const float *bias, size_t first_position, size_t C, float eps,
                               cudaStream_t stream);

    /* context (D * K, C) = softmax(q k^T * scale) v of every head, over the tokens of each beam.
     * qkv (D * K, 3C) is that of their last tokens; their keys and values are first appended to
     * cache (P, K, T, 2C), a key and its value side by side, in row k of the slot. */
    cudaError_t (*self_attention)(void *context, const void *qkv, void *cache,
                                  const struct decode_batch *batch, size_t NH, size_t HS,
                                  float scale, cudaStream_t stream);

    /* The same for q (D * K, C) over the first sources[slot] keys and values of the slot's part
     * of cache (P, most_sources, 2C). */
    cudaError_t (*cross_attention)(void *context, const void *q, const void *cache,
                                   size_t most_sources, const struct decode_batch *batch,
                                   size_t NH, size_t HS, float scale, cudaStream_t stream);
};

extern const struct cuda_kernels cuda_kernels_f16;
extern const struct cuda_kernels cuda_kernels_f32; /* slow and plain: for checking */

/* residual (N, C) = layernorm(x (N, C) + residual (N, C)), x and residual in FP32; y (N, C) is the
 * same in FP16. */
cudaError_t cuda_residual_layernorm_f16(void *y, float *residual, const float *x,
                                        const float *weight, const float *bias, size_t N, size_t C,
                                        float eps, cudaStream_t stream);

/* ---- linear layers ------------------------------------------------------------------------- */

enum cuda_sums {
    CUDA_SUMS_F32,
    /* FP16 over 64 products, and of those sums FP32. For cards that add products in FP32 at half
     * the rate (GeForce). A sum of 64 products must stay below 65504, or becomes infinite. */
    CUDA_SUMS_TWO_LEVEL
};

/* y (N, O) = activation(x (N, I) @ weight (O, I)^T + bias (O)), all in FP16, weight as PyTorch
 * stores it; bias and activation in FP32 before the one rounding. O and I are multiples of 8, at
 * most CUDA_WIDEST_LAYER, and N at most CUDA_MOST_TOKENS, else cudaErrorInvalidValue. A row's bits
 * do not depend on N. */
cudaError_t cuda_linear_f16(void *y, const void *x, const void *weight, const void *bias, size_t N,
                            size_t O, size_t I, enum activation activation, enum cuda_sums sums,
                            cudaStream_t stream);

/* The square of y that a block computes. cuda_linear_f16 chooses by N and O; the bits of y are the
 * same with each, and only tests and measurements choose. */
enum cuda_tile { CUDA_TILE_32, CUDA_TILE_64, CUDA_TILE_128 };

cudaError_t cuda_linear_f16_tiled(void *y, const void *x, const void *weight, const void *bias,
                                  size_t N, size_t O, size_t I, enum activation activation,
                                  enum cuda_sums sums, enum cuda_tile tile, cudaStream_t stream);

/* y (N, O) = layernorm(x (N, I) @ weight (O, I)^T + bias (O) + residual (N, O)) in one kernel, for
 * O = 384; y may be residual. To the bit what cuda_linear_f16 and then add_layernorm of
 * cuda_kernels_f16 give. I is limited as there; another O is cudaErrorInvalidValue. `capability` is
 * the GPU's, 90 for 9.0. */
cudaError_t cuda_linear_add_layernorm_f16(void *y, const void *x, const void *weight,
                                          const void *bias, const void *residual,
                                          const float *norm_weight, const float *norm_bias,
                                          size_t N, size_t O, size_t I, float eps,
                                          enum cuda_sums sums, int capability,
                                          cudaStream_t stream);

/* Whether it should take less time than those two, on a GPU with so many multiprocessors: by
 * arithmetic, not measured. */
bool cuda_linear_add_layernorm_pays(size_t N, size_t O, size_t multiprocessors);

/* y (N, O) in FP32 = x (N, I) @ weight (O, I)^T + bias (O), x and weight in FP16, bias in FP32
 * or NULL: none. As cuda_linear_f16, but for any O up to CUDA_WIDEST_LAYER. */
cudaError_t cuda_logits_f16(float *y, const void *x, const void *weight, const float *bias,
                            size_t N, size_t O, size_t I, enum cuda_sums sums,
                            cudaStream_t stream);

/* ---- pooled rows, in FP32 with any table ---------------------------------------------------- */

/* y (B, O) = activation(x (B, I) @ w (O, I)^T + bias (O)); bias may be NULL: none. O and I are up
 * to CUDA_WIDEST_LAYER. */
cudaError_t cuda_dense(float *y, const float *x, const float *w, const float *bias, size_t B,
                       size_t O, size_t I, enum activation activation, cudaStream_t stream);

/* The first D components of rows (B, W) are divided by max(|first D|, 1e-12), in place. */
cudaError_t cuda_l2_normalize(float *rows, size_t B, size_t W, size_t D, cudaStream_t stream);

/* ---- beam search, in FP32 with any table --------------------------------------------------- */

/* The slots of documents (D), which are on the device, begin. */
cudaError_t cuda_beam_start(const struct beam_slots *beams, const struct beam_document *documents,
                            size_t D, cudaStream_t stream);

/* candidates (D, K, BEAM_CANDIDATES(K)) from logits (D * K, V), which become anything: see
 * kernels/beam_search.h, and beam_candidates of lib/backend/backend.h. */
cudaError_t cuda_beam_candidates(struct beam_candidate *candidates, float *logits,
                                 const struct decode_batch *batch, size_t V, cudaStream_t stream);

/* The beams of each document become one token longer: kernels/beam_step.h. */
cudaError_t cuda_beam_step(const struct decode_batch *batch,
                           const struct beam_candidate *candidates, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
