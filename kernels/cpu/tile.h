/* tile.h - the inner loop of every matrix product
 *
 *   c (rows, columns) = a (rows, K) @ b (K, columns) + bias (columns)
 *
 * with columns = vectors * LANES and all of c in registers. Each k takes `vectors` loads of b and,
 * per row, one broadcast of a and `vectors` multiply-adds. Each element of c is the bias plus its
 * products in the order of k, whatever the number of rows: this makes a row's bits independent of
 * the rows beside it.
 *
 * floor: 2 * rows * columns * K FLOP. A tile of 8 x 32 with AVX-512 does 16 multiply-adds for 2
 * loads and 8 broadcasts, so it is bound by the multiply-add units.
 */
#ifndef KERNELS_CPU_TILE_H
#define KERNELS_CPU_TILE_H

#include "vector.h"

/* Row r of a is at a + r * a_stride, row k of b at b + k * b_stride, row r of c at
 * c + r * c_stride. bias may be NULL. Prefetches the memory `ahead` floats after each load of b,
 * unless ahead is 0. rows and vectors are constants at every call, so that the loops unroll and
 * `sum` stays in registers. */
INLINE void tile_of(size_t rows, size_t vectors, float *c, size_t c_stride, const float *a,
                    size_t a_stride, const float *b, size_t b_stride, const float *bias, size_t K,
                    size_t ahead)
{
    vec sum[TILE_ROWS][TILE_VECTORS];
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t j = 0; j < vectors; j++)
            sum[r][j] = bias != NULL ? vec_load(bias + j * LANES) : vec_set(0);
    }

    for (size_t k = 0; k < K; k++) {
        vec w[TILE_VECTORS];
        UNROLL for (size_t j = 0; j < vectors && ahead > 0; j++)
            prefetch(b + k * b_stride + j * LANES + ahead);
        UNROLL for (size_t j = 0; j < vectors; j++) w[j] = vec_load(b + k * b_stride + j * LANES);
        UNROLL for (size_t r = 0; r < rows; r++) {
            vec x = vec_set(a[r * a_stride + k]);
            UNROLL for (size_t j = 0; j < vectors; j++) sum[r][j] = vec_fma(x, w[j], sum[r][j]);
        }
    }

    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t j = 0; j < vectors; j++) vec_store(c + r * c_stride + j * LANES, sum[r][j]);
    }
}

/* A tile of PANEL columns, the full width, and 1 to TILE_ROWS rows. */
INLINE void tile(size_t rows, float *c, size_t c_stride, const float *a, size_t a_stride,
                 const float *b, size_t b_stride, const float *bias, size_t K)
{
#define TILE_CASE(n)                                                                             \
    case n: tile_of(n, TILE_VECTORS, c, c_stride, a, a_stride, b, b_stride, bias, K, 0); break;
    switch (rows) {
        TILE_CASE(1)
        TILE_CASE(2)
        TILE_CASE(3)
        TILE_CASE(4)
#if TILE_ROWS > 4
        TILE_CASE(5)
        TILE_CASE(6)
#endif
#if TILE_ROWS > 6
        TILE_CASE(7)
        TILE_CASE(8)
#endif
    }
#undef TILE_CASE
}

#endif
