/* vector.h - the SIMD vocabulary of the CPU kernels
 *
 * The only file with intrinsics, besides vector_bf16.h and vector_int8.h. A `vec` holds LANES
 * floats; an `element` is the storage type of activations. ISA is the instruction set that this
 * copy of the kernels is compiled for, and KERNEL(name) appends it to a function's name:
 * linear_avx512, ...
 */
#ifndef KERNELS_CPU_VECTOR_H
#define KERNELS_CPU_VECTOR_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define JOIN_NOW(a, b) a##_##b
#define JOIN(a, b)     JOIN_NOW(a, b)
#define KERNEL(name)   JOIN(name, ISA)

#define INLINE static inline __attribute__((always_inline))

/* Before a loop with a constant count of at most 16: keeps arrays that it indexes in registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#if defined(ISA_avx512_vnni)
#define ISA_avx512_bf16 /* includes AVX-512 BF16 */
#endif
#if defined(ISA_avx512_bf16)
#define ISA_avx512 /* includes AVX-512 */
#endif

/* The tile of the result that stays in registers: TILE_ROWS x (TILE_VECTORS * LANES) floats. It
 * takes TILE_ROWS * TILE_VECTORS accumulators, TILE_VECTORS registers of weights and one of x. */
#if defined(ISA_avx512)
#define LANES     16
/* 16 accumulators. 12 rows are no faster, and 8% slower with 1024 inputs: rows of x whose length is
 * a multiple of 4096 bytes share the 8 ways of one L1 cache set. */
#define TILE_ROWS 8
#elif defined(ISA_avx2)
#define LANES     8
#define TILE_ROWS 6 /* 12 accumulators + 2 + 1 of 16 registers */
#else
#define LANES     4
#define TILE_ROWS 4 /* SSE2 and NEON have 16 registers or more */
#endif
#define TILE_VECTORS 2
#define PANEL        (TILE_VECTORS * LANES)

INLINE size_t round_up(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* Prefetches the cache line at p, which may lie outside of any array, into L2. A function that does
 * nothing else must be INLINE, or gcc removes the calls to it as having no effect. */
INLINE void prefetch(const void *p)
{
    __builtin_prefetch(p, 0, 2);
}

/* Returns the rows of the next tile, at most `most`, when `left` rows remain. Tiles are as equal as
 * possible, since a tile of one row is bound by multiply-add latency (9 rows: 5 + 4, not 8 + 1). */
INLINE size_t equal_rows(size_t left, size_t most)
{
    size_t tiles = (left + most - 1) / most;
    return (left + tiles - 1) / tiles;
}
INLINE size_t tile_rows(size_t left)
{
    return equal_rows(left, TILE_ROWS);
}

/* Returns whether a tile is full and the last of several with the same panel of weights. Such a
 * tile prefetches the next panel, which takes as long to load from memory as the tile to compute.
 * With 1024 inputs and 16 rows, uncached weights are then read at 13.9 instead of 12.2 GB/s. */
INLINE bool is_last_of_several(size_t n, size_t rows, size_t N)
{
    return rows == TILE_ROWS && n > 0 && n + rows == N;
}

/* clang-format off: one line a word */
#if defined(ISA_avx512)
#include <immintrin.h>

typedef __m512 vec;

INLINE vec vec_set(float x) { return _mm512_set1_ps(x); }
INLINE vec vec_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void vec_store(float *p, vec a) { _mm512_storeu_ps(p, a); }
INLINE vec vec_add(vec a, vec b) { return _mm512_add_ps(a, b); }
INLINE vec vec_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
INLINE vec vec_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
INLINE vec vec_div(vec a, vec b) { return _mm512_div_ps(a, b); }
INLINE vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); } /* a * b + c */
INLINE vec vec_max(vec a, vec b) { return _mm512_max_ps(a, b); } /* b if either is NaN */
INLINE vec vec_min(vec a, vec b) { return _mm512_min_ps(a, b); }
INLINE vec vec_abs(vec a) { return _mm512_abs_ps(a); }
INLINE vec vec_round(vec a) { return _mm512_roundscale_ps(a, 8); }
/* a * 2^n for integral n; underflows to 0 */
INLINE vec vec_scale(vec a, vec n) { return _mm512_scalef_ps(a, n); }
INLINE float vec_sum(vec a) { return _mm512_reduce_add_ps(a); }
INLINE float vec_largest(vec a) { return _mm512_reduce_max_ps(a); }
INLINE bool vec_any_greater(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0; }
/* Returns the sum of a[i] in lane i. Clobbers a. */
INLINE vec vec_sums(vec a[LANES])
{
    UNROLL for (int i = 0; i < 8; i++)
        a[i] = _mm512_add_ps(_mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]),
                             _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]));
    UNROLL for (int i = 0; i < 4; i++) {
        __m512d p = _mm512_castps_pd(a[2 * i]), q = _mm512_castps_pd(a[2 * i + 1]);
        a[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(p, q)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(p, q)));
    }
    /* In a[i], quarter n holds the sums of quarter n of four inputs, one per lane. */
    UNROLL for (int n = 2; n > 0; n--) {
        UNROLL for (int i = 0; i < n; i++)
            a[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a[2 * i], a[2 * i + 1], 0x88),
                                 _mm512_shuffle_f32x4(a[2 * i], a[2 * i + 1], 0xDD));
    }
    return a[0];
}
/* Returns the first n < LANES lanes of a, the others 0. */
INLINE vec vec_first(vec a, size_t n) { return _mm512_maskz_mov_ps((__mmask16)((1u << n) - 1), a); }
/* Load and store the first n < LANES floats. Other lanes load as 0 and access no memory. */
INLINE vec vec_load_first(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
INLINE void vec_store_first(float *p, vec a, size_t n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), a);
}

