/* linear_tile.cuh - the tile of a linear layer that one block computes: load, multiply, store
 *
 * Shared memory is a ring of slots. A slot holds DEPTH columns of the block's rows of x and, below
 * them, of its rows of weight. A row is 64 bytes, 4 pieces of 16; two rows cover the 32 banks once.
 * Piece p of row r is swizzled to place p ^ (r / 2 % 4): ldmatrix reads the same piece of 8 rows at
 * once, and these fall on the 8 different groups of 4 banks. So do the pieces that 8 threads copy
 * at once, all those of two rows.
 */
#ifndef KERNELS_CUDA_LINEAR_TILE_CUH
#define KERNELS_CUDA_LINEAR_TILE_CUH

#include "kernels/cuda/gelu.cuh"
#include "kernels/cuda/ptx.cuh"

#include <string.h>

/* A block computes ROWS x COLUMNS of y, and each of its warps WARP_ROWS x WARP_COLUMNS. Registers
 * are limited so that BLOCKS blocks fit on an SM. */
template <int ROWS_, int COLUMNS_, int WARP_ROWS_, int WARP_COLUMNS_, int SLOTS_, int BLOCKS_>
struct linear_tile {
    static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_, SLOTS = SLOTS_, BLOCKS = BLOCKS_;
    static constexpr int WARP_ROWS = WARP_ROWS_, WARP_COLUMNS = WARP_COLUMNS_;
    static constexpr int WARPS_ACROSS = COLUMNS / WARP_COLUMNS;
    static constexpr int WARPS = ROWS / WARP_ROWS * WARPS_ACROSS;
    static constexpr int THREADS = WARPS * WARP;

    static constexpr int DEPTH = 32; /* columns in a slot: two mma steps of 16 */
    static constexpr int SLOT_HALVES = (ROWS + COLUMNS) * DEPTH;

    /* Slots being filled while one is multiplied. On Turing the next one waits in registers. */
    static constexpr int AHEAD = DEVICE_ARCH >= 800 ? SLOTS - 1 : 1;

    /* Row stride, in halves, of a warp's results in shared memory before they are stored: an odd
     * multiple of 8, so that 8 consecutive rows begin at the 8 different groups of 4 banks. */
    static constexpr int PITCH = WARP_COLUMNS + 8;

    static constexpr int SHARED_BYTES = SLOTS * SLOT_HALVES * (int)sizeof(__half);
    static_assert(WARPS * WARP_ROWS * PITCH <= SLOTS * SLOT_HALVES, "results fit in the slots");
};

/* ---- operands, from global memory to shared ------------------------------------------------ */

/* A thread copies one piece of every STRIDE-th row. What lies beyond the matrices is replaced by
 * zeros in both operands: past the end of a row, a zero in only one could meet a NaN in the other.
 */
template <class tile> struct linear_copies {
    static constexpr int STRIDE = tile::THREADS / 4;
    static_assert(tile::ROWS % STRIDE == 0 && tile::COLUMNS % STRIDE == 0, "whole rounds");

    const __half *x, *weight; /* the thread's first piece of each */
    int rows, columns;        /* rows of x and of weight that remain from there on */
    int I, k, steps;          /* k: first column of the thread's piece in a slot */
    int place;                /* of the thread's first piece in a slot */
#if DEVICE_ARCH < 800
    uint4 held[(tile::ROWS + tile::COLUMNS) / STRIDE];
#endif

    __device__ __forceinline__ linear_copies(const __half *x_, const __half *weight_, int N, int O,
                                             int I_, int first_row, int first_column)
    {
        const int row = threadIdx.x / 4, piece = threadIdx.x % 4;
        I = I_;
        k = piece * 8;
        steps = (I + tile::DEPTH - 1) / tile::DEPTH;
        rows = N - first_row - row;
        columns = O - first_column - row;
        x = x_ + (size_t)(first_row + row) * I + k;
        weight = weight_ + (size_t)(first_column + row) * I + k;
        place = row * tile::DEPTH + (piece ^ (row / 2 % 4)) * 8;
    }

    /* Begins to fill `slot` for `step`. On Turing, loads into registers only. */
    __device__ __forceinline__ void fetch(__half *slot, int step)
    {
        if (step >= steps) return;
        const int first = step * tile::DEPTH;
#pragma unroll
        for (int row = 0; row < tile::ROWS + tile::COLUMNS; row += STRIDE) {
            const bool of_x = row < tile::ROWS;
            const int r = of_x ? row : row - tile::ROWS;
            const __half *piece = (of_x ? x : weight) + r * I + first;
            const bool valid = r < (of_x ? rows : columns) && k + first < I;
#if DEVICE_ARCH >= 800
            copy_16(slot + place + row * tile::DEPTH, piece, valid);
#else
            held[row / STRIDE] = valid ? *(const uint4 *)piece : make_uint4(0, 0, 0, 0);
            (void)slot;
#endif
        }
    }

    /* On Turing, stores the fetched registers to `slot`. */
    __device__ __forceinline__ void deposit(__half *slot, int step)
    {
#if DEVICE_ARCH < 800
        if (step >= steps) return;
#pragma unroll
        for (int row = 0; row < tile::ROWS + tile::COLUMNS; row += STRIDE)
            *(uint4 *)(slot + place + row * tile::DEPTH) = held[row / STRIDE];
#else
        (void)slot;
        (void)step;
#endif
    }
};

