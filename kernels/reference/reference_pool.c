/* reference_pool.c - pools the rows of a sequence, and applies dense layers and L2 normalisation to
 * pooled rows */
#include "kernels/reference/reference.h"

#include <math.h>

void reference_pool(float *y, const void *x_in, size_t first, size_t T, size_t C,
                    enum pooling pooling)
{
    const float *x = x_in;
    double count = T > first ? (double)(T - first) : 1e-9;
    for (size_t i = 0; i < C; i++) {
        double sum = 0, weighted = 0, weights = 1e-9, largest = -INFINITY;
        for (size_t t = first; t < T; t++) {
            sum += x[t * C + i];
            weighted += (double)(t + 1) * x[t * C + i];
            weights += (double)(t + 1);
            largest = fmax(largest, x[t * C + i]);
        }
        y[i] = pooling == POOLING_MEAN               ? (float)(sum / count)
               : pooling == POOLING_MEAN_SQRT_LENGTH ? (float)(sum / sqrt(count))
               : pooling == POOLING_WEIGHTED_MEAN    ? (float)(weighted / weights)
               : pooling == POOLING_MAX              ? (float)largest
               : pooling == POOLING_CLS              ? x[(T > first ? first : 0) * C + i]
               : T > first                           ? x[(T - 1) * C + i]
                                                     : 0;
    }
}

static double activated(double x, enum activation activation)
{
    return activation == ACTIVATION_GELU      ? x / 2 * (1 + erf(x / sqrt(2)))
           : activation == ACTIVATION_TANH    ? tanh(x)
           : activation == ACTIVATION_RELU    ? (x < 0 ? 0 : x)
           : activation == ACTIVATION_SIGMOID ? 1 / (1 + exp(-x))
                                              : x;
}

void reference_dense(float *y, const float *x, const float *w, const float *bias, size_t B,
                     size_t O, size_t I, size_t first, size_t last, enum activation activation)
{
    for (size_t b = 0; b < B; b++) {
        for (size_t o = first; o < last; o++) {
            double sum = bias != NULL ? bias[o] : 0;
            for (size_t i = 0; i < I; i++) sum += (double)x[b * I + i] * w[o * I + i];
            y[b * O + o] = (float)activated(sum, activation);
        }
    }
}

void reference_l2_normalize(float *y, const float *x, size_t C)
{
    double sum = 0;
    for (size_t i = 0; i < C; i++) sum += (double)x[i] * x[i];
    for (size_t i = 0; i < C; i++) y[i] = (float)(x[i] / fmax(sqrt(sum), 1e-12));
}
