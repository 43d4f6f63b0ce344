/* attention.cu - context = softmax(q k^T * scale + bias) v for every head, on tensor cores
 *
 *   qkv (N, 3C), context (N, C)   FP16; both products, softmax and sums in FP32
 *   HS                            32, 64, 96 or 128; all others: attention_plain.cu
 *
 * The T x T scores stay in registers. Softmax is computed online, over tiles of keys: a row keeps
 * its largest score so far, the sum of 2^(score - largest), and the values weighted by these
 * powers; when the largest score grows, sum and values are scaled down (online softmax: Milakov &
 * Gimelshein 2018; as one kernel: FlashAttention, Dao et al. 2022, and FlashAttention-2, Dao 2023).
 * Exponentials are powers of 2: log2(e) is folded into the scale, which must be above 0. The
 * division by the sum comes last.
 *
 * Work. A block computes 16, 32 or 64 queries of a head of a sequence, 16 per warp, and loops over
 * the sequence's keys in tiles of the same size. There is no padding and no mask: keys and values
 * past a sequence's end are loaded as 0, and their scores set to -infinity. Blocks that begin past
 * the end return at once. The number of warps follows from the longest sequence, tiles begin at
 * key 0, and keys past the end add exact zeros: a row's bits depend on its own sequence alone.
 *
 * Memory. Shared memory holds one tile of keys and one of values. The next keys are copied during
 * softmax and the second product, and their values during the next first product. A second pair of
 * tiles would halve the number of blocks on an SM that has 64 or 100 KiB. A block of 64 queries
 * does 64 FLOP per byte of keys and values that it reads: an H200's L2 delivers 9.5 TB/s, which
 * does not limit it below 600 TFLOP/s.
 *
 * Floors per token and layer: reads 6C and writes 2C bytes, 4 T C FLOP, T C / HS exponentials. On
 * an H200 (4.3 TB/s, 790 TFLOP/s, 3.9e12 exponentials/s), in ns, for C = 384 with HS = 32, and
 * C = 768 with HS = 64; the binding one is marked:
 *
 *     T     bytes          FLOP           exponentials
 *    32     0.71* 1.43*    0.06  0.12     0.10  0.10
 *   128     0.71* 1.43*    0.25  0.50     0.39  0.39
 *   512     0.71  1.43     1.00  1.99*    1.58* 1.58
 *
 * Bytes of shared memory per block, and registers per thread on sm_80 and sm_90 (nvcc 13.0, nothing
 * spilt):
 *
 *   queries      HS = 32           HS = 64           HS = 96           HS = 128
 *      16       2688   47   47    4736   63   64    6784   78   70    8832   88   88
 *      32       5376   56   54    9472   79   69   13568   86   86   17664  104   98
 *      64      10752  122  120   18944  128  128   27136  169  168   35328  216  220
 *
 * For HS = 32, 64, 96 and 128, the registers of an sm_90 SM hold 4, 4, 3 and 2 blocks of 64
 * queries. Forced to one more by __launch_bounds__, ptxas spills on some architectures.
 */
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/ptx.cuh"

#include <math.h>
#include <string.h>

static constexpr float LOG2_E = 1.44269504f;

/* ---- a block ------------------------------------------------------------------------------- */

/* State shared by the threads of a block: a head of a sequence, and TILE of its queries. */
template <int HS, int WARPS> struct query_block {
    static constexpr int TILE = 16 * WARPS;     /* queries of the block, and keys of a tile */
    static constexpr bool ONE_TILE = WARPS < 4; /* every sequence of the batch fits in one tile */

    /* Row stride in shared memory, in elements. ldmatrix reads 16 bytes from each of 8 rows at
     * once. With rows of HS alone, 64, 128, 192 or 256 bytes, 4 or 8 of the 8 would conflict on the
     * same 4 of the 32 banks. With 16 bytes more, a row is an odd number of groups of 4 banks, and
     * the 8 rows fall on the 8 different groups. */
    static constexpr int PITCH = HS + 8;

    static constexpr int TILE_BYTES = TILE * PITCH * (int)sizeof(__half);
    static constexpr int SHARED_BYTES = 2 * TILE_BYTES + 2 * TILE * (int)sizeof(float);

    const __half *q, *k, *v; /* of the sequence's first token; rows are `stride` apart */
    int stride;
    int T, first_query;
    const float *relative; /* relative[s - t], or NULL */
    float scale;           /* multiplied by log2(e) */

    __half *keys, *values; /* in shared memory, (TILE, PITCH) each */
    float *bias;           /* in shared memory, (2 * TILE) */
};

