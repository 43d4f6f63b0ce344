/* vector_math_bf16.h - 2^x and GELU for results that are rounded to BF16
 *
 * Rounding to BF16 has a relative error of up to 2^-9 = 2e-3. The functions here are more accurate
 * than that, and take less than half the instructions of vector_math.h.
 */
#ifndef KERNELS_CPU_VECTOR_MATH_BF16_H
#define KERNELS_CPU_VECTOR_MATH_BF16_H

#include "vector.h"

/* 2^x, with a relative error below 8e-5; underflows to 0; NaN stays NaN. x = n + f with
 * |f| <= 1/2, and 2^f is a minimax fit of the relative error. */
INLINE vec vec_exp2(vec x)
{
    vec n = vec_round(x), f = vec_sub(x, n);
    vec p = vec_set(5.5171685e-2f);
    p = vec_fma(p, f, vec_set(2.4261116e-1f));
    p = vec_fma(p, f, vec_set(6.9326099e-1f));
    p = vec_fma(p, f, vec_set(9.9992807e-1f));
    return vec_scale(p, n);
}

/* x Phi(x) = max(x, 0) - W(|x|), where W(u) = u (1 - Phi(u)) is approximated by a parabola on each
 * of 32 pieces centred at 0, 1 / 5.75, 2 / 5.75, ...: each a minimax fit of the error relative to
 * the smaller of |x Phi(x)| for x = u and x = -u. The error is 2e-4 of results above 0.01, 2e-3 of
 * results above 1e-5, and 6e-7 absolute below; from 5.3 on, W is 0. NaN stays NaN. The parabolas
 * fit in six registers. With a polynomial in an exponent instead, GELU took a third longer. */
INLINE vec vec_gelu(vec x)
{
    static const float parabolas[3][2 * LANES] = {
        {
        0.0f, 0.0001290065f, 0.002567237f, 0.01255799f, 0.03618541f, 0.07755057f, 0.1365611f,
        0.2081691f, 0.2832997f, 0.3510804f, 0.401551f, 0.4279644f, 0.4280222f, 0.4038712f,
        0.3610304f, 0.3067588f, 0.2484014f, 0.1921128f, 0.142162f, 0.1008064f, 0.06858394f,
        0.04481852f, 0.02815781f, 0.01702148f, 0.009907391f, 0.005555888f, 0.003003425f,
        0.001565884f, 0.0007877147f, 0.0003854367f, 0.0001846418f, 0.0f},
        {
        0.4999912f, 0.4975964f, 0.4793713f, 0.4338077f, 0.3564471f, 0.2508675f, 0.1274763f,
        0.0006671234f, -0.1147286f, -0.2066655f, -0.267999f, -0.2971427f, -0.2973779f,
        -0.2752925f, -0.2388908f, -0.1959055f, -0.1526397f, -0.1134223f, -0.08060078f,
        -0.05489114f, -0.03588394f, -0.02254771f, -0.01363243f, -0.007937738f, -0.004454461f,
        -0.002410693f, -0.001258843f, -0.0006345807f, -0.0003089333f, -0.0001464707f,
        -6.80775e-05f, 0.0f},
        {
        -0.3984328f, -0.3873034f, -0.3529415f, -0.3008202f, -0.237389f, -0.1699493f, -0.1054019f,
        -0.04923323f, -0.004906915f, 0.02627744f, 0.04491496f, 0.05295505f, 0.05305816f,
        0.04800854f, 0.04027509f, 0.03176273f, 0.02374278f, 0.01691134f, 0.01151941f,
        0.007523423f, 0.004720303f, 0.002849266f, 0.001656554f, 0.0009285128f, 0.000502117f,
        0.000262135f, 0.000132182f, 6.44075e-05f, 3.033744e-05f, 1.393416e-05f, 6.282551e-06f,
        0.0f}};
    vec u = vec_min(vec_set(5.4f), vec_abs(x));
    words piece = vec_nearest(vec_mul(u, vec_set(5.75f)));
    vec w = vec_of_table(parabolas[2], piece);
    w = vec_fma(w, u, vec_of_table(parabolas[1], piece));
    w = vec_fma(w, u, vec_of_table(parabolas[0], piece));
    return vec_sub(vec_max(vec_set(0), x), w);
}

#endif
