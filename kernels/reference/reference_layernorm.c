/* reference_layernorm.c - layernorm(h) = (h - mean(h)) / sqrt(var(h) + eps) * weight + bias */
#include "kernels/reference/reference.h"

#include <math.h>

static void layernorm(float *y, const float *h, const float *weight, const float *bias, size_t C,
                      float eps)
{
    double mean = 0, variance = 0;
    for (size_t i = 0; i < C; i++) mean += h[i] / (double)C;
    for (size_t i = 0; i < C; i++) variance += (h[i] - mean) * (h[i] - mean) / (double)C;
    for (size_t i = 0; i < C; i++)
        y[i] = (float)((h[i] - mean) / sqrt(variance + eps) * weight[i] + bias[i]);
}

size_t reference_layernorm_scratch_bytes(size_t C)
{
    (void)C;
    return 0;
}

void reference_embed_layernorm(void *y, float *residual, const int32_t *ids,
                               const int32_t *positions, const void *word_table,
                               const void *position_table, const float *type,
                               const float *weight, const float *bias, size_t N, size_t C,
                               float eps, void *scratch)
{
    (void)scratch;
    const float *word = word_table, *position = position_table;
    for (size_t n = 0; n < N; n++) {
        float *row = (float *)y + n * C;
        for (size_t i = 0; i < C; i++)
            row[i] = word[(size_t)ids[n] * C + i] + position[(size_t)positions[n] * C + i] +
                     (type != NULL ? type[i] : 0);
        layernorm(row, row, weight, bias, C, eps);
        for (size_t i = 0; i < C && residual != NULL; i++) residual[n * C + i] = row[i];
    }
}

void reference_add_layernorm(void *y, const void *x_in, const void *residual_in,
                             const float *weight, const float *bias, size_t N, size_t C, float eps,
                             void *scratch)
{
    (void)scratch;
    const float *x = x_in, *residual = residual_in;
    for (size_t n = 0; n < N; n++) {
        float *row = (float *)y + n * C;
        for (size_t i = 0; i < C; i++) row[i] = x[n * C + i] + residual[n * C + i];
        layernorm(row, row, weight, bias, C, eps);
    }
}

void reference_residual_layernorm(void *y, float *residual, const float *more, const float *weight,
                                  const float *bias, size_t N, size_t C, float eps, void *scratch)
{
    reference_add_layernorm(residual, more, residual, weight, bias, N, C, eps, scratch);
    for (size_t i = 0; i < N * C; i++) ((float *)y)[i] = residual[i];
}
