/* layernorm_row.h - LayerNorm of one row that is the sum of rows in cache */
#ifndef KERNELS_CPU_LAYERNORM_ROW_H
#define KERNELS_CPU_LAYERNORM_ROW_H

#include "vector.h"

/* h (C) = a (C) + b (C) + c (C), or b (C) + d (C). It is never stored: each of the three passes
 * adds it up anew from the first cache level, so that its sums are of numbers in FP32 whatever the
 * elements are. */
struct row {
    const element *a, *c; /* a NULL: h is b + d */
    const float *b;       /* or NULL */
    const float *d;
};

INLINE vec row_load(const struct row *row, size_t i)
{
    if (row->a == NULL) return vec_add(vec_load(row->b + i), vec_load(row->d + i));
    vec h = load_elements(row->a + i);
    if (row->b != NULL) h = vec_add(h, vec_load(row->b + i));
    return vec_add(h, load_elements(row->c + i));
}

INLINE vec row_load_first(const struct row *row, size_t i, size_t n)
{
    if (row->a == NULL)
        return vec_add(vec_load_first(row->b + i, n), vec_load_first(row->d + i, n));
    vec h = load_first_elements(row->a + i, n);
    if (row->b != NULL) h = vec_add(h, vec_load_first(row->b + i, n));
    return vec_add(h, load_first_elements(row->c + i, n));
}

/* y (C) = (h - mean(h)) / sqrt(var(h) + eps) * weight + bias, and residual (C), where it is not
 * NULL, the same in FP32; both may be rows that are added. The mean first, then the squares of the
 * differences; E[h^2] - E[h]^2 would cancel for rows with outliers. */
INLINE void layernorm_row(element *y, float *residual, const struct row *row, const float *weight,
                          const float *bias, size_t C, float eps)
{
    size_t whole = C - C % LANES, rest = C % LANES;
    vec sum = vec_set(0), squares = vec_set(0);
    for (size_t i = 0; i < whole; i += LANES) sum = vec_add(sum, row_load(row, i));
    if (rest > 0) sum = vec_add(sum, row_load_first(row, whole, rest));
    vec mean = vec_set(vec_sum(sum) / (float)C);

    for (size_t i = 0; i < whole; i += LANES) {
        vec d = vec_sub(row_load(row, i), mean);
        squares = vec_fma(d, d, squares);
    }
    if (rest > 0) {
        vec d = vec_first(vec_sub(row_load_first(row, whole, rest), mean), rest);
        squares = vec_fma(d, d, squares);
    }
    vec scale = vec_set(1.0f / sqrtf(vec_sum(squares) / (float)C + eps));

    for (size_t i = 0; i < whole; i += LANES) {
        vec h = vec_mul(vec_sub(row_load(row, i), mean), scale);
        h = vec_fma(h, vec_load(weight + i), vec_load(bias + i));
        store_elements(y + i, h);
        if (residual != NULL) vec_store(residual + i, h);
    }
    if (rest > 0) {
        vec h = vec_mul(vec_sub(row_load_first(row, whole, rest), mean), scale);
        h = vec_fma(h, vec_load_first(weight + whole, rest), vec_load_first(bias + whole, rest));
        store_first_elements(y + whole, h, rest);
        if (residual != NULL) vec_store_first(residual + whole, h, rest);
    }
}

#endif
