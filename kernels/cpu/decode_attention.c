/* decode_attention.c - context = softmax(q k^T * scale) v, one head, a few queries of one sequence
 *
 *   q, context (Q, HS), k, v (T, HS), strided   elements; scores, softmax, sums FP32
 *   floor: reading k and v once, 2 * T * HS elements
 *
 * Two passes, one over the keys and one over the values, LANES rows at a time. Rows are too far
 * apart for the hardware prefetchers, and often a power of two apart, so that they map to few L1
 * sets. They are therefore prefetched into L2, and all queries work on a copy of the block (16 x 64
 * floats are 4 KiB). BART-large's 16 heads, with 4 queries and 1,024 uncached keys, take 0.49 ms on
 * one Zen 4 core; without the copy, and with prefetches one block ahead, 1.04 ms. The dot products
 * of a query with LANES keys are reduced together, in 45 instructions for 16.
 */
#include "softmax_row.h"
#include "kernels/cpu/kernels_cpu.h"

#define VALUE_VECTORS 4 /* of the context accumulated at a time; 64 floats with AVX-512 */
#define ROWS_EARLY 32   /* prefetch distance; 16: 8% slower in FP32, 25% in BF16; 64: 10% in FP32 */

/* The location of keys or of values, from decode_attention's arguments. */
struct cache {
    const element *first;
    const int32_t *rows;
    size_t row_tokens, T, HS, stride;
    const struct cache *after; /* to be read next; NULL: nothing */
};

size_t KERNEL(decode_attention_scratch_bytes)(size_t Q, size_t T, size_t HS)
{
    size_t width = round_up(HS, LANES);
    return (Q * (round_up(T, LANES) + width) + LANES * width) * sizeof(float);
}

static const element *row_at(const struct cache *cache, size_t t)
{
    size_t before = cache->rows != NULL ? (size_t)cache->rows[t] * cache->row_tokens : 0;
    return cache->first + (before + t) * cache->stride;
}

/* Prefetches rows t to t + count - 1, counting on into `after` past the last row. */
INLINE void prefetch_rows(const struct cache *cache, size_t t, size_t count)
{
    for (size_t j = t; j < t + count; j++) {
        const struct cache *from = j < cache->T ? cache : cache->after;
        size_t row = j < cache->T ? j : j - cache->T;
        if (from == NULL || row >= from->T) return;
        const char *bytes = (const char *)row_at(from, row);
        for (size_t i = 0; i < from->HS * sizeof(element); i += 64) prefetch(bytes + i);
    }
}

/* Copies rows t, t + 1, ... to block (LANES, width), padded with zeros on the right and below. */
static void copy_block(float *block, size_t width, const struct cache *cache, size_t t)
{
    size_t T = cache->T, whole = cache->HS - cache->HS % LANES, rest = cache->HS % LANES;
    prefetch_rows(cache, t + ROWS_EARLY, LANES);
    for (size_t j = t; j < t + LANES && j < T; j++, block += width) {
        const element *row = row_at(cache, j);
        for (size_t i = 0; i < whole; i += LANES) vec_store(block + i, load_elements(row + i));
        if (rest > 0) vec_store(block + whole, load_first_elements(row + whole, rest));
    }
    if (t + LANES > T) memset(block, 0, (t + LANES - T) * width * sizeof *block);
}

/* scores[j] = q . keys[j] for the LANES keys of a block; q has HS elements. */
static void block_scores(float *scores, const element *q, const float *keys, size_t width,
                         size_t HS)
{
    vec sum[LANES];
    UNROLL for (size_t j = 0; j < LANES; j++) sum[j] = vec_set(0);
    for (size_t i = 0; i < width; i += LANES) {
        vec x = i + LANES <= HS ? load_elements(q + i) : load_first_elements(q + i, HS - i);
        UNROLL for (size_t j = 0; j < LANES; j++)
            sum[j] = vec_fma(x, vec_load(keys + j * width + i), sum[j]);
    }
    vec_store(scores, vec_sums(sum));
}

/* weighted[i] += sum over j of weights[j] * values[j][i] of a block, for `vectors` vectors from i
 * on. */
INLINE void add_values(size_t vectors, float *weighted, const float *weights, const float *values,
                       size_t width, size_t i)
{
    vec sum[VALUE_VECTORS];
    UNROLL for (size_t v = 0; v < vectors; v++) sum[v] = vec_load(weighted + i + v * LANES);
    for (size_t j = 0; j < LANES; j++) {
        vec weight = vec_set(weights[j]);
        UNROLL for (size_t v = 0; v < vectors; v++)
            sum[v] = vec_fma(weight, vec_load(values + j * width + i + v * LANES), sum[v]);
    }
    UNROLL for (size_t v = 0; v < vectors; v++) vec_store(weighted + i + v * LANES, sum[v]);
}

static void add_block(float *weighted, const float *weights, const float *values, size_t width)
{
    size_t i = 0;
    for (; i + VALUE_VECTORS * LANES <= width; i += VALUE_VECTORS * LANES)
        add_values(VALUE_VECTORS, weighted, weights, values, width, i);
    for (; i < width; i += LANES) add_values(1, weighted, weights, values, width, i);
}

static void divide_row(element *context, const float *weighted, float sum, size_t HS)
{
    vec factor = vec_set(1.0f / sum);
    size_t whole = HS - HS % LANES, rest = HS % LANES;
    for (size_t i = 0; i < whole; i += LANES)
        store_elements(context + i, vec_mul(vec_load(weighted + i), factor));
    if (rest > 0)
        store_first_elements(context + whole, vec_mul(vec_load(weighted + whole), factor), rest);
}

void KERNEL(decode_attention)(void *context, const void *q, const void *k, const void *v,
                              const int32_t *rows, size_t row_tokens, size_t Q, size_t T,
                              size_t HS, size_t q_stride, size_t stride, size_t context_stride,
                              float scale, void *scratch)
{
    struct cache values = {v, rows, row_tokens, T, HS, stride, NULL};
    struct cache keys = {k, rows, row_tokens, T, HS, stride, &values};
    size_t columns = round_up(T, LANES), width = round_up(HS, LANES);
    float *block = scratch;                  /* (LANES, width) */
    float *weighted = block + LANES * width; /* (Q, width) */
    float *scores = weighted + Q * width;    /* (Q, columns) */
    float sums[MOST_BEAMS];

    prefetch_rows(&keys, 0, ROWS_EARLY);
    for (size_t t = 0; t < columns; t += LANES) {
        copy_block(block, width, &keys, t);
        for (size_t i = 0; i < Q; i++)
            block_scores(scores + i * columns + t, (const element *)q + i * q_stride, block, width,
                         HS);
    }
    for (size_t i = 0; i < Q; i++)
        sums[i] = exponentials(scores + i * columns, NULL, T, columns, scale);

    memset(weighted, 0, Q * width * sizeof *weighted);
    for (size_t t = 0; t < columns; t += LANES) {
        copy_block(block, width, &values, t);
        for (size_t i = 0; i < Q; i++)
            add_block(weighted + i * width, scores + i * columns + t, block, width);
    }
    for (size_t i = 0; i < Q; i++)
        divide_row((element *)context + i * context_stride, weighted + i * width, sums[i], HS);
}
