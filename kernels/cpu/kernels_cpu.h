/* kernels_cpu.h - declares one instruction set's kernels, which table.c collects in a table;
 * kernels.h documents them */
#ifndef KERNELS_CPU_KERNELS_CPU_H
#define KERNELS_CPU_KERNELS_CPU_H

#include "kernels/beam_search.h"
#include "kernels/kernels.h"
#include "vector.h"

#include <stdbool.h>

void KERNEL(store)(void *elements, const float *x, size_t count);
size_t KERNEL(linear_weight_bytes)(size_t O, size_t I);
size_t KERNEL(linear_bias_size)(size_t O);
size_t KERNEL(linear_scratch_bytes)(size_t I);
void KERNEL(linear_pack)(void *packed, const float *w, size_t O, size_t I);
void KERNEL(linear)(void *y, const void *x, const void *w, const float *bias, size_t N, size_t O,
                    size_t I, size_t first, size_t last, enum activation activation, void *scratch);
size_t KERNEL(layernorm_scratch_bytes)(size_t C);
void KERNEL(embed_layernorm)(void *y, float *residual, const int32_t *ids,
                             const int32_t *positions, const void *word,
                             const void *position, const float *type, const float *weight,
                             const float *bias, size_t N, size_t C, float eps, void *scratch);
void KERNEL(add_layernorm)(void *y, const void *x, const void *residual, const float *weight,
                           const float *bias, size_t N, size_t C, float eps, void *scratch);
void KERNEL(residual_layernorm)(void *y, float *residual, const float *more, const float *weight,
                                const float *bias, size_t N, size_t C, float eps, void *scratch);
size_t KERNEL(attention_scratch_bytes)(size_t T, size_t HS);
void KERNEL(attention)(void *context, const void *q, const void *k, const void *v,
                       const float *relative, size_t T, size_t HS, size_t stride,
                       size_t context_stride, float scale, void *scratch);
size_t KERNEL(decode_attention_scratch_bytes)(size_t Q, size_t T, size_t HS);
void KERNEL(decode_attention)(void *context, const void *q, const void *k, const void *v,
                              const int32_t *rows, size_t row_tokens, size_t Q, size_t T,
                              size_t HS, size_t q_stride, size_t stride, size_t context_stride,
                              float scale, void *scratch);
void KERNEL(logits)(float *y, const void *x, const void *w, const float *bias, size_t N, size_t O,
                    size_t I, size_t first, size_t last, void *scratch);
void KERNEL(log_softmax_sums)(float *largest, float *log_sum, const float *x, size_t V);
void KERNEL(largest)(float *values, int32_t *indices, size_t count, const float *x, size_t V);
void KERNEL(pool)(float *y, const void *x, size_t first, size_t T, size_t C, enum pooling pooling);
void KERNEL(dense)(float *y, const float *x, const float *w, const float *bias, size_t B, size_t O,
                   size_t I, size_t first, size_t last, enum activation activation);
void KERNEL(l2_normalize)(float *y, const float *x, size_t C);

#endif
