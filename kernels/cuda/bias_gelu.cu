/* bias_gelu.cu - x (N, F) = gelu(x (N, F) + bias (F)), in place
 *
 *   gelu    x * Phi(x), with Phi the normal distribution: the erf form, not the tanh approximation,
 *           which is off by 4.7e-4
 *   work    a thread has 16 bytes of columns in ROWS rows, whose loads are all under way before the
 *           first result; its part of the bias is read once. Blocks of 64 threads: the feed-forward
 *           widths 1536, 3072 and 4096 are 3, 6 and 8 of them in FP16, without a rest.
 *   types   x and bias of the table's type; sum and gelu FP32
 *   floor   reads and writes a row: 4F bytes a token in FP16. N = 8448 tokens at 4.3 TB/s: 12.1 us
 *           for F = 1536, 24.1 us for F = 3072, 32.2 us for F = 4096.
 */
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/vector.cuh"

/* ---- gelu ---------------------------------------------------------------------------------- */

/* For a result of type T. All: NaN stays NaN, infinity is infinity, -infinity is -0. */
template <typename T> static __device__ __forceinline__ float gelu(float x);

template <> __device__ __forceinline__ float gelu<float>(float x)
{
    float bounded = x < -20 ? -20 : x; /* Phi is 0 there, and 0 * infinity is NaN */
    return bounded * 0.5f * (1 + erff(bounded * 0.70710678f));
}

/* Phi(x) = 1 / (1 + 2^q(x)), where q(x) = log2(Phi(-x) / Phi(x)) is odd. The polynomial is the
 * minimax fit of q(x) / x on 0 <= x <= 5.75 in s = x^2, weighted so that gelu(-x) is within 0.19 of
 * half a step of FP16: rounded, it is the nearest FP16 number for all but 455 of the 63,488 finite
 * ones, and then the next. Below -5.75 the nearest is -0. Above 5.75 q goes to -infinity, Phi is 1.
 * 16 instructions, two of them of the special function unit: its 16 lanes a clock and the
 * multiprocessor's 128 both allow 8 results a clock, where memory at 4.3 TB/s asks an H200 for 4.7.
 * So a lower degree would gain nothing. */
template <> __device__ __forceinline__ float gelu<__half>(float x)
{
    float bounded = x < -5.75f ? -5.75f : x;
    float s = bounded * bounded;
    float p = -2.3561109e-09f;
    p = p * s + 2.1309729e-07f;
    p = p * s - 7.5397284e-06f;
    p = p * s + 1.1713072e-04f;
    p = p * s + 3.1719025e-04f;
    p = p * s - 1.0534498e-01f;
    p = p * s - 2.3018546e+00f;
    return __fdividef(bounded, 1 + ptx_ex2_approx(bounded * p));
}

/* ---- kernel -------------------------------------------------------------------------------- */

enum { THREADS = 64, ROWS = 4 };

template <typename T, int WIDTH>
static __global__ void __launch_bounds__(THREADS)
bias_gelu_kernel(T *__restrict__ x, const T *__restrict__ bias, size_t N, size_t F)
{
    unsigned column = (blockIdx.y * THREADS + threadIdx.x) * WIDTH, row = blockIdx.x * ROWS;
    if (column >= F) return;
    float b[WIDTH], h[ROWS][WIDTH];
    load_vector(b, bias + column);
#pragma unroll
    for (unsigned r = 0; r < ROWS; r++) {
        if (row + r < N) load_vector(h[r], x + (row + r) * F + column);
    }
#pragma unroll
    for (unsigned r = 0; r < ROWS; r++) {
        if (row + r >= N) break;
#pragma unroll
        for (int i = 0; i < WIDTH; i++) h[r][i] = gelu<T>(h[r][i] + b[i]);
        store_vector(x + (row + r) * F + column, h[r]);
    }
}

/* ---- launchers ----------------------------------------------------------------------------- */

template <typename T, int WIDTH>
static cudaError_t launch_width(T *x, const T *bias, size_t N, size_t F, cudaStream_t stream)
{
    size_t columns = (size_t)THREADS * WIDTH;
    dim3 grid((unsigned)((N + ROWS - 1) / ROWS), (unsigned)((F + columns - 1) / columns));
    return launch(bias_gelu_kernel<T, WIDTH>, grid, dim3(THREADS), 0, stream, x, bias, N, F);
}

template <typename T>
static cudaError_t bias_gelu(void *x, const void *bias, size_t N, size_t F, cudaStream_t stream)
{
    const int WIDTH = 16 / sizeof(T); /* every row is then 16-byte aligned */
    if (F % WIDTH == 0) return launch_width<T, WIDTH>((T *)x, (const T *)bias, N, F, stream);
    return launch_width<T, 1>((T *)x, (const T *)bias, N, F, stream);
}

cudaError_t cuda_bias_gelu_f16(void *x, const void *bias, size_t N, size_t F, cudaStream_t stream)
{
    return bias_gelu<__half>(x, bias, N, F, stream);
}

cudaError_t cuda_bias_gelu_f32(void *x, const void *bias, size_t N, size_t F, cudaStream_t stream)
{
    return bias_gelu<float>(x, bias, N, F, stream);
}
