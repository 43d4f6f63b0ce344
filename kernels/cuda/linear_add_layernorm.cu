/* linear_add_layernorm.cu - y (N, O) = layernorm(x (N, I) @ weight (O, I)^T + bias + residual)
 *
 *   work    a block computes 64 whole rows of 384 products, each warp 64 x 48 of them
 *           (linear_tile.cuh). Rounded, they go to shared memory, where each warp finds 8 whole
 *           rows, adds the residual's and normalizes them as a warp of add_layernorm.cu does.
 *   types   sums and bias FP32, rounded to FP16, as linear.cu stores them; from there on FP32, and
 *           one rounding, as in add_layernorm.cu. Without the rounding between, which FP32 rows of
 *           96 KiB would save, MiniLM's rows are no closer to the reference to speak of: 1 - cosine
 *           2.7e-7 instead of 2.9e-7 in the mean of 150 texts.
 *   order   that of these two, step by step: y has the bits that they give one after the other. So
 *           a row's bits do not depend on the others, and few rows may go to those two instead.
 *   floor   2 * N * O * I FLOP, and 2 * (N * I + O * I + 2 * N * O) bytes: 4 * N * O less than the
 *           two kernels, which write the products and read them again, and a launch less. N = 8448
 *           at an H200's 790 TFLOP/s and 4.3 TB/s: I = 384 is 2.49 GFLOP, 3.2 us, and 19.8 MB,
 *           4.6 us (apart 7.6 us); I = 1536 is 9.97 GFLOP, 12.6 us, and 40.1 MB, 9.3 us.
 *
 * Registers a thread by nvcc 13.0's report, none spilled, and the slots of 28 KiB that shared
 * memory has room for; 256 threads leave room for one block on a multiprocessor:
 *
 *              FP32 sums   two levels   slots
 *   sm_75      203         249          2, 56 KiB of 64
 *   sm_80      190         236          3, 84 KiB of 163
 *   sm_90      190         234          3, 84 KiB of 227
 *   sm_120     194         232          3, 84 KiB of 99
 *
 * What to expect, by arithmetic, not measured: for 16 of k, a block has 192 mma, whose ldmatrix
 * read 28 KiB of shared memory, and whose share of the copies writes 14 KiB: 336 clocks at 128
 * bytes a clock. The tensor cores of a multiprocessor take for them, in clocks
 *
 *   T4                           768
 *   A100                         384
 *   H200                         320, if mma reach 60% of its full rate, as is often said
 *   RTX 5060 Ti, FP32 sums     1,536
 *   RTX 5060 Ti, two levels      768
 *
 * so these bind, or on Hopper shared memory does by little. There is no second block to hide a
 * block's beginning and end, perhaps 2,500 clocks: a fifth of I = 384 on an A100 (9,216 clocks),
 * a sixteenth of I = 1536. Warps of 32 x 96 would read 32 KiB; blocks of 32 rows would draw the
 * weights twice as often; blocks of 128 have no room for their sums in registers.
 */
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/layernorm_row.cuh"
#include "kernels/cuda/linear_tile.cuh"

/* ---- kernel -------------------------------------------------------------------------------- */

enum { BLOCK_ROWS = 64, BLOCK_WARPS = 8, BLOCK_THREADS = BLOCK_WARPS * WARP };

/* Rows that a warp normalizes, all at once: so their loads are under way together. */
enum { WARP_ROWS = BLOCK_ROWS / BLOCK_WARPS };

template <int O, int SLOTS>
using row_tile = linear_tile<BLOCK_ROWS, O, BLOCK_ROWS, O / BLOCK_WARPS, SLOTS, 1>;

/* A block of Turing may have 64 KiB of shared memory, of all others 99 or more. */
enum { SLOTS = 3, TURING_SLOTS = 2 };

/* y = layernorm(products + residual) for COUNT rows. Those of products, in shared memory, are
 * `pitch` halves apart. y may be residual. */
template <int O, int COUNT>
static __device__ __forceinline__ void normalize_rows(__half *y, const __half *products, int pitch,
                                                      const __half *residual,
                                                      const float *__restrict__ weight,
                                                      const float *__restrict__ bias, float eps)
{
    layernorm_row<__half, O> rows[COUNT];
#pragma unroll
    for (int r = 0; r < COUNT; r++) rows[r].load(residual + r * O);
#pragma unroll
    for (int r = 0; r < COUNT; r++) rows[r].add(products + r * pitch);
    layernorm_rows(y, rows, weight, bias, eps);
}

