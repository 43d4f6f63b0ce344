/* vector_bf16.h - extends vector.h to elements in BF16: AVX-512 BF16
 *
 * BF16 is the upper half of an FP32. The only multiply-add instruction takes pairs: each lane
 * computes sum + a0 * b0 + a1 * b1 in FP32. `words` holds LANES such pairs of 32 bits. Numbers
 * below 2^-126 in magnitude are treated as zero.
 */
#ifndef KERNELS_CPU_VECTOR_BF16_H
#define KERNELS_CPU_VECTOR_BF16_H

typedef uint16_t element;
typedef __m512i words;

/* clang-format off: one line a word */

/* ---- elements as floats -------------------------------------------------------------------- */

INLINE float element_value(element x)
{
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
INLINE vec vec_from_elements(__m256i x)
{
    const __m512i order = _mm512_set_epi32(0xF0000, 0xE0000, 0xD0000, 0xC0000, 0xB0000, 0xA0000,
        0x90000, 0x80000, 0x70000, 0x60000, 0x50000, 0x40000, 0x30000, 0x20000, 0x10000, 0);
    return _mm512_castsi512_ps(
        _mm512_maskz_permutexvar_epi16(0xAAAAAAAA, order, _mm512_castsi256_si512(x)));
}
INLINE vec load_elements(const element *p)
{
    return vec_from_elements(_mm256_loadu_si256((const __m256i *)p));
}
/* Rounds to nearest, ties to even; NaN stays NaN. */
INLINE void store_elements(element *p, vec a)
{
    _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh(a));
}
INLINE vec load_first_elements(const element *p, size_t n)
{
    return vec_from_elements(_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p));
}
INLINE void store_first_elements(element *p, vec a, size_t n)
{
    _mm256_mask_storeu_epi16(p, (__mmask16)((1u << n) - 1), (__m256i)_mm512_cvtneps_pbh(a));
}

/* Returns the first n <= LANES lanes of a, the others set to `other`. */
INLINE vec vec_first_or(vec a, size_t n, float other)
{
    return _mm512_mask_mov_ps(vec_set(other), (__mmask16)((1u << n) - 1), a);
}

/* 1.5 * 2^23: adding a number below 2^22 rounds it to the nearest integer, ties to even, and leaves
 * that in the lowest bits of the sum. */
#define TO_NEAREST 12582912.0f
INLINE __m512i vec_nearest(vec a) { return (__m512i)vec_add(a, vec_set(TO_NEAREST)); }
/* Looks up table (2 * LANES) by the lowest five bits of each lane. */
INLINE vec vec_of_table(const float *table, __m512i at)
{
    return _mm512_permutex2var_ps(vec_load(table), at, vec_load(table + LANES));
}

/* Defines a function that reduces all lanes of a[i] with `op` into lane i < 8, in 23 instructions
 * instead of 64. It clobbers a. */
#define EIGHT_ROWS(name, op)                                                                     \
    INLINE vec name(vec a[8])                                                                    \
    {                                                                                            \
        UNROLL for (int i = 0; i < 4; i++)                                                       \
            a[i] = op(_mm512_shuffle_f32x4(a[2 * i], a[2 * i + 1], 0x44),                        \
                      _mm512_shuffle_f32x4(a[2 * i], a[2 * i + 1], 0xEE));                       \
        UNROLL for (int i = 0; i < 2; i++)                                                       \
            a[i] = op(_mm512_shuffle_f32x4(a[2 * i], a[2 * i + 1], 0x88),                        \
                      _mm512_shuffle_f32x4(a[2 * i], a[2 * i + 1], 0xDD));                       \
        vec b = op(_mm512_shuffle_ps(a[0], a[1], 0x44), _mm512_shuffle_ps(a[0], a[1], 0xEE));    \
        b = op(b, _mm512_permute_ps(b, 0xB1));                                                   \
        const __m512i order =                                                                    \
            _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);                \
        return _mm512_permutexvar_ps(order, b);                                                  \
    }
EIGHT_ROWS(vec_sums_of_eight, _mm512_add_ps)
EIGHT_ROWS(vec_largest_of_eight, _mm512_max_ps)
/* Broadcasts lane i to every lane. */
INLINE vec vec_lane(vec a, int i) { return _mm512_permutexvar_ps(_mm512_set1_epi32(i), a); }

