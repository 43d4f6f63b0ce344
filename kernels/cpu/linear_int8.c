/* linear_int8.c - y = activation(x @ w^T + bias), the products in INT8
 *
 *   x (N, I), y (N, O) BF16   w (O, I) INT8   bias (O), scales, activation FP32
 *   floor: 2 * N * O * I operations, or reading w once (O * I bytes) when N is small
 *
 * Inputs come in groups of 64. In a group, a row of x is a number of steps above its least, and an
 * output's weights are a number of scales:
 *
 *   x = least + step * u, u = 0 to 255      w = scale * q, q = -127 to 127
 *   sum of x * w = step * scale * sum of u * q + least * scale * sum of q
 *
 * The sum of u * q is exact in 32 bits; the groups add up in FP32, in their order. Groups keep an
 * outlier from costing all other numbers their bits. The worst cosine to FP32 of 1,000 lines of
 * all-MiniLM-L6-v2 is 0.9918 with one group for all inputs, 0.9977 with groups of 128 and 0.9981 of
 * 64; with steps on both sides of 0 (u = -127 to 127), 0.9971. all-mpnet-base-v2 has outliers that
 * need the groups: one for all inputs and it is lost.
 *
 * A group costs 3 multiply-adds for each 16 dot products, on the same unit: 84% of its roof is what
 * can be had. With 6 rows a tile's sums stay in registers: 81%; with 12, which are loaded and stored
 * for each group, it was 78%.
 *
 * w is packed once, at load: panels of PANEL outputs; in a panel, for each group, the PANEL words
 * of inputs 0 to 3, those of inputs 4 to 7, ..., then the scales, then scale * sum of q. x is
 * quantized once a call, BLOCK_ROWS rows at a time, which stay in the second cache level while all
 * panels pass by.
 */
#include "vector_math_bf16.h"
#include "kernels/cpu/kernels_cpu.h"
#include "tile_rows.h"

#define GROUP      INT8_GROUP
#define SUM_ROWS   6 /* of a tile: 12 registers of sums, 12 of dots, 2 of weights, 1 of x */
#define BLOCK_ROWS (16 * SUM_ROWS)

static size_t group_count(size_t I)
{
    return (I + GROUP - 1) / GROUP;
}

static size_t panel_words(size_t I)
{
    return ((I + 3) / 4 + 2 * group_count(I)) * PANEL;
}

size_t KERNEL(linear_weight_bytes)(size_t O, size_t I)
{
    return round_up(O, PANEL) / PANEL * panel_words(I) * sizeof(uint32_t);
}

size_t KERNEL(linear_bias_size)(size_t O)
{
    return round_up(O, PANEL);
}

/* ---- weights ------------------------------------------------------------------------------- */

/* An output's n <= GROUP weights as bytes, and zeros behind them; *sum is scale * sum of q. Returns
 * the scale, which is NaN where a weight is not finite. */
static float quantize_weights(int8_t *q, float *sum, const float *w, size_t n)
{
    vec largest = vec_set(0), finite = vec_set(0), total = vec_set(0);
    vec block[GROUP / LANES];
    for (size_t i = 0; i < GROUP / LANES; i++) {
        size_t first = i * LANES;
        block[i] = n >= first + LANES ? vec_load(w + first)
                   : n > first        ? vec_load_first(w + first, n - first)
                                      : vec_set(0);
        largest = vec_max(largest, vec_abs(block[i]));
        finite = vec_fma(block[i], vec_set(0), finite);
    }
    float limit = vec_largest(largest);
    vec factor = vec_set(limit > 0 ? 127 / limit : 0);
    for (size_t i = 0; i < GROUP / LANES; i++) {
        vec whole = vec_round(vec_mul(block[i], factor));
        vec_store_signed(q + i * LANES, whole);
        total = vec_add(total, whole);
    }
    float scale = limit / 127 + vec_sum(finite);
    *sum = scale * vec_sum(total);
    return scale;
}

/* Group g of LANES columns of a panel: w has `rows` of them, the others are zeros. `words` is where
 * the group's words of these columns begin. */
static void pack_group(uint32_t *words_out, const float *w, size_t rows, size_t I, size_t first)
{
    int8_t q[LANES][GROUP] = {{0}};
    float scale[LANES] = {0}, sum[LANES] = {0};
    size_t n = I - first < GROUP ? I - first : GROUP, quads = (n + 3) / 4;
    for (size_t r = 0; r < rows; r++)
        scale[r] = quantize_weights(q[r], &sum[r], w + r * I + first, n);
    for (size_t i = 0; i < quads; i += LANES) {
        words block[LANES];
        for (size_t r = 0; r < LANES; r++) block[r] = words_load_bytes(q[r] + 4 * i);
        words_transpose(block);
        for (size_t p = 0; p < LANES && i + p < quads; p++)
            words_store(words_out + (i + p) * PANEL, block[p]);
    }
    memcpy(words_out + quads * PANEL, scale, sizeof scale);
    memcpy(words_out + (quads + 1) * PANEL, sum, sizeof sum);
}

