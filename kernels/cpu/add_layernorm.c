/* add_layernorm.c - y = layernorm(x + residual), and the same of a residual stream in FP32
 *
 *   x, residual, y (N, C) elements   weight, bias (C)   statistics in FP32
 *   floor: 3 * N * C elements, from the second cache level: a batch is small enough to stay there
 */
#include "layernorm_row.h"
#include "kernels/cpu/kernels_cpu.h"

void KERNEL(add_layernorm)(void *y, const void *x, const void *residual, const float *weight,
                           const float *bias, size_t N, size_t C, float eps)
{
    for (size_t n = 0; n < N; n++) {
        struct row row = {(const element *)x + n * C, (const element *)residual + n * C, NULL,
                          NULL};
        layernorm_row((element *)y + n * C, NULL, &row, weight, bias, C, eps);
    }
}

void KERNEL(residual_layernorm)(void *y, float *residual, const float *more, const float *weight,
                                const float *bias, size_t N, size_t C, float eps)
{
    for (size_t n = 0; n < N; n++) {
        struct row row = {NULL, NULL, more + n * C, residual + n * C};
        layernorm_row((element *)y + n * C, residual + n * C, &row, weight, bias, C, eps);
    }
}
