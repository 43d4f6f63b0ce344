/* cross_attention.cu - all beams of a document attend to its source, on tensor cores
 *
 *   q, context (D * K, C), cache (P, most_sources, 2C)   FP16; products, softmax, sums in FP32
 *   HS                            64; all others: cross_attention_plain.cu
 *
 * Work. One block per head of a document. Each of its 8 warps takes every 8th tile of 16 keys, for
 * all beams at once: the beams are rows of the 16-row mma, so keys and values are read once for all
 * of them. Scores stay in registers, with online softmax as in attention.cu; at the end, the warps'
 * results are merged through shared memory. A beam's bits depend on its own query and source alone.
 *
 * Memory. No key is used by two warps, so operands are loaded from global memory straight into mma
 * fragments. mma allows any permutation of a head's components along its k dimension, if it is the
 * same in both operands, and along the columns of its result. The permutations here give each lane
 * adjacent components, so that it loads 16 bytes at a time: of each 32 components of a key, lane t
 * of four has 8t to 8t + 7; of a value, the lanes of row g of eight have 8g to 8g + 7. mma takes
 * the values of two adjacent keys in one register, which is assembled from two loads. The next keys
 * are in flight while the values are used.
 *
 * Floor. 4 S C bytes per document, for any K, and 4 K S C FLOP; with 16 rows per mma, the tensor
 * cores do 4 times as many if K is 4. S = 1024 and C = 1024 is 4.2 MB per layer: 15.6 us for 16
 * documents at an H200's 4.3 TB/s. A single document is 16 blocks on 16 SMs, each of which gets
 * some 100 GB/s: 2.6 us instead of 1.0. A second kernel to merge parts of a source would take
 * longer than that to start. 4 KB are in flight per warp, with up to 16 warps per SM: 64 KB, while
 * 4.3 TB/s at a load latency of some 800 ns need 26 KB.
 */
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/running.cuh"

#include <math.h>
#include <string.h>

static constexpr float LOG2_E = 1.44269504f;

enum {
    HEAD = 64,
    WARPS = 8,
    TILE = 16,       /* keys that a warp processes at a time */
    PITCH = HEAD + 1 /* row stride in shared memory, in floats */
};

/* ---- operands ------------------------------------------------------------------------------ */

/* One head of a document's source. */
struct cross_source {
    const __half *keys; /* each value is `apart` halves after its key */
    int64_t stride;     /* halves between consecutive keys */
    int apart, S;
};

/* Loads 8 halves of row `key`, or zeros past the last key, so that no weight of 0 is multiplied by
 * a NaN. */
static __device__ __forceinline__ uint4 load_8(const cross_source &source, const __half *row,
                                               int key)
{
    return key < source.S ? *(const uint4 *)(row + key * source.stride) : make_uint4(0, 0, 0, 0);
}

/* A lane's part of a tile's keys, first + g and first + 8 + g: components 8t to 8t + 7, and 8t + 32
 * to 8t + 39. */
struct cross_keys {
    uint4 part[2][2];

    __device__ __forceinline__ void load(const cross_source &source, int first)
    {
        const int lane = threadIdx.x % WARP;
        const __half *column = source.keys + lane % 4 * 8;
#pragma unroll
        for (int n = 0; n < 2; n++) {
#pragma unroll
            for (int half = 0; half < 2; half++)
                part[n][half] = load_8(source, column + half * 32, first + n * 8 + lane / 4);
        }
    }
};

/* A lane's part of a tile's values, of keys 2t, 2t + 1, 2t + 8 and 2t + 9: components 8g to 8g + 7.
 */
struct cross_values {
    uint4 of_key[4];

    __device__ __forceinline__ void load(const cross_source &source, int first)
    {
        const int lane = threadIdx.x % WARP;
        const __half *column = source.keys + source.apart + lane / 4 * 8;
#pragma unroll
        for (int i = 0; i < 4; i++)
            of_key[i] = load_8(source, column, first + lane % 4 * 2 + i / 2 * 8 + i % 2);
    }
};

/* Returns register i of the four, which holds two halves. */
static __device__ __forceinline__ uint32_t word(const uint4 &x, int i)
{
    return i == 0 ? x.x : i == 1 ? x.y : i == 2 ? x.z : x.w;
}

/* Returns component j of 8 of two values, packed in a register. */
static __device__ __forceinline__ uint32_t pair_of(const uint4 &first, const uint4 &second, int j)
{
    const uint32_t a = word(first, j / 2), b = word(second, j / 2);
    return j % 2 == 0 ? (a & 0xFFFF) | b << 16 : a >> 16 | (b & 0xFFFF0000);
}