void KERNEL(linear_pack)(void *packed, const float *w, size_t O, size_t I)
{
    for (size_t first = 0; first < round_up(O, PANEL); first += LANES) {
        uint32_t *group = (uint32_t *)packed + first / PANEL * panel_words(I) + first % PANEL;
        size_t rows = first >= O ? 0 : O - first < LANES ? O - first : LANES;
        for (size_t i = 0; i < I; i += GROUP, group += (GROUP / 4 + 2) * PANEL)
            pack_group(group, w + (rows > 0 ? first * I : 0), rows, I, i);
    }
}

/* ---- rows ---------------------------------------------------------------------------------- */

struct steps {
    float step, least;
};

/* Rows of x, quantized, group by group. */
struct block {
    struct steps *steps; /* (groups, BLOCK_ROWS) */
    uint8_t *bytes;      /* (groups, BLOCK_ROWS, GROUP) */
};

static struct block place(void *base, size_t I)
{
    struct steps *steps = base;
    return (struct block){steps, (uint8_t *)(steps + group_count(I) * BLOCK_ROWS)};
}

size_t KERNEL(linear_scratch_bytes)(size_t I)
{
    return group_count(I) * BLOCK_ROWS * (sizeof(struct steps) + GROUP);
}

/* Groups of a row whose extremes are found together. */
#define GROUPS_AT_ONCE 4

/* n numbers of a group, LANES of them at i; the others are `other`. n is a constant where it is
 * GROUP. */
INLINE vec load_group(const element *x, size_t i, size_t n, float other)
{
    if (n >= i + LANES) return load_elements(x + i);
    if (n <= i) return vec_set(other);
    return vec_first_or(load_first_elements(x + i, n - i), n - i, other);
}

/* count <= GROUPS_AT_ONCE groups of a row, of n numbers each. What is written past n meets weights
 * that are zeros. *finite stays 0 where all numbers are finite. */
INLINE void quantize_groups(uint8_t *bytes, struct steps *steps, const element *x, size_t count,
                            size_t n, vec *finite)
{
    vec ends[2 * GROUPS_AT_ONCE], zero = vec_set(0);
    for (size_t i = 0; i < 2 * GROUPS_AT_ONCE; i++) ends[i] = zero;
    for (size_t g = 0; g < count; g++) {
        vec largest = vec_set(-INFINITY), least = vec_set(INFINITY);
        UNROLL for (size_t i = 0; i < GROUP; i += LANES) {
            largest = vec_max(largest, load_group(x + g * GROUP, i, n, -INFINITY));
            least = vec_min(least, load_group(x + g * GROUP, i, n, INFINITY));
            *finite = vec_fma(load_group(x + g * GROUP, i, n, 0), zero, *finite);
        }
        ends[g] = largest;
        ends[GROUPS_AT_ONCE + g] = vec_sub(zero, least);
    }
    float end[LANES];
    vec_store(end, vec_largest_of_eight(ends));
    for (size_t g = 0; g < count; g++) {
        float least = -end[GROUPS_AT_ONCE + g], range = end[g] - least;
        vec low = vec_set(least), factor = vec_set(range > 0 ? 255 / range : 0);
        UNROLL for (size_t i = 0; i < GROUP; i += LANES)
            vec_store_unsigned(bytes + g * BLOCK_ROWS * GROUP + i,
                               vec_mul(vec_sub(load_group(x + g * GROUP, i, n, 0), low), factor));
        steps[g * BLOCK_ROWS] = (struct steps){range / 255, least};
    }
}

/* A step is NaN in each row where a number is not finite. */
static void quantize_rows(const struct block *block, const element *x, size_t rows, size_t I)
{
    size_t full = I / GROUP, rest = I % GROUP;
    for (size_t r = 0; r < rows; r++, x += I) {
        struct steps *steps = block->steps + r;
        uint8_t *bytes = block->bytes + r * GROUP;
        vec finite = vec_set(0);
        for (size_t g = 0; g < full; g += GROUPS_AT_ONCE) {
            size_t count = full - g < GROUPS_AT_ONCE ? full - g : GROUPS_AT_ONCE;
            quantize_groups(bytes + g * BLOCK_ROWS * GROUP, steps + g * BLOCK_ROWS, x + g * GROUP,
                            count, GROUP, &finite);
        }
        if (rest > 0)
            quantize_groups(bytes + full * BLOCK_ROWS * GROUP, steps + full * BLOCK_ROWS,
                            x + full * GROUP, 1, rest, &finite);
        steps->step += vec_sum(finite);
    }
}

/* ---- the product --------------------------------------------------------------------------- */

/* sum (rows, PANEL) += a group's part of the product; returns where the next group of the panel
 * begins. */
