/* reference_int8.c - numbers rounded to the 8 bits that products in INT8 take: in each group of a
 * row, weights to scale * (-127 to 127), inputs to least + step * (0 to 255) */
#include "kernels/reference/reference.h"

#include <math.h>

static void round_weights(float *w, size_t n)
{
    float largest = 0;
    for (size_t i = 0; i < n; i++) largest = fmaxf(largest, fabsf(w[i]));
    float factor = largest > 0 ? 127 / largest : 0;
    for (size_t i = 0; i < n; i++) w[i] = rintf(w[i] * factor) * (largest / 127);
}

static void round_inputs(float *x, size_t n)
{
    float least = x[0], largest = x[0];
    for (size_t i = 0; i < n; i++) {
        least = fminf(least, x[i]);
        largest = fmaxf(largest, x[i]);
    }
    float range = largest - least, factor = range > 0 ? 255 / range : 0;
    for (size_t i = 0; i < n; i++) x[i] = least + rintf((x[i] - least) * factor) * (range / 255);
}

void reference_round_int8(float *x, size_t N, float *w, size_t O, size_t I)
{
    for (size_t i = 0; i < I; i += INT8_GROUP) {
        size_t count = I - i < INT8_GROUP ? I - i : INT8_GROUP;
        for (size_t n = 0; n < N; n++) round_inputs(x + n * I + i, count);
        for (size_t o = 0; o < O; o++) round_weights(w + o * I + i, count);
    }
}
