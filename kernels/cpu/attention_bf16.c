/* attention_bf16.c - context = softmax(q k^T * scale + bias) v in BF16, one head of one sequence
 *
 *   q, k, v, context (T, HS) BF16, strided   scores, softmax, sums FP32
 *   floor: 4 * T * T * HS FLOP
 *
 * Both products use the tile of tile_bf16.h, like linear layers, with the second factor in pairs: k
 * is transposed 16 keys at a time by shuffles in registers, and the rows of v are interleaved two
 * by two. Between the products, L1 holds the scores in FP32 and their exponentials rounded to BF16
 * for up to TILE_ROWS queries (8 x 512 of both are 24 KiB). The exponentials are summed before
 * rounding, and the division by the sum comes last, on HS instead of T numbers.
 *
 * The scores of short texts, up to 48 keys, stay in registers, and the maxima and sums of all
 * queries are reduced together: with heads of 32, 34 tokens take 1.24 instead of 1.40 us.
 */
#include "tile_bf16.h"
#include "vector_math_bf16.h"
#include "kernels/cpu/kernels_cpu.h"

#include <float.h>

#define LOG2_E 1.44269504f

/* One head's intermediate results, in the caller's scratch memory. */
struct scratch {
    size_t columns;   /* T rounded up to whole vectors */
    uint32_t *keys;   /* (columns / LANES, pairs of components, LANES) */
    uint32_t *values; /* (HS / PANEL, pairs of keys, PANEL) */
    float *scores;    /* (TILE_ROWS, columns) */
    element *weights; /* (TILE_ROWS, columns) */
};

static size_t place(struct scratch *s, void *base, size_t T, size_t HS)
{
    s->columns = round_up(T, LANES);
    size_t key_words = s->columns * ((HS + 1) / 2);
    size_t value_words = round_up(HS, PANEL) * (s->columns / 2);
    s->keys = base;
    s->values = s->keys + key_words;
    s->scores = (float *)(s->values + value_words);
    s->weights = (element *)(s->scores + TILE_ROWS * s->columns);
    return (key_words + value_words) * sizeof(uint32_t) +
           TILE_ROWS * s->columns * (sizeof(float) + sizeof(element));
}

size_t KERNEL(attention_scratch_bytes)(size_t T, size_t HS)
{
    uint32_t none;
    struct scratch s;
    return place(&s, &none, T, HS);
}

/* Transposes k into panels of LANES keys, in pairs of components. Keys past T are zeros. */
static void transpose_keys(const struct scratch *s, const element *k, size_t T, size_t HS,
                           size_t stride)
{
    size_t pairs = (HS + 1) / 2;
    for (size_t first = 0; first < s->columns; first += LANES) {
        uint32_t *panel = s->keys + first * pairs;
        for (size_t i = 0; i < HS; i += WORDS_ELEMENTS) {
            size_t n = HS - i < WORDS_ELEMENTS ? HS - i : WORDS_ELEMENTS;
            words block[LANES];
            for (size_t t = 0; t < LANES; t++)
                block[t] = first + t < T ? words_load_elements(k + (first + t) * stride + i, n)
                                         : words_zero();
            words_transpose(block);
            for (size_t p = 0; p < LANES && i + 2 * p < HS; p++)
                words_store(panel + (i / 2 + p) * LANES, block[p]);
        }
    }
}

/* Interleaves the rows of v two by two, in panels of PANEL components. An odd T is padded with a
 * row of zeros. */
static void interleave_values(const struct scratch *s, const element *v, size_t T, size_t HS,
                              size_t stride)
{
    uint32_t *out = s->values;
    for (size_t i = 0; i < HS; i += WORDS_ELEMENTS) {
        size_t n = HS - i < WORDS_ELEMENTS ? HS - i : WORDS_ELEMENTS;
        for (size_t t = 0; t < T; t += 2, out += PANEL) {
            words a = words_load_elements(v + t * stride + i, n);
            words b = t + 1 < T ? words_load_elements(v + (t + 1) * stride + i, n) : words_zero();
            words_store(out, words_pairs_low(a, b));
            words_store(out + LANES, words_pairs_high(a, b));
        }
    }
}

