/* distance_bucket.c - T5's buckets of relative positions, as MPNet uses them */
#include "model/distance_bucket.h"

#include <math.h>

#define MAX_DISTANCE 128.0

size_t distance_bucket(ptrdiff_t distance, size_t buckets)
{
    size_t half = buckets / 2, exact = half / 2;
    size_t side = distance > 0 ? half : 0, n = (size_t)(distance > 0 ? distance : -distance);
    if (n < exact) return side + n;
    /* In float, like the reference. With 32 buckets there is no distance at which rounding
     * matters. */
    float scale = (float)log(MAX_DISTANCE / (double)exact);
    float share = logf((float)n / (float)exact) / scale * (float)(half - exact);
    size_t bucket = exact + (size_t)share;
    return side + (bucket < half ? bucket : half - 1);
}
