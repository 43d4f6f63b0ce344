/* linear_int8.c - y = activation(x @ w^T + bias) with products in INT8
 *
 *   x (N, I), y (N, O) BF16   w (O, I) INT8   bias (O), scales, activation FP32
 *   floor: 2 * N * O * I operations, or reading w once (O * I bytes) when N is small
 *
 * Inputs are split into groups of 128, and groups into halves. Within a group, each output's
 * weights share a scale, and each row of x has one least value for the group and one step per half
 * (primes mark the second half):
 *
 *   w = scale * q, q = -127 to 127      x = least + step * u, u = 0 to 255
 *   sum of x * w = scale * (least * sum of q + step * sum of u * q + step' * sum of u' * q')
 *
 * The sums of u * q are exact in 32 bits. The rest is FP32, group by group in a fixed order, as in
 * Horner's scheme: the running sum is in units of the current group's scale, and is multiplied by
 * the ratio of the old scale to the new one when the next group begins. That takes 2 multiply-adds
 * for every 16 dot products on the same unit, which limits throughput to 89% of the roof; 84% is
 * measured.
 *
 * Groups keep an outlier from costing all other inputs their precision. Over 1,000 lines of text,
 * all-MiniLM-L6-v2's worst cosine to FP32 is 0.9983 with groups (mean 0.9994) and 0.992 without;
 * all-mpnet-base-v2 is unusable without. With steps on both sides of 0 (u = -127 to 127) the worst
 * is 0.9970; with a scale, a least value and a step for each 64 inputs, 0.9985, at 3 multiply-adds.
 *
 * w is packed once, at load, into panels of PANEL outputs. For each group, a panel has the ratios
 * of the previous group's scales to its own, the sums of q, the PANEL words of inputs 0 to 3, those
 * of inputs 4 to 7, ...; it ends with the last group's scales. x is quantized once per call,
 * BLOCK_ROWS rows at a time, which stay in L2 while all panels stream past.
 */
#include "vector_math_bf16.h"
#include "kernels/cpu/kernels_cpu.h"
#include "tile_rows.h"

#define GROUP      INT8_GROUP
#define HALF       INT8_HALF
#define SUM_ROWS   6 /* rows of a tile: 12 registers of sums, 12 of dots, 2 of weights, 1 of x */
#define BLOCK_ROWS (16 * SUM_ROWS)

static size_t group_count(size_t I)
{
    return (I + GROUP - 1) / GROUP;
}

static size_t panel_words(size_t I)
{
    return ((I + 3) / 4 + 2 * group_count(I) + 1) * PANEL;
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

/* Quantizes an output's n <= GROUP weights of a group to bytes padded with zeros, and sets *sum to
 * the sum of q. Returns the scale: NaN if a weight is not finite, else at least INT8_LEAST_SCALE,
 * so that the ratio of two scales cannot overflow. */
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
    float limit = vec_largest(largest), scale = limit / 127;
    if (scale < INT8_LEAST_SCALE) scale = INT8_LEAST_SCALE;
    for (size_t i = 0; i < GROUP / LANES; i++) {
        vec whole = vec_round(vec_mul(block[i], vec_set(1 / scale)));
        vec_store_signed(q + i * LANES, whole);
        total = vec_add(total, whole);
    }
    *sum = vec_sum(total);
    return scale + vec_sum(finite);
}

/* Packs one group of LANES columns of a panel: `rows` of them from w, the others zeros. `scale`
 * holds the previous group's scales, or zeros, and receives this group's. Returns the beginning of
 * the next group. */
static uint32_t *pack_group(uint32_t *group, const float *w, size_t rows, size_t I, size_t n,
                            float scale[LANES])
{
    int8_t q[LANES][GROUP] = {{0}};
    float ratio[LANES] = {0}, sum[LANES] = {0};
    size_t quads = (n + 3) / 4;
    for (size_t r = 0; r < rows; r++) {
        float last = scale[r];
        scale[r] = quantize_weights(q[r], &sum[r], w + r * I, n);
        ratio[r] = last / scale[r];
    }
    memcpy(group, ratio, sizeof ratio);
    memcpy(group + PANEL, sum, sizeof sum);
    group += 2 * PANEL;
    for (size_t i = 0; i < quads; i += LANES) {
        words block[LANES];
        for (size_t r = 0; r < LANES; r++) block[r] = words_load_bytes(q[r] + 4 * i);
        words_transpose(block);
        for (size_t p = 0; p < LANES && i + p < quads; p++)
            words_store(group + (i + p) * PANEL, block[p]);
    }
    return group + quads * PANEL;
}

