/* logits.cu - y (N, O) in FP32 = x (N, I) @ weight (O, I)^T + bias (O), on tensor cores
 *
 *   work    as in linear.cu, except that the sums plus bias are stored in FP32 straight from
 *           registers. Four lanes store 32 adjacent bytes, a whole sector.
 *   types   x and weight FP16, bias and y FP32; sums as in linear.cu
 *   order   as in linear.cu: an element's bits do not depend on N
 *   floor   2 O I bytes of weights and 4 N O of y. O = 50264, I = 1024: 103 MB, 23.9 us at 4.3
 *           TB/s, and with 64 rows 12.9 MB more, 3.0 us.
 *
 * O may be odd: BART-base has a vocabulary of 50265.
 */
#include "kernels/cuda/linear_tile.cuh"

/* ---- kernel -------------------------------------------------------------------------------- */

/* Stores two adjacent elements of a row. If O is odd, rows are aligned to 4 bytes only. */
static __device__ __forceinline__ void store_pair(float *y, float left, float right, int column,
                                                  int O)
{
    if (O % 2 == 0 && column < O) {
        *(float2 *)(y + column) = make_float2(left, right);
        return;
    }
    if (column < O) y[column] = left;
    if (column + 1 < O) y[column + 1] = right;
}

template <class tile, enum cuda_sums SUMS>
static __global__ void __launch_bounds__(tile::THREADS, tile::BLOCKS)
logits_kernel(float *y, const __half *x, const __half *weight, const float *bias, int N, int O,
              int I, int across)
{
    SHARED_MEMORY(memory);
    int first_row = blockIdx.x / across * tile::ROWS;
    int first_column = blockIdx.x % across * tile::COLUMNS;
    linear_sums<tile, SUMS> sums;
    linear_multiply<tile>(sums, (__half *)memory, x, weight, N, O, I, first_row, first_column);

    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    first_row += warp / tile::WARPS_ACROSS * tile::WARP_ROWS + lane / 4;
    first_column += warp % tile::WARPS_ACROSS * tile::WARP_COLUMNS + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < tile::WARP_COLUMNS / 8; j++) {
        const int column = first_column + j * 8;
        const float left = bias != NULL && column < O ? bias[column] : 0;
        const float right = bias != NULL && column + 1 < O ? bias[column + 1] : 0;
#pragma unroll
        for (int i = 0; i < tile::WARP_ROWS / 8; i++) {
            const int row = first_row + i * 8;
            const float *pair = &sums.total[i / 2][j][i % 2 * 2];
            if (row < N)
                store_pair(y + (size_t)row * O, pair[0] + left, pair[1] + right, column, O);
        }
    }
}

/* ---- launcher ------------------------------------------------------------------------------ */

template <class tile, enum cuda_sums SUMS>
static cudaError_t launch_logits(float *y, const void *x, const void *weight, const float *bias,
                                 size_t N, size_t O, size_t I, cudaStream_t stream)
{
    const size_t down = (N + tile::ROWS - 1) / tile::ROWS;
    const size_t across = (O + tile::COLUMNS - 1) / tile::COLUMNS;
    if (down * across > INT32_MAX) return cudaErrorInvalidValue;
    return launch(logits_kernel<tile, SUMS>, dim3((unsigned)(down * across)), dim3(tile::THREADS),
                  tile::SHARED_BYTES, stream, y, (const __half *)x, (const __half *)weight, bias,
                  (int)N, (int)O, (int)I, (int)across);
}

using tile_32 = linear_tile<32, 32, 16, 16, 6, 4>;
using tile_64 = linear_tile<64, 64, 32, 32, 3, 4>;

/* O is a vocabulary, so any tile makes enough blocks. What costs is the rows of a tile past N, so
 * the tile is chosen by N. */
cudaError_t cuda_logits_f16(float *y, const void *x, const void *weight, const float *bias,
                            size_t N, size_t O, size_t I, enum cuda_sums sums, cudaStream_t stream)
{
    if (N > CUDA_MOST_TOKENS || O > CUDA_WIDEST_LAYER || I > CUDA_WIDEST_LAYER || I % 8 != 0)
        return cudaErrorInvalidValue;
    const bool f32 = sums == CUDA_SUMS_F32;
    auto kernel = f32 ? launch_logits<tile_64, CUDA_SUMS_F32>
                      : launch_logits<tile_64, CUDA_SUMS_TWO_LEVEL>;
    if (N <= 32)
        kernel = f32 ? launch_logits<tile_32, CUDA_SUMS_F32>
                     : launch_logits<tile_32, CUDA_SUMS_TWO_LEVEL>;
    return kernel(y, x, weight, bias, N, O, I, stream);
}
