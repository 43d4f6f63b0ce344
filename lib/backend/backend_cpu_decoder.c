/* backend_cpu_decoder.c - the operations of a decoder on the CPU
 *
 * A step has few rows. Work is split by rows and heads, the logits by outputs. Slots that are not
 * running are left unchanged.
 */
#include "backend/backend_cpu.h"

#include "kernels/beam_step.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* A row of a step: beam k of the document in `slot`. */
struct beam {
    size_t slot, k;
    int32_t length; /* 0 if the slot is not running */
};

static struct beam beam_of(const struct decode_batch *batch, size_t row)
{
    size_t slot = (size_t)batch->slots[row / batch->K];
    bool is_running = batch->beams.states[slot] == BEAM_RUNNING;
    return (struct beam){slot, row % batch->K, is_running ? batch->beams.lengths[slot] : 0};
}

embed_status cpu_begin_steps(struct decode_batch *device, const struct decode_batch *host,
                             struct execution *execution)
{
    (void)execution;
    *device = *host;
    return EMBED_OK;
}

embed_status cpu_beam_start(const struct beam_slots *beams, const struct beam_document *documents,
                            size_t D, struct execution *execution)
{
    (void)execution;
    for (size_t d = 0; d < D; d++) beam_begin(beams, &documents[d]);
    return EMBED_OK;
}

struct embed_arguments {
    void *x;
    float *residual;
    const struct decode_batch *batch;
    const struct embeddings *w;
    size_t first_position, C;
    float eps;
};

static void embed_part(const struct operation *operation, size_t first, size_t last, void *scratch)
{
    const struct embed_arguments *a = operation->arguments;
    for (size_t row = first; row < last; row++) {
        struct beam beam = beam_of(a->batch, row);
        if (beam.length == 0) continue;
        size_t end = (size_t)beam.length - 1;
        int32_t id = beam_token(&a->batch->beams, beam.slot, beam.length, beam.k, end);
        int32_t position = (int32_t)(a->first_position + end);
        operation->kernels->embed_layernorm(row_of(operation, a->x, row, a->C),
                                            a->residual + row * a->C, &id, &position, a->w->word,
                                            a->w->position, a->w->type, a->w->norm.weight,
                                            a->w->norm.bias, 1, a->C, a->eps, scratch);
    }
}

embed_status cpu_embed_beams(void *x, float *residual, const struct decode_batch *batch,
                             const struct embeddings *embeddings, size_t first_position, size_t C,
                             float eps, struct execution *execution)
{
    struct embed_arguments arguments = {x, residual, batch, embeddings, first_position, C, eps};
    return cpu_compute(embed_part, &arguments, batch->D * batch->K, execution);
}

struct residual_layernorm_arguments {
    void *x;
    float *residual;
    const float *more;
    const struct layernorm *norm;
    size_t C;
    float eps;
};

static void residual_layernorm_part(const struct operation *operation, size_t first, size_t last,
                                    void *scratch)
{
    const struct residual_layernorm_arguments *a = operation->arguments;
    operation->kernels->residual_layernorm(row_of(operation, a->x, first, a->C),
                                           a->residual + first * a->C, a->more + first * a->C,
                                           a->norm->weight, a->norm->bias, last - first, a->C,
                                           a->eps, scratch);
}

embed_status cpu_residual_layernorm(void *x, float *residual, const float *more,
                                    const struct layernorm *norm, size_t N, size_t C, float eps,
                                    struct execution *execution)
{
    struct residual_layernorm_arguments arguments = {x, residual, more, norm, C, eps};
    return cpu_compute(residual_layernorm_part, &arguments, N, execution);
}

struct self_attention_arguments {
    void *context;
    const void *qkv;
    void *cache;
    const struct decode_batch *batch;
    size_t NH, HS;
};

/* Unit row * NH + h is head h of a beam. Each unit appends its own key and value, since no beam
 * reads another's last position. */
