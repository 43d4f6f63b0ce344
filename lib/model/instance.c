/* instance.c - one stream of work on a model: texts in, rows out
 *
 * Texts are tokenized some thousands at a time; their tokens are packed into chunks of whole texts;
 * the backend computes the chunks, several at a time where it can, on a GPU while the next texts are
 * tokenized. Every worker has its own buffers, made once: encoding allocates nothing but what the
 * tokenizer's lists grow to.
 */
#include "model/instance.h"

#include "base/first_failure.h"
#include "base/memory.h"
#include "base/status.h"
#include "model/finite.h"
#include "model/plan.h"
#include "model/retry_f32.h"
#include "model/token_batch.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

/* Below this many tokens a thread, all threads work on one chunk together. */
#define SPLIT_TOKENS 32

/* What a worker needs for one chunk, and where the chunk's results belong. */
struct worker {
    struct activations activations;
    float *rows;    /* (B, C): the chunk's rows on the host */
    int32_t *batch; /* the arrays of the chunk's packed_batch */
    size_t first, texts; /* of the call's */
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
    char *activations = (char *)instance->activations;
    if (!model->backend->is_queue) activations += index * plan->worker_activations;
    char *staging = (char *)instance->staging + index * (plan->staging / model->backend->workers);
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
    TRY(backend->staging_allocate(backend, &instance->staging, plan->staging, "a chunk's staging"));
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
    const struct row_places *rows;
    embed_item *items; /* NULL: not wanted */
    size_t first;      /* number of the spans' text 0 in the call */
    atomic_size_t not_finite;
};

/* Rows of the position table for the tokens of one text. */
static void number_positions(int32_t *positions, const int32_t *ids, size_t T,
                             const struct transformer_config *config)
{
    int32_t padding = (int32_t)config->padding_id, next = (int32_t)config->first_position;
    for (size_t t = 0; t < T; t++)
        positions[t] = config->positions_skip_padding && ids[t] == padding ? padding : next++;
}

/* The batch that texts [first, last) make, in the worker's arrays. */
static struct packed_batch pack(const struct embed_instance *instance, size_t first, size_t last,
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

    int32_t *ids = worker->batch, *positions = ids + N, *offsets = positions + N;
    for (size_t i = first; i < last; i++) {
        size_t T = spans[i].count;
        offsets[i - first] = (int32_t)n;
        memcpy(ids + n, spans[i].ids, T * sizeof(int32_t));
        number_positions(positions + n, spans[i].ids, T, &instance->model->encoder.config);
        n += T;
    }
    for (size_t b = last - first; b <= B; b++) offsets[b] = (int32_t)n;
    memset(ids + n, 0, (N - n) * sizeof(int32_t)); /* tokens of no sequence: any that exist */
    memset(positions + n, 0, (N - n) * sizeof(int32_t));
    return (struct packed_batch){N, B, longest, 0, ids, positions, offsets};
}

/* What is known of the texts before they are computed, and which they are. */
static void address(struct worker *worker, const struct encode *encode, size_t first, size_t last)
{
    const struct backend *backend = encode->instance->model->backend;
    worker->first = encode->first + first;
    worker->texts = last - first;
    for (size_t i = first; i < last && encode->items != NULL; i++) {
        const struct token_span *span = &encode->instance->spans[i];
        encode->items[encode->first + i] = (embed_item){
            .tokens = span->count,
            .invalid_bytes = span->invalid_bytes,
            .truncated = span->truncated,
            .device = backend->device,
            .device_index = backend->device_index,
        };
    }
}

static embed_status compute_chunk(void *argument, size_t i, unsigned index,
                                  struct execution *execution)
{
    struct encode *encode = argument;
    struct embed_instance *instance = encode->instance;
    const struct embed_model *model = instance->model;
    const struct backend *op = model->backend;
    struct worker *worker = &instance->workers[index];
    const struct activations *a = &worker->activations;
    size_t C = model->encoder.config.C, D = encode->options->dimensions;

    size_t first = instance->chunks[i], last = instance->chunks[i + 1];
    struct packed_batch host = pack(instance, first, last, worker), batch;
    host.variant = 2 * D + encode->normalize;
    address(worker, encode, first, last);

    TRY(op->begin(&batch, &host, execution));
    TRY(encoder_forward(&model->encoder, op, a, &batch, execution));
    TRY(op->pool(a->rows, a->x, &batch, C, model->pipeline.pooling, D, encode->normalize,
                 execution));
    return op->fetch(worker->rows, a->rows, batch.B * C * sizeof(float), execution);
}

