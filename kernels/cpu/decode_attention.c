/* decode_attention.c - context = softmax(q k^T * scale) v, one head, a few queries of one sequence
 *
 *   q, context (Q, HS), k, v (T, HS), strided   elements; scores, softmax, sums FP32
 *   floor: reading k and v once, 2 * T * HS elements
 *
 * Two passes, over the keys and over the values, LANES rows at a time, which stay in the first cache
 * level while all queries pass by (16 x 64 floats are 4 KiB). The dot products of a query with LANES
 * keys are summed up together: 45 instructions for 16 keys, where each by itself would take 8. Rows
 * lie far apart, where no hardware foresees the next: those of the next pass are asked for early.
 */
#include "softmax_row.h"
#include "kernels/cpu/kernels_cpu.h"

#define VALUE_VECTORS 4 /* of a context that are summed up at a time: as many as 64 floats are */

/* Where the rows of a matrix of keys, or of values, are: decode_attention's arguments. */
struct cache_rows {
    const element *first;
    const int32_t *rows;
    size_t row_tokens, T, stride;
};

size_t KERNEL(decode_attention_scratch_bytes)(size_t Q, size_t T, size_t HS)
{
    return Q * (round_up(T, LANES) + round_up(HS, LANES)) * sizeof(float);
}

/* Rows t to t + LANES - 1; past the last, the last. */
static void find_rows(const element *found[LANES], const struct cache_rows *cache, size_t t)
{
    for (size_t j = 0; j < LANES; j++) {
        size_t row = t + j < cache->T ? t + j : cache->T - 1;
        size_t before = cache->rows != NULL ? (size_t)cache->rows[row] * cache->row_tokens : 0;
        found[j] = cache->first + (before + row) * cache->stride;
    }
}

static void prefetch_rows(const element *const rows[LANES], size_t HS)
{
    for (size_t j = 0; j < LANES; j++) {
        for (size_t i = 0; i < HS * sizeof(element); i += 64)
            __builtin_prefetch((const char *)rows[j] + i);
    }
}

/* scores[j] = q . keys[j] */
INLINE void score(float *scores, const element *q, const element *const keys[LANES], size_t HS)
{
    vec sum[LANES];
    size_t whole = HS - HS % LANES, rest = HS % LANES;
    UNROLL for (size_t j = 0; j < LANES; j++) sum[j] = vec_set(0);
    for (size_t i = 0; i < whole; i += LANES) {
        vec x = load_elements(q + i);
        UNROLL for (size_t j = 0; j < LANES; j++)
            sum[j] = vec_fma(x, load_elements(keys[j] + i), sum[j]);
    }
    if (rest > 0) {
        vec x = load_first_elements(q + whole, rest);
        UNROLL for (size_t j = 0; j < LANES; j++)
            sum[j] = vec_fma(x, load_first_elements(keys[j] + whole, rest), sum[j]);
    }
    vec_store(scores, vec_sums(sum));
}

/* weighted[i] += sum over j < count of weights[j] * values[j][i], from i on so many vectors. */
INLINE void add_values(size_t vectors, float *weighted, const float *weights,
                       const element *const values[LANES], size_t count, size_t i)
{
    vec sum[VALUE_VECTORS];
    UNROLL for (size_t v = 0; v < vectors; v++) sum[v] = vec_load(weighted + i + v * LANES);
    for (size_t j = 0; j < count; j++) {
        vec weight = vec_set(weights[j]);
        UNROLL for (size_t v = 0; v < vectors; v++)
            sum[v] = vec_fma(weight, load_elements(values[j] + i + v * LANES), sum[v]);
    }
    UNROLL for (size_t v = 0; v < vectors; v++) vec_store(weighted + i + v * LANES, sum[v]);
}

static void add_row_values(float *weighted, const float *weights,
                           const element *const values[LANES], size_t count, size_t HS)
{
    size_t i = 0, rest = HS % LANES;
    for (; i + VALUE_VECTORS * LANES <= HS; i += VALUE_VECTORS * LANES)
        add_values(VALUE_VECTORS, weighted, weights, values, count, i);
    for (; i + LANES <= HS; i += LANES) add_values(1, weighted, weights, values, count, i);
    if (rest == 0) return;
    vec sum = vec_load(weighted + i);
    for (size_t j = 0; j < count; j++)
        sum = vec_fma(vec_set(weights[j]), load_first_elements(values[j] + i, rest), sum);
    vec_store(weighted + i, sum);
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
    struct cache_rows keys = {k, rows, row_tokens, T, stride};
    struct cache_rows values = {v, rows, row_tokens, T, stride};
    size_t columns = round_up(T, LANES), width = round_up(HS, LANES);
    float *scores = scratch, *weighted = scores + Q * columns; /* (Q, columns), (Q, width) */
    const element *now[LANES], *next[LANES];

    find_rows(next, &keys, 0);
    for (size_t t = 0; t < columns; t += LANES) {
        memcpy(now, next, sizeof now);
        if (t + LANES < columns) find_rows(next, &keys, t + LANES);
        else find_rows(next, &values, 0);
        prefetch_rows(next, HS);
        for (size_t i = 0; i < Q; i++)
            score(scores + i * columns + t, (const element *)q + i * q_stride, now, HS);
    }

    float sums[MOST_BEAMS];
    for (size_t i = 0; i < Q; i++)
        sums[i] = exponentials(scores + i * columns, NULL, T, columns, scale);

    memset(weighted, 0, Q * width * sizeof *weighted);
    for (size_t t = 0; t < columns; t += LANES) {
        memcpy(now, next, sizeof now);
        if (t + LANES < columns) {
            find_rows(next, &values, t + LANES);
            prefetch_rows(next, HS);
        }
        for (size_t i = 0; i < Q; i++)
            add_row_values(weighted + i * width, scores + i * columns + t, now,
                           T - t < LANES ? T - t : LANES, HS);
    }
    for (size_t i = 0; i < Q; i++)
        divide_row((element *)context + i * context_stride, weighted + i * width, sums[i], HS);
}
