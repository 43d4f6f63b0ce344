/* layernorm_row.h - LayerNorm of one row that is in cache */
#ifndef KERNELS_CPU_LAYERNORM_ROW_H
#define KERNELS_CPU_LAYERNORM_ROW_H

#include "vector.h"

/* y (C) = (y - mean(y)) / sqrt(var(y) + eps) * weight + bias. Two passes: the mean first, then the
 * squares of the differences; E[y^2] - E[y]^2 would cancel for rows with outliers. `sum` is the
 * lane-wise sum of y, which the caller has at hand when it writes y. */
INLINE void layernorm_row(float *y, vec sum, const float *weight, const float *bias, size_t C,
                          float eps)
{
    size_t whole = C - C % LANES, rest = C % LANES;
    float average = vec_sum(sum) / (float)C;
    vec mean = vec_set(average), squares = vec_set(0);
    for (size_t i = 0; i < whole; i += LANES) {
        vec d = vec_sub(vec_load(y + i), mean);
        squares = vec_fma(d, d, squares);
    }
    float variance = vec_sum(squares);
    for (size_t i = whole; i < C; i++) variance += (y[i] - average) * (y[i] - average);
    vec scale = vec_set(1.0f / sqrtf(variance / (float)C + eps));

    for (size_t i = 0; i < whole; i += LANES) {
        vec h = vec_mul(vec_sub(vec_load(y + i), mean), scale);
        vec_store(y + i, vec_fma(h, vec_load(weight + i), vec_load(bias + i)));
    }
    if (rest > 0) {
        vec h = vec_mul(vec_sub(vec_load_first(y + whole, rest), mean), scale);
        h = vec_fma(h, vec_load_first(weight + whole, rest), vec_load_first(bias + whole, rest));
        vec_store_first(y + whole, h, rest);
    }
}

#endif
