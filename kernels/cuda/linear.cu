/* linear.cu - y (N, O) = activation(x (N, I) @ weight (O, I)^T + bias (O)), on tensor cores
 *
 *   work    one block per tile of y, one part of it per warp, in fragments of 16 x 8. x and weight
 *           pass through a ring of slots in shared memory, 32 columns at a time, filled by cp.async
 *           while others are multiplied (Turing: through registers). See linear_tile.cuh.
 *   types   all FP16 in memory. Sums are FP32 or two-level: the tensor cores add 64 products in
 *           FP16, and these sums are added in FP32. Bias and activation FP32, then one rounding.
 *   order   every element of y is summed over k = 0, 1, ... by the same instructions, 16 products
 *           at a time, in every tile and at every place of it: its bits depend on its row of x, its
 *           row of weight, its bias and the architecture, but not on N, other rows or the tile.
 *           cuBLASLt guarantees nothing of the kind. Splitting k would break this.
 *   floor   2 * N * O * I FLOP, and 2 * (N * I + O * I + N * O) bytes. N = 8448, O = 1536, I = 384:
 *           9.97 GFLOP, 12.6 us at an H200's 790 TFLOP/s, and 33.6 MB, 7.8 us at 4.3 TB/s.
 *
 * Registers per thread as reported by nvcc 13.0, the most of any architecture from sm_80 on (sm_75
 * in brackets), none spilled; shared memory; and blocks that fit on an SM with 100 KiB:
 *
 *   tile        a warp's part   slots    FP32 sums            two levels
 *   32 x 32     16 x 16         6        60 (54), 24 KiB, 4   64 (58), 24 KiB, 4
 *   64 x 64     32 x 32         3        96 (104), 24 KiB, 4  120 (121), 24 KiB, 4
 *   128 x 128   64 x 64         3        234 (248), 48 KiB, 2
 *   128 x 128   64 x 32         3                             184 (185), 48 KiB, 1
 *
 * The smallest tile has more slots, because with few rows the time goes to waiting for weights.
 * Turing uses two slots of the three; with its 64 KiB, one block of the largest tile fits on an SM.
 *
 * Expected of 128 x 128 with FP32 sums, by arithmetic, not measured: for every 16 of k, a block
 * issues 128 mma, whose ldmatrix read 16 KiB of shared memory and whose share of the copies writes
 * 8 KiB. On an A100 an mma occupies an SM's tensor cores for 2 clocks: 256 clocks, during 192 of
 * which shared memory is busy, at 128 bytes per clock. The loop issues 2.2 instructions per mma
 * (sm_80), of the 8 that it could. So the tensor cores are the bound, except at the beginning and
 * end of a tile, when only the SM's other block keeps them busy: I = 384 is 12 slots. Most cards
 * have slower mma and are further from both limits. Hopper and the large Blackwell reach their full
 * rate only with instructions other than mma.
 */
#include "kernels/cuda/linear_tile.cuh"

/* ---- kernel -------------------------------------------------------------------------------- */

/* Blocks that run at the same time have adjacent indices. Those with the same rows of x are
 * adjacent, so that x is read from memory once; weight stays in L2. */
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
/* Two-level sums take more registers, so each warp computes half as much. */
using tile_128_two_level = linear_tile<128, 128, 64, 32, 3, 1>;

/* Returns the largest tile that gives every SM a block, on GPUs of up to about 128 SMs: larger
 * tiles read less memory, smaller ones make more blocks. */
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
