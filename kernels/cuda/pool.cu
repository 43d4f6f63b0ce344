/* pool.cu - rows (B, D) in FP32, one per sequence of x (N, C): its tokens, except the skipped first
 * ones, are pooled to one row, cut to the first D components and optionally divided by
 * max(|first D|, 1e-12)
 *
 *   work    one block per sequence. Its threads form groups, each of which covers all columns in
 *           vectors of 16 bytes (C = 384 in FP16: 10 groups of 48 threads). Group g takes tokens g,
 *           g + groups, ..., and the groups are combined in order. The number of groups depends on
 *           C and the type alone, so a row's bits depend on its sequence alone. The row of an empty
 *           sequence, as at the end of batches that are rounded up, is not written.
 *   types   x of the table's type; sums, norm and rows FP32
 *   floor   reads 2C bytes per token in FP16. N = 8448 tokens at 4.3 TB/s: 1.5 us for C = 384,
 *           3.0 us for C = 768, 4.0 us for C = 1024; plus 4D bytes per sequence for the rows.
 */
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/vector.cuh"

/* Many threads, because a single text is a single block, whose time is the latency of a few
 * dependent loads. A thread takes up to 40 registers on sm_80 and sm_90, 54 on the others: three
 * blocks, or two, share an SM. */
enum { THREADS = 512, WARPS = THREADS / WARP };

/* ---- kernel -------------------------------------------------------------------------------- */

enum kind { SUM, WEIGHTED_SUM, LARGEST };

/* Returns the sum, or the larger of the two. NaN on either side wins, so that it reaches the
 * result. */
template <enum kind KIND> static __device__ __forceinline__ float combine(float y, float x)
{
    if (KIND == LARGEST) return x <= y || y != y ? y : x;
    return y + x;
}

/* Combines tokens first, first + step, ... of the `count` at x, in each of WIDTH columns. A
 * WEIGHTED_SUM gives token t the weight t + weight. */
template <enum kind KIND, int WIDTH, typename T>
static __device__ __forceinline__ void combine_tokens(float (&y)[WIDTH], const T *__restrict__ x,
                                                      size_t C, unsigned first, unsigned count,
                                                      unsigned step, unsigned weight)
{
#pragma unroll
    for (int i = 0; i < WIDTH; i++) y[i] = KIND == LARGEST ? -INFINITY : 0;
#pragma unroll 4
    for (unsigned t = first; t < count; t += step) {
        float token[WIDTH];
        load_vector(token, x + t * C);
#pragma unroll
        for (int i = 0; i < WIDTH; i++) {
            if (KIND == WEIGHTED_SUM) token[i] *= (float)(t + weight);
            y[i] = combine<KIND>(y[i], token[i]);
        }
    }
}

/* Returns the sum of `value` over the block, in all threads. */
static __device__ __forceinline__ float block_sum(float value, float *scratch)
{
    value = warp_sum(value);
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = value;
    __syncthreads();
    float sum = 0;
    for (int w = 0; w < WARPS; w++) sum += scratch[w];
    return sum;
}

/* Returns the divisor of the combined tokens: `count` of them, from token `skipped` on. */
static __device__ __forceinline__ float divisor_of(enum pooling pooling, unsigned skipped,
                                                   unsigned count)
{
    if (count == 0) return 1; /* the sum is 0 */
    if (pooling == POOLING_MEAN) return (float)count;
    if (pooling == POOLING_MEAN_SQRT_LENGTH) return sqrtf((float)count);
    if (pooling == POOLING_WEIGHTED_MEAN)
        return (float)count * (float)(2 * skipped + 1 + count) * 0.5f;
    return 1;
}

/* Thread c % THREADS combines, normalises and writes column c of the row. */
template <typename T, int WIDTH, enum kind KIND>
static __global__ void __launch_bounds__(THREADS, 2)
pool_kernel(float *__restrict__ rows, unsigned stride, const T *__restrict__ x,
            const int32_t *__restrict__ offsets, const int32_t *__restrict__ skips, unsigned C,
            enum pooling pooling, unsigned D, bool normalize)
{
    SHARED_MEMORY(shared);
    float *parts = (float *)shared; /* (groups, columns) */

