/* decode_attention.cuh - attention of single queries to cached keys and values, by warps
 *
 *   context = softmax(q k^T * scale) v, of one head
 *
 * A query is computed by one warp or, if a block has few queries, by several warps, each with a
 * part of the keys. The lanes of a warp form groups of LANES, each lane with WIDTH components, so
 * that a group covers a head and works on one key at a time. Each group processes its keys
 * independently (online softmax, as in attention.cu), in batches of four whose loads are all in
 * flight before the first is used. At the end, groups are merged by shuffles, and warps through
 * shared memory. The assignment of keys to warps and groups depends on the numbers of beams and
 * keys alone.
 *
 * All in FP32, without tensor cores: in self-attention every query has its own rows of keys.
 */
#ifndef KERNELS_CUDA_DECODE_ATTENTION_CUH
#define KERNELS_CUDA_DECODE_ATTENTION_CUH

#include "kernels/cuda/vector.cuh"

#include <math.h>

enum { DECODE_WARPS = 16 /* per block, at most */, DECODE_AHEAD = 4 /* keys of a group at once */ };

/* Returns whether HS is supported: a multiple of 8, or of 4 up to 128. */
static inline bool decode_head_fits(size_t HS)
{
    return HS <= CUDA_LARGEST_HEAD && (HS % 8 == 0 || (HS % 4 == 0 && HS <= 128));
}

/* Returns the number of warps per query, with K queries in a block. */
static inline unsigned decode_parts(size_t K)
{
    return (unsigned)(DECODE_WARPS / K);
}

/* Returns the bytes of shared memory in which a block's warps leave their results for the merge: HS
 * weighted sums of values, largest score, sum of weights. */
static inline size_t decode_shared_bytes(size_t K, size_t HS)
{
    return K * decode_parts(K) * (HS + 2) * sizeof(float);
}

/* Returns e^(x - largest), and 0 for x = -infinity even if largest is -infinity too: no key so far.
 * fmaxf drops a NaN score, but its weight here is NaN, and so is the row's sum. */
static __device__ __forceinline__ float weight_of(float x, float largest)
{
    return expf(x - (largest == -INFINITY ? 0 : largest));
}

/* A lane's state of its query. */
template <typename E, int WIDTH, int LANES> struct decode_query {
    static constexpr int GROUPS = WARP / LANES; /* keys that a warp processes at a time */
    typedef element_vector<E, WIDTH> vector;

    float q[WIDTH], values[WIDTH]; /* weighted sum of values, not yet divided by `sum` */
    float largest, sum;            /* largest score so far, and sum of e^(score - largest) */
    int component, HS;             /* first component of this lane; none if it is HS or more */

    /* Loads the lane's components of a row: zeros past the head, or if the row is not valid. */
    __device__ __forceinline__ vector load(const E *row, bool valid) const
    {
        if (valid && component < HS) return *(const vector *)(row + component);
        vector zeros;
#pragma unroll
        for (int i = 0; i < WIDTH; i++) zeros.element[i] = from_float<E>(0);
        return zeros;
    }

    __device__ __forceinline__ decode_query(const E *query, float scale, int HS_)
    {
        component = (int)threadIdx.x % LANES * WIDTH;
        HS = HS_;
        largest = -INFINITY;
        sum = 0;
        const vector own = load(query, true);
#pragma unroll
        for (int i = 0; i < WIDTH; i++) {
            q[i] = to_float(own.element[i]) * scale;
            values[i] = 0;
        }
    }

    /* Returns q k^T, in all lanes of the group. */
    __device__ __forceinline__ float score(const vector &k) const
    {
        float dot = 0;
#pragma unroll
        for (int i = 0; i < WIDTH; i++) dot += q[i] * to_float(k.element[i]);
        for (int mask = LANES / 2; mask > 0; mask /= 2)
            dot += __shfl_xor_sync(0xFFFFFFFFu, dot, mask);
        return dot;
    }

    /* Rescales sum and values to a new largest score. */
    __device__ __forceinline__ void rescale(float larger)
    {
        const float factor = weight_of(largest, larger);
        sum *= factor;
#pragma unroll
        for (int i = 0; i < WIDTH; i++) values[i] *= factor;
        largest = larger;
    }

    /* Attends to this part of the T keys. key(t) is the address of key t; its value is `apart`
     * elements after it. */
    template <typename Key>
    __device__ __forceinline__ void attend(Key key, int T, size_t apart, int part, int parts)
    {
        constexpr int STEP = DECODE_AHEAD * GROUPS;
        const int group = (int)threadIdx.x % WARP / LANES;
        for (int first = part * STEP; first < T; first += parts * STEP) {
            vector k[DECODE_AHEAD], value[DECODE_AHEAD];
            float s[DECODE_AHEAD], larger = largest;
#pragma unroll
            for (int j = 0; j < DECODE_AHEAD; j++) {
                const int t = first + j * GROUPS + group;
                const E *row = key(min(t, T - 1));
                k[j] = load(row, t < T);
                value[j] = load(row + apart, t < T);
            }
#pragma unroll
            for (int j = 0; j < DECODE_AHEAD; j++) {
                s[j] = score(k[j]);
                if (first + j * GROUPS + group >= T) s[j] = -INFINITY;
                larger = fmaxf(larger, s[j]);
            }
            rescale(larger);
#pragma unroll
            for (int j = 0; j < DECODE_AHEAD; j++) {
                const float weight = weight_of(s[j], larger);
                sum += weight;
#pragma unroll
                for (int i = 0; i < WIDTH; i++)
                    values[i] += weight * to_float(value[j].element[i]);
            }
        }
    }

    /* Merges the results of the warp's groups, in all lanes. */
    __device__ __forceinline__ void merge_groups()
    {
        for (int mask = LANES; mask < WARP; mask *= 2) {
            rescale(fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFu, largest, mask)));
            sum += __shfl_xor_sync(0xFFFFFFFFu, sum, mask);
#pragma unroll
            for (int i = 0; i < WIDTH; i++)
                values[i] += __shfl_xor_sync(0xFFFFFFFFu, values[i], mask);
        }
    }

    /* Writes HS values, largest and sum to the warp's part of shared memory. */
    __device__ __forceinline__ void leave(float *result) const
    {
        if (threadIdx.x % WARP >= LANES || component >= HS) return;
#pragma unroll
        for (int i = 0; i < WIDTH; i++) result[component + i] = values[i];
        if (component > 0) return;
        result[HS] = largest;
        result[HS + 1] = sum;
    }
};

/* context (K, HS), with rows C apart, from the results that the warps of each query have left. */
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

/* One head of the K queries of a block: query k is at q + k * stride, its context at context +
 * k * C, and its key t at key(k, t), followed by its value C elements after it. */
template <typename E, int WIDTH, int LANES, typename Key>
static __device__ __forceinline__ void decode_attention(E *context, const E *q, size_t stride,
                                                        Key key, int T, int HS, size_t C,
                                                        unsigned K, float scale, float *results)
{
    const unsigned warp = threadIdx.x / WARP, parts = blockDim.x / WARP / K, k = warp / parts;
    decode_query<E, WIDTH, LANES> query(q + k * stride, scale, HS);
    query.attend([=](int t) { return key(k, t); }, T, C, (int)(warp % parts), (int)parts);
    query.merge_groups();
    query.leave(results + warp * (HS + 2));
    __syncthreads();
    merge_warps(context, results, K, parts, (unsigned)HS, C);
}

#endif
