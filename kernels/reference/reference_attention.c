/* reference_attention.c - context[t] = sum over s of softmax_s(q[t] . k[s] * scale + relative[s - t])
 * * v[s] */
#include "kernels/reference/reference.h"

#include <math.h>

size_t reference_attention_scratch_size(size_t T, size_t HS)
{
    (void)HS;
    return T;
}

void reference_attention(float *context, const float *q, const float *k, const float *v,
                         const float *relative, size_t T, size_t HS, size_t stride,
                         size_t context_stride, float scale, float *scratch)
{
    for (size_t t = 0; t < T; t++) {
        double largest = -INFINITY, sum = 0;
        for (size_t s = 0; s < T; s++) {
            double dot = 0;
            for (size_t i = 0; i < HS; i++) dot += (double)q[t * stride + i] * k[s * stride + i];
            double bias = relative != NULL ? relative[(ptrdiff_t)s - (ptrdiff_t)t] : 0;
            scratch[s] = (float)(dot * scale + bias);
            if (scratch[s] > largest) largest = scratch[s];
        }
        for (size_t s = 0; s < T; s++) sum += exp(scratch[s] - largest);
        for (size_t i = 0; i < HS; i++) {
            double weighted = 0;
            for (size_t s = 0; s < T; s++)
                weighted += exp(scratch[s] - largest) / sum * v[s * stride + i];
            context[t * context_stride + i] = (float)weighted;
        }
    }
}
