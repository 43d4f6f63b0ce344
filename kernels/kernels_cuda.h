/* kernels_cuda.h - the operations of the forward pass on a GPU: launchers, in C
 *
 * Formulas, shapes and letters are those of kernels.h; each operation here processes a whole packed
 * batch. Activations, embedding tables, and weights and biases of linear layers have the table's
 * element type. Everything else (LayerNorm weights and biases, the token type row, the relative
 * bias, pooled rows) is FP32, as are statistics, softmax and sums. Pointers are device pointers;
 * every matrix begins at a multiple of 16 bytes.
 *
 * Launchers enqueue work on `stream` and return the status of the launch; an error during execution
 * surfaces at a later synchronizing call. N and B must not be 0. Linear layers are not in the
 * table: they are computed either by cuBLASLt (lib/cuda/matmul.c), except for the activation, or by
 * cuda_linear_f16 and its variants below.
 * Limits: N and B up to CUDA_MOST_TOKENS, NH < 65536, HS up to CUDA_LARGEST_HEAD. In a decoder HS
 * is a multiple of 8, or of 4 up to 128, and there are at most MOST_BEAMS beams.
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
     * type may be NULL: none. The caller has checked ids and positions. */
    cudaError_t (*embed_layernorm)(void *y, const int32_t *ids, const int32_t *positions,
                                   const void *word, const void *position, const float *type,
                                   const float *weight, const float *bias, size_t N, size_t C,
                                   float eps, cudaStream_t stream);

    /* y (N, C) = layernorm(x (N, C) + residual (N, C)); y may be x or residual. */
    cudaError_t (*add_layernorm)(void *y, const void *x, const void *residual, const float *weight,
                                 const float *bias, size_t N, size_t C, float eps,
                                 cudaStream_t stream);

    /* x (N, F) = gelu(x (N, F) + bias (F)), in place; the erf form, as ACTIVATION_GELU. */
    cudaError_t (*bias_gelu)(void *x, const void *bias, size_t N, size_t F, cudaStream_t stream);

    /* context (N, C) = softmax(q k^T * scale + bias) v for every head h of every sequence b, which
     * is tokens offsets[b] to offsets[b + 1] - 1. A row of qkv (N, 3C) is q, k and v side by side,
     * each NH heads of HS. offsets (B + 1) is on the device; `longest` is the length of the longest
     * sequence. bias[t, s] = relative[h * columns + zero + s - t] in FP32; relative may be NULL: no
     * bias. scale > 0. Sequences may be empty. */
    cudaError_t (*attention)(void *context, const void *qkv, const float *relative, size_t columns,
                             size_t zero, const int32_t *offsets, size_t B, size_t longest,
                             size_t NH, size_t HS, float scale, cudaStream_t stream);

    /* Pools the tokens of each sequence b of x (N, C), except its first skipped[b], into one FP32
     * row at rows + b * stride. Writes the first D components, divided by max(|first D|, 1e-12) if
     * `normalize`. skipped (B) may be NULL: none. The row of an empty sequence is not written. */
    cudaError_t (*pool)(float *rows, size_t stride, const void *x, const int32_t *offsets,
                        const int32_t *skipped, size_t B, size_t C, enum pooling pooling, size_t D,
                        bool normalize, cudaStream_t stream);

    /* ---- one step of a decoder; states and letters: kernels/beam_search.h ----
     * A slot's length, its source length and, in self_attention, its ancestors are read on the
     * device and clamped to the dimensions of batch->beams and to most_sources. */

    /* x (D * K, C) = layernorm(word (V, C)[last token of each beam] +
     * position (., C)[first_position + its position]). residual (D * K, C) receives the same in
     * FP32; NULL: not wanted. */
    cudaError_t (*embed_beams)(void *x, float *residual, const struct decode_batch *batch,
                               const void *word, const void *position, const float *weight,
                               const float *bias, size_t first_position, size_t C, float eps,
                               cudaStream_t stream);

    /* context (D * K, C) = softmax(q k^T * scale) v for every head, over the tokens of each beam.
     * qkv (D * K, 3C) belongs to the beams' last tokens. Their keys and values are first appended
     * to cache (P, K, T, 2C), a key and its value side by side, in row k of the slot. */
    cudaError_t (*self_attention)(void *context, const void *qkv, void *cache,
                                  const struct decode_batch *batch, size_t NH, size_t HS,
                                  float scale, cudaStream_t stream);

    /* context (D * K, C) = softmax(q k^T * scale) v for every head, with q (D * K, C) over the
     * first sources[slot] keys and values of the slot's part of cache (P, most_sources, 2C). */
    cudaError_t (*cross_attention)(void *context, const void *q, const void *cache,
                                   size_t most_sources, const struct decode_batch *batch,
                                   size_t NH, size_t HS, float scale, cudaStream_t stream);
};

extern const struct cuda_kernels cuda_kernels_f16;
extern const struct cuda_kernels cuda_kernels_f32; /* slow and simple, for checking */

