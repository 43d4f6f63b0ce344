/* reference.h - the naive functions that table.c puts into cpu_kernels_reference; kernels.h says
 * what they do. Written to be checked by eye; sums in double. */
#ifndef KERNELS_REFERENCE_H
#define KERNELS_REFERENCE_H

#include "kernels/kernels.h"

size_t reference_linear_weight_size(size_t O, size_t I);
size_t reference_linear_bias_size(size_t O);
void reference_linear_pack(float *packed, const float *w, size_t O, size_t I);
void reference_linear(float *y, const float *x, const float *w, const float *bias, size_t N,
                      size_t O, size_t I, size_t first, size_t last, enum activation activation);
void reference_embed_layernorm(float *y, const int32_t *ids, const int32_t *positions,
                               const float *word, const float *position, const float *type,
                               const float *weight, const float *bias, size_t N, size_t C,
                               float eps);
void reference_add_layernorm(float *y, const float *x, const float *residual, const float *weight,
                             const float *bias, size_t N, size_t C, float eps);
size_t reference_attention_scratch_size(size_t T, size_t HS);
void reference_attention(float *context, const float *q, const float *k, const float *v,
                         const float *relative, size_t T, size_t HS, size_t stride,
                         size_t context_stride, float scale, float *scratch);
void reference_pool(float *y, const float *x, size_t T, size_t C, enum pooling pooling);
void reference_l2_normalize(float *y, const float *x, size_t C);

#endif
