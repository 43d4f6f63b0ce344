/* reference_decode.c - the operations that only a decoder has: attention to a cache, log-softmax
 * sums and the selection of tokens */
#include "kernels/reference/reference.h"

#include <math.h>

size_t reference_decode_attention_scratch_bytes(size_t Q, size_t T, size_t HS)
{
    (void)Q;
    (void)HS;
    return T * sizeof(double);
}

/* Returns the index at which key or value t begins. */
static size_t place(const int32_t *rows, size_t row_tokens, size_t t, size_t stride)
{
    return ((rows != NULL ? (size_t)rows[t] * row_tokens : 0) + t) * stride;
}

void reference_decode_attention(void *context_out, const void *q_in, const void *k_in,
                                const void *v_in, const int32_t *rows, size_t row_tokens, size_t Q,
                                size_t T, size_t HS, size_t q_stride, size_t stride,
                                size_t context_stride, float scale, void *scratch)
{
    const float *k = k_in, *v = v_in;
    double *weights = scratch;
    for (size_t n = 0; n < Q; n++) {
        const float *q = (const float *)q_in + n * q_stride;
        float *context = (float *)context_out + n * context_stride;
        double largest = -INFINITY, sum = 0;
        for (size_t t = 0; t < T; t++) {
            const float *key = k + place(rows, row_tokens, t, stride);
            weights[t] = 0;
            for (size_t i = 0; i < HS; i++) weights[t] += (double)q[i] * key[i] * scale;
            largest = fmax(largest, weights[t]);
        }
        for (size_t t = 0; t < T; t++) sum += weights[t] = exp(weights[t] - largest);
        for (size_t i = 0; i < HS; i++) {
            double weighted = 0;
            for (size_t t = 0; t < T; t++)
                weighted += weights[t] / sum * v[place(rows, row_tokens, t, stride) + i];
            context[i] = (float)weighted;
        }
    }
}

void reference_log_softmax_sums(float *largest, float *log_sum, const float *x, size_t V)
{
    double sum = 0;
    *largest = -INFINITY;
    for (size_t i = 0; i < V; i++) *largest = fmaxf(*largest, x[i]);
    for (size_t i = 0; i < V; i++) sum += exp((double)x[i] - *largest);
    *log_sum = (float)log(sum);
}

/* Place n gets the largest value that is not in an earlier place. */
void reference_largest(float *values, int32_t *indices, size_t count, const float *x, size_t V)
{
    for (size_t n = 0; n < count; n++) {
        indices[n] = -1;
        for (size_t i = 0; i < V; i++) {
            int taken = 0;
            for (size_t m = 0; m < n; m++) taken |= indices[m] == (int32_t)i;
            if (!taken && (indices[n] < 0 || x[i] > values[n])) {
                values[n] = x[i];
                indices[n] = (int32_t)i;
            }
        }
    }
}