INLINE void scores_tile(size_t rows, size_t vectors, const struct scratch *s, size_t column,
                        const element *q, size_t stride, size_t HS)
{
    vec sum[TILE_ROWS][MOST_VECTORS];
    size_t pairs = (HS + 1) / 2;
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t j = 0; j < vectors; j++) sum[r][j] = vec_set(0);
    }
    tile(rows, vectors, sum, q, stride, s->keys + column * pairs, LANES * pairs, LANES, HS, 0);
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t j = 0; j < vectors; j++)
            vec_store(s->scores + r * s->columns + column + j * LANES, sum[r][j]);
    }
}

/* Returns x = score * scale + relative for LANES keys, or the scores if relative is NULL. */
INLINE vec biased(const float *scores, const float *relative, size_t t, vec scale)
{
    vec x = vec_load(scores + t);
    return relative != NULL ? vec_fma(x, scale, vec_load(relative + t)) : x;
}

/* weights[0..T) = e^(x - max x), and 0 up to `columns`; returns their sum. Without `relative`, x is
 * the unscaled score, and the scale, which is positive, is applied in the exponent. */
INLINE float exponentials(element *weights, const float *scores, const float *relative, size_t T,
                          size_t columns, float scale)
{
    size_t last = columns - LANES, count = T - last; /* the last vector has 1 to LANES keys */
    vec factor = vec_set(relative != NULL ? LOG2_E : scale * LOG2_E), scales = vec_set(scale);
    vec largest = vec_first_or(biased(scores, relative, last, scales), count, -FLT_MAX);
    for (size_t t = 0; t < last; t += LANES)
        largest = vec_max(largest, biased(scores, relative, t, scales));
    vec zero = vec_mul(vec_set(-vec_largest(largest)), factor);

    vec sum = vec_set(0);
    for (size_t t = 0; t < last; t += LANES) {
        vec e = vec_exp2(vec_fma(biased(scores, relative, t, scales), factor, zero));
        sum = vec_add(sum, e);
        store_elements(weights + t, e);
    }
    vec e = vec_exp2(vec_fma(biased(scores, relative, last, scales), factor, zero));
    e = vec_first_or(e, count, 0);
    store_elements(weights + last, e);
    return vec_sum(vec_add(sum, e));
}

/* Computes weights (rows, columns) of `rows` queries, and their sums. Query r's bias is at
 * relative - r. */
INLINE void long_weights(size_t rows, const struct scratch *s, float *sums, const element *q,
                         size_t stride, const float *relative, size_t T, size_t HS, float scale)
{
    size_t c = 0;
    for (; c + PANEL <= s->columns; c += PANEL)
        scores_tile(rows, TILE_VECTORS, s, c, q, stride, HS);
    if (c < s->columns) scores_tile(rows, 1, s, c, q, stride, HS);

    for (size_t r = 0; r < rows; r++) {
        const float *scores = s->scores + r * s->columns;
        element *weights = s->weights + r * s->columns;
        sums[r] = relative != NULL
                      ? exponentials(weights, scores, relative - r, T, s->columns, scale)
                      : exponentials(weights, scores, NULL, T, s->columns, scale);
    }
}

/* The same for a text of `vectors` vectors of keys, with the scores in registers. `sums` has room
 * for LANES numbers. */
