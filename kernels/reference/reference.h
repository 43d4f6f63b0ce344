/* reference.h - the naive functions in cpu_kernels_reference, documented in kernels.h. Elements are
 * FP32, sums double. Written to be verified by reading. */
#ifndef KERNELS_REFERENCE_H
#define KERNELS_REFERENCE_H

#include "kernels/kernels.h"

void reference_store(void *elements, const float *x, size_t count);
size_t reference_linear_weight_bytes(size_t O, size_t I);
size_t reference_linear_bias_size(size_t O);
size_t reference_linear_scratch_bytes(size_t I);
void reference_linear_pack(void *packed, const float *w, size_t O, size_t I);
void reference_linear(void *y, const void *x, const void *w, const float *bias, size_t N, size_t O,
                      size_t I, size_t first, size_t last, enum activation activation,
                      void *scratch);
size_t reference_layernorm_scratch_bytes(size_t C);
void reference_embed_layernorm(void *y, float *residual, const int32_t *ids,
                               const int32_t *positions, const void *word,
                               const void *position, const float *type, const float *weight,
                               const float *bias, size_t N, size_t C, float eps, void *scratch);
void reference_add_layernorm(void *y, const void *x, const void *residual, const float *weight,
                             const float *bias, size_t N, size_t C, float eps, void *scratch);
void reference_residual_layernorm(void *y, float *residual, const float *more, const float *weight,
                                  const float *bias, size_t N, size_t C, float eps, void *scratch);
size_t reference_attention_scratch_bytes(size_t T, size_t HS);
void reference_attention(void *context, const void *q, const void *k, const void *v,
                         const float *relative, size_t T, size_t HS, size_t stride,
                         size_t context_stride, float scale, void *scratch);
size_t reference_decode_attention_scratch_bytes(size_t Q, size_t T, size_t HS);
void reference_decode_attention(void *context, const void *q, const void *k, const void *v,
                                const int32_t *rows, size_t row_tokens, size_t Q, size_t T,
                                size_t HS, size_t q_stride, size_t stride, size_t context_stride,
                                float scale, void *scratch);
void reference_logits(float *y, const void *x, const void *w, const float *bias, size_t N, size_t O,
                      size_t I, size_t first, size_t last, void *scratch);
void reference_log_softmax_sums(float *largest, float *log_sum, const float *x, size_t V);
void reference_largest(float *values, int32_t *indices, size_t count, const float *x, size_t V);
void reference_pool(float *y, const void *x, size_t first, size_t T, size_t C,
                    enum pooling pooling);
void reference_dense(float *y, const float *x, const float *w, const float *bias, size_t B,
                     size_t O, size_t I, size_t first, size_t last, enum activation activation);
void reference_l2_normalize(float *y, const float *x, size_t C);

/* Rounds x (N, I) and w (O, I), in place, to the values that an INT8 linear layer multiplies. */
void reference_round_int8(float *x, size_t N, float *w, size_t O, size_t I);

#endif
