/* softmax_row.h - the exponentials of a row of attention scores */
#ifndef KERNELS_CPU_SOFTMAX_ROW_H
#define KERNELS_CPU_SOFTMAX_ROW_H

#include "vector_math.h"

/* Replaces the products q k in row[0..T) by e^(x - max x), with x = product * scale + relative, and
 * sets row[T..columns) to 0. Returns the sum. relative points at the bias of key 0; NULL: none.
 * columns is a multiple of LANES, and at least T. */
static inline float exponentials(float *row, const float *relative, size_t T, size_t columns,
                                 float scale)
{
    for (size_t t = 0; t < columns; t += LANES) {
        vec bias = relative != NULL ? vec_load(relative + t) : vec_set(0);
        vec_store(row + t, vec_fma(vec_load(row + t), vec_set(scale), bias));
    }
    for (size_t t = T; t < columns; t++) row[t] = -INFINITY;
    vec largest = vec_load(row);
    for (size_t t = LANES; t < columns; t += LANES) largest = vec_max(largest, vec_load(row + t));
    largest = vec_set(vec_largest(largest));

    vec sum = vec_set(0);
    for (size_t t = 0; t < columns; t += LANES) {
        vec e = vec_exp(vec_sub(vec_load(row + t), largest));
        sum = vec_add(sum, e);
        vec_store(row + t, e);
    }
    return vec_sum(sum);
}

#endif
