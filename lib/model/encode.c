/* encode.c - texts in, rows out
 *
 * Texts are tokenized a few thousand at a time, and their tokens are packed into chunks of whole
 * texts. The backend computes the chunks, several at a time if it can; a GPU does so while the next
 * texts are tokenized. Every worker has its own buffers, allocated once: encoding allocates nothing
 * except when the tokenizer's lists grow.
 */
#include "base/first_failure.h"
#include "base/status.h"
#include "model/chunk.h"
#include "model/finite.h"
#include "model/instance_parts.h"
#include "model/prompt_tokens.h"
#include "model/retry_f32.h"

#include <stdatomic.h>
#include <string.h>

struct encode {
    struct embed_instance *instance;
    const embed_encode_options *options;
    bool normalize;
    const struct row_places *rows;
    embed_item *items; /* NULL: not wanted */
    size_t first;      /* index in the call of the text of spans[0] */
    atomic_size_t not_finite;
};

/* Records which texts the chunk has, and fills their items with what is known before they are
 * computed. */
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

static embed_status forward(const struct embed_model *model, const struct activations *a,
                            const struct packed_batch *batch, struct execution *execution)
{
    const struct embedding_pipeline *pipeline = &model->pipeline;
    if (pipeline->pooling_modes == 1 && pipeline->pooling[0] == POOLING_CLS)
        return encoder_forward_first_rows(&model->encoder, model->backend, a, batch, execution);
    return encoder_forward(&model->encoder, model->backend, a, batch, execution);
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
    const struct embedding_head head = {&model->pipeline, model->weights->dense, C, D,
                                        encode->normalize};

    size_t first = instance->chunks[i], last = instance->chunks[i + 1];
    struct packed_batch host = chunk_pack(instance, first, last, worker), batch;
    host.variant = 2 * D + encode->normalize;
    address(worker, encode, first, last);

    TRY(op->begin(&batch, &host, execution));
    TRY(forward(model, a, &batch, execution));
    float *rows;
    TRY(embedding_head_forward(&rows, &head, op, &worker->head_rows, a->x, &batch, execution));
    size_t bytes = batch.B * instance->plan.row_width * sizeof *rows;
    return op->fetch(worker->staging.rows, rows, bytes, execution);
}

/* Copies a chunk's rows to their places in the caller's memory. */
static void deliver_chunk(void *argument, unsigned index)
{
    struct encode *encode = argument;
    const struct worker *worker = &encode->instance->workers[index];
    size_t width = encode->instance->plan.row_width, D = encode->options->dimensions;
    for (size_t i = 0; i < worker->texts; i++) {
        const float *row = worker->staging.rows + i * width;
        memcpy(row_place(encode->rows, worker->first + i), row, D * sizeof(float));
        if (all_finite(row, D)) continue;
        atomic_fetch_add(&encode->not_finite, 1);
        if (encode->items != NULL) encode->items[worker->first + i].status = EMBED_NOT_FINITE;
    }
}

/* Returns how many of the `left` texts to tokenize next, if the previous piece had `tokens` tokens
 * in `texts` texts. A backend that computes only while `run` waits gets as many as fit; a queue,
 * which computes during tokenization, gets about as many as it can have in flight. */
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
                               const embed_text *texts, size_t n, const size_t *skipped)
{
    struct embed_instance *instance = encode->instance;
    const struct embed_model *model = instance->model;
    const embed_encode_options *options = encode->options;
    const char *prompt = embedding_pipeline_prefix(&model->pipeline, options->prompt_name);
    size_t count = 1, tokens = 32; /* assumed before the first piece */
    size_t of_prompt;
    TRY(prompt_tokens(&of_prompt, model, prompt, options->max_tokens));
    for (size_t first = 0; first < n; first += count) {
        count = piece_texts(instance, n - first, count, tokens);
        struct token_source source = {model->tokenizer, prompt, options->max_tokens,
                                      model->encoder.config.V, options->max_tokens, first,
                                      of_prompt, skipped != NULL ? skipped + first : NULL};
        TRY(token_batch_fill(instance->tokens, instance->spans, texts + first, count, &source,
                             model->team));
        tokens = 0;
        for (size_t i = 0; i < count; i++) tokens += instance->spans[i].count;
        encode->first = first;
        TRY(model->backend->run(instance->executor, chunk_cut(instance, count, tokens), work));
    }
    return EMBED_OK;
}

embed_status instance_encode(struct embed_instance *instance, const embed_text *texts, size_t n,
                             const embed_encode_options *options, const size_t *skipped,
                             const struct row_places *rows, embed_item *items)
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
    first_failure_note(&failure, encode_all(&encode, &work, texts, n, skipped));
    first_failure_note(&failure, instance->model->backend->finish(instance->executor, &work));
    TRY(first_failure_result(&failure));
    size_t not_finite = atomic_load(&encode.not_finite);
    if (not_finite > 0 && instance->model->backend->dtype != EMBED_DTYPE_F32)
        not_finite = retry_f32(instance->model, texts, n, options, skipped, rows, items, not_finite);
    if (not_finite > 0)
        return fail(EMBED_NOT_FINITE, "%zu of %zu embeddings hold NaN or infinity", not_finite, n);
    return EMBED_OK;
}