/* ---- products ------------------------------------------------------------------------------ */

/* A warp's operands for one step of 16 columns. */
template <class tile> struct linear_fragments {
    uint32_t x[tile::WARP_ROWS / 16][4];
    uint32_t weight[tile::WARP_COLUMNS / 16][4]; /* columns 0 to 7: [0], [1]; 8 to 15: [2], [3] */

    /* Loads columns k to k + 15 of the slot, with k = 0 or 16. XOR with k flips the upper bit of a
     * piece's place, since rows are 32 halves. */
    __device__ __forceinline__ void load(const __half *slot, int k)
    {
        const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, swizzle = lane / 2 % 4;
        const int x_row = warp / tile::WARPS_ACROSS * tile::WARP_ROWS + lane % 16;
        const int weight_row =
            warp % tile::WARPS_ACROSS * tile::WARP_COLUMNS + lane / 16 * 8 + lane % 8;
        const __half *x_piece =
            slot + ((x_row * tile::DEPTH + (lane / 16 ^ swizzle) * 8) ^ k);
        const __half *weight_piece =
            slot + (((tile::ROWS + weight_row) * tile::DEPTH + (lane / 8 % 2 ^ swizzle) * 8) ^ k);
#pragma unroll
        for (int i = 0; i < tile::WARP_ROWS / 16; i++)
            ptx_ldmatrix_x4(x[i], x_piece + i * 16 * tile::DEPTH);
#pragma unroll
        for (int j = 0; j < tile::WARP_COLUMNS / 16; j++)
            ptx_ldmatrix_x4(weight[j], weight_piece + j * 16 * tile::DEPTH);
    }
};

/* Converts the two FP16 numbers of a register. */
static __device__ __forceinline__ float2 to_floats(uint32_t pair)
{
    __half2 halves;
    memcpy(&halves, &pair, sizeof halves);
    return __half22float2(halves);
}

/* A warp's accumulators, as 16 x 8 fragments D. carry() is called after every 64 products. */
template <class tile, enum cuda_sums SUMS> struct linear_sums;

template <class tile> struct linear_sums<tile, CUDA_SUMS_F32> {
    float total[tile::WARP_ROWS / 16][tile::WARP_COLUMNS / 8][4] = {};

    __device__ __forceinline__ void add(const linear_fragments<tile> &f)
    {
#pragma unroll
        for (int i = 0; i < tile::WARP_ROWS / 16; i++)
#pragma unroll
            for (int j = 0; j < tile::WARP_COLUMNS / 8; j++)
                mma_m16n8k16(total[i][j], f.x[i], f.weight[j / 2] + j % 2 * 2);
    }

    __device__ __forceinline__ void carry()
    {
    }
};

template <class tile> struct linear_sums<tile, CUDA_SUMS_TWO_LEVEL> {
    float total[tile::WARP_ROWS / 16][tile::WARP_COLUMNS / 8][4] = {};
    uint32_t part[tile::WARP_ROWS / 16][tile::WARP_COLUMNS / 8][2] = {}; /* pairs of FP16 */

    __device__ __forceinline__ void add(const linear_fragments<tile> &f)
    {
#pragma unroll
        for (int i = 0; i < tile::WARP_ROWS / 16; i++)
#pragma unroll
            for (int j = 0; j < tile::WARP_COLUMNS / 8; j++)
                mma_m16n8k16_f16(part[i][j], f.x[i], f.weight[j / 2] + j % 2 * 2);
    }

    /* Adds the FP16 sums to the FP32 totals, and clears them. */
    __device__ __forceinline__ void carry()
    {
#pragma unroll
        for (int i = 0; i < tile::WARP_ROWS / 16; i++)
#pragma unroll
            for (int j = 0; j < tile::WARP_COLUMNS / 8; j++)
#pragma unroll
                for (int r = 0; r < 2; r++) {
                    const float2 pair = to_floats(part[i][j][r]);
                    total[i][j][2 * r] += pair.x;
                    total[i][j][2 * r + 1] += pair.y;
                    part[i][j][r] = 0;
                }
    }
};

