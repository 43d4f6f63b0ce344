/* reference_linear.c - y[n,o] = activation(bias[o] + sum over i of x[n,i] * w[o,i]) */
#include "kernels/reference/reference.h"

#include <math.h>
#include <string.h>

void reference_store(void *elements, const float *x, size_t count)
{
    memcpy(elements, x, count * sizeof(float));
}

size_t reference_linear_weight_bytes(size_t O, size_t I)
{
    return O * I * sizeof(float);
}

size_t reference_linear_bias_size(size_t O)
{
    return O;
}

size_t reference_linear_scratch_bytes(size_t I)
{
    (void)I;
    return 0;
}

void reference_linear_pack(void *packed, const float *w, size_t O, size_t I)
{
    memcpy(packed, w, O * I * sizeof(float));
}

static double gelu(double x)
{
    return x / 2 * (1 + erf(x / sqrt(2)));
}

void reference_linear(void *y_out, const void *x_in, const void *weight, const float *bias,
                      size_t N, size_t O, size_t I, size_t first, size_t last,
                      enum activation activation, void *scratch)
{
    (void)scratch;
    float *y = y_out;
    const float *x = x_in, *w = weight;
    for (size_t n = 0; n < N; n++) {
        for (size_t o = first; o < last; o++) {
            double sum = bias[o];
            for (size_t i = 0; i < I; i++) sum += (double)x[n * I + i] * w[o * I + i];
            y[n * O + o] = (float)(activation == ACTIVATION_GELU ? gelu(sum) : sum);
        }
    }
}

void reference_logits(float *y, const void *x, const void *w, const float *bias, size_t N, size_t O,
                      size_t I, size_t first, size_t last, void *scratch)
{
    reference_linear(y, x, w, bias, N, O, I, first, last, ACTIVATION_NONE, scratch);
}