/* A lane's part of its warp's 16 queries: parts of rows g and g + 8, laid out as in ptx.cuh. */
template <int HS> struct query_rows {
    uint32_t q[HS / 16][4];
    float context[HS / 8][4]; /* not yet divided by the sum */
    float largest[2];         /* score so far, times log2(e); the same in the 4 lanes of a row */
    float sum[2];             /* of 2^(score - largest), over this lane's keys so far */
};

static __device__ __forceinline__ int lane_of_thread()
{
    return threadIdx.x % WARP;
}

/* The first of the warp's 16 rows in its block. */
static __device__ __forceinline__ int first_row_of_warp()
{
    return threadIdx.x / WARP * 16;
}

/* Rounds two adjacent elements to a register of a fragment, or 4 bytes of a row. */
static __device__ __forceinline__ uint32_t half_pair(float first, float second)
{
    const __half2 pair = __floats2half2_rn(first, second);
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}

/* ---- from global to shared memory and registers --------------------------------------------- */

/* Loads the warp's queries straight from global memory, since only this warp uses them, once. Rows
 * past the end repeat the sequence's last query; their results are not stored. */
template <int HS, int WARPS>
static __device__ __forceinline__ void load_queries(query_rows<HS> &rows,
                                                    const query_block<HS, WARPS> &block)
{
    const int row = block.first_query + first_row_of_warp() + lane_of_thread() / 4;
    const int column = lane_of_thread() % 4 * 2, last = block.T - 1;
    const __half *upper = block.q + (int64_t)min(row, last) * block.stride + column;
    const __half *lower = block.q + (int64_t)min(row + 8, last) * block.stride + column;
#pragma unroll
    for (int i = 0; i < HS / 16; i++) {
        rows.q[i][0] = *(const uint32_t *)(upper + i * 16);
        rows.q[i][1] = *(const uint32_t *)(lower + i * 16);
        rows.q[i][2] = *(const uint32_t *)(upper + i * 16 + 8);
        rows.q[i][3] = *(const uint32_t *)(lower + i * 16 + 8);
    }
}

/* Begins to copy rows first to first + TILE - 1 of k or v. Rows past the end become zeros, so that
 * no weight of 0 is multiplied by a NaN. Four threads copy 64 bytes of a row at once. */
template <int HS, int WARPS>
static __device__ __forceinline__ void load_tile(__half *tile, const __half *matrix, int first,
                                                 const query_block<HS, WARPS> &block)
{
    const int column = threadIdx.x % 4 * 8;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int row = threadIdx.x / 4 + half * block.TILE / 2;
        const __half *source = matrix + (int64_t)(first + row) * block.stride + column;
        __half *target = tile + row * block.PITCH + column;
#pragma unroll
        for (int i = 0; i < HS; i += 32) copy_16(target + i, source + i, first + row < block.T);
    }
    copy_commit();
}

/* Loads the bias, times log2(e), for the 2 * TILE - 1 distances from the block's queries to the
 * keys of a tile: one per thread, with one thread left over. Distances that do not occur in the
 * sequence may lie outside of the table, and are not read. */
template <int HS, int WARPS>
static __device__ __forceinline__ void load_bias(int first, const query_block<HS, WARPS> &block)
{
    const int distance = first - block.first_query - (block.TILE - 1) + (int)threadIdx.x;
    const bool occurs = -block.T < distance && distance < block.T;
    block.bias[threadIdx.x] = occurs ? block.relative[distance] * LOG2_E : 0;
}

