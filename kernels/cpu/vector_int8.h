/* vector_int8.h - what vector.h lacks for products in INT8: AVX-512 VNNI
 *
 * `words` holds four bytes in each of LANES lanes. The one multiply-add there is takes quads: for
 * each lane, sum + u0 * s0 + u1 * s1 + u2 * s2 + u3 * s3 with u 0 to 255 and s -128 to 127, in
 * integers of 32 bits.
 */
#ifndef KERNELS_CPU_VECTOR_INT8_H
#define KERNELS_CPU_VECTOR_INT8_H

typedef int32_t integers __attribute__((vector_size(4 * LANES)));

/* clang-format off: one line a word */
INLINE integers integers_zero(void) { return (integers)_mm512_setzero_si512(); }
INLINE integers integers_dot(integers sum, words u, words s)
{
    return (integers)_mm512_dpbusd_epi32((words)sum, u, s);
}
/* The quad at p in every lane. */
INLINE words words_quad(const uint8_t *p)
{
    int32_t quad;
    memcpy(&quad, p, sizeof quad);
    return _mm512_set1_epi32(quad);
}
INLINE words words_load_bytes(const int8_t *p) { return _mm512_loadu_si512(p); }
INLINE vec vec_from_integers(integers a) { return _mm512_cvtepi32_ps((words)a); }
/* LANES numbers to the nearest whole number, ties to even, from -128 to 127. */
INLINE void vec_store_signed(int8_t *p, vec a)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(a)));
}
/* The first element of each pair, and the second. */
INLINE vec words_first(words a) { return (vec)_mm512_slli_epi32(a, 16); }
INLINE vec words_second(words a) { return (vec)(a & _mm512_set1_epi32((int)0xFFFF0000)); }
/* vec_nearest of a * factor, rounded once. */
INLINE words vec_steps(vec a, vec factor) { return (words)vec_fma(a, factor, vec_set(TO_NEAREST)); }
/* The lowest byte of each lane: of first and second in turn. */
INLINE void words_store_bytes(uint8_t *p, words first, words second)
{
    words both = _mm512_mask_blend_epi16(0xAAAAAAAA, first, _mm512_slli_epi32(second, 16));
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi16_epi8(both));
}
/* clang-format on */

#endif
