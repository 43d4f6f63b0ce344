/* reference_attention.c - one head of one sequence:
 *
 *   context[t] = sum over s of softmax_s(q[t] . k[s] * scale + relative[s - t]) * v[s]
 */
#include "kernels/reference/reference.h"

#include <math.h>

size_t reference_attention_scratch_bytes(size_t T, size_t HS)
{
    (void)HS;
    return T * sizeof(float);
}

void reference_attention(void *context_out, const void *q_in, const void *k_in, const void *v_in,
                         const float *relative, size_t T, size_t HS, size_t stride,
                         size_t context_stride, float scale, void *scratch)
{
    float *context = context_out, *scores = scratch;
    const float *q = q_in, *k = k_in, *v = v_in;
    for (size_t t = 0; t < T; t++) {
        double largest = -INFINITY, sum = 0;
        for (size_t s = 0; s < T; s++) {
            double dot = 0;
            for (size_t i = 0; i < HS; i++) dot += (double)q[t * stride + i] * k[s * stride + i];
            double bias = relative != NULL ? relative[(ptrdiff_t)s - (ptrdiff_t)t] : 0;
            scores[s] = (float)(dot * scale + bias);
            if (scores[s] > largest) largest = scores[s];
        }
        for (size_t s = 0; s < T; s++) sum += exp(scores[s] - largest);
        for (size_t i = 0; i < HS; i++) {
            double weighted = 0;
            for (size_t s = 0; s < T; s++)
                weighted += exp(scores[s] - largest) / sum * v[s * stride + i];
            context[t * context_stride + i] = (float)weighted;
        }
    }
}