/* ---- a tile of keys ------------------------------------------------------------------------ */

/* s = q k^T; -infinity for keys past the end. */
template <int HS, int WARPS>
static __device__ __forceinline__ void scores(float (&s)[2 * WARPS][4], const query_rows<HS> &rows,
                                              int first, const query_block<HS, WARPS> &block)
{
    const int lane = lane_of_thread();
    const __half *row = block.keys + (lane / 16 * 8 + lane % 8) * block.PITCH + lane / 8 % 2 * 8;
#pragma unroll
    for (int n = 0; n < 2 * WARPS; n++) s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
#pragma unroll
    for (int i = 0; i < HS / 16; i++) {
#pragma unroll
        for (int n = 0; n < 2 * WARPS; n += 2) {
            uint32_t k[4]; /* 16 components of 8 keys, and of 8 more */
            ptx_ldmatrix_x4(k, row + n * 8 * block.PITCH + i * 16);
            mma_m16n8k16(s[n], rows.q[i], k);
            mma_m16n8k16(s[n + 1], rows.q[i], k + 2);
        }
    }
    if (first + block.TILE <= block.T) return;
#pragma unroll
    for (int n = 0; n < 2 * WARPS; n++) {
        const int key = first + n * 8 + lane % 4 * 2;
        if (key >= block.T) s[n][0] = s[n][2] = -INFINITY;
        if (key + 1 >= block.T) s[n][1] = s[n][3] = -INFINITY;
    }
}

/* s = s * scale + bias. Row g + 8 has the same distances as row g to the previous group of 8 keys,
 * so its biases are carried over. */
template <int HS, int WARPS>
static __device__ __forceinline__ void add_bias(float (&s)[2 * WARPS][4],
                                                const query_block<HS, WARPS> &block)
{
    const int row = first_row_of_warp() + lane_of_thread() / 4;
    const float *bias = block.bias + block.TILE - 1 - row + lane_of_thread() % 4 * 2;
    float lower[2] = {bias[-8], bias[-7]};
#pragma unroll
    for (int n = 0; n < 2 * WARPS; n++) {
        const float upper[2] = {bias[n * 8], bias[n * 8 + 1]};
#pragma unroll
        for (int j = 0; j < 2; j++) {
            s[n][j] = fmaf(s[n][j], block.scale, upper[j]);
            s[n][j + 2] = fmaf(s[n][j + 2], block.scale, lower[j]);
            lower[j] = upper[j];
        }
    }
}

/* Reductions over the four lanes that share a row. */
static __device__ __forceinline__ float quad_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 2));
}

static __device__ __forceinline__ float quad_sum(float x)
{
    x += __shfl_xor_sync(0xFFFFFFFFu, x, 1);
    return x + __shfl_xor_sync(0xFFFFFFFFu, x, 2);
}

/* Replaces s by weights 2^(s * scale - largest), and rescales sum and context to the new largest
 * score. fmaxf drops a NaN score, but its weight is NaN, and so is the row's sum. */
template <int HS, int GROUPS>
static __device__ __forceinline__ void softmax_step(float (&s)[GROUPS][4], query_rows<HS> &rows,
                                                    float scale)
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float largest = s[0][2 * r];
#pragma unroll
        for (int n = 0; n < GROUPS; n++)
            largest = fmaxf(largest, fmaxf(s[n][2 * r], s[n][2 * r + 1]));
        largest = fmaxf(rows.largest[r], quad_max(largest) * scale);
        const float factor = ptx_ex2_approx(rows.largest[r] - largest);
        rows.largest[r] = largest;

        rows.sum[r] *= factor;
#pragma unroll
        for (int i = 0; i < HS / 8; i++) {
            rows.context[i][2 * r] *= factor;
            rows.context[i][2 * r + 1] *= factor;
        }
