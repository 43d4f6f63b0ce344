/* plan.h - computes how many bytes everything takes, before anything is allocated
 *
 * The same code later places the buffers, so that planned and used sizes cannot differ.
 */
#ifndef LIB_MODEL_PLAN_H
#define LIB_MODEL_PLAN_H

#include "backend/backend.h"
#include "description/embedding_pipeline.h"
#include "description/transformer_config.h"

#include <stddef.h>
#include <stdint.h>

/* Computes the length of the longest text in tokens: the folder's max_seq_length if set, else the
 * smaller of the tokenizer's limit and the number of positions. EMBED_BAD_FILE if max_seq_length
 * exceeds the positions. */
embed_status plan_max_tokens(size_t *max_tokens, const struct embedding_pipeline *pipeline,
                             const struct transformer_config *config);

/* Fails if the device's dtype is not supported for the model, which `folder` names in the
 * message. */
embed_status plan_check_dtype(const struct transformer_config *config,
                              const struct backend *backend, const char *folder);

struct instance_plan {
    struct chunk_limits limits;           /* the most that one worker computes at a time */
    size_t worker_activations;            /* bytes, for a chunk */
    size_t activations, workspace;        /* bytes on the device, for all workers */
    size_t stream, graphs;                /* the same, but taken by CUDA, not allocated */
    size_t row_width;                     /* floats in a text's row; 0 if the model generates */
    size_t worker_staging;                /* bytes on the host, for a chunk */
    size_t staging;                       /* the same, for all workers, then the generator */
    /* If the model generates: limits.D documents at a time, limits.K beams of limits.M tokens each. */
    size_t cache;                         /* bytes on the device: keys, values, beams */
};

/* What a worker copies to and from the device. */
struct worker_staging {
    float *rows;    /* (B, row_width): the chunk's rows */
    int32_t *batch; /* the arrays of the chunk's packed_batch */
};

/* Places a worker's staging in memory that begins at `base`, and returns how many bytes it takes.
 * With base = NULL only counts. */
size_t worker_staging_place(struct worker_staging *staging, void *base,
                            const struct instance_plan *plan);

/* Plans an instance. `generation` is ignored if the config has no decoder. EMBED_INVALID_ARGUMENT
 * if the options exceed what the model can do; EMBED_OUT_OF_MEMORY if no memory could hold the
 * bytes. */
embed_status plan_instance(struct instance_plan *plan, const struct transformer_config *config,
                           const struct generation_rules *generation,
                           const struct embedding_pipeline *pipeline, size_t max_tokens,
                           const struct backend *backend, const embed_instance_options *options);

/* Fills an instance's report: its own bytes, from the plan, and the weights it shares. */
void plan_report(embed_memory *memory, const struct instance_plan *plan, size_t weights,
                 const struct backend *backend);

/* Computes how many such instances fit the device's free memory less `reserve` bytes. */
embed_status plan_instances_that_fit(size_t *count, const struct instance_plan *plan,
                                     const struct backend *backend, size_t reserve);

struct embed_model;

/* Computes the bytes that one more instance of the model takes of its device, rounded to the
 * device's granularity. */
embed_status plan_instance_bytes(uint64_t *bytes, const struct embed_model *model,
                                 const embed_instance_options *options);

/* Computes how many bytes the model's device can still give. Others may take them meanwhile. */
embed_status plan_free_bytes(uint64_t *bytes, const struct embed_model *model);

/* Returns the batch_tokens below which instances get no smaller: the longest text must fit. */
size_t plan_least_batch_tokens(const struct embed_model *model);

/* Implements embed_plan. Options must be complete. */
embed_status plan_folder(embed_memory *memory, const char *folder,
                         const embed_model_options *model_options,
                         const embed_instance_options *instance_options);

#endif
