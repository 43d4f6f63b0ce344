/* instance.c - one stream of work on a model: texts in, rows out
 *
 * Texts are tokenized TOKEN_BATCH_TEXTS at a time; their tokens are packed into chunks of whole
 * texts; the backend computes the chunks, several at a time where it can. Every worker has its own
 * buffers, made once: encoding allocates nothing but what the tokenizer's lists grow to.
 */
#include "model/instance.h"

#include "base/memory.h"
#include "base/status.h"
#include "model/plan.h"
#include "model/token_batch.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

/* Below this many tokens a thread, all threads work on one chunk together. */
#define SPLIT_TOKENS 32

struct worker {
    struct activations activations;
    float *rows;    /* (B, C): the chunk's rows on the host */
    int32_t *batch; /* the arrays of the chunk's packed_batch */
};

struct embed_instance {
    struct embed_model *model;
    struct instance_plan plan;
    struct executor *executor;
    struct worker *workers;
    void *activations; /* all workers' */
    void *staging;     /* all workers' */
    struct token_batch *tokens;
    struct token_span spans[TOKEN_BATCH_TEXTS];
    size_t chunks[TOKEN_BATCH_TEXTS + 1]; /* chunk i is texts chunks[i] to chunks[i + 1] - 1 */
};

/* ---- create and destroy -------------------------------------------------------------------- */

static void place_worker(struct embed_instance *instance, size_t index)
{
    const struct instance_plan *plan = &instance->plan;
    const struct embed_model *model = instance->model;
    const struct transformer_config *config = &model->encoder.config;
    struct worker *worker = &instance->workers[index];
    size_t N = plan->limits.N, B = plan->limits.B;
    char *activations = (char *)instance->activations + index * plan->worker_activations;
    char *staging = (char *)instance->staging + index * (plan->batch / model->backend->workers);
    activations_place(&worker->activations, activations, config, model->backend->activation_bytes,
                      N, B);
    worker->rows = (float *)staging;
    worker->batch = (int32_t *)(worker->rows + B * config->C);
}

static embed_status create_buffers(struct embed_instance *instance,
                                   const embed_instance_options *options)
{
    const struct embed_model *model = instance->model;
    const struct transformer_config *config = &model->encoder.config;
    struct backend *backend = model->backend;
    struct instance_plan *plan = &instance->plan;

    TRY(plan_instance(plan, config, model->max_tokens, backend, options));
    TRY(backend->allocate(backend, &instance->activations, plan->activations, "activations"));
    TRY(backend->staging_allocate(backend, &instance->staging, plan->batch, "a chunk's staging"));
    TRY(backend->executor_create(&instance->executor, backend, &plan->limits));
    TRY(token_batch_create(&instance->tokens, thread_team_size(model->team)));

    instance->workers = memory_allocate(backend->workers, sizeof *instance->workers, "an instance");
    if (instance->workers == NULL) return EMBED_OUT_OF_MEMORY;
    for (size_t i = 0; i < backend->workers; i++) place_worker(instance, i);
    return EMBED_OK;
}

embed_status instance_create(struct embed_instance **out, struct embed_model *model,
                             const embed_instance_options *options)
{
    struct embed_instance *instance = memory_allocate(1, sizeof *instance, "an instance");
    if (instance == NULL) return EMBED_OUT_OF_MEMORY;
    instance->model = model;
    model_hold(model);
    embed_status status = create_buffers(instance, options);
    if (status != EMBED_OK) {
        instance_destroy(instance);
        return status;
    }
    *out = instance;
    return EMBED_OK;
}

void instance_destroy(struct embed_instance *instance)
{
    if (instance == NULL) return;
    struct backend *backend = instance->model->backend;
    memory_free(instance->workers);
    token_batch_destroy(instance->tokens);
    backend->executor_destroy(instance->executor);
    backend->staging_release(backend, instance->staging);
    backend->release(backend, instance->activations);
    model_release(instance->model);
    memory_free(instance);
}

/* ---- encode -------------------------------------------------------------------------------- */

struct encode {
    struct embed_instance *instance;
    const embed_encode_options *options;
    bool normalize;
    float *out; /* of text 0 of these spans */
    embed_item *items;
    atomic_size_t not_finite;
};

/* Rows of the position table for the tokens of one text. */
static void number_positions(int32_t *positions, const int32_t *ids, size_t T,
                             const struct transformer_config *config)
{
    int32_t padding = (int32_t)config->padding_id, next = padding + 1;
    for (size_t t = 0; t < T; t++) {
        if (!config->positions_skip_padding) positions[t] = (int32_t)t;
        else positions[t] = ids[t] == padding ? padding : next++;
    }
}

/* The batch that texts [first, last) make, in the worker's arrays. */
static struct packed_batch pack(const struct token_span *spans, size_t first, size_t last,
                                struct worker *worker, const struct transformer_config *config)
{
    size_t N = 0, longest = 0;
    for (size_t i = first; i < last; i++) {
        N += spans[i].count;
        if (spans[i].count > longest) longest = spans[i].count;
    }
    int32_t *ids = worker->batch, *positions = ids + N, *offsets = positions + N;
    size_t n = 0;
    for (size_t i = first; i < last; i++) {
        size_t T = spans[i].count;
        offsets[i - first] = (int32_t)n;
        memcpy(ids + n, spans[i].ids, T * sizeof(int32_t));
        number_positions(positions + n, spans[i].ids, T, config);
        n += T;
    }
    offsets[last - first] = (int32_t)n;
    return (struct packed_batch){N, last - first, longest, ids, positions, offsets};
}

