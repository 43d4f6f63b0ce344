/* embed_layernorm.c - y = layernorm(word[ids] + type + position[positions]), residual the same
 *
 *   ids, positions (N)   word (V, C), position (., C), y (N, C) elements   type (C) or NULL
 *   residual (N, C) FP32 or NULL
 *   floor: reading N scattered word rows of C elements from memory; the rest is in cache
 */
#include "layernorm_rows.h"
#include "kernels/cpu/kernels_cpu.h"

void KERNEL(embed_layernorm)(void *y, float *residual, const int32_t *ids,
                             const int32_t *positions, const void *word,
                             const void *position, const float *type, const float *weight,
                             const float *bias, size_t N, size_t C, float eps, void *scratch)
{
    for (size_t n = 0; n < N; n += ROWS_AT_ONCE) {
        size_t count = N - n < ROWS_AT_ONCE ? N - n : ROWS_AT_ONCE;
        struct row rows[ROWS_AT_ONCE];
        for (size_t r = 0; r < count; r++)
            rows[r] = (struct row){.a = (const element *)word + (size_t)ids[n + r] * C,
                                   .b = type,
                                   .c = (const element *)position + (size_t)positions[n + r] * C};
        float *same = residual != NULL ? residual + n * C : NULL;
        layernorm_rows((element *)y + n * C, same, rows, count, weight, bias, C, eps, scratch);
    }
}
