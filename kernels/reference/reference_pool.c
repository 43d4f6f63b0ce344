/* reference_pool.c - one row from the T rows of a sequence, and L2 normalisation */
#include "kernels/reference/reference.h"

#include <math.h>

void reference_pool(float *y, const void *x_in, size_t T, size_t C, enum pooling pooling)
{
    const float *x = x_in;
    for (size_t i = 0; i < C; i++) {
        double sum = 0, largest = -INFINITY;
        for (size_t t = 0; t < T; t++) {
            sum += x[t * C + i];
            largest = fmax(largest, x[t * C + i]);
        }
        y[i] = pooling == POOLING_MEAN               ? (float)(sum / (double)T)
               : pooling == POOLING_MEAN_SQRT_LENGTH ? (float)(sum / sqrt((double)T))
               : pooling == POOLING_MAX              ? (float)largest
               : pooling == POOLING_CLS              ? x[i]
                                                     : x[(T - 1) * C + i];
    }
}

void reference_l2_normalize(float *y, const float *x, size_t C)
{
    double sum = 0;
    for (size_t i = 0; i < C; i++) sum += (double)x[i] * x[i];
    for (size_t i = 0; i < C; i++) y[i] = (float)(x[i] / fmax(sqrt(sum), 1e-12));
}
