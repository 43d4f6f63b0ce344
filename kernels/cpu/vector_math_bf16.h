/* vector_math_bf16.h - 2^x and GELU for results that are rounded to BF16
 *
 * Rounding to BF16 is off by up to 2^-8 = 4e-3 of the result. What is computed here is ten times
 * closer than that, in less than half the instructions of vector_math.h.
 */
#ifndef KERNELS_CPU_VECTOR_MATH_BF16_H
#define KERNELS_CPU_VECTOR_MATH_BF16_H

#include "vector.h"

/* 2^x, relative error below 8e-5; 0 where that is too small, NaN stays NaN. x = n + f with
 * |f| <= 1/2, and 2^f fitted for the least maximum relative error. */
INLINE vec vec_exp2(vec x)
{
    vec n = vec_round(x), f = vec_sub(x, n);
    vec p = vec_set(5.5171685e-2f);
    p = vec_fma(p, f, vec_set(2.4261116e-1f));
    p = vec_fma(p, f, vec_set(6.9326099e-1f));
    p = vec_fma(p, f, vec_set(9.9992807e-1f));
    return vec_scale(p, n);
}

/* x Phi(x) = max(x, 0) - |x| Q(|x|), where Q(u) = 1 - Phi(u) is 2^(a polynomial of u): fitted for
 * the least error beside that of rounding, of which it is a fifth at most. At 10, Q is below 2^-70,
 * and the polynomial still falls. NaN stays NaN. */
INLINE vec vec_gelu(vec x)
{
    vec u = vec_min(vec_set(10.0f), vec_abs(x));
    vec p = vec_set(2.7857895e-3f);
    p = vec_fma(p, u, vec_set(-3.8145475e-2f));
    p = vec_fma(p, u, vec_set(-4.7782822e-1f));
    p = vec_fma(p, u, vec_set(-1.1425542f));
    p = vec_fma(p, u, vec_set(-1.0007008f));
    return vec_sub(vec_max(vec_set(0), x), vec_mul(u, vec_exp2(p)));
}

#endif
