/* linear_bf16.c - y = activation(x @ w^T + bias) in BF16
 *
 *   x (N, I), w (O, I), y (N, O) BF16   bias (O), sums, activation FP32
 *   floor: 2 * N * O * I FLOP, or reading w once (2 * O * I bytes) when N is small
 *
 * w is packed once, at load, into panels of PANEL outputs: the PANEL words of inputs 0 and 1, then
 * those of inputs 2 and 3, ... (the last panel, and the last pair of an odd I, are padded with
 * zeros). A panel (24 KiB for I = 384) stays in L1 and L2 while all rows of x stream past. Tiles
 * are activated and rounded in registers.
 */
#include "tile_bf16.h"
#include "vector_math_bf16.h"
#include "kernels/cpu/kernels_cpu.h"

static size_t panel_words(size_t I)
{
    return (I + 1) / 2 * PANEL;
}

size_t KERNEL(linear_weight_bytes)(size_t O, size_t I)
{
    return round_up(O, PANEL) / PANEL * panel_words(I) * sizeof(uint32_t);
}

size_t KERNEL(linear_bias_size)(size_t O)
{
    return round_up(O, PANEL);
}

size_t KERNEL(linear_scratch_bytes)(size_t I)
{
    (void)I;
    return 0;
}

/* Returns the first n floats at p, at most 32, as 16 pairs padded with zeros. */
static words pairs_of(const float *p, size_t n)
{
    if (n >= WORDS_ELEMENTS) return words_from(vec_load(p), vec_load(p + LANES));
    if (n < LANES) return words_from(vec_load_first(p, n), vec_set(0));
    return words_from(vec_load(p), vec_load_first(p + LANES, n - LANES));
}

/* Packs LANES columns of a panel: `rows` of them from w, the others zeros. */
static void pack_columns(uint32_t *columns, const float *w, size_t rows, size_t I)
{
    for (size_t i = 0; i < I; i += WORDS_ELEMENTS) {
        words block[LANES];
        for (size_t r = 0; r < LANES; r++)
            block[r] = r < rows ? pairs_of(w + r * I + i, I - i) : words_zero();
        words_transpose(block);
        for (size_t p = 0; p < LANES && i + 2 * p < I; p++)
            words_store(columns + (i / 2 + p) * PANEL, block[p]);
    }
}

void KERNEL(linear_pack)(void *packed, const float *w, size_t O, size_t I)
{
    for (size_t first = 0; first < round_up(O, PANEL); first += LANES) {
        uint32_t *panel = (uint32_t *)packed + first / PANEL * panel_words(I);
        size_t rows = first >= O ? 0 : O - first < LANES ? O - first : LANES;
        pack_columns(panel + first % PANEL, w + (rows > 0 ? first * I : 0), rows, I);
    }
}

/* Computes the panel's PANEL columns of x @ w^T + bias for `rows` rows, and prefetches the next
 * panel if is_last. */
INLINE void sum_tile(size_t rows, vec sum[TILE_ROWS][MOST_VECTORS], const element *x,
                     const uint32_t *panel, const float *bias, size_t I, bool is_last)
{
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t j = 0; j < TILE_VECTORS; j++)
            sum[r][j] = bias != NULL ? vec_load(bias + j * LANES) : vec_set(0);
    }
    if (rows == TILE_ROWS && is_last)
        tile(rows, TILE_VECTORS, sum, x, I, panel, LANES, PANEL, I, panel_words(I));
    else
        tile(rows, TILE_VECTORS, sum, x, I, panel, LANES, PANEL, I, 0);
}

/* Computes the first `columns` of the panel's PANEL columns of y for `rows` rows. */
INLINE void linear_tile(size_t rows, element *y, size_t O, size_t columns, const element *x,
                        const uint32_t *panel, const float *bias, size_t I, bool is_last,
                        enum activation activation)
{
    vec sum[TILE_ROWS][MOST_VECTORS];
    sum_tile(rows, sum, x, panel, bias, I, is_last);
    if (activation == ACTIVATION_GELU) {
        UNROLL for (size_t r = 0; r < rows; r++) {
            UNROLL for (size_t j = 0; j < TILE_VECTORS; j++) sum[r][j] = vec_gelu(sum[r][j]);
        }
    }
    UNROLL for (size_t r = 0; r < rows; r++)
        words_store_elements(y + r * O, words_from(sum[r][0], sum[r][1]), columns);
}

INLINE void logits_tile(size_t rows, float *y, size_t O, size_t columns, const element *x,
                        const uint32_t *panel, const float *bias, size_t I, bool is_last)
{
    vec sum[TILE_ROWS][MOST_VECTORS];
    sum_tile(rows, sum, x, panel, bias, I, is_last);
    UNROLL for (size_t r = 0; r < rows; r++)
        store_both(y + r * O, sum[r][0], sum[r][1], columns);
}

void KERNEL(linear)(void *y_out, const void *x_in, const void *w, const float *bias, size_t N,
                    size_t O, size_t I, size_t first, size_t last, enum activation activation,
                    void *scratch)
{
    (void)scratch;
    element *y = y_out;
    const element *x = x_in;
    for (size_t o = first; o < last; o += PANEL) {
        const uint32_t *panel = (const uint32_t *)w + o / PANEL * panel_words(I);
        size_t columns = last - o < PANEL ? last - o : PANEL;
        for (size_t n = 0, rows; n < N; n += rows) {
            rows = tile_rows(N - n);
            bool is_last = is_last_of_several(n, rows, N);
            WITH_ROWS(rows, linear_tile(ROWS, y + n * O + o, O, columns, x + n * I, panel, bias + o,
                                        I, is_last, activation));
        }
    }
}

void KERNEL(logits)(float *y, const void *x_in, const void *w, const float *bias, size_t N,
                    size_t O, size_t I, size_t first, size_t last, void *scratch)
{
    (void)scratch;
    const element *x = x_in;
    for (size_t o = first; o < last; o += PANEL) {
        const uint32_t *panel = (const uint32_t *)w + o / PANEL * panel_words(I);
        size_t columns = last - o < PANEL ? last - o : PANEL;
        for (size_t n = 0, rows; n < N; n += rows) {
            rows = tile_rows(N - n);
            bool is_last = is_last_of_several(n, rows, N);
            WITH_ROWS(rows, logits_tile(ROWS, y + n * O + o, O, columns, x + n * I, panel,
                                        bias != NULL ? bias + o : NULL, I, is_last));
        }
    }
}
