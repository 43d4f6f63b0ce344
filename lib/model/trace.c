/* trace.c - runs one text through a model and reports the output of each stage
 *
 * Each stage is a chunk of its own. It runs the operations that encoding runs at that point, on the
 * same memory, where it finds the output of the stage before; its own output is then fetched. The
 * steps after pooling are short: each of their stages starts again from the hidden states.
 */
#include "model/trace.h"

#include "base/memory.h"
#include "base/status.h"
#include "formats/float_convert.h"
#include "model/chunk.h"
#include "model/instance_parts.h"
#include "model/prompt_tokens.h"

struct trace {
    struct embed_instance *instance;
    const embed_encode_options *options;
    embed_trace_callback traced;
    void *user;
    void *fetched;      /* staging memory: the stage's numbers in the device's dtype */
    float *values;      /* the same as floats */
    embed_traced stage; /* being computed; its values are filled in last */
};

/* ---- computing a stage --------------------------------------------------------------------- */

/* Computes pooling and the first `steps` steps after it, without the normalization at the
 * pipeline's end. */
static embed_status compute_some_steps(float **rows, struct trace *trace, size_t steps,
                                       const struct packed_batch *batch,
                                       struct execution *execution)
{
    const struct embed_model *model = trace->instance->model;
    struct embedding_pipeline some = model->pipeline;
    struct worker *worker = &trace->instance->workers[0];
    some.step_count = steps;
    const struct embedding_head head = {&some, model->weights->dense, model->encoder.config.C,
                                        trace->stage.width, false};
    return embedding_head_forward(rows, &head, model->backend, &worker->head_rows,
                                  worker->activations.x, batch, execution);
}

static embed_status compute_row(float **rows, struct trace *trace,
                                const struct packed_batch *batch, struct execution *execution)
{
    const struct embed_model *model = trace->instance->model;
    struct worker *worker = &trace->instance->workers[0];
    bool normalize = trace->options->normalize == EMBED_AS_MODEL
                         ? model->pipeline.normalize
                         : trace->options->normalize == EMBED_ON;
    const struct embedding_head head = {&model->pipeline, model->weights->dense,
                                        model->encoder.config.C, trace->stage.width, normalize};
    return embedding_head_forward(rows, &head, model->backend, &worker->head_rows,
                                  worker->activations.x, batch, execution);
}

static embed_status compute_stage(void *argument, size_t i, unsigned index,
                                  struct execution *execution)
{
    (void)i;
    (void)index; /* the same buffers each time: hidden states stay from stage to stage */
    struct trace *trace = argument;
    const struct embed_model *model = trace->instance->model;
    const struct backend *op = model->backend;
    struct worker *worker = &trace->instance->workers[0];
    const struct activations *a = &worker->activations;
    struct packed_batch host = chunk_pack(trace->instance, 0, 1, worker), batch;
    host.variant = NEVER_AGAIN;
    TRY(op->begin(&batch, &host, execution));

    const embed_traced *stage = &trace->stage;
    float *rows = NULL;
    switch (stage->stage) {
    case EMBED_STAGE_TOKENS: return EMBED_OK;
    case EMBED_STAGE_EMBEDDINGS:
        TRY(encoder_embed(&model->encoder, op, a, &batch, execution));
        break;
    case EMBED_STAGE_LAYER:
        TRY(encoder_layer(&model->encoder, stage->index, op, a, &batch, execution));
        break;
    case EMBED_STAGE_POOLING:
        TRY(compute_some_steps(&rows, trace, 0, &batch, execution));
        break;
    case EMBED_STAGE_MODULE:
        TRY(compute_some_steps(&rows, trace, stage->index + 1, &batch, execution));
        break;
    case EMBED_STAGE_ROW: TRY(compute_row(&rows, trace, &batch, execution)); break;
    }
    size_t bytes = rows != NULL ? sizeof(float) : op->activation_bytes;
    return op->fetch(trace->fetched, rows != NULL ? (void *)rows : a->x,
                     stage->rows * stage->width * bytes, execution);
}

static void deliver_stage(void *argument, unsigned index)
{
    (void)argument;
    (void)index;
}

static enum safetensors_dtype fetched_dtype(const struct trace *trace)
{
    const struct backend *backend = trace->instance->model->backend;
    if (trace->stage.stage >= EMBED_STAGE_POOLING || backend->activation_bytes == sizeof(float))
        return SAFETENSORS_F32;
    return backend->dtype == EMBED_DTYPE_F16 ? SAFETENSORS_F16 : SAFETENSORS_BF16;
}

