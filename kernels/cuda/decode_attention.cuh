/* decode_attention.cuh - attention of single queries to the keys and values of a cache, by warps
 *
 *   context = softmax(q k^T * scale) v, of one head
 *
 * A query is one warp's or, with few queries in a block, several warps', each with a part of the
 * keys. A warp's lanes form groups that have a key each: LANES of WIDTH components are a head or
 * more. Each group goes through its keys by itself (online softmax, as in attention.cu), four at a
 * time, whose loads are all under way before the first is used. At the end groups are put together
 * by shuffles, and warps through shared memory. Which keys a warp and a group have depends on the
 * numbers of beams and of keys alone.
 *
 * All in FP32, without tensor cores: of a beam's own past every query has other rows.
 */
#ifndef KERNELS_CUDA_DECODE_ATTENTION_CUH
#define KERNELS_CUDA_DECODE_ATTENTION_CUH

#include "kernels/cuda/vector.cuh"

#include <math.h>

enum { DECODE_WARPS = 16 /* of a block, at most */, DECODE_AHEAD = 4 /* keys of a group */ };

/* Heads are a multiple of 8, or up to 128 of 4. */
static inline bool decode_head_fits(size_t HS)
{
    return HS <= CUDA_LARGEST_HEAD && (HS % 8 == 0 || (HS % 4 == 0 && HS <= 128));
}

/* Warps that have a query of K. */
static inline unsigned decode_parts(size_t K)
{
    return (unsigned)(DECODE_WARPS / K);
}

/* What a block's warps leave for the merge: HS sums of values, largest score, sum of weights. */
static inline size_t decode_shared_bytes(size_t K, size_t HS)
{
    return K * decode_parts(K) * (HS + 2) * sizeof(float);
}

/* e^(x - largest), where nothing has been seen if largest is -infinity. fmaxf drops a NaN among
 * scores, but here its weight is NaN, and so is the row's sum. */
static __device__ __forceinline__ float weight_of(float x, float largest)
{
    return expf(x - (largest == -INFINITY ? 0 : largest));
}

/* What a lane knows of its query. */
template <typename E, int WIDTH, int LANES> struct decode_query {
    static constexpr int GROUPS = WARP / LANES; /* keys of a warp at a time */
    typedef element_vector<E, WIDTH> vector;

    float q[WIDTH], values[WIDTH]; /* values weighted, not yet divided by the sum */
    float largest, sum;            /* score so far; of e^(score - largest) */
    int component, HS;             /* the first of this lane's; past HS it has none */

    /* Zeros for what is past a head, or for no key at all. */
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

    /* q k^T, in all lanes of the group. */
    __device__ __forceinline__ float score(const vector &k) const
    {
        float dot = 0;
#pragma unroll
        for (int i = 0; i < WIDTH; i++) dot += q[i] * to_float(k.element[i]);
        for (int mask = LANES / 2; mask > 0; mask /= 2)
            dot += __shfl_xor_sync(0xFFFFFFFFu, dot, mask);
        return dot;
    }

    /* What was seen so far, to the scale of a larger score. */
    __device__ __forceinline__ void rescale(float larger)
    {
        const float factor = weight_of(largest, larger);
        sum *= factor;
#pragma unroll
        for (int i = 0; i < WIDTH; i++) values[i] *= factor;
        largest = larger;
    }

    /* The keys of this part, of T. key(t) is where a key is, its value is `apart` elements after
     * it. */
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

    /* The groups' keys together, in all of them. */
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

    /* (HS) values, largest, sum: the warp's part of shared memory. */
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

/* One head of the K queries of a block: query k at q + k * stride, and its context at context +
 * k * C. key(k, t) is where its key t is. */
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
