/* attention_plain.cu - context = softmax(q k^T * scale + bias) v for any HS up to 256
 *
 *   work    one warp per query of a head, four per block. For 32 keys at a time, each lane computes
 *           the score of one key, and then its HS / 32 components of the weighted sum of values
 *   types   q, k, v, context of the table's type, everything else FP32
 *
 * For everything that attention.cu does not support: FP32, and FP16 with heads other than 32, 64,
 * 96 or 128. Slow and simple: no shared memory, no tensor cores; every query reads all keys again.
 */
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/device.cuh"

#include <math.h>

enum { QUERIES = 4, COMPONENTS = CUDA_LARGEST_HEAD / WARP /* per lane, at most */ };

/* ---- kernel -------------------------------------------------------------------------------- */

static __device__ __forceinline__ float warp_max(float value)
{
    for (int mask = WARP / 2; mask > 0; mask /= 2)
        value = fmaxf(value, __shfl_xor_sync(0xFFFFFFFFu, value, mask));
    return value;
}

template <typename E>
static __device__ __forceinline__ float dot_product(const E *q, const E *k, int HS)
{
    float dot = 0;
    for (int i = 0; i < HS; i++) dot += to_float(q[i]) * to_float(k[i]);
    return dot;
}

template <typename E>
static __global__ void __launch_bounds__(QUERIES *WARP)
attention_plain_kernel(E *context, const E *qkv, const float *relative, size_t columns, size_t zero,
                       const int32_t *offsets, unsigned blocks, int C, int HS, float scale)
{
    const unsigned b = blockIdx.x / blocks, h = blockIdx.y;
    const int64_t begin = offsets[b], stride = 3 * C;
    const int T = offsets[b + 1] - offsets[b], lane = threadIdx.x % WARP;
    const int t = blockIdx.x % blocks * QUERIES + threadIdx.x / WARP;
    if (t >= T) return;

    const E *q = qkv + begin * stride + h * HS, *k = q + C, *v = k + C;
    const float *bias = relative == NULL ? NULL : relative + h * columns + zero - t;
    float largest = -INFINITY, sum = 0, out[COMPONENTS] = {};
    for (int first = 0; first < T; first += WARP) {
        const int s = first + lane, count = min(T - first, WARP);
        float score = -INFINITY;
        if (s < T) {
            score = dot_product(q + t * stride, k + s * stride, HS) * scale;
            if (bias != NULL) score += bias[s];
        }
        /* fmaxf drops a NaN score, but its weight is NaN, and so is the sum. */
        const float larger = fmaxf(largest, warp_max(score));
        const float factor = expf(largest - larger), weight = expf(score - larger);
        largest = larger;
        sum = sum * factor + warp_sum(weight);
        for (int i = 0; i < COMPONENTS; i++) out[i] *= factor;
        for (int j = 0; j < count; j++) {
            const float p = __shfl_sync(0xFFFFFFFFu, weight, j);
            for (int i = 0; i < COMPONENTS; i++) {
                if (lane + i * WARP < HS)
                    out[i] += p * to_float(v[(first + j) * stride + lane + i * WARP]);
            }
        }
    }
    E *row = context + (begin + t) * C + h * HS;
    for (int i = 0; i < COMPONENTS; i++) {
        if (lane + i * WARP < HS) row[lane + i * WARP] = from_float<E>(out[i] / sum);
    }
}

/* ---- launchers ----------------------------------------------------------------------------- */

template <typename E>
static cudaError_t attention_plain(void *context, const void *qkv, const float *relative,
                                   size_t columns, size_t zero, const int32_t *offsets, size_t B,
                                   size_t longest, size_t NH, size_t HS, float scale,
                                   cudaStream_t stream)
{
    const size_t blocks = (longest + QUERIES - 1) / QUERIES;
    if (HS > CUDA_LARGEST_HEAD || B * blocks > INT32_MAX) return cudaErrorInvalidValue;
    return launch(attention_plain_kernel<E>, dim3((unsigned)(B * blocks), (unsigned)NH),
                  dim3(QUERIES * WARP), 0, stream, (E *)context, (const E *)qkv, relative, columns,
                  zero, offsets, (unsigned)blocks, (int)(NH * HS), (int)HS, scale);
}

cudaError_t cuda_attention_plain_f16(void *context, const void *qkv, const float *relative,
                                     size_t columns, size_t zero, const int32_t *offsets, size_t B,
                                     size_t longest, size_t NH, size_t HS, float scale,
                                     cudaStream_t stream)
{
    return attention_plain<__half>(context, qkv, relative, columns, zero, offsets, B, longest, NH,
                                   HS, scale, stream);
}

cudaError_t cuda_attention_f32(void *context, const void *qkv, const float *relative,
                               size_t columns, size_t zero, const int32_t *offsets, size_t B,
                               size_t longest, size_t NH, size_t HS, float scale,
                               cudaStream_t stream)
{
    return attention_plain<float>(context, qkv, relative, columns, zero, offsets, B, longest, NH,
                                  HS, scale, stream);
}