static __device__ __forceinline__ uint32_t half_pair(float first, float second)
{
    const __half2 pair = __floats2half2_rn(first, second);
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}

/* ---- a warp -------------------------------------------------------------------------------- */

/* A lane's part of the beams' queries: parts of rows g and g + 8, laid out as in ptx.cuh except for
 * the permutation of components. Rows past the last beam are zeros, and are not stored. */
struct cross_rows {
    uint32_t q[4][4];
    float context[8][4]; /* not yet divided by the sum: components 16t + j and 16t + 8 + j in [j] */
    float largest[2];    /* score so far, times log2(e) */
    float sum[2];        /* of 2^(score - largest), over this lane's keys so far */
};

static __device__ __forceinline__ void load_queries(cross_rows &rows, const __half *q, size_t C,
                                                    int K)
{
    const int row = threadIdx.x % WARP / 4, column = threadIdx.x % 4 * 8;
#pragma unroll
    for (int r = 0; r < 2; r++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int k = row + r * 8;
            const uint4 part = k < K ? *(const uint4 *)(q + k * C + column + half * 32)
                                     : make_uint4(0, 0, 0, 0);
#pragma unroll
            for (int i = 0; i < 4; i++) rows.q[half * 2 + i / 2][r + i % 2 * 2] = word(part, i);
        }
    }
}

/* s = q k^T for the tile's two groups of 8 keys; -infinity for keys past the end. */
static __device__ __forceinline__ void scores(float (&s)[2][4], const cross_rows &rows,
                                              const cross_keys &keys, int first, int S)
{
#pragma unroll
    for (int n = 0; n < 2; n++) {
        s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const uint4 &part = keys.part[n][i / 2];
            const uint32_t k[2] = {word(part, i % 2 * 2), word(part, i % 2 * 2 + 1)};
            mma_m16n8k16(s[n], rows.q[i], k);
        }
        const int key = first + n * 8 + threadIdx.x % 4 * 2;
        if (key >= S) s[n][0] = s[n][2] = -INFINITY;
        if (key + 1 >= S) s[n][1] = s[n][3] = -INFINITY;
    }
}

/* Replaces s by weights 2^(s * scale - largest), like softmax_step of attention.cu. The tile has at
 * least one key. */
static __device__ __forceinline__ void softmax_step(float (&s)[2][4], cross_rows &rows, float scale)
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float *left = &s[0][2 * r], *right = &s[1][2 * r];
        float largest = fmaxf(fmaxf(left[0], left[1]), fmaxf(right[0], right[1]));
        largest = fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFu, largest, 1));
        largest = fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFu, largest, 2));
        largest = fmaxf(rows.largest[r], largest * scale);
        const float factor = ptx_ex2_approx(rows.largest[r] - largest);
        rows.largest[r] = largest;
        rows.sum[r] *= factor;
#pragma unroll
        for (int j = 0; j < 8; j++) {
            rows.context[j][2 * r] *= factor;
            rows.context[j][2 * r + 1] *= factor;
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            left[i] = ptx_ex2_approx(fmaf(left[i], scale, -largest));
            right[i] = ptx_ex2_approx(fmaf(right[i], scale, -largest));
            rows.sum[r] += left[i] + right[i];
        }
    }
}

/* context += weights @ values */
static __device__ __forceinline__ void accumulate(cross_rows &rows, const float (&weights)[2][4],
                                                  const cross_values &values)
{
    const float *left = weights[0], *right = weights[1];
    const uint32_t p[4] = {half_pair(left[0], left[1]), half_pair(left[2], left[3]),
                           half_pair(right[0], right[1]), half_pair(right[2], right[3])};
#pragma unroll
    for (int j = 0; j < 8; j++) {
        const uint32_t v[2] = {pair_of(values.of_key[0], values.of_key[1], j),
                               pair_of(values.of_key[2], values.of_key[3], j)};
        mma_m16n8k16(rows.context[j], p, v);
    }
}

static __device__ __forceinline__ void attend(cross_rows &rows, const cross_source &source,
                                              float scale)
{
    cross_keys keys;
    cross_values values;
    int first = (int)threadIdx.x / WARP * TILE;
    if (first < source.S) keys.load(source, first);
    for (; first < source.S; first += WARPS * TILE) {
        float s[2][4];
        values.load(source, first);
        scores(s, rows, keys, first, source.S);
        keys.load(source, first + WARPS * TILE);
        softmax_step(s, rows, scale);
        accumulate(rows, s, values);
    }
}

