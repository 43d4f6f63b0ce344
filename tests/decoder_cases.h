/* decoder_cases.h - slots and reference computations for the tests of the decoder's CUDA kernels
 *
 * Slots are kept on the host and, in the same layout, on the device. Entries that a document does
 * not use are 0xFF: NaN, or -1.
 */
#ifndef TESTS_DECODER_CASES_H
#define TESTS_DECODER_CASES_H

#include "cuda_test.h"

#include "kernels/beam_step.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct cuda_kernels *const tables[] = {&cuda_kernels_f16, &cuda_kernels_f32};

#define FOR_EACH_TABLE(k)                                                                         \
    const struct cuda_kernels *k;                                                                 \
    for (size_t k##_i = 0; k##_i < COUNT(tables) && (k = tables[k##_i], true); k##_i++)

static inline size_t random_below(size_t limit)
{
    return (size_t)((random_float() + 1) / 2 * (float)limit) % limit;
}

/* ---- slots --------------------------------------------------------------------------------- */

struct slots {
    struct beam_slots host, device;
    void *memory, *device_memory; /* each holds all arrays */
    size_t bytes;
};

static inline struct slots slots_make(size_t P, size_t K, size_t T)
{
    struct slots s;
    s.bytes = beam_slots_place(&s.host, NULL, P, K, T);
    s.memory = malloc(s.bytes);
    assert_non_null(s.memory);
    memset(s.memory, 0xFF, s.bytes);
    CHECK_CUDA(cudaMalloc(&s.device_memory, s.bytes));
    beam_slots_place(&s.host, s.memory, P, K, T);
    beam_slots_place(&s.device, s.device_memory, P, K, T);
    for (size_t p = 0; p < P; p++) s.host.states[p] = BEAM_EMPTY;
    return s;
}

static inline void slots_free(struct slots *s)
{
    free(s->memory);
    CHECK_CUDA(cudaFree(s->device_memory));
}

static inline void slots_upload(const struct slots *s)
{
    CHECK_CUDA(cudaMemcpy(s->device_memory, s->memory, s->bytes, cudaMemcpyHostToDevice));
}

/* Copies the slots from the device into a new block, which the caller frees, and points *as at its
 * arrays. */
static inline void *slots_download(const struct slots *s, struct beam_slots *as)
{
    void *copy = malloc(s->bytes);
    assert_non_null(copy);
    CHECK_CUDA(cudaMemcpy(copy, s->device_memory, s->bytes, cudaMemcpyDeviceToHost));
    beam_slots_place(as, copy, s->host.P, s->host.K, s->host.T);
    return copy;
}

static const struct generation_rules plain_rules = {
    .num_beams = 4, .min_length = 1, .max_length = 1000, .length_penalty = 1,
    .early_stopping = STOP_EARLY, .start_token = 2, .end_token = 3,
    .forced_first_token = NO_TOKEN, .forced_end_token = NO_TOKEN};

/* Fills the slot with K running beams of `length` tokens below V, which share part of their
 * past. */
static inline void slots_run(struct slots *s, size_t slot, size_t K, size_t length, size_t source,
                             size_t V)
{
    struct beam_slots *b = &s->host;
    int32_t *ancestors = beam_ancestors(b, slot, (int32_t)length);
    b->rules[slot] = plain_rules;
    b->rules[slot].num_beams = (int32_t)K;
    b->rules[slot].max_length = (int32_t)b->T;
    b->sources[slot] = (int32_t)source;
    b->states[slot] = BEAM_RUNNING;
    b->lengths[slot] = (int32_t)length;
    b->finished[slot] = 0;
    for (size_t k = 0; k < K; k++) {
        b->scores[slot * b->K + k] = K == 1 ? 0 : -(float)k - 1.25f;
        b->finished_scores[slot * b->K + k] = K == 1 ? -3 : BEAM_NEVER_CHOSEN;
        b->finished_lengths[slot * b->K + k] = 0;
        for (size_t t = 0; t < length; t++) {
            b->tokens[(slot * b->K + k) * b->T + t] = (int32_t)random_below(V);
            ancestors[k * b->T + t] = (int32_t)(t + 1 == length ? k : random_below(K));
        }
    }
}

/* ---- a batch ------------------------------------------------------------------------------- */

enum { MOST_DOCUMENTS = 5 };

/* Documents in slots of scrambled order; some of them do not run. */
struct batch {
    struct slots slots;
    int32_t order[MOST_DOCUMENTS];
    struct device_buffer device_order;
    struct decode_batch device;
};

static inline struct batch batch_make(size_t D, size_t K, size_t P, size_t slots_K, size_t T)
{
    struct batch batch = {.slots = slots_make(P, slots_K, T)};
    assert_in_range(D, 1, P < MOST_DOCUMENTS ? P : MOST_DOCUMENTS);
    for (size_t d = 0; d < D; d++) batch.order[d] = (int32_t)((P + 1 - d) % P); /* all different */
    batch.device_order = device_integers(batch.order, D);
    batch.device =
        (struct decode_batch){D, K, batch.device_order.data, batch.slots.device};
    return batch;
}

static inline void batch_free(struct batch *batch)
{
    device_free(batch->device_order);
    slots_free(&batch->slots);
}

static inline bool is_running(const struct batch *batch, size_t d)
{
    return batch->slots.host.states[batch->order[d]] == BEAM_RUNNING;
}

/* ---- reference computations ---------------------------------------------------------------- */

/* out (HS) = softmax(q k^T / sqrt(HS)) v over T keys, in double. key(argument, t) returns key t;
 * its value follows `apart` floats later. */
static inline void naive_attention(float *out, const float *q, size_t T, size_t HS, size_t apart,
                                   const float *(*key)(const void *argument, size_t t),
                                   const void *argument)
{
    double *weights = malloc((T + 1) * sizeof *weights), largest = -INFINITY, sum = 0;
    assert_non_null(weights);
    for (size_t t = 0; t < T; t++) {
        double dot = 0;
        for (size_t i = 0; i < HS; i++) dot += (double)q[i] * key(argument, t)[i];
        weights[t] = dot / sqrt((double)HS);
        if (weights[t] > largest) largest = weights[t];
    }
    for (size_t t = 0; t < T; t++) sum += weights[t] = exp(weights[t] - largest);
    for (size_t i = 0; i < HS; i++) {
        double value = 0;
        for (size_t t = 0; t < T; t++) value += weights[t] * key(argument, t)[apart + i];
        out[i] = (float)(value / sum);
    }
    free(weights);
}

/* One layer's cache for one head: see self_attention and cross_attention. */
struct naive_cache {
    const float *rows;        /* of the slot, from the head's first component */
    const int32_t *ancestors; /* of the beam; NULL: all in row 0 */
    size_t T, C;
};

static inline const float *naive_key(const void *argument, size_t t)
{
    const struct naive_cache *cache = argument;
    size_t row = cache->ancestors == NULL ? 0 : (size_t)cache->ancestors[t];
    return cache->rows + (row * cache->T + t) * 2 * cache->C;
}

/* Computes the context (K, C) of a document's beams. The cache (P, K, T, 2C) already holds their
 * last tokens. */
static inline void naive_self_attention(float *context, const float *qkv, const float *cache,
                                        const struct beam_slots *beams, size_t slot, size_t K,
                                        size_t NH, size_t HS)
{
    size_t C = NH * HS, length = (size_t)beams->lengths[slot];
    for (size_t k = 0; k < K; k++)
        for (size_t h = 0; h < NH; h++) {
            struct naive_cache head = {
                cache + slot * beams->K * beams->T * 2 * C + h * HS,
                beam_ancestors(beams, slot, (int32_t)length) + k * beams->T, beams->T, C};
            naive_attention(context + k * C + h * HS, qkv + k * 3 * C + h * HS, length, HS, C,
                            naive_key, &head);
        }
}

/* Appends keys and values of the beams' last tokens to the cache. */
static inline void naive_append(float *cache, const float *qkv, const struct beam_slots *beams,
                                size_t slot, size_t K, size_t C)
{
    size_t t = (size_t)beams->lengths[slot] - 1;
    for (size_t k = 0; k < K; k++)
        memcpy(cache + ((slot * beams->K + k) * beams->T + t) * 2 * C, qkv + k * 3 * C + C,
               2 * C * sizeof *cache);
}

static inline void naive_cross_attention(float *context, const float *q, const float *cache,
                                         size_t most_sources, const struct beam_slots *beams,
                                         size_t slot, size_t K, size_t NH, size_t HS)
{
    size_t C = NH * HS;
    for (size_t k = 0; k < K; k++)
        for (size_t h = 0; h < NH; h++) {
            struct naive_cache head = {cache + slot * most_sources * 2 * C + h * HS, NULL,
                                       most_sources, C};
            naive_attention(context + k * C + h * HS, q + k * C + h * HS,
                            (size_t)beams->sources[slot], HS, C, naive_key, &head);
        }
}

/* Finds one beam's candidates, best first, from its logits x (V), which become scores. */
static inline void naive_candidates(struct beam_candidate *candidates, float *x, size_t V,
                                    const struct beam_slots *beams, size_t slot, size_t k,
                                    size_t K)
{
    const struct generation_rules *rules = &beams->rules[slot];
    int32_t length = beams->lengths[slot];
    double largest = -INFINITY, sum = 0;
    bool is_finite = true;
    for (size_t i = 0; i < V; i++) {
        is_finite = is_finite && !isnan(x[i]) && x[i] < INFINITY;
        if (x[i] > largest) largest = x[i];
    }
    for (size_t i = 0; i < V; i++) sum += exp(x[i] - largest);
    for (size_t i = 0; i < V; i++)
        x[i] = beams->scores[slot * beams->K + k] +
               ((float)(x[i] - largest) - (float)log(sum));

    int32_t forced = beam_forced_token(rules, length);
    if (length < rules->min_length) x[rules->end_token] = -INFINITY;
    for (size_t t = 0, n = (size_t)rules->no_repeat_ngram_size; n > 0 && t + n <= (size_t)length;
         t++) {
        int32_t token = beam_repeated(beams, slot, length, k, t, n);
        if (token != NO_TOKEN) x[token] = -INFINITY;
    }
    for (size_t i = 0; forced != NO_TOKEN && i < V; i++)
        x[i] = i == (size_t)forced ? beams->scores[slot * beams->K + k] : -INFINITY;

    for (size_t j = 0; j < BEAM_CANDIDATES(K); j++) {
        size_t best = 0;
        for (size_t i = 1; i < V; i++)
            if (x[i] > x[best]) best = i;
        candidates[j] = (struct beam_candidate){x[best], (int32_t)best};
        if (x[best] == -INFINITY) candidates[j].token = NO_TOKEN;
        if (!is_finite) candidates[j].score = NAN;
        x[best] = -INFINITY;
    }
}

#endif
