/* layernorm_rows.h - LayerNorm of sums of rows
 *
 *   y (C) = (h - mean(h)) / sqrt(var(h) + eps) * weight + bias, with h (C) a sum of 2 or 3 rows
 *
 * Three passes over h, which stays in L1: sum, squared differences, result.
 */
#ifndef KERNELS_CPU_LAYERNORM_ROWS_H
#define KERNELS_CPU_LAYERNORM_ROWS_H

#include "vector.h"

/* h (C) = a + b + c if a is not NULL, else b + d. */
struct row {
    const element *a, *c;
    const float *b; /* may be NULL, for none, if a is not */
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

/* Rows computed together: while one waits for its reduction, square root or division, the other
 * proceeds. Two rows of 384 in BF16 take 470 cycles; one takes 290, four take 1,000. */
#define ROWS_AT_ONCE 2

/* Independent accumulators per row: a single one would be bound by the latency of its additions. */
#define SUMS 4

INLINE float sum_of_sums(const vec sums[SUMS])
{
    return vec_sum(vec_add(vec_add(sums[0], sums[1]), vec_add(sums[2], sums[3])));
}

/* Stores h (C), padded with zeros to whole vectors, and returns its mean. */
INLINE float row_mean(float *h, const struct row *row, size_t C)
{
    vec sums[SUMS];
    UNROLL for (size_t j = 0; j < SUMS; j++) sums[j] = vec_set(0);
    size_t i = 0;
    for (; i + SUMS * LANES <= C; i += SUMS * LANES) {
        UNROLL for (size_t j = 0; j < SUMS; j++) {
            vec a = row_load(row, i + j * LANES);
            vec_store(h + i + j * LANES, a);
            sums[j] = vec_add(sums[j], a);
        }
    }
    for (; i < C; i += LANES) {
        vec a = i + LANES <= C ? row_load(row, i) : row_load_first(row, i, C - i);
        vec_store(h + i, a);
        sums[0] = vec_add(sums[0], a);
    }
    return sum_of_sums(sums) / (float)C;
}

/* Returns the mean of (h - mean)^2: E[h^2] - E[h]^2 would cancel for rows with outliers. */
INLINE float row_variance(const float *h, float mean_of_row, size_t C)
{
    vec mean = vec_set(mean_of_row), sums[SUMS];
    UNROLL for (size_t j = 0; j < SUMS; j++) sums[j] = vec_set(0);
    size_t i = 0;
    for (; i + SUMS * LANES <= C; i += SUMS * LANES) {
        UNROLL for (size_t j = 0; j < SUMS; j++) {
            vec d = vec_sub(vec_load(h + i + j * LANES), mean);
            sums[j] = vec_fma(d, d, sums[j]);
        }
    }
    for (; i < C; i += LANES) {
        vec d = vec_sub(vec_load(h + i), mean);
        if (i + LANES > C) d = vec_first(d, C - i);
        sums[0] = vec_fma(d, d, sums[0]);
    }
    return sum_of_sums(sums) / (float)C;
}

/* y (C) = (h - mean) * scale * weight + bias. If residual (C) is not NULL, it receives the same in
 * FP32. Both may alias the rows that were added. */
INLINE void row_normalize(element *y, float *residual, const float *h, float mean_of_row,
                          float scale_of_row, const float *weight, const float *bias, size_t C)
{
    vec mean = vec_set(mean_of_row), scale = vec_set(scale_of_row);
    size_t i = 0;
    for (; i + LANES <= C; i += LANES) {
        vec a = vec_mul(vec_sub(vec_load(h + i), mean), scale);
        a = vec_fma(a, vec_load(weight + i), vec_load(bias + i));
        store_elements(y + i, a);
        if (residual != NULL) vec_store(residual + i, a);
    }
    if (i < C) {
        vec a = vec_mul(vec_sub(vec_load(h + i), mean), scale);
        a = vec_fma(a, vec_load_first(weight + i, C - i), vec_load_first(bias + i, C - i));
        store_first_elements(y + i, a, C - i);
        if (residual != NULL) vec_store_first(residual + i, a, C - i);
    }
}

/* y (count, C) = (h - mean(h)) / sqrt(var(h) + eps) * weight + bias for count <= ROWS_AT_ONCE rows.
 * If residual (count, C) is not NULL, it receives the same in FP32. scratch has
 * layernorm_scratch_bytes(C). */
INLINE void layernorm_rows(element *y, float *residual, const struct row *rows, size_t count,
                           const float *weight, const float *bias, size_t C, float eps,
                           void *scratch)
{
    float *h = scratch, mean[ROWS_AT_ONCE], scale[ROWS_AT_ONCE];
    size_t stride = round_up(C, LANES);
    for (size_t r = 0; r < count; r++) mean[r] = row_mean(h + r * stride, &rows[r], C);
    for (size_t r = 0; r < count; r++)
        scale[r] = 1.0f / sqrtf(row_variance(h + r * stride, mean[r], C) + eps);
    for (size_t r = 0; r < count; r++)
        row_normalize(y + r * C, residual != NULL ? residual + r * C : NULL, h + r * stride,
                      mean[r], scale[r], weight, bias, C);
}

#endif