#pragma unroll
        for (int n = 0; n < GROUPS; n++) {
            s[n][2 * r] = ptx_ex2_approx(fmaf(s[n][2 * r], scale, -largest));
            s[n][2 * r + 1] = ptx_ex2_approx(fmaf(s[n][2 * r + 1], scale, -largest));
            rows.sum[r] += s[n][2 * r] + s[n][2 * r + 1];
        }
    }
}

/* context += weights @ v. The weights, in the D layout of the scores, become A fragments by
 * rounding to FP16: see ptx.cuh. */
template <int HS, int WARPS>
static __device__ __forceinline__ void accumulate(query_rows<HS> &rows,
                                                  const float (&weights)[2 * WARPS][4],
                                                  const query_block<HS, WARPS> &block)
{
    const int lane = lane_of_thread();
    const __half *row = block.values + lane % 16 * block.PITCH + lane / 16 * 8;
#pragma unroll
    for (int n = 0; n < 2 * WARPS; n += 2) {
        const float *left = weights[n], *right = weights[n + 1];
        const uint32_t p[4] = {half_pair(left[0], left[1]), half_pair(left[2], left[3]),
                               half_pair(right[0], right[1]), half_pair(right[2], right[3])};
#pragma unroll
        for (int i = 0; i < HS / 8; i += 2) {
            uint32_t v[4]; /* 8 components of 16 keys, and 8 more */
            ptx_ldmatrix_x4_trans(v, row + n * 8 * block.PITCH + i * 8);
            mma_m16n8k16(rows.context[i], p, v);
            mma_m16n8k16(rows.context[i + 1], p, v + 2);
        }
    }
}

/* Attends to the tile of keys from `first` on, whose copy is in flight, and to their values. */
template <int HS, int WARPS>
static __device__ __forceinline__ void attend(query_rows<HS> &rows, int first,
                                              const query_block<HS, WARPS> &block)
{
    const bool has_rows = block.first_query + first_row_of_warp() < block.T;
    float s[2 * WARPS][4];

    copy_wait<0>();
    __syncthreads(); /* these keys have arrived, and the previous values are no longer read */
    if (first > 0) load_tile(block.values, block.v, first, block);
    if (block.relative != NULL) load_bias(first, block);
    if (has_rows) scores(s, rows, first, block);

    copy_wait<0>();
    __syncthreads(); /* values and bias have arrived, and these keys are no longer read */
    if (!block.ONE_TILE && first + block.TILE < block.T)
        load_tile(block.keys, block.k, first + block.TILE, block);
    if (has_rows) {
        if (block.relative != NULL) add_bias(s, block);
        softmax_step(s, rows, block.relative != NULL ? 1 : block.scale);
        accumulate(rows, s, block);
    }
}

/* ---- the result ---------------------------------------------------------------------------- */

/* Divides by the sums and stores the context, by way of the shared memory of the keys, so that
 * global stores cover 64 bytes of a row at once instead of 16. Each warp uses only its own rows, so
 * no block-wide barrier is needed. */
template <int HS, int WARPS>
static __device__ __forceinline__ void store(__half *context, int C, const query_rows<HS> &rows,
                                             const query_block<HS, WARPS> &block)
{
    const int lane = lane_of_thread();
    __half *tile = block.keys + first_row_of_warp() * block.PITCH;
    __half *corner = tile + lane / 4 * block.PITCH + lane % 4 * 2;
    const float upper = 1 / quad_sum(rows.sum[0]), lower = 1 / quad_sum(rows.sum[1]);
#pragma unroll
    for (int i = 0; i < HS / 8; i++) {
        const float *c = rows.context[i];
        *(uint32_t *)(corner + i * 8) = half_pair(c[0] * upper, c[1] * upper);
        *(uint32_t *)(corner + 8 * block.PITCH + i * 8) = half_pair(c[2] * lower, c[3] * lower);
    }
    __syncwarp();
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int row = lane / 4 + half * 8, column = lane % 4 * 8;
        const int query = block.first_query + first_row_of_warp() + row;
        if (query >= block.T) continue;
#pragma unroll
        for (int i = 0; i < HS; i += 32)
            *(uint4 *)(context + (int64_t)query * C + column + i) =
                *(const uint4 *)(tile + row * block.PITCH + column + i);
    }
}

