/* tile_bf16.h - the inner loop of every matrix product in BF16
 *
 *   sum (rows, columns) += a (rows, K) @ b (K, columns)   a, b BF16, sum FP32
 *
 * with columns = vectors * LANES and all of sum in registers. b is stored in pairs: for even k,
 * word [k / 2, c] holds b[k, c] and b[k + 1, c]; an odd K is padded with zeros. Each pair of k
 * takes `vectors` loads of b and, per row, one broadcast of a's pair and `vectors` dot products.
 * Each element of sum adds its pairs in the order of k, whatever the number of rows and vectors:
 * this makes a row's bits independent of the rows beside it.
 *
 * floor: 2 * rows * columns * K FLOP. A tile of 8 x 32 does 16 dot products for 2 loads and 8
 * broadcasts, so it is bound by the dot product unit (Zen 4: one per cycle, latency 6).
 */
#ifndef KERNELS_CPU_TILE_BF16_H
#define KERNELS_CPU_TILE_BF16_H

#include "tile_rows.h"
#include "vector.h"

/* With 8 rows: 24 registers of sums, 3 of b and one of a's pair, out of 32. */
#define MOST_VECTORS 3

/* Row r of a is at a + r * a_stride; vector j of row k / 2 of b, words j * LANES to (j + 1) * LANES
 * - 1, is at b + j * vector_stride + k / 2 * pair_stride. Prefetches the memory `ahead` words after
 * each load of b, unless ahead is 0. rows and vectors are constants at every call. */
INLINE void tile(size_t rows, size_t vectors, vec sum[TILE_ROWS][MOST_VECTORS], const element *a,
                 size_t a_stride, const uint32_t *b, size_t vector_stride, size_t pair_stride,
                 size_t K, size_t ahead)
{
    for (size_t k = 0; k + 1 < K; k += 2, b += pair_stride) {
        words w[MOST_VECTORS];
        UNROLL for (size_t j = 0; j < vectors && ahead > 0; j++)
            prefetch(b + j * vector_stride + ahead);
        UNROLL for (size_t j = 0; j < vectors; j++) w[j] = words_load(b + j * vector_stride);
        UNROLL for (size_t r = 0; r < rows; r++) {
            words x = words_pair(a + r * a_stride + k);
            UNROLL for (size_t j = 0; j < vectors; j++) sum[r][j] = vec_dot(sum[r][j], x, w[j]);
        }
    }
    if (K % 2 == 0) return;
    UNROLL for (size_t j = 0; j < vectors; j++) {
        words w = words_load(b + j * vector_stride);
        UNROLL for (size_t r = 0; r < rows; r++)
            sum[r][j] = vec_dot(sum[r][j], words_single(a + r * a_stride + K - 1), w);
    }
}

#endif