/* Computes all products of a tile. Once a thread returns, no other thread reads the ring. */
template <class tile, enum cuda_sums SUMS>
static __device__ __forceinline__ void linear_multiply(linear_sums<tile, SUMS> &sums, __half *ring,
                                                       const __half *x, const __half *weight,
                                                       int N, int O, int I, int first_row,
                                                       int first_column)
{
    auto slot = [=](int step) { return ring + step % tile::SLOTS * tile::SLOT_HALVES; };
    linear_copies<tile> copies(x, weight, N, O, I, first_row, first_column);
#pragma unroll
    for (int step = 0; step < tile::AHEAD; step++) {
        copies.fetch(slot(step), step);
        copies.deposit(slot(step), step);
        copy_commit();
    }
    copy_wait<tile::AHEAD - 1>();
    __syncthreads();

    /* While the warp multiplies one half of a slot, it loads the other. */
    linear_fragments<tile> lower, upper;
    lower.load(slot(0), 0);
    for (int step = 0; step < copies.steps; step++) {
        copies.fetch(slot(step + tile::AHEAD), step + tile::AHEAD);
        copy_commit();
        upper.load(slot(step), 16);
        sums.add(lower);

        copies.deposit(slot(step + tile::AHEAD), step + tile::AHEAD);
        copy_wait<tile::AHEAD - 1>();
        __syncthreads(); /* the next slot is filled, and this one is no longer read */
        if (step + 1 < copies.steps) lower.load(slot(step + 1), 0);
        sums.add(upper);
        if (step % 2 == 1) sums.carry();
    }
    sums.carry();
}

/* ---- results ------------------------------------------------------------------------------- */

/* Adds the bias, applies the activation, rounds, and writes the warp's results to rows of shared
 * memory that are `pitch` halves apart. `bias` points at the bias of the warp's first column, from
 * which on there are `columns` columns. */
template <class tile, enum activation ACTIVATION, enum cuda_sums SUMS>
static __device__ __forceinline__ void linear_round(__half *results, int pitch,
                                                    const linear_sums<tile, SUMS> &sums,
                                                    const __half *bias, int columns)
{
    const int lane = threadIdx.x % WARP;
    __half *corner = results + lane / 4 * pitch + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < tile::WARP_COLUMNS / 8; j++) {
        if (j * 8 >= columns) break;
        const float2 b = __half22float2(*(const __half2 *)(bias + j * 8 + lane % 4 * 2));
#pragma unroll
        for (int i = 0; i < tile::WARP_ROWS / 16; i++)
#pragma unroll
            for (int r = 0; r < 2; r++) {
                float left = sums.total[i][j][2 * r] + b.x;
                float right = sums.total[i][j][2 * r + 1] + b.y;
                if (ACTIVATION == ACTIVATION_GELU) {
                    left = gelu<__half>(left);
                    right = gelu<__half>(right);
                }
                *(__half2 *)(corner + (i * 16 + r * 8) * pitch + j * 8) =
                    __floats2half2_rn(left, right);
            }
    }
}

/* Stores the results to global memory by way of the warp's part of shared memory, so that adjacent
 * lanes store adjacent pieces of 16 bytes. O is a multiple of 8, so no piece straddles the edge of
 * y. */
template <class tile, enum activation ACTIVATION, enum cuda_sums SUMS>
static __device__ __forceinline__ void linear_store(__half *y, const __half *bias,
                                                    const linear_sums<tile, SUMS> &sums,
                                                    __half *shared, int N, int O, int first_row,
                                                    int first_column)
{
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    first_row += warp / tile::WARPS_ACROSS * tile::WARP_ROWS;
    first_column += warp % tile::WARPS_ACROSS * tile::WARP_COLUMNS;
    __half *results = shared + warp * tile::WARP_ROWS * tile::PITCH;
    linear_round<tile, ACTIVATION>(results, tile::PITCH, sums, bias + first_column,
                                   O - first_column);
    __syncwarp();
    constexpr int PIECES = tile::WARP_COLUMNS / 8;
    const int column = lane % PIECES * 8;
    if (first_column + column >= O) return;
#pragma unroll
    for (int i = 0; i < tile::WARP_ROWS; i += WARP / PIECES) {
        const int row = i + lane / PIECES;
        if (first_row + row < N)
            *(uint4 *)(y + (size_t)(first_row + row) * O + first_column + column) =
                *(const uint4 *)(results + row * tile::PITCH + column);
    }
}

#endif
