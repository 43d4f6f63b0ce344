/* gelu.cuh - gelu(x) = x * Phi(x), with Phi the standard normal distribution function
 *
 * The erf form, not the tanh approximation, which is off by up to 4.7e-4. bias_gelu.cu, dense.cu
 * and the epilogue of linear.cu all use this one.
 */
#ifndef KERNELS_CUDA_GELU_CUH
#define KERNELS_CUDA_GELU_CUH

#include "kernels/cuda/ptx.cuh"

/* gelu(x), accurate enough for a result of type T. For every T, NaN stays NaN, infinity gives
 * infinity, and -infinity gives -0. */
template <typename T> static __device__ __forceinline__ float gelu(float x);

template <> __device__ __forceinline__ float gelu<float>(float x)
{
    float bounded = x < -20 ? -20 : x; /* Phi is 0 there; avoids 0 * infinity = NaN */
    return bounded * 0.5f * (1 + erff(bounded * 0.70710678f));
}

/* Phi(x) = 1 / (1 + 2^q(x)), where q(x) = log2(Phi(-x) / Phi(x)) is odd. The polynomial is the
 * minimax fit of q(x) / x in s = x^2 on 0 <= x <= 5.75, weighted so that gelu(-x) is within 0.19 of
 * half an FP16 ulp: the rounded result is the nearest FP16 number for all but 455 of the 63,488
 * finite inputs, and the next one for those. Below -5.75 the nearest result is -0; above 5.75, q
 * goes to -infinity and Phi is 1. The function takes 16 instructions, two of them on the special
 * function unit: that unit's 16 lanes per clock and the SM's 128 both allow 8 results per clock and
 * SM, while memory at 4.3 TB/s on an H200 needs 4.7. A lower degree would gain nothing. */
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
