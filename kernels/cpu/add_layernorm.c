/* add_layernorm.c - y = layernorm(x + residual), also for a residual stream in FP32
 *
 *   x, residual, y (N, C) elements   weight, bias (C)   statistics in FP32
 *   floor: moving 3 * N * C elements through L2, where a batch is small enough to stay
 */
#include "layernorm_rows.h"
#include "kernels/cpu/kernels_cpu.h"

size_t KERNEL(layernorm_scratch_bytes)(size_t C)
{
    return ROWS_AT_ONCE * round_up(C, LANES) * sizeof(float);
}

void KERNEL(add_layernorm)(void *y, const void *x, const void *residual, const float *weight,
                           const float *bias, size_t N, size_t C, float eps, void *scratch)
{
    for (size_t n = 0; n < N; n += ROWS_AT_ONCE) {
        size_t count = N - n < ROWS_AT_ONCE ? N - n : ROWS_AT_ONCE;
        struct row rows[ROWS_AT_ONCE];
        for (size_t r = 0; r < count; r++)
            rows[r] = (struct row){.a = (const element *)x + (n + r) * C,
                                   .c = (const element *)residual + (n + r) * C};
        layernorm_rows((element *)y + n * C, NULL, rows, count, weight, bias, C, eps, scratch);
    }
}

void KERNEL(residual_layernorm)(void *y, float *residual, const float *more, const float *weight,
                                const float *bias, size_t N, size_t C, float eps, void *scratch)
{
    for (size_t n = 0; n < N; n += ROWS_AT_ONCE) {
        size_t count = N - n < ROWS_AT_ONCE ? N - n : ROWS_AT_ONCE;
        struct row rows[ROWS_AT_ONCE];
        for (size_t r = 0; r < count; r++)
            rows[r] = (struct row){.b = more + (n + r) * C, .d = residual + (n + r) * C};
        layernorm_rows((element *)y + n * C, residual + n * C, rows, count, weight, bias, C, eps,
                       scratch);
    }
}
