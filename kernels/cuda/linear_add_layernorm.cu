/* linear_add_layernorm.cu - y (N, O) = layernorm(x (N, I) @ weight (O, I)^T + bias + residual)
 *
 *   work    a block computes 64 whole rows of 384 outputs, each warp 64 x 48 of them
 *           (linear_tile.cuh). They are rounded and written to shared memory, from which each warp
 *           takes 8 whole rows, adds the residual and normalizes, as a warp of add_layernorm.cu.
 *   types   sums and bias FP32, rounded to FP16 as by linear.cu; from there on FP32 with one final
 *           rounding, as in add_layernorm.cu. Avoiding the intermediate rounding would take 96 KiB
 *           of FP32 rows and hardly bring MiniLM's rows closer to the reference: 1 - cosine is
 *           2.7e-7 instead of 2.9e-7, averaged over 150 texts.
 *   order   that of these two kernels, step by step: y has the same bits as from one after the
 *           other. So a row's bits do not depend on other rows, and small batches may use the two
 *           kernels instead.
 *   floor   2 * N * O * I FLOP, and 2 * (N * I + O * I + 2 * N * O) bytes: 4 * N * O less than the
 *           two kernels, which write the products and read them again, and one launch less. N =
 *           8448 at an H200's 790 TFLOP/s and 4.3 TB/s: I = 384 is 2.49 GFLOP, 3.2 us, and 19.8 MB,
 *           4.6 us (7.6 us as two kernels); I = 1536 is 9.97 GFLOP, 12.6 us, and 40.1 MB, 9.3 us.
 *
 * Registers per thread as reported by nvcc 13.0, none spilled, and the slots of 28 KiB that fit in
 * shared memory. With 256 threads, one block fits on an SM:
 *
 *              FP32 sums   two levels   slots
 *   sm_75      203         249          2, 56 KiB of 64
 *   sm_80      190         236          3, 84 KiB of 163
 *   sm_90      190         234          3, 84 KiB of 227
 *   sm_120     194         232          3, 84 KiB of 99
 *
 * Expected, by arithmetic, not measured: for every 16 of k, a block issues 192 mma, whose ldmatrix
 * read 28 KiB of shared memory and whose share of the copies writes 14 KiB: 336 clocks at 128 bytes
 * per clock. An SM's tensor cores take, in clocks,
 *
 *   T4                           768
 *   A100                         384
 *   H200                         320, if mma reaches 60% of the full rate, as is often reported
 *   RTX 5060 Ti, FP32 sums     1,536
 *   RTX 5060 Ti, two levels      768
 *
 * so they are the bound, except on Hopper, where shared memory is, by a small margin. No second
 * block hides a block's beginning and end, perhaps 2,500 clocks: a fifth of I = 384 on an A100
 * (9,216 clocks), a sixteenth of I = 1536. The alternatives are worse: warps of 32 x 96 would read
 * 32 KiB, blocks of 32 rows would read the weights twice as often, and the sums of blocks of 128
 * rows do not fit in registers.
 */
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/layernorm_row.cuh"
#include "kernels/cuda/linear_tile.cuh"

/* ---- kernel -------------------------------------------------------------------------------- */

enum { BLOCK_ROWS = 64, BLOCK_WARPS = 8, BLOCK_THREADS = BLOCK_WARPS * WARP };

/* Rows that a warp normalizes, all at once, so that their loads are in flight together. */
enum { WARP_ROWS = BLOCK_ROWS / BLOCK_WARPS };

template <int O, int SLOTS>
using row_tile = linear_tile<BLOCK_ROWS, O, BLOCK_ROWS, O / BLOCK_WARPS, SLOTS, 1>;

/* A block may use 64 KiB of shared memory on Turing, and 99 KiB or more on all others. */
enum { SLOTS = 3, TURING_SLOTS = 2 };

/* y = layernorm(products + residual) for COUNT rows. The rows of products, in shared memory, are
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
    constexpr int PITCH = O + 8; /* of rows in shared memory; as PITCH in linear_tile.cuh */
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

enum { WIDTH = 384 }; /* the only supported O: MiniLM, e5-small, bge-small */

static size_t blocks_of(size_t N)
{
    return (N + BLOCK_ROWS - 1) / BLOCK_ROWS;
}

/* A block has an SM to itself and reads all of the weights. If less than three quarters of the SMs
 * are busy on average, the smaller tiles of cuda_linear_f16 gain more than add_layernorm costs. */
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
