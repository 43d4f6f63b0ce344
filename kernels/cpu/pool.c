/* pool.c - one row from the hidden states of a sequence
 *
 *   x (T, C) elements   y (C) FP32
 *   floor: T * C elements, from cache
 */
#include "kernels/cpu/kernels_cpu.h"

static void mean(float *y, const element *x, size_t T, size_t C, float scale)
{
    size_t whole = C - C % LANES, rest = C % LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        vec sum = load_elements(x + i);
        for (size_t t = 1; t < T; t++) sum = vec_add(sum, load_elements(x + t * C + i));
        vec_store(y + i, vec_mul(sum, vec_set(scale)));
    }
    if (rest > 0) {
        vec sum = load_first_elements(x + whole, rest);
        for (size_t t = 1; t < T; t++)
            sum = vec_add(sum, load_first_elements(x + t * C + whole, rest));
        vec_store_first(y + whole, vec_mul(sum, vec_set(scale)), rest);
    }
}

static void copy(float *y, const element *x, size_t C)
{
    for (size_t i = 0; i < C; i++) y[i] = element_value(x[i]);
}

static void largest(float *y, const element *x, size_t T, size_t C)
{
    copy(y, x, C);
    for (size_t t = 1; t < T; t++) {
        for (size_t i = 0; i < C; i++) {
            float value = element_value(x[t * C + i]);
            /* NaN on either side wins: it must be seen, not dropped. */
            y[i] = value <= y[i] || isnan(y[i]) ? y[i] : value;
        }
    }
}

void KERNEL(pool)(float *y, const void *x_in, size_t T, size_t C, enum pooling pooling)
{
    const element *x = x_in;
    switch (pooling) {
    case POOLING_MEAN: mean(y, x, T, C, 1.0f / (float)T); break;
    case POOLING_MEAN_SQRT_LENGTH: mean(y, x, T, C, 1.0f / sqrtf((float)T)); break;
    case POOLING_MAX: largest(y, x, T, C); break;
    case POOLING_CLS: copy(y, x, C); break;
    case POOLING_LAST: copy(y, x + (T - 1) * C, C); break;
    }
}
