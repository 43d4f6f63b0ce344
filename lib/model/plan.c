/* plan.c - computes how many bytes everything takes, before anything is allocated */
#include "model/plan.h"

#include "base/memory.h"
#include "base/placement.h"
#include "base/status.h"
#include "description/generation_config.h"
#include "model/decoder.h"
#include "model/embedding_head.h"
#include "model/encoder.h"
#include "model/generator.h"
#include "model/model.h"
#include "model/weight_files.h"
#include "model/weights.h"

embed_status plan_max_tokens(size_t *max_tokens, const struct embedding_pipeline *pipeline,
                             const struct transformer_config *config)
{
    size_t positions = transformer_config_max_tokens(config);
    size_t tokenizer = pipeline->tokenizer_max_tokens;
    if (pipeline->max_tokens > positions)
        return fail(EMBED_BAD_FILE,
                    "%s: \"max_seq_length\" is %zu, but config.json has positions "
                    "(\"max_position_embeddings\") for %zu",
                    pipeline->transformer_folder, pipeline->max_tokens, positions);
    *max_tokens = pipeline->max_tokens > 0                   ? pipeline->max_tokens
                  : tokenizer > 0 && tokenizer < positions ? tokenizer
                                                             : positions;
    return EMBED_OK;
}

embed_status plan_check_dtype(const struct transformer_config *config,
                              const struct backend *backend, const char *folder)
{
    if (backend->dtype != EMBED_DTYPE_INT8 || config->decoder.L == 0) return EMBED_OK;
    return fail(EMBED_UNSUPPORTED,
                "%s: int8 is not supported for models that generate: it changes more summaries "
                "than bf16",
                folder);
}

/* Plans the decoder's part of an instance: documents, beams, lengths, cache. */
static embed_status plan_decoding(struct instance_plan *plan,
                                  const struct transformer_config *config,
                                  const struct generation_rules *generation,
                                  const struct backend *backend,
                                  const embed_instance_options *options)
{
    size_t most = transformer_config_max_tokens(config);
    struct chunk_limits *limits = &plan->limits;
    limits->D = options->documents > 0 ? options->documents : backend->slots;
    limits->K = options->num_beams > 0 ? options->num_beams : (size_t)generation->num_beams;
    limits->M = options->max_length > 0 ? options->max_length : (size_t)generation->max_length;
    if (limits->K > MOST_BEAMS)
        return fail(EMBED_INVALID_ARGUMENT, "num_beams is %zu; this version supports up to %d",
                    limits->K, MOST_BEAMS);
    if (limits->M < 2 || limits->M > most)
        return fail(EMBED_INVALID_ARGUMENT, "max_length is %zu, must be from 2 to the model's %zu",
                    limits->M, most);
    if (limits->B > limits->D) limits->B = limits->D;
    if (limits->I < config->decoder.F) limits->I = config->decoder.F;
    if (limits->HS < config->decoder.HS) limits->HS = config->decoder.HS;

    struct decoder_cache none;
    plan->cache = decoder_cache_place(&none, NULL, config, backend->activation_bytes, limits->D,
                                      limits->K, limits->M, limits->T);
    return EMBED_OK;
}

/* Returns the bytes for activations of decoder steps. These share memory with the chunks of
 * sources, which are computed at other times. */
static size_t decoding_activations(const struct instance_plan *plan,
                                   const struct transformer_config *config,
                                   const struct backend *backend)
{
    struct decoder_activations none;
    return decoder_activations_place(&none, NULL, config, backend->activation_bytes,
                                     plan->limits.D * plan->limits.K, plan->limits.K);
}

