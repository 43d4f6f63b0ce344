/* largest.c - the `count` largest numbers of a row, and their indices
 *
 *   x (V), values (count) FP32   indices (count)
 *   floor: 4 * V bytes, from L2
 *
 * A vector compare skips everything that is not larger than the smallest of the best so far. In
 * random order, about count * log(V / count) numbers are larger: 70 for the best 8 of 50,264.
 */
#include "kernels/cpu/kernels_cpu.h"

/* Inserts x into `have` values sorted largest first, after equal ones; keeps at most `count`. */
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
