/* beam_candidates.cu - the best 2K continuations of each beam
 *
 *   candidates (D, K, 2K) = largest of scores (D * K) + log_softmax(logits (D * K, V)), after rules
 *
 *   work    one block per row. First the largest logit and the sum of exponentials: each thread
 *           takes every blockDim-th logit, then the block reduces. Then the rules forbid tokens, in
 *           the row itself. Then the best are selected: each warp keeps its best so far sorted, one
 *           per lane. Most groups of 128 numbers contain none of them, which one vote detects. One
 *           warp merges the warps' lists.
 *   order   a score is the beam's plus ((x - largest) - log_sum), in FP32. Of equal scores the
 *           lower token comes first, so the order in which they are seen does not matter.
 *   floor   reads each row, 4V bytes, once from memory and once more from L2: 64 rows of V = 50264
 *           are 12.9 MB, 3.0 us at 4.3 TB/s. Four rows occupy four SMs, at some 100 GB/s each:
 *           4 us, the second pass included.
 */
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/running.cuh"

#include <math.h>
#include <string.h>

enum { MOST_THREADS = 1024, AHEAD = 4 /* loads in flight per thread */ };
static_assert(MOST_THREADS / (int)WARP <= (int)WARP, "the warps' results are one a lane");
static_assert(BEAM_CANDIDATES((int)MOST_BEAMS) <= (int)WARP, "candidates are one a lane");

/* Returns the pair of 4-byte words that lane `source` holds. */
template <typename Pair>
static __device__ __forceinline__ Pair shuffle_pair(Pair pair, int source)
{
    unsigned long long bits;
    static_assert(sizeof pair == sizeof bits, "a pair is two words");
    memcpy(&bits, &pair, sizeof bits);
    bits = __shfl_sync(0xFFFFFFFFu, bits, source);
    memcpy(&pair, &bits, sizeof bits);
    return pair;
}

/* ---- softmax ------------------------------------------------------------------------------- */

/* The largest number so far, and the sum of e^(x - largest): NaN after NaN or +infinity. */
struct exponentials {
    float largest, sum;
};

static __device__ __forceinline__ float power(float x, float largest)
{
    return x == -INFINITY ? 0 : expf(x - largest);
}

/* Merges the results of two sets of numbers, with the same bits in either order: the lanes of a warp
 * merge in both, and must agree. __fmul_rn keeps the compiler from fusing one product into the sum. */
static __device__ __forceinline__ exponentials together(exponentials a, exponentials b)
{
    const float largest = fmaxf(a.largest, b.largest);
    return {largest, __fmul_rn(a.sum, power(a.largest, largest)) +
                         __fmul_rn(b.sum, power(b.largest, largest))};
}

static __device__ __forceinline__ exponentials over_warp(exponentials own)
{
    const int lane = threadIdx.x % WARP;
    for (int mask = WARP / 2; mask > 0; mask /= 2)
        own = together(own, shuffle_pair(own, lane ^ mask));
    return own;
}

/* Returns the result for the whole row, in all threads. */
static __device__ __forceinline__ exponentials over_row(const float *x, unsigned V,
                                                        exponentials *warps)
{
    exponentials own = {-INFINITY, 0};
    for (unsigned first = threadIdx.x; first < V; first += AHEAD * blockDim.x) {
        float ahead[AHEAD], largest = own.largest;
#pragma unroll
        for (unsigned j = 0; j < AHEAD; j++) {
            const unsigned i = first + j * blockDim.x;
            ahead[j] = i < V ? x[i] : -INFINITY;
            largest = fmaxf(largest, ahead[j]);
        }
        own.sum *= power(own.largest, largest);
#pragma unroll
        for (unsigned j = 0; j < AHEAD; j++) own.sum += power(ahead[j], largest);
        own.largest = largest;
    }
    own = over_warp(own);
    if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = own;
    __syncthreads();
    own = {-INFINITY, 0};
    if (threadIdx.x % WARP < blockDim.x / WARP) own = warps[threadIdx.x % WARP];
    return over_warp(own);
}

/* ---- rules --------------------------------------------------------------------------------- */

/* Sets a token's logit to -infinity. Several n-grams may forbid the same token concurrently. */
static __device__ __forceinline__ void forbid(float *x, unsigned V, int token)
{
    if (token >= 0 && (unsigned)token < V) store_same(&x[token], -INFINITY);
}

/* Forbids the end token before min_length, and tokens that would repeat an n-gram. */
static __device__ __forceinline__ void forbid_tokens(float *x, unsigned V,
                                                     const struct decode_batch &batch, int slot,
                                                     unsigned k, int length)
{
    const struct generation_rules &rules = batch.beams.rules[slot];
    const int n = rules.no_repeat_ngram_size;
    if (threadIdx.x == 0 && length < rules.min_length) forbid(x, V, rules.end_token);
    for (int t = (int)threadIdx.x; n > 0 && t + n <= length; t += (int)blockDim.x)
        forbid(x, V,
               beam_repeated(&batch.beams, (size_t)slot, length, k, (size_t)t, (size_t)n));
}

/* ---- the best ones ------------------------------------------------------------------------- */

static __device__ __forceinline__ bool is_better(struct beam_candidate a, struct beam_candidate b)
{
    return a.score > b.score ||
           (a.score == b.score && (unsigned)a.token < (unsigned)b.token); /* NO_TOKEN comes last */
}

/* A warp's sorted list of the best candidates so far, one per lane, the best in lane 0. Only the
 * first `count` matter. */