void KERNEL(linear_pack)(void *packed, const float *w, size_t O, size_t I)
{
    for (size_t first = 0; first < round_up(O, PANEL); first += LANES) {
        uint32_t *group = (uint32_t *)packed + first / PANEL * panel_words(I) + first % PANEL;
        size_t rows = first >= O ? 0 : O - first < LANES ? O - first : LANES;
        float scale[LANES] = {0};
        for (size_t i = 0; i < I; i += GROUP)
            group = pack_group(group, w + (rows > 0 ? first * I + i : 0), rows, I,
                               I - i < GROUP ? I - i : GROUP, scale);
        memcpy(group, scale, sizeof scale);
    }
}

/* ---- rows ---------------------------------------------------------------------------------- */

/* The quantization of one group of a row. */
struct range {
    float least, step[GROUP / HALF];
};

/* Quantized rows of x, stored group by group. */
struct block {
    struct range *ranges; /* (groups, BLOCK_ROWS) */
    uint8_t *bytes;       /* (groups, BLOCK_ROWS, GROUP) */
};

static struct block place(void *base, size_t I)
{
    struct range *ranges = base;
    return (struct block){ranges, (uint8_t *)(ranges + group_count(I) * BLOCK_ROWS)};
}

size_t KERNEL(linear_scratch_bytes)(size_t I)
{
    return group_count(I) * BLOCK_ROWS * (sizeof(struct range) + GROUP);
}

/* Groups of a row whose extremes are reduced together: maxima and minima of four halves. */
#define GROUPS_AT_ONCE 2

/* Loads WORDS_ELEMENTS of a group's n numbers, from i on, padded with zeros. For full groups n is
 * the constant GROUP. */
INLINE words load_group(const element *x, size_t i, size_t n)
{
    size_t count = n < i ? 0 : n - i < WORDS_ELEMENTS ? n - i : WORDS_ELEMENTS;
    return words_load_elements(x + i, count);
}

/* Quantizes count <= GROUPS_AT_ONCE groups of a row, of n numbers each. *finite stays 0 if all
 * numbers are finite, and becomes NaN otherwise. */
INLINE void quantize_groups(uint8_t *bytes, struct range *ranges, const element *x, size_t count,
                            size_t n, vec *finite)
{
    enum { HALVES = 2 * GROUPS_AT_ONCE };
    vec ends[2 * HALVES];
    for (size_t h = 0; h < 2 * HALVES; h++) ends[h] = vec_set(0);
    for (size_t g = 0; g < count; g++) {
        UNROLL for (size_t h = 0; h < 2; h++) {
            vec most = vec_set(-INFINITY), least = vec_set(INFINITY);
            UNROLL for (size_t i = h * HALF; i < (h + 1) * HALF; i += WORDS_ELEMENTS) {
                words pairs = load_group(x + g * GROUP, i, n);
                vec even = words_first(pairs), odd = words_second(pairs);
                most = vec_max(most, vec_max(even, odd));
                least = vec_min(least, vec_min(even, odd));
                *finite = vec_dot(*finite, pairs, words_zero());
            }
            ends[2 * g + h] = most;
            ends[HALVES + 2 * g + h] = vec_sub(vec_set(0), least);
        }
    }
    float end[LANES];
    vec_store(end, vec_largest_of_eight(ends));
    for (size_t g = 0; g < count; g++) {
        const float *high = end + 2 * g, *low = high + HALVES;
        struct range *range = ranges + g * BLOCK_ROWS;
        float least = range->least = -(low[0] > low[1] ? low[0] : low[1]);
        UNROLL for (size_t h = 0; h < 2; h++) {
            float step = range->step[h] = (high[h] - least) * (1 / 255.0f);
            vec factor = vec_set(step > 0 ? 1 / step : 0);
            UNROLL for (size_t i = h * HALF; i < (h + 1) * HALF; i += WORDS_ELEMENTS) {
                words pairs = load_group(x + g * GROUP, i, n);
                words even = vec_steps(vec_sub(words_first(pairs), vec_set(least)), factor);
                words odd = vec_steps(vec_sub(words_second(pairs), vec_set(least)), factor);
                words_store_bytes(bytes + g * BLOCK_ROWS * GROUP + i, even, odd);
            }
        }
    }
}