/* Stores the first `count` <= 2 * LANES floats of low followed by high. */
INLINE void store_both(float *p, vec low, vec high, size_t count)
{
    size_t more = count > LANES ? count - LANES : 0;
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << (count - more)) - 1), low);
    _mm512_mask_storeu_ps(p + LANES, (__mmask16)((1u << more) - 1), high);
}

/* ---- pairs --------------------------------------------------------------------------------- */

#define WORD_ELEMENTS 2
#define WORDS_ELEMENTS (WORD_ELEMENTS * LANES) /* elements of a `words` */

INLINE vec vec_dot(vec sum, words a, words b)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}
INLINE words words_zero(void) { return _mm512_setzero_si512(); }
INLINE words words_load(const uint32_t *p) { return _mm512_loadu_si512(p); }
INLINE void words_store(uint32_t *p, words a) { _mm512_storeu_si512(p, a); }
/* Broadcast to every lane: the pair at p, or (words_single) p[0] paired with 0. */
INLINE words words_pair(const element *p)
{
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return _mm512_set1_epi32(pair);
}
INLINE words words_single(const element *p) { return _mm512_set1_epi32(*p); }
/* Load and store n <= 32 consecutive elements. Others load as 0 and access no memory. */
INLINE __mmask32 first_elements(size_t n) { return (__mmask32)((1ull << n) - 1); }
INLINE words words_load_elements(const element *p, size_t n)
{
    return _mm512_maskz_loadu_epi16(first_elements(n), p);
}
INLINE void words_store_elements(element *p, words a, size_t n)
{
    _mm512_mask_storeu_epi16(p, first_elements(n), a);
}
/* Rounds the floats of low, then those of high, to elements. */
INLINE words words_from(vec low, vec high) { return (words)_mm512_cvtne2ps_pbh(high, low); }
/* Interleave into pairs (a[i], b[i]): elements i = 0 to 15, and 16 to 31. */
INLINE words words_pairs_low(words a, words b)
{
    const words order = _mm512_set_epi32(0x2F000F, 0x2E000E, 0x2D000D, 0x2C000C, 0x2B000B, 0x2A000A,
        0x290009, 0x280008, 0x270007, 0x260006, 0x250005, 0x240004, 0x230003, 0x220002, 0x210001,
        0x200000);
    return _mm512_permutex2var_epi16(a, order, b);
}
INLINE words words_pairs_high(words a, words b)
{
    const words order = _mm512_set_epi32(0x3F001F, 0x3E001E, 0x3D001D, 0x3C001C, 0x3B001B, 0x3A001A,
        0x390019, 0x380018, 0x370017, 0x360016, 0x350015, 0x340014, 0x330013, 0x320012, 0x310011,
        0x300010);
    return _mm512_permutex2var_epi16(a, order, b);
}
/* clang-format on */

/* Transposes a 16 x 16 matrix of words: swaps word j of rows[i] and word i of rows[j]. */
INLINE void words_transpose(words rows[16])
{
    words t[16], u[16];
    UNROLL for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    UNROLL for (int i = 0; i < 16; i += 4) {
        u[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        u[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        u[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        u[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    /* Quarter q of u[4 g + c] holds word 4 q + c of rows 4 g to 4 g + 3. */
    UNROLL for (int c = 0; c < 4; c++) {
        words a = _mm512_shuffle_i32x4(u[c], u[4 + c], 0x88);
        words b = _mm512_shuffle_i32x4(u[8 + c], u[12 + c], 0x88);
        words d = _mm512_shuffle_i32x4(u[c], u[4 + c], 0xDD);
        words e = _mm512_shuffle_i32x4(u[8 + c], u[12 + c], 0xDD);
        rows[c] = _mm512_shuffle_i32x4(a, b, 0x88);
        rows[8 + c] = _mm512_shuffle_i32x4(a, b, 0xDD);
        rows[4 + c] = _mm512_shuffle_i32x4(d, e, 0x88);
        rows[12 + c] = _mm512_shuffle_i32x4(d, e, 0xDD);
    }
}

#endif