struct best_of_warp {
    struct beam_candidate own, last; /* this lane's; that of lane count - 1 */
    int count;

    __device__ __forceinline__ best_of_warp(int count_)
    {
        own = last = {-INFINITY, NO_TOKEN};
        count = count_;
    }

    __device__ __forceinline__ void insert(struct beam_candidate next)
    {
        const int lane = threadIdx.x % WARP;
        const int place = WARP - __popc(__ballot_sync(0xFFFFFFFFu, is_better(next, own)));
        const struct beam_candidate upper = shuffle_pair(own, max(lane - 1, 0));
        if (lane == place) own = next;
        if (lane > place) own = upper;
    }

    /* Offers one candidate per lane. */
    __device__ __forceinline__ void offer(struct beam_candidate next)
    {
        unsigned wanted = __ballot_sync(0xFFFFFFFFu, is_better(next, last));
        if (wanted == 0) return;
        for (; wanted != 0; wanted &= wanted - 1)
            insert(shuffle_pair(next, __ffs((int)wanted) - 1));
        last = shuffle_pair(own, count - 1);
    }
};

/* Offers the warp's part of a row to `best`; each load of a warp is of adjacent logits. */
static __device__ __forceinline__ void look_through(best_of_warp &best, const float *x, unsigned V,
                                                    float beam_score, exponentials all)
{
    const float log_sum = logf(all.sum);
    for (unsigned base = 0; base < V; base += AHEAD * blockDim.x) {
        struct beam_candidate ahead[AHEAD];
        bool any = false;
#pragma unroll
        for (unsigned j = 0; j < AHEAD; j++) {
            const unsigned i = base + j * blockDim.x + threadIdx.x;
            ahead[j] = {-INFINITY, NO_TOKEN};
            if (i < V) ahead[j] = {beam_score + ((x[i] - all.largest) - log_sum), (int)i};
            if (ahead[j].score == -INFINITY) ahead[j].token = NO_TOKEN;
            any = any || is_better(ahead[j], best.last);
        }
        if (!__any_sync(0xFFFFFFFFu, any)) continue;
#pragma unroll
        for (unsigned j = 0; j < AHEAD; j++) best.offer(ahead[j]);
    }
}

/* ---- kernel -------------------------------------------------------------------------------- */

/* Without the 1, ptxas 13.0 limits it to 32 registers on sm_90, and spills. */
static __global__ void __launch_bounds__(MOST_THREADS, 1)
beam_candidates_kernel(struct beam_candidate *candidates, float *logits,
                       const __grid_constant__ struct decode_batch batch, unsigned V)
{
    SHARED_MEMORY(memory);
    exponentials *warps = (exponentials *)memory;
    const unsigned all_warps = blockDim.x / WARP;
    struct beam_candidate *lists = (struct beam_candidate *)(warps + all_warps); /* by warp */
    const unsigned K = (unsigned)batch.K, d = blockIdx.x / K, k = blockIdx.x % K;
    const unsigned count = BEAM_CANDIDATES(K), warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int length = running_length(batch, d);
    if (length == 0) return;

    const int slot = batch.slots[d];
    const float beam_score = batch.beams.scores[(size_t)slot * batch.beams.K + k];
    float *x = logits + (size_t)blockIdx.x * V;
    struct beam_candidate *out = candidates + (size_t)blockIdx.x * count;
    const exponentials all = over_row(x, V, warps);
    const int forced = beam_forced_token(&batch.beams.rules[slot], length);
    if (!(all.sum < INFINITY) || forced != NO_TOKEN) { /* uniform over the block */
        if (threadIdx.x >= count) return;
        const bool is_first = threadIdx.x == 0;
        if (!(all.sum < INFINITY)) out[threadIdx.x] = {NAN, 0};
        else out[threadIdx.x] = {is_first ? beam_score : -INFINITY, is_first ? forced : NO_TOKEN};
        return;
    }

    forbid_tokens(x, V, batch, slot, k, length);
    __syncthreads();
    best_of_warp best((int)count);
    look_through(best, x, V, beam_score, all);
    if (lane < count) lists[warp * count + lane] = best.own;
    __syncthreads();
    if (warp > 0) return;
    for (unsigned first = count; first < all_warps * count; first += WARP) { /* other warps' */
        struct beam_candidate next = {-INFINITY, NO_TOKEN};
        if (first + lane < all_warps * count) next = lists[first + lane];
        best.offer(next);
    }
    if (lane < count) out[lane] = best.own;
}

/* ---- launcher ------------------------------------------------------------------------------ */

cudaError_t cuda_beam_candidates(struct beam_candidate *candidates, float *logits,
                                 const struct decode_batch *batch, size_t V, cudaStream_t stream)
{
    if (batch->K > MOST_BEAMS || V > INT32_MAX / 2) return cudaErrorInvalidValue;
    const size_t wanted = (V + AHEAD * WARP - 1) / (AHEAD * WARP); /* warps to load all at once */
    const size_t warps = wanted < MOST_THREADS / WARP ? wanted : MOST_THREADS / WARP;
    const size_t shared = warps * (sizeof(struct exponentials) +
                                   BEAM_CANDIDATES(batch->K) * sizeof *candidates);
    return launch(beam_candidates_kernel, dim3((unsigned)(batch->D * batch->K)),
                  dim3((unsigned)(warps * WARP)),
                  shared, stream, candidates, logits, *batch, (unsigned)V);
}
