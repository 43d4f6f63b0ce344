/* gelu.cuh - gelu(x) = x * Phi(x), with Phi the normal distribution
 *
 * The erf form, not the tanh approximation, which is off by 4.7e-4. Whoever has a GELU to compute
 * computes this one: bias_gelu.cu, and linear.cu before it stores.
 */
#ifndef KERNELS_CUDA_GELU_CUH
#define KERNELS_CUDA_GELU_CUH

#include "kernels/cuda/ptx.cuh"

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

#endif
