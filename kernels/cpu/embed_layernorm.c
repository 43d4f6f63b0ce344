/* embed_layernorm.c - y = layernorm(word[ids] + type + position[positions]), and residual = it
 *
 *   ids, positions (N)   word (V, C), position (., C), y (N, C) elements   type (C) or NULL
 *   floor: N * C elements of word rows from memory, scattered; the rest is in cache
 */
#include "layernorm_row.h"
#include "kernels/cpu/kernels_cpu.h"

void KERNEL(embed_layernorm)(void *y, float *residual, const int32_t *ids,
                             const int32_t *positions, const void *word,
                             const void *position, const float *type, const float *weight,
                             const float *bias, size_t N, size_t C, float eps)
{
    for (size_t n = 0; n < N; n++) {
        struct row row = {(const element *)word + (size_t)ids[n] * C,
                          (const element *)position + (size_t)positions[n] * C, type, NULL};
        float *same = residual != NULL ? residual + n * C : NULL;
        layernorm_row((element *)y + n * C, same, &row, weight, bias, C, eps);
    }
}