/* ---- the kernel ---------------------------------------------------------------------------- */

template <int HS, int WARPS>
static __global__ void __launch_bounds__(WARPS *WARP)
attention_kernel(__half *context, const __half *qkv, const float *relative, size_t columns,
                 size_t zero, const int32_t *offsets, unsigned blocks, int C, float scale)
{
    SHARED_MEMORY(memory);
    query_block<HS, WARPS> block;
    const unsigned b = block.ONE_TILE ? blockIdx.x : blockIdx.x / blocks, h = blockIdx.y;
    const int64_t begin = offsets[b];
    block.T = offsets[b + 1] - offsets[b];
    block.first_query = block.ONE_TILE ? 0 : blockIdx.x % blocks * block.TILE;
    if (block.first_query >= block.T) return;

    block.stride = 3 * C;
    block.q = qkv + begin * block.stride + h * HS;
    block.k = block.q + C;
    block.v = block.k + C;
    block.relative = relative == NULL ? NULL : relative + h * columns + zero;
    block.scale = scale;
    block.keys = (__half *)memory;
    block.values = (__half *)(memory + block.TILE_BYTES);
    block.bias = (float *)(memory + 2 * block.TILE_BYTES);

    load_tile(block.keys, block.k, 0, block);
    load_tile(block.values, block.v, 0, block);
    query_rows<HS> rows = {};
    rows.largest[0] = rows.largest[1] = -INFINITY;
    load_queries(rows, block);

    int first = 0;
    do {
        attend(rows, first, block);
        first += block.TILE;
    } while (!block.ONE_TILE && first < block.T);

    store(context + begin * C + h * HS, C, rows, block);
}

/* ---- launcher ------------------------------------------------------------------------------ */

struct attention_variant {
    void (*kernel)(__half *context, const __half *qkv, const float *relative, size_t columns,
                   size_t zero, const int32_t *offsets, unsigned blocks, int C, float scale);
    size_t tile, shared_bytes;
};

template <int HS, int WARPS> static attention_variant variant()
{
    return {attention_kernel<HS, WARPS>, query_block<HS, WARPS>::TILE,
            query_block<HS, WARPS>::SHARED_BYTES};
}

template <int HS> static attention_variant variant_for(size_t longest)
{
    return longest <= 16 ? variant<HS, 1>() : longest <= 32 ? variant<HS, 2>() : variant<HS, 4>();
}

cudaError_t cuda_attention_f16(void *context, const void *qkv, const float *relative,
                               size_t columns, size_t zero, const int32_t *offsets, size_t B,
                               size_t longest, size_t NH, size_t HS, float scale,
                               cudaStream_t stream)
{
    attention_variant attention;
    switch (HS) {
    case 32: attention = variant_for<32>(longest); break;
    case 64: attention = variant_for<64>(longest); break;
    case 96: attention = variant_for<96>(longest); break;
    case 128: attention = variant_for<128>(longest); break;
    default:
        return cuda_attention_plain_f16(context, qkv, relative, columns, zero, offsets, B, longest,
                                        NH, HS, scale, stream);
    }
    const size_t blocks = (longest + attention.tile - 1) / attention.tile;
    if (B * blocks > INT32_MAX || !(scale > 0)) return cudaErrorInvalidValue;
    return launch(attention.kernel, dim3((unsigned)(B * blocks), (unsigned)NH),
                  dim3((unsigned)attention.tile / 16 * WARP), attention.shared_bytes, stream,
                  (__half *)context, (const __half *)qkv, relative, columns, zero, offsets,
                  (unsigned)blocks, (int)(NH * HS), scale * LOG2_E);
}