static bool all_finite(const float *row, size_t count)
{
    /* x - x is 0 for a finite x and NaN otherwise: one sum instead of a branch a number. */
    float sum = 0;
    for (size_t i = 0; i < count; i++) sum += row[i] - row[i];
    return sum == 0;
}

/* A chunk's rows to their places in the caller's array, and what is to be said of each text. */
static void deliver(struct encode *encode, const float *rows, size_t first, size_t last)
{
    size_t C = encode->instance->model->encoder.config.C, D = encode->options->dimensions;
    for (size_t i = first; i < last; i++) {
        const float *row = rows + (i - first) * C;
        bool finite = all_finite(row, D);
        memcpy(encode->out + i * D, row, D * sizeof(float));
        if (!finite) atomic_fetch_add(&encode->not_finite, 1);
        if (encode->items == NULL) continue;
        const struct token_span *span = &encode->instance->spans[i];
        encode->items[i] = (embed_item){span->count, span->invalid_bytes, span->truncated,
                                        finite ? EMBED_OK : EMBED_NOT_FINITE};
    }
}

static embed_status encode_chunk(void *argument, size_t i, unsigned index,
                                 struct execution *execution)
{
    struct encode *encode = argument;
    struct embed_instance *instance = encode->instance;
    const struct embed_model *model = instance->model;
    const struct backend *op = model->backend;
    const struct activations *a = &instance->workers[index].activations;
    struct worker *worker = &instance->workers[index];
    size_t C = model->encoder.config.C;

    size_t first = instance->chunks[i], last = instance->chunks[i + 1];
    struct packed_batch host =
        pack(instance->spans, first, last, worker, &model->encoder.config), batch;

    TRY(op->begin(&batch, &host, execution));
    TRY(encoder_forward(&model->encoder, op, a, &batch, execution));
    TRY(op->pool(a->rows, a->x, &batch, C, model->pipeline.pooling, encode->options->dimensions,
                 encode->normalize, execution));
    TRY(op->fetch(worker->rows, a->rows, batch.B * C * sizeof(float), execution));
    deliver(encode, worker->rows, first, last);
    return EMBED_OK;
}

/* Cuts n tokenized texts into chunks of about equal tokens, and returns how many. */
static size_t cut(struct embed_instance *instance, size_t n)
{
    const struct token_span *spans = instance->spans;
    size_t workers = instance->model->backend->workers, tokens = 0;
    for (size_t i = 0; i < n; i++) tokens += spans[i].count;

    /* A whole number of rounds over all workers, unless there is too little to share. */
    size_t wanted = (tokens + instance->plan.limits.N - 1) / instance->plan.limits.N;
    if (tokens >= workers * SPLIT_TOKENS) wanted = (wanted + workers - 1) / workers * workers;
    size_t target = (tokens + wanted - 1) / wanted;

    size_t count = 0, in_chunk = 0;
    instance->chunks[0] = 0;
    for (size_t i = 0; i < n; i++) {
        size_t texts = i - instance->chunks[count];
        if (texts > 0 && (in_chunk + spans[i].count > instance->plan.limits.N ||
                          in_chunk + spans[i].count / 2 > target || texts == instance->plan.limits.B)) {
            instance->chunks[++count] = i;
            in_chunk = 0;
        }
        in_chunk += spans[i].count;
    }
    instance->chunks[++count] = n;
    return count;
}

static const char *prompt_text(const struct embedding_pipeline *pipeline, const char *name)
{
    if (name == NULL) return pipeline->default_prompt != NULL ? pipeline->default_prompt : "";
    return *name == '\0' ? "" : embedding_pipeline_prompt(pipeline, name);
}

embed_status instance_encode(struct embed_instance *instance, const embed_text *texts, size_t n,
                             const embed_encode_options *options, float *out, embed_item *items)
{
    const struct embed_model *model = instance->model;
    const char *prompt = prompt_text(&model->pipeline, options->prompt_name);
    struct encode encode = {
        .instance = instance,
        .options = options,
        .normalize = options->normalize == EMBED_AS_MODEL ? model->pipeline.normalize
                                                          : options->normalize == EMBED_ON,
    };
    for (size_t first = 0, count; first < n; first += count) {
        count = n - first < TOKEN_BATCH_TEXTS ? n - first : TOKEN_BATCH_TEXTS;
        struct token_source source = {model->tokenizer, prompt, options->max_tokens,
                                      model->encoder.config.V, options->max_tokens, first};
        TRY(token_batch_fill(instance->tokens, instance->spans, texts + first, count, &source,
                             model->team));
        encode.out = out + first * options->dimensions;
        encode.items = items == NULL ? NULL : items + first;
        size_t chunks = cut(instance, count);
        TRY(model->backend->run(instance->executor, chunks, encode_chunk, &encode));
    }
    size_t not_finite = atomic_load(&encode.not_finite);
    if (not_finite > 0)
        return fail(EMBED_NOT_FINITE, "%zu of %zu embeddings hold NaN or infinity", not_finite, n);
    return EMBED_OK;
}

/* ---- inspection ---------------------------------------------------------------------------- */

void instance_get_memory(const struct embed_instance *instance, embed_memory *memory)
{
    plan_report(memory, &instance->plan, instance->model->weights->bytes);
}

struct embed_model *instance_model(const struct embed_instance *instance)
{
    return instance->model;
}
