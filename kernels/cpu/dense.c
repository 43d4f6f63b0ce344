/* dense.c - y = activation(x @ w^T + bias) for pooled rows, in FP32 in every table
 *
 *   x (B, I)   w (O, I)   bias (O)   y (B, O)   all FP32, w as PyTorch stores it
 *   floor: 2 * B * O * I FLOP, or reading w once (4 * O * I bytes) when B is small
 *
 * A text has one row here, and one per token in a linear layer: 768 x 768 is 1.2 MFLOP per text,
 * against BERT-base's 170 MFLOP per token. So w is not packed, and each output has its own
 * accumulator: four rows of w stay in L1 while all rows of x stream past.
 */
#include "kernels/cpu/kernels_cpu.h"

#include <math.h>

enum { OUTPUTS = 4, ROWS = 2 };

/* Each sum is in the same order, whatever `rows` and `outputs` are. */
INLINE void products(float *y, size_t y_stride, const float *x, const float *w, size_t I,
                     size_t rows, size_t outputs)
{
    vec sums[ROWS][OUTPUTS];
    size_t whole = I - I % LANES, rest = I % LANES;
    for (size_t r = 0; r < rows; r++)
        for (size_t o = 0; o < outputs; o++) sums[r][o] = vec_set(0);
    for (size_t i = 0; i < whole; i += LANES)
        for (size_t r = 0; r < rows; r++)
            for (size_t o = 0; o < outputs; o++)
                sums[r][o] = vec_fma(vec_load(x + r * I + i), vec_load(w + o * I + i), sums[r][o]);
    for (size_t r = 0; r < rows && rest > 0; r++)
        for (size_t o = 0; o < outputs; o++)
            sums[r][o] = vec_fma(vec_load_first(x + r * I + whole, rest),
                                 vec_load_first(w + o * I + whole, rest), sums[r][o]);
    for (size_t r = 0; r < rows; r++)
        for (size_t o = 0; o < outputs; o++) y[r * y_stride + o] = vec_sum(sums[r][o]);
}

static float activated(float x, enum activation activation)
{
    switch (activation) {
    case ACTIVATION_NONE: break;
    case ACTIVATION_GELU: return 0.5f * x * (1 + erff(x * 0.70710678f));
    case ACTIVATION_TANH: return tanhf(x);
    case ACTIVATION_RELU: return x < 0 ? 0 : x; /* NaN stays NaN */
    case ACTIVATION_SIGMOID: return 1 / (1 + expf(-x));
    }
    return x;
}

void KERNEL(dense)(float *y, const float *x, const float *w, const float *bias, size_t B, size_t O,
                   size_t I, size_t first, size_t last, enum activation activation)
{
    for (size_t o = first, outputs; o < last; o += outputs) {
        outputs = last - o < OUTPUTS ? 1 : OUTPUTS;
        const float *some = w + o * I;
        for (size_t b = 0, rows; b < B; b += rows) {
            rows = B - b < ROWS ? 1 : ROWS;
            float *c = y + b * O + o;
            const float *h = x + b * I;
            if (rows == ROWS && outputs == OUTPUTS) products(c, O, h, some, I, ROWS, OUTPUTS);
            else if (outputs == OUTPUTS) products(c, O, h, some, I, 1, OUTPUTS);
            else if (rows == ROWS) products(c, O, h, some, I, ROWS, 1);
            else products(c, O, h, some, I, 1, 1);
            for (size_t r = 0; r < rows; r++)
                for (size_t k = 0; k < outputs; k++)
                    c[r * O + k] = activated(c[r * O + k] + (bias != NULL ? bias[o + k] : 0),
                                             activation);
        }
    }
}
