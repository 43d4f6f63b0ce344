/* chunk.c - cuts texts into chunks, and packs a chunk into a batch */
#include "model/chunk.h"

#include "model/instance_parts.h"

#include <string.h>

/* Below this many tokens per thread, all threads work together on one chunk: if each thread
 * computed whole texts, one would wait for the other's longer text. Sentences/s for calls of 2, 4
 * and 8 texts of 35 tokens on two threads: 543, 557 and 562; with 32 instead of 128: 474, 516 and
 * 560; with 512 about the same as with 128. */
#define SPLIT_TOKENS 128

/* Writes the rows of the position table for the tokens of one text. */
static void number_positions(int32_t *positions, const int32_t *ids, size_t T,
                             const struct transformer_config *config)
{
    int32_t padding = (int32_t)config->padding_id, next = (int32_t)config->first_position;
    for (size_t t = 0; t < T; t++)
        positions[t] = config->positions_skip_padding && ids[t] == padding ? padding : next++;
}

struct packed_batch chunk_pack(const struct embed_instance *instance, size_t first, size_t last,
                               struct worker *worker)
{
    const struct token_span *spans = instance->spans;
    const struct backend *backend = instance->model->backend;
    size_t N = 0, B = last - first, longest = 0, n = 0;
    for (size_t i = first; i < last; i++) {
        N += spans[i].count;
        if (spans[i].count > longest) longest = spans[i].count;
    }
    if (backend->round_up != NULL)
        backend->round_up(&instance->plan.limits, &N, &B, &longest);

    int32_t *ids = worker->staging.batch, *positions = ids + N, *offsets = positions + N;
    int32_t *skipped = offsets + B + 1;
    memset(skipped, 0, B * sizeof *skipped);
    for (size_t i = first; i < last; i++) {
        size_t T = spans[i].count;
        offsets[i - first] = (int32_t)n;
        skipped[i - first] = (int32_t)spans[i].skipped;
        memcpy(ids + n, spans[i].ids, T * sizeof(int32_t));
        number_positions(positions + n, spans[i].ids, T, &instance->model->encoder.config);
        n += T;
    }
    for (size_t b = last - first; b <= B; b++) offsets[b] = (int32_t)n;
    memset(ids + n, 0, (N - n) * sizeof(int32_t)); /* tokens of no sequence: any valid id */
    memset(positions + n, 0, (N - n) * sizeof(int32_t));
    return (struct packed_batch){N, B, longest, 0, ids, positions, offsets, skipped};
}

size_t chunk_cut(struct embed_instance *instance, size_t n, size_t tokens)
{
    const struct token_span *spans = instance->spans;
    const struct backend *backend = instance->model->backend;
    const struct chunk_limits *limits = &instance->plan.limits;
    size_t workers = backend->is_queue ? 1 : backend->workers;

    /* `wanted` chunks: a multiple of the workers, unless there are too few tokens to share. */
    size_t wanted = (tokens + limits->N - 1) / limits->N;
    if (tokens >= workers * SPLIT_TOKENS) wanted = (wanted + workers - 1) / workers * workers;
    size_t target = (tokens + wanted - 1) / wanted;

    size_t count = 0, in_chunk = 0;
    instance->chunks[0] = 0;
    for (size_t i = 0; i < n; i++) {
        size_t texts = i - instance->chunks[count];
        if (texts > 0 && (in_chunk + spans[i].count > limits->N ||
                          in_chunk + spans[i].count / 2 > target || texts == limits->B)) {
            instance->chunks[++count] = i;
            in_chunk = 0;
        }
        in_chunk += spans[i].count;
    }
    instance->chunks[++count] = n;
    return count;
}
