/* linear.c - y = activation(x @ w^T + bias)
 *
 *   x (N, I)   w (O, I)   bias (O)   y (N, O)   all FP32
 *   floor: 2 * N * O * I FLOP, or reading w once (4 * O * I bytes) when N is small
 *
 * w is packed once, at load, into panels of PANEL outputs: the PANEL weights of input 0, then those
 * of input 1, ... (the last panel is padded with zeros). A panel (48 KiB for I = 384 and AVX-512)
 * stays in L1 and L2 while all rows of x stream past, so the weights are read from memory once per
 * call. The last tile of rows prefetches the next panel.
 */
#include "tile.h"
#include "vector_math.h"
#include "kernels/cpu/kernels_cpu.h"

size_t KERNEL(linear_weight_bytes)(size_t O, size_t I)
{
    return round_up(O, PANEL) * I * sizeof(float);
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

void KERNEL(linear_pack)(void *packed, const float *w, size_t O, size_t I)
{
    for (size_t first = 0; first < O; first += PANEL) {
        size_t columns = O - first < PANEL ? O - first : PANEL;
        float *panel = (float *)packed + first * I;
        for (size_t i = 0; i < I; i++) {
            for (size_t j = 0; j < PANEL; j++)
                panel[i * PANEL + j] = j < columns ? w[(first + j) * I + i] : 0.0f;
        }
    }
}

static void gelu(float *y, size_t stride, size_t rows, size_t columns)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < columns; j += LANES)
            vec_store(y + r * stride + j, vec_gelu(vec_load(y + r * stride + j)));
    }
}

void KERNEL(linear)(void *y_out, const void *x_in, const void *w, const float *bias, size_t N,
                    size_t O, size_t I, size_t first, size_t last, enum activation activation,
                    void *scratch)
{
    (void)scratch;
    float *y = y_out;
    const float *x = x_in;
    for (size_t o = first; o < last; o += PANEL) {
        const float *panel = (const float *)w + o * I;
        size_t columns = last - o < PANEL ? last - o : PANEL;

        for (size_t n = 0, rows; n < N; n += rows) {
            rows = tile_rows(N - n);
            /* The last panel may be wider than y: its results go through a buffer. */
            float edge[TILE_ROWS * PANEL];
            bool whole = columns == PANEL;
            float *c = whole ? y + n * O + o : edge;
            size_t stride = whole ? O : PANEL;

            const float *b = bias != NULL ? bias + o : NULL;
            if (is_last_of_several(n, rows, N))
                tile_of(TILE_ROWS, TILE_VECTORS, c, stride, x + n * I, I, panel, PANEL, b, I,
                        I * PANEL);
            else
                tile(rows, c, stride, x + n * I, I, panel, PANEL, b, I);
            if (activation == ACTIVATION_GELU) gelu(c, stride, rows, PANEL);
            for (size_t r = 0; r < rows && !whole; r++)
                memcpy(y + (n + r) * O + o, edge + r * PANEL, columns * sizeof(float));
        }
    }
}

void KERNEL(logits)(float *y, const void *x, const void *w, const float *bias, size_t N, size_t O,
                    size_t I, size_t first, size_t last, void *scratch)
{
    KERNEL(linear)(y, x, w, bias, N, O, I, first, last, ACTIVATION_NONE, scratch);
}
