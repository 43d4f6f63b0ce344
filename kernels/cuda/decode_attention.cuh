/* decode_attention.cuh - attention of single queries to the keys and values of a cache, by warps
 *
 *   context = softmax(q k^T * scale) v, of one head
 *
 * A query is one warp's or, with few queries in a block, several warps', each with a part of the keys.
 * Of a warp's 32 lanes, groups of 8 have a key each: a lane has 8 of its components, and where HS is
 * above 64 every further 64th, too. Each group goes through its keys by itself (online softmax, as in
 * attention.cu), a few at a time, whose loads are all under way before the first is used. At the end
 * groups are put together by shuffles, and warps through shared memory. Which keys a warp and a group have
 * depends on the number of beams and of keys alone.
 *
 * All in FP32, without tensor cores: of a beam's own past every query has other rows.
 */
#ifndef KERNELS_CUDA_DECODE_ATTENTION_CUH
#define KERNELS_CUDA_DECODE_ATTENTION_CUH

#include "kernels/cuda/vector.cuh"

#include <math.h>

enum {
    DECODE_WIDTH = 8,                    /* components of a lane in one load, or in FP32 two */
    DECODE_LANES = 8,                    /* of a key */
    DECODE_GROUPS = WARP / DECODE_LANES, /* keys of a warp at a time */
    DECODE_WARPS = 16                    /* of a block, at most */
};

/* Warps that have a query of K. */
static inline unsigned decode_parts(size_t K)
{
    return (unsigned)(DECODE_WARPS / K);
}

/* What a block's warps leave for the merge: HS sums of values, their largest score, sum of weights. */
static inline size_t decode_shared_bytes(size_t K, size_t HS)
{
    return K * decode_parts(K) * (HS + 2) * sizeof(float);
}

/* e^(x - largest), where nothing has been seen if largest is -infinity. fmaxf drops a NaN among scores, but
 * here its weight is NaN, and so is the row's sum. */
static __device__ __forceinline__ float weight_of(float x, float largest)
{
    return expf(x - (largest == -INFINITY ? 0 : largest));
}

