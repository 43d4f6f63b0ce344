/* largest.c - the largest numbers of a row, and where they are
 *
 *   x (V), values, indices (count)   FP32
 *   floor: 4 * V bytes, from the second cache level
 *
 * A number is looked at if it is larger than the last of the best so far. Of numbers in no order
 * those are about count * log(V / count): 70 for the best 8 of 50,264.
 */
#include "kernels/cpu/kernels_cpu.h"

/* x goes before the first of `have` values, best first, that is less; at most `count` remain. */
static void insert(float *values, int32_t *indices, size_t have, size_t count, float x,
                   size_t index)
{
    size_t place = have < count ? have : count - 1;
    for (; place > 0 && x > values[place - 1]; place--) {
        values[place] = values[place - 1];
        indices[place] = indices[place - 1];
    }
    values[place] = x;
    indices[place] = (int32_t)index;
}

void KERNEL(largest)(float *values, int32_t *indices, size_t count, const float *x, size_t V)
{
    size_t i = 0;
    for (; i < count; i++) insert(values, indices, i, count, x[i], i);
    const float *last = values + count - 1;
    for (; i + LANES <= V; i += LANES) {
        if (!vec_any_greater(vec_load(x + i), vec_set(*last))) continue;
        for (size_t j = i; j < i + LANES; j++) {
            if (x[j] > *last) insert(values, indices, count, count, x[j], j);
        }
    }
    for (; i < V; i++) {
        if (x[i] > *last) insert(values, indices, count, count, x[i], i);
    }
}
