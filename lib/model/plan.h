/* plan.h - how many bytes everything takes, before it is taken
 *
 * The same numbers place the buffers afterwards: what is promised and what is used cannot differ.
 */
#ifndef LIB_MODEL_PLAN_H
#define LIB_MODEL_PLAN_H

#include "backend/backend.h"
#include "description/embedding_pipeline.h"
#include "description/transformer_config.h"

#include <stddef.h>
#include <stdint.h>

/* The longest text in tokens: what the folder sets, or as many as there are positions for.
 * EMBED_BAD_FILE where it sets more than that. */
embed_status plan_max_tokens(size_t *max_tokens, const struct embedding_pipeline *pipeline,
                             const struct transformer_config *config);

struct instance_plan {
    struct chunk_limits limits;           /* what one worker computes at a time, at most */
    size_t worker_activations;            /* bytes, for a chunk */
    size_t activations, workspace;        /* bytes on the device, for all workers */
    size_t stream, graphs;                /* the same, that nobody allocates: CUDA takes them */
    size_t row_width;                     /* floats of a text's row; a model that generates has none */
    size_t worker_staging;                /* bytes of the host, for a chunk */
    size_t staging;                       /* the same, for all workers and, after them, the generator */
    /* Of a model that generates: limits.D documents and limits.K beams at a time. */
    size_t max_length;                    /* tokens of a beam, T */
    size_t cache;                         /* bytes on the device: keys, values, beams */
};

/* What a worker copies to and from the device. */
struct worker_staging {
    float *rows;    /* (B, row_width): the chunk's rows */
    int32_t *batch; /* the arrays of the chunk's packed_batch */
};

/* Its bytes, and its place in so many at `base`; NULL: only the bytes. */
size_t worker_staging_place(struct worker_staging *staging, void *base,
                            const struct instance_plan *plan);

/* `generation` is not looked at where the config has no decoder. EMBED_INVALID_ARGUMENT where the
 * options ask for more than the model can; EMBED_OUT_OF_MEMORY where the bytes fit no memory. */
embed_status plan_instance(struct instance_plan *plan, const struct transformer_config *config,
                           const struct generation_rules *generation,
                           const struct embedding_pipeline *pipeline, size_t max_tokens,
                           const struct backend *backend, const embed_instance_options *options);

/* An instance's report: its own bytes by the plan, and the weights it shares. */
void plan_report(embed_memory *memory, const struct instance_plan *plan, size_t weights,
                 const struct backend *backend);

/* How many such instances the device's free memory less `reserve` bytes holds. */
embed_status plan_instances_that_fit(size_t *count, const struct instance_plan *plan,
                                     const struct backend *backend, size_t reserve);

struct embed_model;

/* What one more instance of the model takes of its device, the device's granularity included. */
embed_status plan_instance_bytes(uint64_t *bytes, const struct embed_model *model,
                                 const embed_instance_options *options);

/* What the model's device can still give. Others may take it meanwhile. */
embed_status plan_free_bytes(uint64_t *bytes, const struct embed_model *model);

/* Instances with fewer batch_tokens do not get smaller: one text of the longest must fit. */
size_t plan_least_batch_tokens(const struct embed_model *model);

/* For embed_plan, with complete options. */
embed_status plan_folder(embed_memory *memory, const char *folder,
                         const embed_model_options *model_options,
                         const embed_instance_options *instance_options);

#endif
