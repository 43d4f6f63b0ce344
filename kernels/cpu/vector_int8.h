/* vector_int8.h - extends vector.h to products in INT8: AVX-512 VNNI
 *
 * `words` holds four bytes in each of LANES lanes. The only multiply-add instruction takes quads:
 * each lane computes sum + u0 * s0 + u1 * s1 + u2 * s2 + u3 * s3 in 32-bit integers, with u from 0
 * to 255 and s from -128 to 127.
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
/* Broadcasts the quad at p to every lane. */
INLINE words words_quad(const uint8_t *p)
{
    int32_t quad;
    memcpy(&quad, p, sizeof quad);
    return _mm512_set1_epi32(quad);
}
INLINE words words_load_bytes(const int8_t *p) { return _mm512_loadu_si512(p); }
INLINE vec vec_from_integers(integers a) { return _mm512_cvtepi32_ps((words)a); }
/* Rounds LANES floats to integers, ties to even, saturates to -128 to 127, and stores them. */
INLINE void vec_store_signed(int8_t *p, vec a)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(a)));
}
/* Return the first element of each pair, and the second, as floats. */
INLINE vec words_first(words a) { return (vec)_mm512_slli_epi32(a, 16); }
INLINE vec words_second(words a) { return (vec)(a & _mm512_set1_epi32((int)0xFFFF0000)); }
/* vec_nearest of a * factor, with a single rounding. */
INLINE words vec_steps(vec a, vec factor) { return (words)vec_fma(a, factor, vec_set(TO_NEAREST)); }
/* Stores the lowest byte of each lane, alternating between first and second. */
INLINE void words_store_bytes(uint8_t *p, words first, words second)
{
    words both = _mm512_mask_blend_epi16(0xAAAAAAAA, first, _mm512_slli_epi32(second, 16));
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi16_epi8(both));
}
/* clang-format on */

#endif
