/* add_layernorm.c - y = layernorm(x + residual)
 *
 *   x, residual, y (N, C)   weight, bias (C)   FP32
 *   floor: 12 * N * C bytes, from the second cache level: a batch is small enough to stay there
 */
#include "layernorm_row.h"
#include "kernels/cpu/kernels_cpu.h"

void KERNEL(add_layernorm)(float *y, const float *x, const float *residual, const float *weight,
                           const float *bias, size_t N, size_t C, float eps)
{
    size_t whole = C - C % LANES, rest = C % LANES;
    for (size_t n = 0; n < N; n++, y += C, x += C, residual += C) {
        vec sum = vec_set(0);
        for (size_t i = 0; i < whole; i += LANES) {
            vec h = vec_add(vec_load(x + i), vec_load(residual + i));
            sum = vec_add(sum, h);
            vec_store(y + i, h);
        }
        if (rest > 0) {
            vec h = vec_add(vec_load_first(x + whole, rest), vec_load_first(residual + whole, rest));
            sum = vec_add(sum, h);
            vec_store_first(y + whole, h, rest);
        }
        layernorm_row(y, sum, weight, bias, C, eps);
    }
}
