/* linear.cu - y (N, O) = activation(x (N, I) @ weight (O, I)^T + bias (O)), on tensor cores
 *
 *   work    a block computes a tile of y, each warp a part of it in fragments of 16 x 8. x and
 *           weight come through a ring of slots in shared memory, 32 columns at a time, filled by
 *           cp.async while others are worked on (Turing: through registers). See linear_tile.cuh.
 *   types   all FP16 in memory. Sums FP32, or of two levels: the tensor cores add up 64 products in
 *           FP16, and these sums are added in FP32. Bias and activation FP32, then one rounding.
 *   order   every element of y is a sum over k from 0 on by the same instructions, 16 at a time,
 *           whatever the tile and wherever in it: its bits depend on a row of x, a row of weight
 *           and a bias, and on the architecture, but not on N, other rows or the tile. cuBLASLt
 *           promises nothing of that kind. A tile that splits k would break it.
 *   floor   2 * N * O * I FLOP, and 2 * (N * I + O * I + N * O) bytes. N = 8448, O = 1536, I = 384
 *           is 9.97 GFLOP, 12.6 us at an H200's 790 TFLOP/s, and 33.6 MB, 7.8 us at 4.3 TB/s.
 *
 * Registers a thread by nvcc 13.0's report, the most on any architecture from sm_80 on (sm_75 in
 * brackets), none spilled; shared memory; and the blocks that these leave room for on a
 * multiprocessor with 100 KiB:
 *
 *   tile        a warp's part   slots    FP32 sums            two levels
 *   32 x 32     16 x 16         6        60 (54), 24 KiB, 4   64 (58), 24 KiB, 4
 *   64 x 64     32 x 32         3        96 (104), 24 KiB, 4  120 (121), 24 KiB, 4
 *   128 x 128   64 x 64         3        234 (248), 48 KiB, 2
 *   128 x 128   64 x 32         3                             184 (185), 48 KiB, 1
 *
 * The smallest has more slots, for with few rows there is little but waiting for weights. Turing
 * uses two slots of the three, and with 64 KiB has one block of the largest on a multiprocessor.
 *
 * What to expect of 128 x 128 with FP32 sums, by arithmetic, not measured: for 16 of k, a block has
 * 128 mma, whose ldmatrix read 16 KiB of shared memory, and whose share of the copies writes 8 KiB.
 * On an A100 an mma takes the tensor cores of a multiprocessor 2 clocks: 256 clocks, of which
 * shared memory at 128 bytes a clock is busy for 192. In the loop 2.2 instructions are issued for
 * an mma (sm_80), of 8 that could be. So the tensor cores bind, but for a tile's beginning and end,
 * when they have work only from the other block of the multiprocessor: I = 384 is 12 slots. Cards
 * whose mma take longer, which are most, are further from both limits. Hopper and the large
 * Blackwell reach their full rate only by other instructions than mma.
 */
#include "kernels/cuda/linear_tile.cuh"

/* ---- kernel -------------------------------------------------------------------------------- */

/* Blocks that work at the same time have neighbouring numbers: those with the same rows of x go
 * first, so that x is read from memory once, and weight stays in the second cache level. */
template <class tile, enum cuda_sums SUMS>
static __global__ void __launch_bounds__(tile::THREADS, tile::BLOCKS)
linear_kernel(__half *y, const __half *x, const __half *weight, const __half *bias, int N, int O,
              int I, int across, enum activation activation)
{
    SHARED_MEMORY(memory);
    __half *ring = (__half *)memory;
    const int first_row = blockIdx.x / across * tile::ROWS;
    const int first_column = blockIdx.x % across * tile::COLUMNS;

    linear_sums<tile, SUMS> sums;
    linear_multiply<tile>(sums, ring, x, weight, N, O, I, first_row, first_column);
    if (activation == ACTIVATION_GELU)
        linear_store<tile, ACTIVATION_GELU>(y, bias, sums, ring, N, O, first_row, first_column);
    else
        linear_store<tile, ACTIVATION_NONE>(y, bias, sums, ring, N, O, first_row, first_column);
}

/* ---- launchers ----------------------------------------------------------------------------- */

using tile_32 = linear_tile<32, 32, 16, 16, 6, 4>;
using tile_64 = linear_tile<64, 64, 32, 32, 3, 4>;
using tile_128 = linear_tile<128, 128, 64, 64, 3, 2>;
/* With twice the registers for sums, warps of half the size. */
using tile_128_two_level = linear_tile<128, 128, 64, 32, 3, 1>;

/* The largest that leaves no multiprocessor without a block, for GPUs of up to 128 or so: larger
 * tiles read less, smaller ones are more. */
static enum cuda_tile tile_for(size_t N, size_t O)
{
    const size_t enough = 128;
    if ((N + 127) / 128 * ((O + 127) / 128) >= enough) return CUDA_TILE_128;
    if ((N + 63) / 64 * ((O + 63) / 64) >= enough) return CUDA_TILE_64;
    return CUDA_TILE_32;
}

template <class tile, enum cuda_sums SUMS>
static cudaError_t launch_linear(void *y, const void *x, const void *weight, const void *bias,
                                 size_t N, size_t O, size_t I, enum activation activation,
                                 cudaStream_t stream)
{
    const size_t down = (N + tile::ROWS - 1) / tile::ROWS;
    const size_t across = (O + tile::COLUMNS - 1) / tile::COLUMNS;
    if (down * across > INT32_MAX) return cudaErrorInvalidValue;
    return launch(linear_kernel<tile, SUMS>, dim3((unsigned)(down * across)), dim3(tile::THREADS),
                  tile::SHARED_BYTES, stream, (__half *)y, (const __half *)x,
                  (const __half *)weight, (const __half *)bias, (int)N, (int)O, (int)I,
                  (int)across, activation);
}

cudaError_t cuda_linear_f16_tiled(void *y, const void *x, const void *weight, const void *bias,
                                  size_t N, size_t O, size_t I, enum activation activation,
                                  enum cuda_sums sums, enum cuda_tile tile, cudaStream_t stream)
{
    if (N > CUDA_MOST_TOKENS || O > CUDA_WIDEST_LAYER || I > CUDA_WIDEST_LAYER || O % 8 != 0 ||
        I % 8 != 0)
        return cudaErrorInvalidValue;

    const bool f32 = sums == CUDA_SUMS_F32;
    auto kernel = launch_linear<tile_32, CUDA_SUMS_F32>;
    switch (tile) {
    case CUDA_TILE_32:
        if (!f32) kernel = launch_linear<tile_32, CUDA_SUMS_TWO_LEVEL>;
        break;
    case CUDA_TILE_64:
        kernel = f32 ? launch_linear<tile_64, CUDA_SUMS_F32>
                     : launch_linear<tile_64, CUDA_SUMS_TWO_LEVEL>;
        break;
    case CUDA_TILE_128:
        kernel = f32 ? launch_linear<tile_128, CUDA_SUMS_F32>
                     : launch_linear<tile_128_two_level, CUDA_SUMS_TWO_LEVEL>;
        break;
    }
    return kernel(y, x, weight, bias, N, O, I, activation, stream);
}

cudaError_t cuda_linear_f16(void *y, const void *x, const void *weight, const void *bias, size_t N,
                            size_t O, size_t I, enum activation activation, enum cuda_sums sums,
                            cudaStream_t stream)
{
    return cuda_linear_f16_tiled(y, x, weight, bias, N, O, I, activation, sums, tile_for(N, O),
                                 stream);
}
