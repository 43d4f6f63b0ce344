/* instance.c - one stream of work on a model: creates and releases its buffers */
#include "model/instance.h"

#include "base/memory.h"
#include "base/status.h"
#include "model/generator.h"
#include "model/instance_parts.h"

/* ---- create and destroy -------------------------------------------------------------------- */

static void place_worker(struct embed_instance *instance, size_t index)
{
    const struct instance_plan *plan = &instance->plan;
    const struct embed_model *model = instance->model;
    const struct transformer_config *config = &model->encoder.config;
    struct worker *worker = &instance->workers[index];
    char *activations = (char *)instance->activations;
    if (!model->backend->is_queue) activations += index * plan->worker_activations;
    size_t encoder = activations_place(&worker->activations, activations, config,
                                       model->backend->activation_bytes, plan->limits.N);
    head_rows_place(&worker->head_rows, activations + encoder, &model->pipeline, config->C,
                    plan->limits.B);
    worker_staging_place(&worker->staging, (char *)instance->staging + index * plan->worker_staging,
                         plan);
}

static embed_status create_buffers(struct embed_instance *instance,
                                   const embed_instance_options *options)
{
    const struct embed_model *model = instance->model;
    const struct transformer_config *config = &model->encoder.config;
    struct backend *backend = model->backend;
    struct instance_plan *plan = &instance->plan;

    TRY(plan_instance(plan, config, &model->generation, &model->pipeline, model->max_tokens, backend,
                      options));
    TRY(backend->allocate(backend, &instance->activations, plan->activations, "activations"));
    TRY(backend->staging_allocate(backend, &instance->staging, plan->staging, "a chunk's staging"));
    TRY(backend->executor_create(&instance->executor, backend, &plan->limits));
    TRY(token_batch_create(&instance->tokens, thread_team_size(model->team)));

    instance->workers = memory_allocate(backend->workers, sizeof *instance->workers, "an instance");
    if (instance->workers == NULL) return EMBED_OUT_OF_MEMORY;
    for (size_t i = 0; i < backend->workers; i++) place_worker(instance, i);
    return config->decoder.L > 0 ? generator_create(&instance->generator, instance) : EMBED_OK;
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
    generator_destroy(instance->generator);
    memory_free(instance->workers);
    token_batch_destroy(instance->tokens);
    backend->executor_destroy(instance->executor);
    backend->staging_release(backend, instance->staging);
    backend->release(backend, instance->activations);
    model_release(instance->model);
    memory_free(instance);
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

size_t instance_max_length(const struct embed_instance *instance)
{
    return instance->plan.limits.M;
}

struct generator *instance_generator(const struct embed_instance *instance)
{
    return instance->generator;
}