/* A chunk's rows to their places in the caller's memory. */
static void deliver_chunk(void *argument, unsigned index)
{
    struct encode *encode = argument;
    const struct worker *worker = &encode->instance->workers[index];
    size_t C = encode->instance->model->encoder.config.C, D = encode->options->dimensions;
    for (size_t i = 0; i < worker->texts; i++) {
        const float *row = worker->rows + i * C;
        memcpy(row_place(encode->rows, worker->first + i), row, D * sizeof(float));
        if (all_finite(row, D)) continue;
        atomic_fetch_add(&encode->not_finite, 1);
        if (encode->items != NULL) encode->items[worker->first + i].status = EMBED_NOT_FINITE;
    }
}

/* Cuts n tokenized texts into chunks of about equal tokens, and returns how many. */
static size_t cut(struct embed_instance *instance, size_t n, size_t tokens)
{
    const struct token_span *spans = instance->spans;
    const struct backend *backend = instance->model->backend;
    const struct chunk_limits *limits = &instance->plan.limits;
    size_t workers = backend->is_queue ? 1 : backend->workers;

    /* A whole number of rounds over all workers, unless there is too little to share. */
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

/* How many texts to tokenize next, where the last piece had so many tokens in so many texts. What
 * computes only while it is waited for gets as many as it may; what computes meanwhile gets about as
 * much as it can have under way. */
static size_t piece_texts(const struct embed_instance *instance, size_t left, size_t texts,
                          size_t tokens)
{
    const struct backend *backend = instance->model->backend;
    size_t most = left < TOKEN_BATCH_TEXTS ? left : TOKEN_BATCH_TEXTS;
    if (!backend->is_queue) return most;
    size_t wanted = backend->workers * instance->plan.limits.N * texts / tokens;
    return wanted == 0 ? 1 : wanted < most ? wanted : most;
}

static embed_status encode_all(struct encode *encode, const struct chunk_work *work,
                               const embed_text *texts, size_t n)
{
    struct embed_instance *instance = encode->instance;
    const struct embed_model *model = instance->model;
    const embed_encode_options *options = encode->options;
    const char *prompt = embedding_pipeline_prefix(&model->pipeline, options->prompt_name);
    size_t count = 1, tokens = 32; /* a guess before the first piece */
    for (size_t first = 0; first < n; first += count) {
        count = piece_texts(instance, n - first, count, tokens);
        struct token_source source = {model->tokenizer, prompt, options->max_tokens,
                                      model->encoder.config.V, options->max_tokens, first};
        TRY(token_batch_fill(instance->tokens, instance->spans, texts + first, count, &source,
                             model->team));
        tokens = 0;
        for (size_t i = 0; i < count; i++) tokens += instance->spans[i].count;
        encode->first = first;
        TRY(model->backend->run(instance->executor, cut(instance, count, tokens), work));
    }
    return EMBED_OK;
}

embed_status instance_encode(struct embed_instance *instance, const embed_text *texts, size_t n,
                             const embed_encode_options *options, const struct row_places *rows,
                             embed_item *items)
{
    const struct embedding_pipeline *pipeline = &instance->model->pipeline;
    struct encode encode = {
        .instance = instance,
        .options = options,
        .rows = rows,
        .items = items,
        .normalize = options->normalize == EMBED_AS_MODEL ? pipeline->normalize
                                                          : options->normalize == EMBED_ON,
    };
    const struct chunk_work work = {&encode, compute_chunk, deliver_chunk};
    struct first_failure failure = {0};
    first_failure_note(&failure, encode_all(&encode, &work, texts, n));
    first_failure_note(&failure, instance->model->backend->finish(instance->executor, &work));
    TRY(first_failure_result(&failure));
    size_t not_finite = atomic_load(&encode.not_finite);
    if (not_finite > 0 && instance->model->backend->dtype != EMBED_DTYPE_F32)
        not_finite = retry_f32(instance->model, texts, n, options, rows, items, not_finite);
    if (not_finite > 0)
        return fail(EMBED_NOT_FINITE, "%zu of %zu embeddings hold NaN or infinity", not_finite, n);
    return EMBED_OK;
}

/* ---- inspection ---------------------------------------------------------------------------- */

void instance_get_memory(const struct embed_instance *instance, embed_memory *memory)
{
    plan_report(memory, &instance->plan, instance->model->weights->bytes, instance->model->backend);
}

struct embed_model *instance_model(const struct embed_instance *instance)
{
    return instance->model;
}

const struct chunk_limits *instance_limits(const struct embed_instance *instance)
{
    return &instance->plan.limits;
}