static void self_attention_part(const struct operation *operation, size_t first, size_t last,
                                void *scratch)
{
    const struct self_attention_arguments *a = operation->arguments;
    const struct beam_slots *beams = &a->batch->beams;
    size_t C = a->NH * a->HS, bytes = operation->kernels->element_bytes;
    for (size_t unit = first; unit < last; unit++) {
        size_t row = unit / a->NH, head = unit % a->NH * a->HS * bytes;
        struct beam beam = beam_of(a->batch, row);
        if (beam.length == 0) continue;
        const char *q = (const char *)row_of(operation, a->qkv, row, 3 * C) + head;
        char *keys = row_of(operation, a->cache, beam.slot * beams->K * beams->T, 2 * C);
        size_t position = beam.k * beams->T + (size_t)beam.length - 1;
        char *own = (char *)row_of(operation, keys, position, 2 * C) + head;
        memcpy(own, q + C * bytes, a->HS * bytes);
        memcpy(own + C * bytes, q + 2 * C * bytes, a->HS * bytes);
        operation->kernels->decode_attention(
            (char *)row_of(operation, a->context, row, C) + head, q, keys + head,
            keys + head + C * bytes,
            beam_ancestors(beams, beam.slot, beam.length) + beam.k * beams->T, beams->T, 1,
            (size_t)beam.length, a->HS, 3 * C, 2 * C, C, 1.0f / sqrtf((float)a->HS), scratch);
    }
}

embed_status cpu_self_attention(void *context, const void *qkv, void *cache,
                                const struct decode_batch *batch, size_t NH, size_t HS,
                                struct execution *execution)
{
    struct self_attention_arguments arguments = {context, qkv, cache, batch, NH, HS};
    return cpu_compute(self_attention_part, &arguments, batch->D * batch->K * NH, execution);
}

struct cross_attention_arguments {
    void *context;
    const void *q, *cache;
    size_t most_sources;
    const struct decode_batch *batch;
    size_t NH, HS;
};

/* Unit d * NH + h is head h of all beams of a document. */
static void cross_attention_part(const struct operation *operation, size_t first, size_t last,
                                 void *scratch)
{
    const struct cross_attention_arguments *a = operation->arguments;
    size_t C = a->NH * a->HS, K = a->batch->K, bytes = operation->kernels->element_bytes;
    for (size_t unit = first; unit < last; unit++) {
        size_t d = unit / a->NH, head = unit % a->NH * a->HS * bytes;
        struct beam beam = beam_of(a->batch, d * K);
        if (beam.length == 0) continue;
        const char *keys = row_of(operation, a->cache, beam.slot * a->most_sources, 2 * C);
        operation->kernels->decode_attention(
            (char *)row_of(operation, a->context, d * K, C) + head,
            (const char *)row_of(operation, a->q, d * K, C) + head, keys + head,
            keys + head + C * bytes, NULL, 0, K, (size_t)a->batch->beams.sources[beam.slot], a->HS,
            C, 2 * C, C, 1.0f / sqrtf((float)a->HS), scratch);
    }
}

embed_status cpu_cross_attention(void *context, const void *q, const void *cache,
                                 size_t most_sources, const struct decode_batch *batch, size_t NH,
                                 size_t HS, struct execution *execution)
{
    struct cross_attention_arguments arguments = {context, q, cache, most_sources, batch, NH, HS};
    return cpu_compute(cross_attention_part, &arguments, batch->D * NH, execution);
}

struct logits_arguments {
    float *y;
    const void *x;
    const struct linear *layer;
    size_t N;
};

static void logits_part(const struct operation *operation, size_t first, size_t last,
                        void *scratch)
{
    const struct logits_arguments *a = operation->arguments;
    size_t panel = operation->kernels->panel, O = a->layer->O;
    size_t end = last * panel < O ? last * panel : O;
    operation->kernels->logits(a->y, a->x, a->layer->weight, a->layer->bias, a->N, O, a->layer->I,
                               first * panel, end, scratch);
}

embed_status cpu_logits(float *y, const void *x, const struct linear *layer, size_t N,
                        struct execution *execution)
{
    struct logits_arguments arguments = {y, x, layer, N};
    size_t panel = execution->kernels->panel;
    return cpu_compute(logits_part, &arguments, (layer->O + panel - 1) / panel, execution);
}

/* ---- candidates ---------------------------------------------------------------------------- */

struct candidates_arguments {
    struct beam_candidate *candidates;
    float *logits;
    const struct decode_batch *batch;
    size_t V;
};

