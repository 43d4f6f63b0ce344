/* reference_int8.c - rounds inputs and weights to the 8 bits of an INT8 linear layer
 *
 * In each group of a row, weights become scale * q with q = -127 to 127, and inputs become least +
 * step * u with u = 0 to 255; each half of the group has its own step. Halves and groups that are
 * not full count as padded with zero inputs.
 */
#include "kernels/reference/reference.h"

#include <math.h>

static void round_weights(float *w, size_t n)
{
    float largest = 0;
    for (size_t i = 0; i < n; i++) largest = fmaxf(largest, fabsf(w[i]));
    float scale = fmaxf(largest / 127, INT8_LEAST_SCALE);
    for (size_t i = 0; i < n; i++) w[i] = rintf(w[i] * (1 / scale)) * scale;
}

static void round_half(float *x, float least, size_t n)
{
    float largest = n < INT8_HALF ? 0 : x[0];
    for (size_t i = 0; i < n; i++) largest = fmaxf(largest, x[i]);
    float step = (largest - least) * (1 / 255.0f), factor = step > 0 ? 1 / step : 0;
    for (size_t i = 0; i < n; i++)
        x[i] = least + (float)rint((double)(x[i] - least) * factor) * step;
}

static void round_inputs(float *x, size_t n)
{
    float least = n < INT8_GROUP ? 0 : x[0];
    for (size_t i = 0; i < n; i++) least = fminf(least, x[i]);
    round_half(x, least, n < INT8_HALF ? n : INT8_HALF);
    if (n > INT8_HALF) round_half(x + INT8_HALF, least, n - INT8_HALF);
}

void reference_round_int8(float *x, size_t N, float *w, size_t O, size_t I)
{
    for (size_t i = 0; i < I; i += INT8_GROUP) {
        size_t count = I - i < INT8_GROUP ? I - i : INT8_GROUP;
        for (size_t n = 0; n < N; n++) round_inputs(x + n * I + i, count);
        for (size_t o = 0; o < O; o++) round_weights(w + o * I + i, count);
    }
}