/* residual (N, C) = layernorm(x (N, C) + residual (N, C)), x and residual in FP32; y (N, C)
 * receives the same in FP16. */
cudaError_t cuda_residual_layernorm_f16(void *y, float *residual, const float *x,
                                        const float *weight, const float *bias, size_t N, size_t C,
                                        float eps, cudaStream_t stream);

/* ---- linear layers ------------------------------------------------------------------------- */

enum cuda_sums {
    CUDA_SUMS_F32,
    /* Sums of 64 products in FP16, which are added up in FP32. For cards whose tensor cores
     * accumulate in FP32 at half the rate (GeForce). A sum of 64 products that exceeds 65504
     * becomes infinite. */
    CUDA_SUMS_TWO_LEVEL
};

/* y (N, O) = activation(x (N, I) @ weight (O, I)^T + bias (O)), all stored in FP16, weight as
 * PyTorch stores it. Bias and activation are applied in FP32, before the only rounding. Returns
 * cudaErrorInvalidValue unless O and I are multiples of 8 up to CUDA_WIDEST_LAYER and N is at most
 * CUDA_MOST_TOKENS. A row's bits do not depend on N. */
cudaError_t cuda_linear_f16(void *y, const void *x, const void *weight, const void *bias, size_t N,
                            size_t O, size_t I, enum activation activation, enum cuda_sums sums,
                            cudaStream_t stream);

/* The square tile of y that a block computes. cuda_linear_f16 chooses it by N and O. All give the
 * same bits; only tests and measurements choose one themselves. */
enum cuda_tile { CUDA_TILE_32, CUDA_TILE_64, CUDA_TILE_128 };

cudaError_t cuda_linear_f16_tiled(void *y, const void *x, const void *weight, const void *bias,
                                  size_t N, size_t O, size_t I, enum activation activation,
                                  enum cuda_sums sums, enum cuda_tile tile, cudaStream_t stream);

/* y (N, O) = layernorm(x (N, I) @ weight (O, I)^T + bias (O) + residual (N, O)) in one kernel, for
 * O = 384; y may be residual. Bit-identical to cuda_linear_f16 followed by add_layernorm of
 * cuda_kernels_f16. Returns cudaErrorInvalidValue for any other O; N and I are limited as in
 * cuda_linear_f16. `capability` is the GPU's compute capability, 90 for 9.0. */
cudaError_t cuda_linear_add_layernorm_f16(void *y, const void *x, const void *weight,
                                          const void *bias, const void *residual,
                                          const float *norm_weight, const float *norm_bias,
                                          size_t N, size_t O, size_t I, float eps,
                                          enum cuda_sums sums, int capability,
                                          cudaStream_t stream);

/* Returns whether the fused kernel should be faster than those two on a GPU with `multiprocessors`
 * SMs: by arithmetic, not measured. */
bool cuda_linear_add_layernorm_pays(size_t N, size_t O, size_t multiprocessors);

/* y (N, O) = x (N, I) @ weight (O, I)^T + bias (O), with y in FP32, x and weight in FP16, and bias
 * in FP32 or NULL: none. As cuda_linear_f16, but O need not be a multiple of 8. */
cudaError_t cuda_logits_f16(float *y, const void *x, const void *weight, const float *bias,
                            size_t N, size_t O, size_t I, enum cuda_sums sums,
                            cudaStream_t stream);

/* ---- pooled rows, in FP32 with either table ------------------------------------------------- */

/* y (B, O) = activation(x (B, I) @ w (O, I)^T + bias (O)); bias may be NULL: none. O and I are at
 * most CUDA_WIDEST_LAYER. */
cudaError_t cuda_dense(float *y, const float *x, const float *w, const float *bias, size_t B,
                       size_t O, size_t I, enum activation activation, cudaStream_t stream);

/* Divides the first D components of each row of rows (B, W) by max(|first D|, 1e-12), in place. */
cudaError_t cuda_l2_normalize(float *rows, size_t B, size_t W, size_t D, cudaStream_t stream);

/* ---- beam search, in FP32 with either table ------------------------------------------------ */

/* Starts the slots of documents (D), an array on the device: beam_begin of kernels/beam_step.h. */
cudaError_t cuda_beam_start(const struct beam_slots *beams, const struct beam_document *documents,
                            size_t D, cudaStream_t stream);

/* Writes candidates (D, K, BEAM_CANDIDATES(K)), the best continuations of each beam by its row of
 * logits (D * K, V), which is clobbered: see kernels/beam_search.h, and beam_candidates of
 * lib/backend/backend.h. */
cudaError_t cuda_beam_candidates(struct beam_candidate *candidates, float *logits,
                                 const struct decode_batch *batch, size_t V, cudaStream_t stream);

/* Extends the beams of each document by one token: kernels/beam_step.h. */
cudaError_t cuda_beam_step(const struct decode_batch *batch,
                           const struct beam_candidate *candidates, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