/* Sets tokens that would repeat an n-gram, and an end token before min_length, to -infinity. */
static void forbid(float *x, const struct beam_slots *beams, const struct beam *beam)
{
    const struct generation_rules *rules = &beams->rules[beam->slot];
    int32_t n = rules->no_repeat_ngram_size;
    for (int32_t t = 0; n > 0 && t + n <= beam->length; t++) {
        int32_t token =
            beam_repeated(beams, beam->slot, beam->length, beam->k, (size_t)t, (size_t)n);
        if (token != NO_TOKEN) x[token] = -INFINITY;
    }
    if (beam->length < rules->min_length) x[rules->end_token] = -INFINITY;
}

/* Writes the `count` best candidates (V if that is less) of a row of logits without a forced token,
 * and returns how many it wrote. */
static size_t best_candidates(const struct cpu_kernels *kernels, struct beam_candidate *candidates,
                              size_t count, const float *x, size_t V, float score, float largest,
                              float log_sum)
{
    float values[BEAM_CANDIDATES(MOST_BEAMS)];
    int32_t tokens[BEAM_CANDIDATES(MOST_BEAMS)];
    if (count > V) count = V;
    kernels->largest(values, tokens, count, x, V);
    for (size_t i = 0; i < count; i++) {
        float sum = score + ((values[i] - largest) - log_sum);
        size_t place = i;
        /* Different logits may give the same score; the lower token then comes first. */
        for (; place > 0 && candidates[place - 1].score == sum &&
               candidates[place - 1].token > tokens[i];
             place--)
            candidates[place] = candidates[place - 1];
        candidates[place] = (struct beam_candidate){sum, tokens[i]};
    }
    return count;
}

/* Writes `count` candidates from a row of logits x, which is overwritten. */
static void row_candidates(const struct cpu_kernels *kernels, struct beam_candidate *candidates,
                           size_t count, float *x, size_t V, const struct beam_slots *beams,
                           const struct beam *beam)
{
    float largest, log_sum, score = beams->scores[beam->slot * beams->K + beam->k];
    int32_t forced = beam_forced_token(&beams->rules[beam->slot], beam->length);
    struct beam_candidate none = {-INFINITY, NO_TOKEN};
    size_t there = 0;
    kernels->log_softmax_sums(&largest, &log_sum, x, V);
    if (isnan(log_sum)) {
        none = (struct beam_candidate){NAN, 0};
    } else if (forced != NO_TOKEN) { /* with probability 1 */
        candidates[there++] = (struct beam_candidate){score, forced};
    } else {
        forbid(x, beams, beam);
        there = best_candidates(kernels, candidates, count, x, V, score, largest, log_sum);
    }
    for (size_t i = there; i < count; i++) candidates[i] = none;
}

static void candidates_part(const struct operation *operation, size_t first, size_t last,
                            void *scratch)
{
    (void)scratch;
    const struct candidates_arguments *a = operation->arguments;
    size_t count = BEAM_CANDIDATES(a->batch->K);
    for (size_t row = first; row < last; row++) {
        struct beam beam = beam_of(a->batch, row);
        if (beam.length == 0) continue;
        row_candidates(operation->kernels, a->candidates + row * count, count,
                       a->logits + row * a->V, a->V, &a->batch->beams, &beam);
    }
}

embed_status cpu_beam_candidates(struct beam_candidate *candidates, float *logits,
                                 const struct decode_batch *batch, size_t V,
                                 struct execution *execution)
{
    struct candidates_arguments arguments = {candidates, logits, batch, V};
    return cpu_compute(candidates_part, &arguments, batch->D * batch->K, execution);
}

/* ---- the step ------------------------------------------------------------------------------ */

struct step_arguments {
    const struct decode_batch *batch;
    const struct beam_candidate *candidates;
};

static void step_part(const struct operation *operation, size_t first, size_t last, void *scratch)
{
    (void)scratch;
    const struct step_arguments *a = operation->arguments;
    size_t K = a->batch->K;
    for (size_t d = first; d < last; d++)
        beam_step(&a->batch->beams, (size_t)a->batch->slots[d], K,
                  a->candidates + d * K * BEAM_CANDIDATES(K));
}

embed_status cpu_beam_step(const struct decode_batch *batch,
                           const struct beam_candidate *candidates, struct execution *execution)
{
    struct step_arguments arguments = {batch, candidates};
    return cpu_compute(step_part, &arguments, batch->D, execution);
}