static embed_status trace_stage(struct trace *trace, embed_stage stage, size_t index,
                                size_t rows, size_t width)
{
    const struct backend *backend = trace->instance->model->backend;
    struct executor *executor = trace->instance->executor;
    const struct chunk_work work = {trace, compute_stage, deliver_stage};
    trace->stage = (embed_traced){stage, index, NULL, trace->values, rows, width};
    embed_status status = backend->run(executor, 1, &work);
    embed_status finished = backend->finish(executor, &work);
    TRY(status);
    TRY(finished);
    float_convert(trace->values, trace->fetched, fetched_dtype(trace), rows * width);
    trace->traced(trace->user, &trace->stage);
    return EMBED_OK;
}

/* ---- all stages ---------------------------------------------------------------------------- */

static embed_status trace_hidden_states(struct trace *trace)
{
    const struct transformer_config *config = &trace->instance->model->encoder.config;
    size_t T = trace->instance->spans[0].count;
    TRY(trace_stage(trace, EMBED_STAGE_EMBEDDINGS, 0, T, config->C));
    for (size_t l = 0; l < config->L; l++)
        TRY(trace_stage(trace, EMBED_STAGE_LAYER, l, T, config->C));
    return EMBED_OK;
}

static embed_status trace_rows(struct trace *trace)
{
    const struct embed_model *model = trace->instance->model;
    const struct embedding_pipeline *pipeline = &model->pipeline;
    size_t W = embedding_pipeline_pooled_width(pipeline, model->encoder.config.C);
    TRY(trace_stage(trace, EMBED_STAGE_POOLING, 0, 1, W));
    for (size_t i = 0; i < pipeline->step_count; i++) {
        const struct pipeline_step *step = &pipeline->steps[i];
        if (step->kind == STEP_DENSE) W = pipeline->dense[step->dense].O;
        TRY(trace_stage(trace, EMBED_STAGE_MODULE, i, 1, W));
    }
    return trace_stage(trace, EMBED_STAGE_ROW, 0, 1, trace->options->dimensions);
}

static embed_status trace_tokens(struct trace *trace, const embed_text *text)
{
    struct embed_instance *instance = trace->instance;
    const struct embed_model *model = instance->model;
    const embed_encode_options *options = trace->options;
    const char *prompt = embedding_pipeline_prefix(&model->pipeline, options->prompt_name);
    struct token_source source = {.tokenizer = model->tokenizer,
                                  .prompt = prompt,
                                  .max_tokens = options->max_tokens,
                                  .vocabulary = model->encoder.config.V,
                                  .max_given = options->max_tokens};
    TRY(prompt_tokens(&source.prompt_tokens, model, prompt, options->max_tokens));
    TRY(token_batch_fill(instance->tokens, instance->spans, text, 1, &source, model->team));
    const struct token_span *span = &instance->spans[0];
    const embed_traced tokens = {EMBED_STAGE_TOKENS, 0, span->ids, NULL, span->count, 1};
    trace->traced(trace->user, &tokens);
    return EMBED_OK;
}

/* Returns how many numbers the largest stage has. */
static size_t most_values(const struct embed_instance *instance)
{
    const struct embed_model *model = instance->model;
    const struct embedding_pipeline *pipeline = &model->pipeline;
    size_t C = model->encoder.config.C, most = instance->spans[0].count * C;
    size_t W = embedding_pipeline_pooled_width(pipeline, C);
    if (W > most) most = W;
    for (size_t i = 0; i < pipeline->dense_count; i++)
        if (pipeline->dense[i].O > most) most = pipeline->dense[i].O;
    return most;
}

embed_status instance_trace(struct embed_instance *instance, const embed_text *text,
                            const embed_encode_options *options, embed_trace_callback traced,
                            void *user)
{
    struct backend *backend = instance->model->backend;
    struct trace trace = {
        .instance = instance, .options = options, .traced = traced, .user = user};
    TRY(trace_tokens(&trace, text));
    size_t most = most_values(instance);
    trace.values = memory_allocate(most, sizeof(float), "a stage's values");
    embed_status status = trace.values != NULL ? EMBED_OK : EMBED_OUT_OF_MEMORY;
    if (status == EMBED_OK)
        status = backend->staging_allocate(backend, &trace.fetched, most * sizeof(float),
                                           "a stage's values");
    if (status == EMBED_OK) status = trace_hidden_states(&trace);
    if (status == EMBED_OK) status = trace_rows(&trace);
    backend->staging_release(backend, trace.fetched);
    memory_free(trace.values);
    return status;
}
