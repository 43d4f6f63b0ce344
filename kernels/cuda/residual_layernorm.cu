/* residual_layernorm.cu - residual (N, C) = layernorm(x (N, C) + residual (N, C)), per row;
 * y (N, C) is the same, rounded to FP16
 *
 *   work    one warp per row, four rows per block; see layernorm_row.cuh
 *   types   x and residual FP32, y FP16 for the next product. The residual stream is thus never
 *           rounded to FP16, which would be the largest part of FP16's error in a decoder's logits.
 *   floor   reads 2 rows and writes 1 in FP32, and writes 1 in FP16: 14C bytes per row. 64 beams of
 *           C = 1024 are 0.9 MB, 0.2 us at 4.3 TB/s: the time is the latency of a few dependent
 *           loads.
 */
#include "kernels/cuda/layernorm_row.cuh"
#include "kernels/kernels_cuda.h"

/* ---- kernels ------------------------------------------------------------------------------- */

using residual_layernorm_kernel = void(__half *y, float *residual, const float *x,
                                       const float *weight, const float *bias, size_t N, size_t C,
                                       float eps);

template <int C>
static __global__ void __launch_bounds__(LAYERNORM_THREADS)
residual_layernorm_in_registers(__half *__restrict__ y, float *__restrict__ residual,
                                const float *__restrict__ x, const float *__restrict__ weight,
                                const float *__restrict__ bias, size_t N, size_t, float eps)
{
    const unsigned n = layernorm_row_of_warp();
    if (n >= N) return;
    const size_t first = (size_t)n * C;
    layernorm_row<__half, C> row;
    row.load(x + first);
    row.add(residual + first);
    row.normalize(y + first, weight, bias, eps);
    row.store(residual + first);
}

static __global__ void __launch_bounds__(LAYERNORM_THREADS)
residual_layernorm_any_width(__half *__restrict__ y, float *__restrict__ residual,
                             const float *__restrict__ x, const float *__restrict__ weight,
                             const float *__restrict__ bias, size_t N, size_t C, float eps)
{
    const unsigned n = layernorm_row_of_warp();
    if (n >= N) return;
    const size_t first = n * C;
    auto h = [=](size_t i) { return x[first + i] + residual[first + i]; };
    auto write = [=](size_t i, float value) {
        y[first + i] = from_float<__half>(value);
        residual[first + i] = value;
    };
    layernorm_any_width(write, h, weight, bias, C, eps);
}

/* ---- launcher ------------------------------------------------------------------------------ */

/* The widths of BART-base and BART-large stay in registers. */
static residual_layernorm_kernel *kernel_of_width(size_t C)
{
    switch (C) {
    case 768: return residual_layernorm_in_registers<768>;
    case 1024: return residual_layernorm_in_registers<1024>;
    default: return residual_layernorm_any_width;
    }
}

cudaError_t cuda_residual_layernorm_f16(void *y, float *residual, const float *x,
                                        const float *weight, const float *bias, size_t N, size_t C,
                                        float eps, cudaStream_t stream)
{
    return launch(kernel_of_width(C), layernorm_blocks(N), dim3(LAYERNORM_THREADS), 0, stream,
                  (__half *)y, residual, x, weight, bias, N, C, eps);
}
