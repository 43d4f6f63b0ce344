/* tile_bf16.h - the inner loop of every matrix product in BF16
 *
 *   sum (rows, columns) += a (rows, K) @ b (K, columns)   a, b BF16, sum FP32
 *
 * with columns = vectors * LANES and the whole of sum in registers. b is stored in pairs: word
 * [k / 2, c] holds b[k, c] and b[k + 1, c]; behind an odd K stands a zero. For one pair of k:
 * `vectors` loads of b, and for each row one broadcast of a's pair and `vectors` dot products. Each
 * element of sum takes its pairs in the order of k, whatever the number of rows and vectors: this
 * is what makes a row's bits independent of the rows beside it.
 *
 * floor: 2 * rows * columns * K FLOP. With 8 x 32: 16 dot products for 2 loads and 8 broadcasts,
 * so that the dot product unit (one a cycle on Zen 4, done after 6) is what limits.
 */
#ifndef KERNELS_CPU_TILE_BF16_H
#define KERNELS_CPU_TILE_BF16_H

#include "tile_rows.h"
#include "vector.h"

/* With 8 rows, 24 registers of sums, 3 of b and one of a's pair. */
#define MOST_VECTORS 3

/* Row r of a stands at a + r * a_stride; words j * LANES to (j + 1) * LANES of row k / 2 of b at
 * b + j * vector_stride + k / 2 * pair_stride. What lies `ahead` words behind b is asked for
 * meanwhile; 0: nothing. rows and vectors are constants at every call. */
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
