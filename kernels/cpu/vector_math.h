/* vector_math.h - exp and GELU for a vector of floats */
#ifndef KERNELS_CPU_VECTOR_MATH_H
#define KERNELS_CPU_VECTOR_MATH_H

#include "vector.h"

/* e^x for x <= 0, with a relative error below 2e-7; 0 below -104; NaN stays NaN.
 * x = n ln2 + r with |r| <= ln2 / 2, and e^r by its Taylor series up to r^7 / 5040. ln2 is split
 * in two (Cody and Waite), so that n times the first part is exact. */
INLINE vec vec_exp(vec x)
{
    x = vec_max(vec_set(-105.0f), x); /* -infinity would give infinity - infinity below */
    vec n = vec_round(vec_mul(x, vec_set(1.44269504f)));
    vec r = vec_fma(n, vec_set(-0.693359375f), x);
    r = vec_fma(n, vec_set(2.12194440e-4f), r);
    vec p = vec_set(1.98412698e-4f);
    p = vec_fma(p, r, vec_set(1.38888889e-3f));
    p = vec_fma(p, r, vec_set(8.33333333e-3f));
    p = vec_fma(p, r, vec_set(4.16666667e-2f));
    p = vec_fma(p, r, vec_set(1.66666667e-1f));
    p = vec_fma(p, r, vec_set(0.5f));
    p = vec_fma(p, r, vec_set(1.0f));
    p = vec_fma(p, r, vec_set(1.0f));
    return vec_scale(p, n);
}

/* erf(x), with an absolute error below 5e-7: x P(x^2) / Q(x^2), a minimax fit on [0, 4] (2.1e-8 in
 * exact arithmetic). Beyond 4, 1 - erf(x) is below 1.6e-8. */
INLINE vec vec_erf(vec x)
{
    x = vec_max(vec_set(-4.0f), vec_min(vec_set(4.0f), x));
    vec t = vec_mul(x, x);
    vec p = vec_set(1.9748295e-6f);
    p = vec_fma(p, t, vec_set(2.8804256e-4f));
    p = vec_fma(p, t, vec_set(4.0036775e-3f));
    p = vec_fma(p, t, vec_set(5.346757e-2f));
    p = vec_fma(p, t, vec_set(1.9624966e-1f));
    p = vec_fma(p, t, vec_set(1.128379f));
    vec q = vec_set(3.7480917e-5f);
    q = vec_fma(q, t, vec_set(1.2163684e-3f));
    q = vec_fma(q, t, vec_set(1.5444483e-2f));
    q = vec_fma(q, t, vec_set(1.16476715e-1f));
    q = vec_fma(q, t, vec_set(5.072529e-1f));
    q = vec_fma(q, t, vec_set(1.0f));
    return vec_div(vec_mul(x, p), q);
}

/* x / 2 * (1 + erf(x / sqrt(2))); NaN stays NaN because the last step multiplies by x. */
INLINE vec vec_gelu(vec x)
{
    vec half = vec_mul(x, vec_set(0.5f));
    return vec_fma(half, vec_erf(vec_mul(x, vec_set(0.70710678f))), half);
}

#endif