template <int O, enum cuda_sums SUMS>
static __global__ void __launch_bounds__(BLOCK_THREADS, 1)
linear_add_layernorm_kernel(__half *y, const __half *x, const __half *weight,
                            const __half *__restrict__ bias, const __half *residual,
                            const float *__restrict__ norm_weight,
                            const float *__restrict__ norm_bias, int N, int I, float eps)
{
    using tile = row_tile<O, DEVICE_ARCH >= 800 ? SLOTS : TURING_SLOTS>;
    constexpr int PITCH = O + 8; /* of rows in shared memory, as a warp's in linear_tile.cuh */
    static_assert(BLOCK_ROWS * PITCH <= tile::SLOTS * tile::SLOT_HALVES, "rows fit in the slots");
    SHARED_MEMORY(memory);
    __half *shared = (__half *)memory;
    const int first_row = blockIdx.x * BLOCK_ROWS, warp = threadIdx.x / WARP;
    const int first_column = warp * tile::WARP_COLUMNS;

    linear_sums<tile, SUMS> sums;
    linear_multiply<tile>(sums, shared, x, weight, N, O, I, first_row, 0);
    linear_round<tile, ACTIVATION_NONE>(shared + first_column, PITCH, sums, bias + first_column,
                                        tile::WARP_COLUMNS);
    __syncthreads();

    const int row = warp * WARP_ROWS, rows = min(WARP_ROWS, N - first_row - row);
    const __half *products = shared + row * PITCH;
    y += (size_t)(first_row + row) * O;
    residual += (size_t)(first_row + row) * O;
    if (rows == WARP_ROWS) {
        normalize_rows<O, WARP_ROWS>(y, products, PITCH, residual, norm_weight, norm_bias, eps);
        return;
    }
    for (int r = 0; r < rows; r++)
        normalize_rows<O, 1>(y + r * O, products + r * PITCH, PITCH, residual + r * O, norm_weight,
                             norm_bias, eps);
}

/* ---- launcher ------------------------------------------------------------------------------ */

enum { WIDTH = 384 }; /* the one there is: MiniLM, e5-small, bge-small */

static size_t blocks_of(size_t N)
{
    return (N + BLOCK_ROWS - 1) / BLOCK_ROWS;
}

/* A block has its multiprocessor for itself, and reads all of the weights. With less than three
 * quarters of the multiprocessors at work on average, smaller tiles gain more than add_layernorm
 * costs. */
bool cuda_linear_add_layernorm_pays(size_t N, size_t O, size_t multiprocessors)
{
    if (O != WIDTH || multiprocessors == 0) return false;
    const size_t waves = (blocks_of(N) + multiprocessors - 1) / multiprocessors;
    return 4 * blocks_of(N) >= 3 * waves * multiprocessors;
}

cudaError_t cuda_linear_add_layernorm_f16(void *y, const void *x, const void *weight,
                                          const void *bias, const void *residual,
                                          const float *norm_weight, const float *norm_bias,
                                          size_t N, size_t O, size_t I, float eps,
                                          enum cuda_sums sums, int capability,
                                          cudaStream_t stream)
{
    if (N > CUDA_MOST_TOKENS || O != WIDTH || I > CUDA_WIDEST_LAYER || I % 8 != 0)
        return cudaErrorInvalidValue;
    const size_t shared_bytes = capability >= 80 ? row_tile<WIDTH, SLOTS>::SHARED_BYTES
                                                 : row_tile<WIDTH, TURING_SLOTS>::SHARED_BYTES;
    auto kernel = sums == CUDA_SUMS_F32
                      ? linear_add_layernorm_kernel<WIDTH, CUDA_SUMS_F32>
                      : linear_add_layernorm_kernel<WIDTH, CUDA_SUMS_TWO_LEVEL>;
    return launch(kernel, dim3((unsigned)blocks_of(N)), dim3(BLOCK_THREADS),
                  shared_bytes, stream, (__half *)y, (const __half *)x, (const __half *)weight,
                  (const __half *)bias, (const __half *)residual, norm_weight, norm_bias, (int)N,
                  (int)I, eps);
}