INLINE const uint32_t *group_tile(size_t rows, vec sum[SUM_ROWS][TILE_VECTORS],
                                  const uint8_t *bytes, const struct steps *steps,
                                  const uint32_t *panel, size_t quads)
{
    integers dots[SUM_ROWS][TILE_VECTORS];
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t j = 0; j < TILE_VECTORS; j++) dots[r][j] = integers_zero();
    }
    for (size_t q = 0; q < quads; q++, panel += PANEL) {
        words w[TILE_VECTORS];
        UNROLL for (size_t j = 0; j < TILE_VECTORS; j++) w[j] = words_load(panel + j * LANES);
        UNROLL for (size_t r = 0; r < rows; r++) {
            words u = words_quad(bytes + r * GROUP + 4 * q);
            UNROLL for (size_t j = 0; j < TILE_VECTORS; j++)
                dots[r][j] = integers_dot(dots[r][j], u, w[j]);
        }
    }
    const float *scales = (const float *)panel, *sums = scales + PANEL;
    UNROLL for (size_t r = 0; r < rows; r++) {
        vec step = vec_set(steps[r].step), least = vec_set(steps[r].least);
        UNROLL for (size_t j = 0; j < TILE_VECTORS; j++) {
            vec both = vec_mul(step, vec_load(scales + j * LANES));
            sum[r][j] = vec_fma(least, vec_load(sums + j * LANES), sum[r][j]);
            sum[r][j] = vec_fma(vec_from_integers(dots[r][j]), both, sum[r][j]);
        }
    }
    return panel + 2 * PANEL;
}

/* out (rows, PANEL) = the columns of x @ w^T + bias that the panel gives, for rows [first, first +
 * rows) of the block. */
INLINE void sum_tile(size_t rows, float *out, const struct block *block, size_t first,
                     const uint32_t *panel, const float *bias, size_t I)
{
    const uint8_t *bytes = block->bytes + first * GROUP;
    const struct steps *steps = block->steps + first;
    vec sum[SUM_ROWS][TILE_VECTORS];
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t j = 0; j < TILE_VECTORS; j++)
            sum[r][j] = bias != NULL ? vec_load(bias + j * LANES) : vec_set(0);
    }
    size_t i = 0;
    for (; i + GROUP <= I; i += GROUP, bytes += BLOCK_ROWS * GROUP, steps += BLOCK_ROWS)
        panel = group_tile(rows, sum, bytes, steps, panel, GROUP / 4);
    if (i < I) group_tile(rows, sum, bytes, steps, panel, (I - i + 3) / 4);
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t j = 0; j < TILE_VECTORS; j++)
            vec_store(out + r * PANEL + j * LANES, sum[r][j]);
    }
}

/* `columns` of PANEL columns, of `rows` rows, as elements. */
static void store_tile(element *y, const float *sum, size_t rows, size_t O, size_t columns,
                       enum activation activation)
{
    for (size_t r = 0; r < rows; r++) {
        vec low = vec_load(sum + r * PANEL), high = vec_load(sum + r * PANEL + LANES);
        if (activation == ACTIVATION_GELU) low = vec_gelu(low), high = vec_gelu(high);
        words_store_elements(y + r * O, words_from(low, high), columns);
    }
}

/* Where y goes: elements, activated, or logits, which are floats. */
struct output {
    element *elements; /* or NULL */
    float *floats;
    enum activation activation;
};

static void product(const struct output *out, const element *x, const void *w, const float *bias,
                    size_t N, size_t O, size_t I, size_t first, size_t last, void *scratch)
{
    struct block block = place(scratch, I);
    for (size_t begin = 0; begin < N; begin += BLOCK_ROWS) {
        size_t count = N - begin < BLOCK_ROWS ? N - begin : BLOCK_ROWS;
        quantize_rows(&block, x + begin * I, count, I);
        for (size_t o = first; o < last; o += PANEL) {
            const uint32_t *panel = (const uint32_t *)w + o / PANEL * panel_words(I);
            size_t columns = last - o < PANEL ? last - o : PANEL;
            for (size_t n = 0, rows; n < count; n += rows) {
                float sum[SUM_ROWS * PANEL];
                size_t at = (begin + n) * O + o;
                rows = equal_rows(count - n, SUM_ROWS);
                WITH_UP_TO_SIX_ROWS(rows, sum_tile(ROWS, sum, &block, n, panel,
                                                   bias != NULL ? bias + o : NULL, I));
                if (out->elements != NULL)
                    store_tile(out->elements + at, sum, rows, O, columns, out->activation);
                for (size_t r = 0; r < rows && out->elements == NULL; r++)
                    memcpy(out->floats + at + r * O, sum + r * PANEL, columns * sizeof *sum);
            }
        }
    }
}

void KERNEL(linear)(void *y, const void *x, const void *w, const float *bias, size_t N, size_t O,
                    size_t I, size_t first, size_t last, enum activation activation, void *scratch)
{
    struct output out = {.elements = y, .activation = activation};
    product(&out, x, w, bias, N, O, I, first, last, scratch);
}

void KERNEL(logits)(float *y, const void *x, const void *w, const float *bias, size_t N, size_t O,
                    size_t I, size_t first, size_t last, void *scratch)
{
    struct output out = {.floats = y};
    product(&out, x, w, bias, N, O, I, first, last, scratch);
}
