/* attention.c - context = softmax(q k^T * scale + bias) v, one head of one sequence
 *
 *   q, k, v, context (T, HS), strided   FP32
 *   floor: 4 * T * T * HS FLOP
 *
 * k is first transposed into panels, the layout of the weights in `linear`, so that both products
 * use the tile of tile.h: scores (rows, T) for up to TILE_ROWS queries, softmax over each row, and
 * scores @ v, with v in place. The division by the row's sum comes last, on HS instead of T
 * numbers. Scores never leave L1 (8 x 512 floats are 16 KiB).
 */
#include "softmax_row.h"
#include "tile.h"
#include "kernels/cpu/kernels_cpu.h"

size_t KERNEL(attention_scratch_bytes)(size_t T, size_t HS)
{
    size_t columns = round_up(T, PANEL);
    size_t floats = columns * HS + TILE_ROWS * columns + TILE_ROWS * round_up(HS, PANEL);
    return floats * sizeof(float);
}

/* Transposes k into panels: panel p holds, for each of the HS components, that component of keys
 * p * PANEL to (p + 1) * PANEL - 1. Keys past T are zeros. */
static void transpose_keys(float *keys, const float *k, size_t T, size_t HS, size_t stride)
{
    for (size_t first = 0; first < T; first += PANEL) {
        size_t count = T - first < PANEL ? T - first : PANEL;
        float *panel = keys + first * HS;
        for (size_t t = 0; t < count; t++) {
            const float *row = k + (first + t) * stride;
            for (size_t i = 0; i < HS; i++) panel[i * PANEL + t] = row[i];
        }
        for (size_t t = count; t < PANEL; t++) {
            for (size_t i = 0; i < HS; i++) panel[i * PANEL + t] = 0;
        }
    }
}

static void divide_row(float *context, const float *weighted, float sum, size_t HS)
{
    vec factor = vec_set(1.0f / sum);
    size_t whole = HS - HS % LANES, rest = HS % LANES;
    for (size_t i = 0; i < whole; i += LANES)
        vec_store(context + i, vec_mul(vec_load(weighted + i), factor));
    if (rest > 0)
        vec_store_first(context + whole, vec_mul(vec_load_first(weighted + whole, rest), factor),
                        rest);
}

void KERNEL(attention)(void *context_out, const void *q_in, const void *k_in, const void *v_in,
                       const float *relative, size_t T, size_t HS, size_t stride,
                       size_t context_stride, float scale, void *scratch)
{
    float *context = context_out;
    const float *q = q_in, *k = k_in, *v = v_in;
    size_t columns = round_up(T, PANEL), width = round_up(HS, PANEL);
    float *keys = scratch;                         /* (columns / PANEL, HS, PANEL) */
    float *scores = keys + columns * HS;           /* (TILE_ROWS, columns) */
    float *weighted = scores + TILE_ROWS * columns; /* (TILE_ROWS, width) */

    transpose_keys(keys, k, T, HS, stride);
    for (size_t t = 0, rows; t < T; t += rows) {
        rows = tile_rows(T - t);
        for (size_t c = 0; c < columns; c += PANEL)
            tile(rows, scores + c, columns, q + t * stride, stride, keys + c * HS, PANEL, NULL, HS);

        float sums[TILE_ROWS];
        for (size_t r = 0; r < rows; r++)
            sums[r] = exponentials(scores + r * columns,
                                   relative != NULL ? relative - (t + r) : NULL, T, columns, scale);

        for (size_t c = 0; c < width; c += PANEL)
            tile(rows, weighted + c, width, scores, columns, v + c, stride, NULL, T);
        for (size_t r = 0; r < rows; r++)
            divide_row(context + (t + r) * context_stride, weighted + r * width, sums[r], HS);
    }
}