INLINE void short_weights(size_t rows, size_t vectors, const struct scratch *s, float *sums,
                          const element *q, size_t stride, const float *relative, size_t T,
                          size_t HS, float scale)
{
    vec x[TILE_ROWS][MOST_VECTORS], ends[TILE_ROWS];
    size_t pairs = (HS + 1) / 2, count = T - (vectors - 1) * LANES;
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t j = 0; j < vectors; j++) x[r][j] = vec_set(0);
    }
    tile(rows, vectors, x, q, stride, s->keys, LANES * pairs, LANES, HS, 0);
    vec factor = vec_set(relative != NULL ? LOG2_E : scale * LOG2_E), scales = vec_set(scale);
    if (relative != NULL) {
        UNROLL for (size_t r = 0; r < rows; r++) {
            UNROLL for (size_t j = 0; j < vectors; j++)
                x[r][j] = vec_fma(x[r][j], scales, vec_load(relative - r + j * LANES));
        }
    }
    UNROLL for (size_t r = 0; r < TILE_ROWS; r++) {
        size_t row = r < rows ? r : 0;
        ends[r] = vec_first_or(x[row][vectors - 1], count, -FLT_MAX);
        UNROLL for (size_t j = 0; j + 1 < vectors; j++) ends[r] = vec_max(ends[r], x[row][j]);
    }
    vec zeros = vec_mul(vec_largest_of_eight(ends), vec_sub(vec_set(0), factor));
    UNROLL for (size_t r = 0; r < rows; r++) {
        vec zero = vec_lane(zeros, (int)r);
        UNROLL for (size_t j = 0; j < vectors; j++) {
            x[r][j] = vec_exp2(vec_fma(x[r][j], factor, zero));
            if (j == vectors - 1) x[r][j] = vec_first_or(x[r][j], count, 0);
            store_elements(s->weights + r * s->columns + j * LANES, x[r][j]);
        }
    }
    UNROLL for (size_t r = 0; r < TILE_ROWS; r++) {
        size_t row = r < rows ? r : 0;
        ends[r] = x[row][0];
        UNROLL for (size_t j = 1; j < vectors; j++) ends[r] = vec_add(ends[r], x[row][j]);
    }
    vec_store(sums, vec_sums_of_eight(ends));
}

/* Computes `count` <= PANEL components of the rows' context. */
INLINE void context_tile(size_t rows, const struct scratch *s, element *context, size_t stride,
                         size_t count, const uint32_t *values, const float *sums, size_t T)
{
    vec sum[TILE_ROWS][MOST_VECTORS];
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t j = 0; j < TILE_VECTORS; j++) sum[r][j] = vec_set(0);
    }
    tile(rows, TILE_VECTORS, sum, s->weights, s->columns, values, LANES, PANEL, round_up(T, 2), 0);
    UNROLL for (size_t r = 0; r < rows; r++) {
        vec factor = vec_set(1.0f / sums[r]);
        words_store_elements(context + r * stride,
                             words_from(vec_mul(sum[r][0], factor), vec_mul(sum[r][1], factor)),
                             count);
    }
}

INLINE void attention_tile(size_t rows, const struct scratch *s, element *context,
                           size_t context_stride, const element *q, size_t stride,
                           const float *relative, size_t T, size_t HS, float scale)
{
    float sums[LANES];
    switch (s->columns / LANES) {
    case 1: short_weights(rows, 1, s, sums, q, stride, relative, T, HS, scale); break;
    case 2: short_weights(rows, 2, s, sums, q, stride, relative, T, HS, scale); break;
    case 3: short_weights(rows, 3, s, sums, q, stride, relative, T, HS, scale); break;
    default: long_weights(rows, s, sums, q, stride, relative, T, HS, scale);
    }
    size_t panel = round_up(T, 2) / 2 * PANEL;
    for (size_t i = 0; i < HS; i += PANEL)
        context_tile(rows, s, context + i, context_stride, HS - i < PANEL ? HS - i : PANEL,
                     s->values + i / PANEL * panel, sums, T);
}

void KERNEL(attention)(void *context, const void *q, const void *k, const void *v,
                       const float *relative, size_t T, size_t HS, size_t stride,
                       size_t context_stride, float scale, void *memory)
{
    struct scratch s;
    place(&s, memory, T, HS);
    transpose_keys(&s, k, T, HS, stride);
    interleave_values(&s, v, T, HS, stride);
    for (size_t t = 0, rows; t < T; t += rows) {
        rows = tile_rows(T - t);
        WITH_ROWS(rows, attention_tile(ROWS, &s, (element *)context + t * context_stride,
                                       context_stride, (const element *)q + t * stride, stride,
                                       relative != NULL ? relative - t : NULL, T, HS, scale));
    }
}