/* ---- the result ---------------------------------------------------------------------------- */

/* The warps' results, in shared memory. */
struct cross_results {
    float *context;             /* (WARPS, K, PITCH) */
    float *largest, *sum;       /* (WARPS, K) */
};

static __device__ __forceinline__ float quad_sum(float x)
{
    x += __shfl_xor_sync(0xFFFFFFFFu, x, 1);
    return x + __shfl_xor_sync(0xFFFFFFFFu, x, 2);
}

static __device__ __forceinline__ void leave(const cross_results &results, const cross_rows &rows,
                                             int K)
{
    const int warp = threadIdx.x / WARP, t = threadIdx.x % 4;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int k = threadIdx.x % WARP / 4 + r * 8, place = warp * K + k;
        const float sum = quad_sum(rows.sum[r]);
        if (k >= K) continue;
        float *row = results.context + place * PITCH + 16 * t;
#pragma unroll
        for (int j = 0; j < 8; j++) {
            row[j] = rows.context[j][2 * r];
            row[8 + j] = rows.context[j][2 * r + 1];
        }
        if (t > 0) continue;
        results.largest[place] = rows.largest[r];
        results.sum[place] = sum;
    }
}

/* Merges the warps' results and stores the context. A warp without a tile has a largest score of
 * -infinity, and so a weight of 0. */
static __device__ __forceinline__ void merge(__half *context, size_t C,
                                             const cross_results &results, int K)
{
    for (int i = (int)threadIdx.x; i < K * HEAD; i += WARPS * WARP) {
        const int k = i / HEAD, c = i % HEAD;
        float largest = -INFINITY, sum = 0, value = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) largest = fmaxf(largest, results.largest[w * K + k]);
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            const int place = w * K + k;
            const float weight = ptx_ex2_approx(results.largest[place] - largest);
            sum += weight * results.sum[place];
            value += weight * results.context[place * PITCH + c];
        }
        context[k * C + c] = __float2half_rn(value / sum);
    }
}

/* ---- the kernel ---------------------------------------------------------------------------- */

static __global__ void __launch_bounds__(WARPS *WARP, 2)
cross_attention_kernel(__half *__restrict__ context, const __half *__restrict__ q,
                       const __half *__restrict__ cache, int most_sources,
                       const __grid_constant__ struct decode_batch batch, float scale)
{
    SHARED_MEMORY(memory);
    const unsigned d = blockIdx.x, h = blockIdx.y;
    const int K = (int)batch.K;
    if (running_length(batch, d) == 0) return;

    const size_t C = (size_t)gridDim.y * HEAD, slot = (size_t)batch.slots[d];
    const size_t first = (size_t)d * K * C + h * HEAD;
    const cross_source source = {cache + slot * most_sources * 2 * C + h * HEAD, (int64_t)(2 * C),
                                 (int)C, min(batch.beams.sources[slot], most_sources)};
    cross_rows rows = {};
    rows.largest[0] = rows.largest[1] = -INFINITY;
    load_queries(rows, q + first, C, K);
    attend(rows, source, scale);

    cross_results results;
    results.context = (float *)memory;
    results.largest = results.context + WARPS * K * PITCH;
    results.sum = results.largest + WARPS * K;
    leave(results, rows, K);
    __syncthreads();
    merge(context + first, C, results, K);
}

/* ---- launcher ------------------------------------------------------------------------------ */

cudaError_t cuda_cross_attention_f16(void *context, const void *q, const void *cache,
                                     size_t most_sources, const struct decode_batch *batch,
                                     size_t NH, size_t HS, float scale, cudaStream_t stream)
{
    if (HS != HEAD)
        return cuda_cross_attention_plain_f16(context, q, cache, most_sources, batch, NH, HS, scale,
                                              stream);
    if (batch->K > MOST_BEAMS || most_sources > INT32_MAX / 2 || !(scale > 0))
        return cudaErrorInvalidValue;
    return launch(cross_attention_kernel, dim3((unsigned)batch->D, (unsigned)NH),
                  dim3(WARPS * WARP), WARPS * batch->K * (PITCH + 2) * sizeof(float), stream,
                  (__half *)context,
                  (const __half *)q, (const __half *)cache, (int)most_sources, *batch,
                  scale * LOG2_E);
}
