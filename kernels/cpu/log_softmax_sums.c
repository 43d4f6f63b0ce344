/* log_softmax_sums.c - the largest of x, and log(sum of e^(x - largest))
 *
 *   x (V)   FP32
 *   floor: V exponentials; x is read twice, from L2 (50,264 floats are 196 KiB)
 */
#include "vector_math.h"
#include "kernels/cpu/kernels_cpu.h"

#define SUMS 4 /* vectors at a time, to hide the latency of the exponential */

/* Returns the largest of x. May ignore NaN, which the sum then shows. */
static float largest_of(const float *x, size_t V)
{
    vec most[SUMS];
    size_t i = 0;
    UNROLL for (size_t j = 0; j < SUMS; j++) most[j] = vec_set(-INFINITY);
    for (; i + SUMS * LANES <= V; i += SUMS * LANES) {
        UNROLL for (size_t j = 0; j < SUMS; j++)
            most[j] = vec_max(vec_load(x + i + j * LANES), most[j]);
    }
    float largest = vec_largest(vec_max(vec_max(most[0], most[1]), vec_max(most[2], most[3])));
    for (; i < V; i++) largest = x[i] > largest ? x[i] : largest;
    return largest;
}

void KERNEL(log_softmax_sums)(float *largest, float *log_sum, const float *x, size_t V)
{
    *largest = largest_of(x, V);
    vec zero = vec_set(*largest), sum[SUMS];
    size_t i = 0;
    UNROLL for (size_t j = 0; j < SUMS; j++) sum[j] = vec_set(0);
    for (; i + SUMS * LANES <= V; i += SUMS * LANES) {
        UNROLL for (size_t j = 0; j < SUMS; j++)
            sum[j] = vec_add(sum[j], vec_exp(vec_sub(vec_load(x + i + j * LANES), zero)));
    }
    for (; i + LANES <= V; i += LANES)
        sum[0] = vec_add(sum[0], vec_exp(vec_sub(vec_load(x + i), zero)));
    if (i < V) {
        vec last = vec_first(vec_sub(vec_load_first(x + i, V - i), zero), V - i);
        sum[1] = vec_add(sum[1], vec_first(vec_exp(last), V - i));
    }
    *log_sum = logf(vec_sum(vec_add(vec_add(sum[0], sum[1]), vec_add(sum[2], sum[3]))));
}
