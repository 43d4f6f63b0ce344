/* pool.c - pools the hidden states of a sequence into one row
 *
 *   x (T, C) elements   y (C) FP32
 *   floor: reading T * C elements, from cache
 */
#include "kernels/cpu/kernels_cpu.h"

/* y = scale * sum over t >= first of weight(t) * x[t], with weight(t) = t + 1 if `weighted`, else
 * 1. */
static void sum(float *y, const element *x, size_t first, size_t T, size_t C, bool weighted,
                float scale)
{
    size_t whole = C - C % LANES, rest = C % LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        vec total = vec_set(0);
        for (size_t t = first; t < T; t++)
            total = vec_fma(load_elements(x + t * C + i), vec_set(weighted ? (float)(t + 1) : 1),
                            total);
        vec_store(y + i, vec_mul(total, vec_set(scale)));
    }
    if (rest > 0) {
        vec total = vec_set(0);
        for (size_t t = first; t < T; t++)
            total = vec_fma(load_first_elements(x + t * C + whole, rest),
                            vec_set(weighted ? (float)(t + 1) : 1), total);
        vec_store_first(y + whole, vec_mul(total, vec_set(scale)), rest);
    }
}

static void copy(float *y, const element *x, size_t C)
{
    for (size_t i = 0; i < C; i++) y[i] = element_value(x[i]);
}

static void largest(float *y, const element *x, size_t first, size_t T, size_t C)
{
    for (size_t i = 0; i < C; i++) y[i] = -INFINITY;
    for (size_t t = first; t < T; t++) {
        for (size_t i = 0; i < C; i++) {
            float value = element_value(x[t * C + i]);
            /* NaN on either side wins, so that it reaches the result. */
            y[i] = value <= y[i] || isnan(y[i]) ? y[i] : value;
        }
    }
}

void KERNEL(pool)(float *y, const void *x_in, size_t first, size_t T, size_t C,
                  enum pooling pooling)
{
    const element *x = x_in;
    if (first > T) first = T;
    size_t count = T - first;
    float n = count > 0 ? (float)count : 1; /* a sum over no rows is 0 */
    switch (pooling) {
    case POOLING_MEAN: sum(y, x, first, T, C, false, 1 / n); break;
    case POOLING_MEAN_SQRT_LENGTH: sum(y, x, first, T, C, false, 1 / sqrtf(n)); break;
    case POOLING_WEIGHTED_MEAN:
        sum(y, x, first, T, C, true, 2 / (n * (float)(first + 1 + T)));
        break;
    case POOLING_MAX: largest(y, x, first, T, C); break;
    case POOLING_CLS: copy(y, x + (count > 0 ? first : 0) * C, C); break;
    case POOLING_LAST: sum(y, x, count > 0 ? T - 1 : T, T, C, false, 1); break;
    }
}