#elif defined(ISA_avx2)
#include <immintrin.h>

typedef __m256 vec;

INLINE vec vec_set(float x) { return _mm256_set1_ps(x); }
INLINE vec vec_load(const float *p) { return _mm256_loadu_ps(p); }
INLINE void vec_store(float *p, vec a) { _mm256_storeu_ps(p, a); }
INLINE vec vec_add(vec a, vec b) { return _mm256_add_ps(a, b); }
INLINE vec vec_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
INLINE vec vec_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
INLINE vec vec_div(vec a, vec b) { return _mm256_div_ps(a, b); }
INLINE vec vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vec vec_max(vec a, vec b) { return _mm256_max_ps(a, b); }
INLINE vec vec_min(vec a, vec b) { return _mm256_min_ps(a, b); }
INLINE vec vec_abs(vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
INLINE vec vec_round(vec a) { return _mm256_round_ps(a, 8); }
INLINE vec vec_scale(vec a, vec n)
{
    /* Builds 2^n from exponent bits, in two factors so that it reaches down to 2^-149. */
    __m256i whole = _mm256_cvtps_epi32(_mm256_max_ps(n, _mm256_set1_ps(-252)));
    __m256i half = _mm256_srai_epi32(whole, 1);
    __m256i rest = _mm256_sub_epi32(whole, half), bias = _mm256_set1_epi32(127);
    __m256i p = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i q = _mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(a, _mm256_castsi256_ps(p)), _mm256_castsi256_ps(q));
}
INLINE float vec_sum(vec a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
INLINE float vec_largest(vec a)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
INLINE bool vec_any_greater(vec a, vec b)
{
    return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)) != 0;
}
INLINE vec vec_sums(vec a[LANES])
{
    UNROLL for (int i = 0; i < 4; i++)
        a[i] = _mm256_add_ps(_mm256_unpacklo_ps(a[2 * i], a[2 * i + 1]),
                             _mm256_unpackhi_ps(a[2 * i], a[2 * i + 1]));
    UNROLL for (int i = 0; i < 2; i++) {
        __m256d p = _mm256_castps_pd(a[2 * i]), q = _mm256_castps_pd(a[2 * i + 1]);
        a[i] = _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(p, q)),
                             _mm256_castpd_ps(_mm256_unpackhi_pd(p, q)));
    }
    return _mm256_add_ps(_mm256_permute2f128_ps(a[0], a[1], 0x20),
                         _mm256_permute2f128_ps(a[0], a[1], 0x31));
}
INLINE __m256i first_lanes(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE vec vec_first(vec a, size_t n)
{
    return _mm256_and_ps(a, _mm256_castsi256_ps(first_lanes(n)));
}
INLINE vec vec_load_first(const float *p, size_t n)
{
    return _mm256_maskload_ps(p, first_lanes(n));
}
INLINE void vec_store_first(float *p, vec a, size_t n)
{
    _mm256_maskstore_ps(p, first_lanes(n), a);
}

#else /* scalar: the compiler's generic vectors, mapped to whatever the machine has */

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t vec_bits __attribute__((vector_size(4 * LANES)));

INLINE vec vec_set(float x) { return (vec){x, x, x, x}; }
INLINE vec vec_load(const float *p)
{
    vec a;
    memcpy(&a, p, sizeof a);
    return a;
}
INLINE void vec_store(float *p, vec a) { memcpy(p, &a, sizeof a); }
INLINE vec vec_add(vec a, vec b) { return a + b; }
INLINE vec vec_sub(vec a, vec b) { return a - b; }
INLINE vec vec_mul(vec a, vec b) { return a * b; }
INLINE vec vec_div(vec a, vec b) { return a / b; }
INLINE vec vec_fma(vec a, vec b, vec c) { return a * b + c; }
INLINE vec vec_choose(vec_bits condition, vec a, vec b)
{
    return (vec)((condition & (vec_bits)a) | (~condition & (vec_bits)b));
}
INLINE vec vec_max(vec a, vec b) { return vec_choose(a > b, a, b); }
INLINE vec vec_min(vec a, vec b) { return vec_choose(a < b, a, b); }
INLINE vec vec_abs(vec a) { return (vec)((vec_bits)a & 0x7FFFFFFF); }
INLINE vec vec_round(vec a)
{
    const vec magic = vec_set(12582912.0f); /* 1.5 * 2^23: adding it rounds off the fraction */
    return (a + magic) - magic;
}
INLINE vec vec_scale(vec a, vec n)
{
    vec_bits whole = __builtin_convertvector(vec_max(n, vec_set(-252)), vec_bits);
    vec_bits half = whole >> 1;
    return a * (vec)((half + 127) << 23) * (vec)((whole - half + 127) << 23);
}
INLINE float vec_sum(vec a) { return (a[0] + a[2]) + (a[1] + a[3]); }
INLINE float vec_largest(vec a)
{
    float p = a[0] > a[1] ? a[0] : a[1], q = a[2] > a[3] ? a[2] : a[3];
    return p > q ? p : q;
}
INLINE bool vec_any_greater(vec a, vec b)
{
    vec_bits more = a > b;
    return (more[0] | more[1] | more[2] | more[3]) != 0;
}
INLINE vec vec_sums(vec a[LANES])
{
    return (vec){vec_sum(a[0]), vec_sum(a[1]), vec_sum(a[2]), vec_sum(a[3])};
}
INLINE vec vec_first(vec a, size_t n)
{
    vec b = vec_set(0);
    memcpy(&b, &a, n * sizeof(float));
    return b;
}
INLINE vec vec_load_first(const float *p, size_t n)
{
    vec a = vec_set(0);
    memcpy(&a, p, n * sizeof(float));
    return a;
}
INLINE void vec_store_first(float *p, vec a, size_t n) { memcpy(p, &a, n * sizeof(float)); }
#endif

#if defined(ISA_avx512_bf16)
#include "vector_bf16.h"
#if defined(ISA_avx512_vnni)
#include "vector_int8.h"
#endif
#else
typedef float element;

INLINE float element_value(element x) { return x; }
INLINE vec load_elements(const element *p) { return vec_load(p); }
INLINE void store_elements(element *p, vec a) { vec_store(p, a); }
/* The first n < LANES elements, as vec_load_first and vec_store_first. */
INLINE vec load_first_elements(const element *p, size_t n) { return vec_load_first(p, n); }
INLINE void store_first_elements(element *p, vec a, size_t n) { vec_store_first(p, a, n); }
#endif
/* clang-format on */

#endif
