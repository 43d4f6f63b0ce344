/* pool.c - one row from the hidden states of a sequence
 *
 *   x (T, C)   y (C)   FP32
 *   floor: 4 * T * C bytes, from cache
 */
#include "kernels/cpu/kernels_cpu.h"

static void mean(float *y, const float *x, size_t T, size_t C, float scale)
{
    size_t whole = C - C % LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        vec sum = vec_load(x + i);
        for (size_t t = 1; t < T; t++) sum = vec_add(sum, vec_load(x + t * C + i));
        vec_store(y + i, vec_mul(sum, vec_set(scale)));
    }
    for (size_t i = whole; i < C; i++) {
        float sum = x[i];
        for (size_t t = 1; t < T; t++) sum += x[t * C + i];
        y[i] = sum * scale;
    }
}

static void largest(float *y, const float *x, size_t T, size_t C)
{
    memcpy(y, x, C * sizeof(float));
    for (size_t t = 1; t < T; t++) {
        const float *row = x + t * C;
        /* NaN on either side wins: it must be seen, not dropped. */
        for (size_t i = 0; i < C; i++) y[i] = row[i] <= y[i] || isnan(y[i]) ? y[i] : row[i];
    }
}

void KERNEL(pool)(float *y, const float *x, size_t T, size_t C, enum pooling pooling)
{
    switch (pooling) {
    case POOLING_MEAN: mean(y, x, T, C, 1.0f / (float)T); break;
    case POOLING_MEAN_SQRT_LENGTH: mean(y, x, T, C, 1.0f / sqrtf((float)T)); break;
    case POOLING_MAX: largest(y, x, T, C); break;
    case POOLING_CLS: memcpy(y, x, C * sizeof(float)); break;
    case POOLING_LAST: memcpy(y, x + (T - 1) * C, C * sizeof(float)); break;
    }
}
