/* l2_normalize.c - y = x / max(|x|, 1e-12)
 *
 *   x, y (C)   FP32
 *   floor: 8 * C bytes, from cache
 */
#include "kernels/cpu/kernels_cpu.h"

void KERNEL(l2_normalize)(float *y, const float *x, size_t C)
{
    size_t whole = C - C % LANES;
    vec squares = vec_set(0);
    for (size_t i = 0; i < whole; i += LANES) {
        vec h = vec_load(x + i);
        squares = vec_fma(h, h, squares);
    }
    float sum = vec_sum(squares);
    for (size_t i = whole; i < C; i++) sum += x[i] * x[i];

    float norm = sqrtf(sum);
    float scale = 1.0f / (norm < 1e-12f ? 1e-12f : norm); /* NaN stays NaN */
    for (size_t i = 0; i < C; i++) y[i] = x[i] * scale;
}