    unsigned vectors = min(C / WIDTH, (unsigned)THREADS); /* threads of a group */
    unsigned groups = THREADS / vectors, columns = vectors * WIDTH;
    unsigned group = threadIdx.x / vectors, own = threadIdx.x % vectors * WIDTH;

    unsigned first = (unsigned)offsets[blockIdx.x], last = (unsigned)offsets[blockIdx.x + 1];
    if (first == last) return; /* uniform over the block */
    unsigned skipped = skips != NULL ? (unsigned)skips[blockIdx.x] : 0;
    if (skipped > last - first) skipped = last - first;
    unsigned count = last - first - skipped, all = first;
    float divisor = divisor_of(pooling, skipped, count);
    first += skipped;
    if (pooling == POOLING_CLS) { /* the sum of one token */
        if (count == 0) first = all;
        last = first + 1;
    }
    if (pooling == POOLING_LAST && count > 0) first = last - 1;
    const T *tokens = x + (size_t)first * C;
    float *row = rows + (size_t)blockIdx.x * stride;

    float squares = 0;
    for (unsigned base = 0; base < D; base += columns) { /* more than once only for the widest C */
        if (group < groups && base + own < D) {
            float y[WIDTH];
            combine_tokens<KIND>(y, tokens + base + own, C, group, last - first, groups,
                                 skipped + 1);
            for (int i = 0; i < WIDTH; i++) parts[group * columns + own + i] = y[i];
        }
        __syncthreads();
        for (unsigned c = threadIdx.x; c < columns && base + c < D; c += THREADS) {
            float y = parts[c];
            for (unsigned g = 1; g < groups; g++) y = combine<KIND>(y, parts[g * columns + c]);
            y /= divisor;
            row[base + c] = y;
            squares += y * y;
        }
        __syncthreads();
    }
    if (!normalize) return;

    float norm = sqrtf(block_sum(squares, parts));
    if (norm < 1e-12f) norm = 1e-12f; /* not by fmaxf, which drops NaN */
    for (unsigned c = threadIdx.x; c < D; c += THREADS) row[c] /= norm;
}

/* ---- launchers ----------------------------------------------------------------------------- */

template <typename T, int WIDTH>
static cudaError_t launch_width(float *rows, size_t stride, const T *x, const int32_t *offsets,
                                const int32_t *skipped, size_t B, size_t C, enum pooling pooling,
                                size_t D, bool normalize, cudaStream_t stream)
{
    auto kernel = pooling == POOLING_MAX             ? pool_kernel<T, WIDTH, LARGEST>
                  : pooling == POOLING_WEIGHTED_MEAN ? pool_kernel<T, WIDTH, WEIGHTED_SUM>
                                                     : pool_kernel<T, WIDTH, SUM>;
    return launch(kernel, dim3((unsigned)B), dim3(THREADS), THREADS * WIDTH * sizeof(float), stream,
                  rows, (unsigned)stride, x, offsets, skipped, (unsigned)C, pooling, (unsigned)D,
                  normalize);
}

template <typename T>
static cudaError_t pool(float *rows, size_t stride, const void *x, const int32_t *offsets,
                        const int32_t *skipped, size_t B, size_t C, enum pooling pooling, size_t D,
                        bool normalize, cudaStream_t stream)
{
    const int WIDTH = 16 / sizeof(T); /* if it divides C, every token is 16-byte aligned */
    if (C % WIDTH == 0)
        return launch_width<T, WIDTH>(rows, stride, (const T *)x, offsets, skipped, B, C, pooling,
                                      D, normalize, stream);
    return launch_width<T, 1>(rows, stride, (const T *)x, offsets, skipped, B, C, pooling, D,
                              normalize, stream);
}

cudaError_t cuda_pool_f16(float *rows, size_t stride, const void *x, const int32_t *offsets,
                          const int32_t *skipped, size_t B, size_t C, enum pooling pooling, size_t D,
                          bool normalize, cudaStream_t stream)
{
    return pool<__half>(rows, stride, x, offsets, skipped, B, C, pooling, D, normalize, stream);
}

cudaError_t cuda_pool_f32(float *rows, size_t stride, const void *x, const int32_t *offsets,
                          const int32_t *skipped, size_t B, size_t C, enum pooling pooling, size_t D,
                          bool normalize, cudaStream_t stream)
{
    return pool<float>(rows, stride, x, offsets, skipped, B, C, pooling, D, normalize, stream);
}