size_t worker_staging_place(struct worker_staging *staging, void *base,
                            const struct instance_plan *plan)
{
    struct placement memory = {base, 0};
    const struct chunk_limits *limits = &plan->limits;
    staging->rows = placement_take(&memory, limits->B, plan->row_width, sizeof *staging->rows);
    staging->batch = placement_take(&memory, packed_batch_size(limits->N, limits->B), 1,
                                    sizeof *staging->batch);
    return memory.bytes;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Returns the device memory for a chunk: hidden states and rows. */
static size_t plan_worker(const struct chunk_limits *limits, const struct transformer_config *config,
                          const struct embedding_pipeline *pipeline, const struct backend *backend)
{
    struct activations none;
    struct head_rows no_rows;
    size_t encoder = activations_place(&none, NULL, config, backend->activation_bytes, limits->N);
    size_t rows = head_rows_place(&no_rows, NULL, pipeline, config->C, limits->B), both;
    return size_add(encoder, rows, &both) ? both : SIZE_MAX;
}

embed_status plan_instance(struct instance_plan *plan, const struct transformer_config *config,
                           const struct generation_rules *generation,
                           const struct embedding_pipeline *pipeline, size_t max_tokens,
                           const struct backend *backend, const embed_instance_options *options)
{
    size_t N = options->batch_tokens;
    if (N == 0) N = backend->chunk_tokens(backend, config->C, config->F);
    bool generates = config->decoder.L > 0;
    if (N < max_tokens) N = max_tokens;

    /* B: most texts have at least two tokens, the special ones. With shorter texts, given as ids, a
     * chunk may end before it has N tokens. */
    *plan = (struct instance_plan){.limits = {.N = N, .B = (N + 1) / 2, .T = max_tokens,
                                              .HS = config->HS, .I = larger(config->F, config->C)}};
    if (generates) TRY(plan_decoding(plan, config, generation, backend, options));

    plan->worker_activations = plan_worker(&plan->limits, config, pipeline, backend);
    plan->workspace = backend->executor_bytes(backend, &plan->limits);
    plan->stream = backend->costs.stream;
    plan->graphs = backend->graph_bytes;
    struct worker_staging nowhere;
    plan->row_width = generates ? 0 : embedding_pipeline_width(pipeline, config->C);
    plan->worker_staging = worker_staging_place(&nowhere, NULL, plan);
    if (!size_multiply(plan->worker_staging, backend->workers, &plan->staging))
        plan->staging = SIZE_MAX;
    else if (generates) plan->staging += generator_staging_bytes(plan);
    /* Chunks that are computed one after another share their activations. */
    size_t sets = backend->is_queue ? 1 : backend->workers;
    if (!size_multiply(plan->worker_activations, sets, &plan->activations))
        plan->activations = SIZE_MAX;
    if (generates)
        plan->activations =
            larger(plan->activations, decoding_activations(plan, config, backend));
    if (plan->activations > SIZE_MAX / 4 || plan->cache > SIZE_MAX / 4 ||
        plan->staging > SIZE_MAX / 4)
        return fail(EMBED_OUT_OF_MEMORY,
                    "an instance for %zu tokens and %zu documents is too large for any memory", N,
                    plan->limits.D);
    return EMBED_OK;
}

/* Returns the bytes rounded up to the device's granularity; on the CPU, that is left to the
 * allocator. */
static size_t granted(const struct backend *backend, size_t bytes)
{
    return backend->device == EMBED_DEVICE_CPU ? bytes : backend->taken_memory(backend, bytes);
}

void plan_report(embed_memory *memory, const struct instance_plan *plan, size_t weights,
                 const struct backend *backend)
{
    bool apart = backend->device != EMBED_DEVICE_CPU; /* device memory is separate */
    memory->weights = granted(backend, weights);
    memory->activations = granted(backend, plan->activations);
    memory->workspace = granted(backend, plan->workspace) + plan->stream;
    memory->batch = apart ? 0 : plan->staging;
    memory->graphs = plan->graphs;
    memory->kv = granted(backend, plan->cache);
    memory->own = memory->activations + memory->workspace + memory->batch + memory->graphs +
                  memory->kv;
    memory->total = memory->weights + memory->own;
    memory->pinned = apart ? plan->staging : 0;
    memory->library = backend->costs.library;
    memory->context = backend->costs.context;
    memory->measured = backend->costs.are_measured;
    memory->batch_tokens = plan->limits.N;
}

/* Returns the bytes taken of the device, rounded up to its granularity. */
static uint64_t taken_bytes(const struct instance_plan *plan, const struct backend *backend)
{
    uint64_t bytes = backend->taken_memory(backend, plan->activations) +
                     backend->taken_memory(backend, plan->workspace) + plan->stream + plan->graphs;
    if (plan->cache > 0) bytes += backend->taken_memory(backend, plan->cache);
    if (backend->device == EMBED_DEVICE_CPU) bytes += backend->taken_memory(backend, plan->staging);
    return bytes;
}

embed_status plan_instances_that_fit(size_t *count, const struct instance_plan *plan,
                                     const struct backend *backend, size_t reserve)
{
    uint64_t free_bytes;
    TRY(backend->free_memory(backend, &free_bytes));
    uint64_t each = taken_bytes(plan, backend);
    *count = free_bytes > reserve ? (size_t)((free_bytes - reserve) / each) : 0;
    return EMBED_OK;
}

/* ---- for an open model --------------------------------------------------------------------- */

embed_status plan_instance_bytes(uint64_t *bytes, const struct embed_model *model,
                                 const embed_instance_options *options)
{
    struct instance_plan plan;
    TRY(plan_instance(&plan, &model->encoder.config, &model->generation, &model->pipeline,
                      model->max_tokens, model->backend, options));
    *bytes = taken_bytes(&plan, model->backend);
    return EMBED_OK;
}

embed_status plan_free_bytes(uint64_t *bytes, const struct embed_model *model)
{
    return model->backend->free_memory(model->backend, bytes);
}

size_t plan_least_batch_tokens(const struct embed_model *model)
{
    return model->max_tokens;
}

/* ---- for a folder -------------------------------------------------------------------------- */

/* Plans from the folder's config files and its tensors' headers, without reading weights. */
static embed_status plan_with(embed_memory *memory, const struct embedding_pipeline *pipeline,
                              const struct backend *backend,
                              const embed_instance_options *options)
{
    struct transformer_config config;
    struct generation_rules generation;
    struct instance_plan plan;
    size_t max_tokens = 0;
    TRY(transformer_config_read(&config, pipeline->transformer_folder));
    TRY(plan_check_dtype(&config, backend, pipeline->transformer_folder));
    if (config.decoder.L > 0)
        TRY(generation_config_read(&generation, &config, pipeline->transformer_folder));
    TRY(plan_max_tokens(&max_tokens, pipeline, &config));
    TRY(embedding_pipeline_check(pipeline, config.C));
    TRY(plan_instance(&plan, &config, &generation, pipeline, max_tokens, backend, options));

    struct weight_files files;
    struct weights weights;
    embed_status status = weight_files_open(&files, pipeline);
    if (status == EMBED_OK) status = weights_measure(&weights, &config, backend, &files);
    weight_files_close(&files);
    if (status == EMBED_OK) plan_report(memory, &plan, weights.bytes, backend);
    return status;
}

embed_status plan_folder(embed_memory *memory, const char *folder,
                         const embed_model_options *model_options,
                         const embed_instance_options *instance_options)
{
    struct backend *backend;
    struct embedding_pipeline pipeline;
    TRY(backend_open_for_plan(&backend, model_options));
    embed_status status = embedding_pipeline_read(&pipeline, folder);
    if (status == EMBED_OK) status = plan_with(memory, &pipeline, backend, instance_options);
    embedding_pipeline_release(&pipeline);
    backend_release(backend);
    return status;
}
