/* launchers.h - declares the launchers that table.c collects in tables; kernels_cuda.h documents
 * them */
#ifndef KERNELS_CUDA_LAUNCHERS_H
#define KERNELS_CUDA_LAUNCHERS_H

#include "kernels/kernels_cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DECLARE_LAUNCHERS(type)                                                                   \
    cudaError_t cuda_embed_layernorm_##type(                                                      \
        void *y, const int32_t *ids, const int32_t *positions, const void *word,                  \
        const void *position, const float *type_row, const float *weight, const float *bias,      \
        size_t N, size_t C, float eps, cudaStream_t stream);                                      \
    cudaError_t cuda_add_layernorm_##type(void *y, const void *x, const void *residual,           \
                                          const float *weight, const float *bias, size_t N,       \
                                          size_t C, float eps, cudaStream_t stream);              \
    cudaError_t cuda_bias_gelu_##type(void *x, const void *bias, size_t N, size_t F,              \
                                      cudaStream_t stream);                                       \
    cudaError_t cuda_attention_##type(                                                            \
        void *context, const void *qkv, const float *relative, size_t columns, size_t zero,       \
        const int32_t *offsets, size_t B, size_t longest, size_t NH, size_t HS, float scale,      \
        cudaStream_t stream);                                                                     \
    cudaError_t cuda_pool_##type(float *rows, size_t stride, const void *x,                       \
                                 const int32_t *offsets, const int32_t *skipped, size_t B,        \
                                 size_t C, enum pooling pooling, size_t D, bool normalize,        \
                                 cudaStream_t stream);                                            \
    cudaError_t cuda_embed_beams_##type(                                                          \
        void *x, float *residual, const struct decode_batch *batch, const void *word,             \
        const void *position, const float *weight, const float *bias, size_t first_position,      \
        size_t C, float eps, cudaStream_t stream);                                                \
    cudaError_t cuda_self_attention_##type(void *context, const void *qkv, void *cache,           \
                                           const struct decode_batch *batch, size_t NH,           \
                                           size_t HS, float scale, cudaStream_t stream);          \
    cudaError_t cuda_cross_attention_##type(                                                      \
        void *context, const void *q, const void *cache, size_t most_sources,                     \
        const struct decode_batch *batch, size_t NH, size_t HS, float scale,                      \
        cudaStream_t stream);

DECLARE_LAUNCHERS(f16)
DECLARE_LAUNCHERS(f32)

#undef DECLARE_LAUNCHERS

/* Not in a table: cuda_attention_f16 calls it for head sizes that attention.cu does not support. */
cudaError_t cuda_attention_plain_f16(void *context, const void *qkv, const float *relative,
                                     size_t columns, size_t zero, const int32_t *offsets, size_t B,
                                     size_t longest, size_t NH, size_t HS, float scale,
                                     cudaStream_t stream);

/* Not in a table: cuda_cross_attention_f16 calls it for head sizes other than 64. */
cudaError_t cuda_cross_attention_plain_f16(void *context, const void *q, const void *cache,
                                           size_t most_sources, const struct decode_batch *batch,
                                           size_t NH, size_t HS, float scale, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