/* Quantizes `rows` rows of x. If a number of a row is not finite, its first step becomes NaN. */
static void quantize_rows(const struct block *block, const element *x, size_t rows, size_t I)
{
    size_t full = I / GROUP, rest = I % GROUP;
    for (size_t r = 0; r < rows; r++, x += I) {
        struct range *ranges = block->ranges + r;
        uint8_t *bytes = block->bytes + r * GROUP;
        vec finite = vec_set(0);
        for (size_t g = 0; g < full; g += GROUPS_AT_ONCE) {
            size_t count = full - g < GROUPS_AT_ONCE ? full - g : GROUPS_AT_ONCE;
            quantize_groups(bytes + g * BLOCK_ROWS * GROUP, ranges + g * BLOCK_ROWS, x + g * GROUP,
                            count, GROUP, &finite);
        }
        if (rest > 0)
            quantize_groups(bytes + full * BLOCK_ROWS * GROUP, ranges + full * BLOCK_ROWS,
                            x + full * GROUP, 1, rest, &finite);
        ranges->step[0] += vec_sum(finite);
    }
}

/* ---- the product --------------------------------------------------------------------------- */

/* Adds the products of one half of a group, `quads` words of the panel, to sum (rows, PANEL).
 * Returns the end of these words. */
INLINE const uint32_t *half_tile(size_t rows, vec sum[SUM_ROWS][TILE_VECTORS],
                                 const uint8_t *bytes, const struct range *ranges, size_t half,
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
            words u = words_quad(bytes + r * GROUP + half * HALF + 4 * q);
            UNROLL for (size_t j = 0; j < TILE_VECTORS; j++)
                dots[r][j] = integers_dot(dots[r][j], u, w[j]);
        }
    }
    UNROLL for (size_t r = 0; r < rows; r++) {
        vec step = vec_set(ranges[r].step[half]);
        UNROLL for (size_t j = 0; j < TILE_VECTORS; j++)
            sum[r][j] = vec_fma(step, vec_from_integers(dots[r][j]), sum[r][j]);
    }
    return panel;
}

/* Converts sum (rows, PANEL) from units of the previous group's scales to this group's, and adds
 * this group's part. Returns the beginning of the panel's next group. */
INLINE const uint32_t *group_tile(size_t rows, vec sum[SUM_ROWS][TILE_VECTORS],
                                  const uint8_t *bytes, const struct range *ranges,
                                  const uint32_t *panel, size_t n)
{
    const float *ratios = (const float *)panel, *sums = ratios + PANEL;
    UNROLL for (size_t r = 0; r < rows; r++) {
        vec least = vec_set(ranges[r].least);
        UNROLL for (size_t j = 0; j < TILE_VECTORS; j++) {
            vec more = vec_mul(least, vec_load(sums + j * LANES));
            sum[r][j] = vec_fma(sum[r][j], vec_load(ratios + j * LANES), more);
        }
    }
    panel += 2 * PANEL;
    panel = half_tile(rows, sum, bytes, ranges, 0, panel, ((n < HALF ? n : HALF) + 3) / 4);
    if (n <= HALF) return panel;
    return half_tile(rows, sum, bytes, ranges, 1, panel, (n - HALF + 3) / 4);
}

/* out (rows, PANEL) = the panel's columns of x @ w^T + bias, for rows [first, first + rows) of the
 * block. */
INLINE void sum_tile(size_t rows, float *out, const struct block *block, size_t first,
                     const uint32_t *panel, const float *bias, size_t I)
{
    const uint8_t *bytes = block->bytes + first * GROUP;
    const struct range *ranges = block->ranges + first;
    vec sum[SUM_ROWS][TILE_VECTORS];
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t j = 0; j < TILE_VECTORS; j++) sum[r][j] = vec_set(0);
    }
    size_t i = 0;
    for (; i + GROUP <= I; i += GROUP, bytes += BLOCK_ROWS * GROUP, ranges += BLOCK_ROWS)
        panel = group_tile(rows, sum, bytes, ranges, panel, GROUP);
    if (i < I) panel = group_tile(rows, sum, bytes, ranges, panel, I - i);
    const float *scales = (const float *)panel;
    UNROLL for (size_t j = 0; j < TILE_VECTORS; j++) {
        vec scale = vec_load(scales + j * LANES);
        vec more = bias != NULL ? vec_load(bias + j * LANES) : vec_set(0);
        UNROLL for (size_t r = 0; r < rows; r++)
            vec_store(out + r * PANEL + j * LANES, vec_fma(sum[r][j], scale, more));
    }
}

/* Stores the first `columns` of PANEL columns of `rows` rows as elements, after the activation. */
static void store_tile(element *y, const float *sum, size_t rows, size_t O, size_t columns,
                       enum activation activation)
{
    for (size_t r = 0; r < rows; r++) {
        vec low = vec_load(sum + r * PANEL), high = vec_load(sum + r * PANEL + LANES);
        if (activation == ACTIVATION_GELU) low = vec_gelu(low), high = vec_gelu(high);
        words_store_elements(y + r * O, words_from(low, high), columns);
    }
}

/* The destination of y: elements, activated, or logits, which are floats. */
struct output {
    element *elements; /* NULL: floats */
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