/* What a lane knows of its query. VECTORS: loads that a lane's components of a key take. */
template <typename E, int VECTORS> struct decode_query {
    static constexpr int AHEAD = VECTORS == 1 ? 4 : VECTORS == 2 ? 2 : 1; /* keys under way */
    typedef element_vector<E, DECODE_WIDTH> vector;

    float q[VECTORS][DECODE_WIDTH], values[VECTORS][DECODE_WIDTH];
    float largest, sum;
    int HS;

    static __device__ __forceinline__ int component(int v)
    {
        return (v * DECODE_LANES + (int)threadIdx.x % DECODE_LANES) * DECODE_WIDTH;
    }

    __device__ __forceinline__ decode_query(const E *query, float scale, int HS_)
    {
        HS = HS_;
        largest = -INFINITY;
        sum = 0;
#pragma unroll
        for (int v = 0; v < VECTORS; v++) {
            vector loaded = load(query, v, true);
#pragma unroll
            for (int i = 0; i < DECODE_WIDTH; i++) {
                q[v][i] = to_float(loaded.element[i]) * scale;
                values[v][i] = 0;
            }
        }
    }

    /* Zeros for what is past a head, or for no key at all. */
    __device__ __forceinline__ vector load(const E *row, int v, bool valid) const
    {
        if (valid && component(v) < HS) return *(const vector *)(row + component(v));
        vector zeros;
#pragma unroll
        for (int i = 0; i < DECODE_WIDTH; i++) zeros.element[i] = from_float<E>(0);
        return zeros;
    }

    /* q k^T, in all lanes of the group. */
    __device__ __forceinline__ float score(const vector (&k)[VECTORS]) const
    {
        float dot = 0;
#pragma unroll
        for (int v = 0; v < VECTORS; v++) {
#pragma unroll
            for (int i = 0; i < DECODE_WIDTH; i++) dot += q[v][i] * to_float(k[v].element[i]);
        }
        for (int mask = DECODE_LANES / 2; mask > 0; mask /= 2)
            dot += __shfl_xor_sync(0xFFFFFFFFu, dot, mask);
        return dot;
    }

    /* What was seen of largest score `l` comes to the scale of a larger one. */
    __device__ __forceinline__ void rescale(float larger)
    {
        const float factor = weight_of(largest, larger);
        sum *= factor;
#pragma unroll
        for (int v = 0; v < VECTORS; v++) {
#pragma unroll
            for (int i = 0; i < DECODE_WIDTH; i++) values[v][i] *= factor;
        }
        largest = larger;
    }

    /* The keys of this part, of T. key(t) is where a key is, its value is `apart` elements after it. */
    template <typename Key>
    __device__ __forceinline__ void attend(Key key, int T, int apart, int part, int parts)
    {
        constexpr int STEP = AHEAD * DECODE_GROUPS;
        const int group = (int)threadIdx.x % WARP / DECODE_LANES;
        for (int first = part * STEP; first < T; first += parts * STEP) {
            vector k[AHEAD][VECTORS], value[AHEAD][VECTORS];
            float s[AHEAD], larger = largest;
#pragma unroll
            for (int j = 0; j < AHEAD; j++) {
                const int t = first + j * DECODE_GROUPS + group;
                const E *row = key(min(t, T - 1));
#pragma unroll
                for (int v = 0; v < VECTORS; v++) {
                    k[j][v] = load(row, v, t < T);
                    value[j][v] = load(row + apart, v, t < T);
                }
            }
#pragma unroll
            for (int j = 0; j < AHEAD; j++) {
                s[j] = score(k[j]);
                if (first + j * DECODE_GROUPS + group >= T) s[j] = -INFINITY;
                larger = fmaxf(larger, s[j]);
            }
            rescale(larger);
#pragma unroll
            for (int j = 0; j < AHEAD; j++) {
                const float weight = weight_of(s[j], larger);
                sum += weight;
#pragma unroll
                for (int v = 0; v < VECTORS; v++) {
#pragma unroll
                    for (int i = 0; i < DECODE_WIDTH; i++)
                        values[v][i] += weight * to_float(value[j][v].element[i]);
                }
            }
        }
    }

    /* The groups' keys together, in all of them. */
    __device__ __forceinline__ void merge_groups()
    {
        for (int mask = DECODE_LANES; mask < WARP; mask *= 2) {
            rescale(fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFu, largest, mask)));
            sum += __shfl_xor_sync(0xFFFFFFFFu, sum, mask);
#pragma unroll
            for (int v = 0; v < VECTORS; v++) {
#pragma unroll
                for (int i = 0; i < DECODE_WIDTH; i++)
                    values[v][i] += __shfl_xor_sync(0xFFFFFFFFu, values[v][i], mask);
            }
        }
    }

    /* (HS) sums of values, largest, sum: the warp's part of shared memory. */
    __device__ __forceinline__ void leave(float *result) const
    {
        if (threadIdx.x % WARP >= DECODE_LANES) return;
#pragma unroll
        for (int v = 0; v < VECTORS; v++) {
#pragma unroll
            for (int i = 0; i < DECODE_WIDTH; i++)
                if (component(v) < HS) result[component(v) + i] = values[v][i];
        }
        if (threadIdx.x % WARP > 0) return;
        result[HS] = largest;
        result[HS + 1] = sum;
    }
};

/* context (K, HS), rows C apart, from what the warps of each query have left. */
template <typename E>
static __device__ __forceinline__ void merge_warps(E *context, const float *results, unsigned K,
                                                   unsigned parts, unsigned HS, size_t C)
{
    for (unsigned i = threadIdx.x; i < K * HS; i += blockDim.x) {
        const unsigned k = i / HS, c = i % HS;
        const float *first = results + k * parts * (HS + 2), *last = first + parts * (HS + 2);
        float largest = -INFINITY, sum = 0, value = 0;
        for (const float *p = first; p < last; p += HS + 2) largest = fmaxf(largest, p[HS]);
        for (const float *p = first; p < last; p += HS + 2) {
            const float weight = weight_of(p[HS], largest);
            sum += weight * p[HS + 1];
            value += weight * p[c];
        }
        context[k * C + c] = from_float<E>(value / sum);
    }
}

/* One head of the K queries of a block: query k at q + k * stride, context of it at context + k * C.
 * key(k, t) is where its key t is. */
template <typename E, int VECTORS, typename Key>
static __device__ __forceinline__ void decode_attention(E *context, const E *q, size_t stride,
                                                        Key key, int T, int HS, size_t C,
                                                        unsigned K, float scale, float *results)
{
    const unsigned warp = threadIdx.x / WARP, parts = blockDim.x / WARP / K, k = warp / parts;
    decode_query<E, VECTORS> query(q + k * stride, scale, HS);
    query.attend([=](int t) { return key(k, t); }, T, (int)C, (int)(warp % parts), (int)parts);
    query.merge_groups();
    query.leave(results + warp * (HS + 2));
    __syncthreads();
    merge_warps(context, results, K, parts, (unsigned)HS, C);
}

#endif
