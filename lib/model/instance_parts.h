/* instance_parts.h - the members of an instance, for the files that compute with it */
#ifndef LIB_MODEL_INSTANCE_PARTS_H
#define LIB_MODEL_INSTANCE_PARTS_H

#include "model/embedding_head.h"
#include "model/instance.h"
#include "model/plan.h"
#include "model/token_batch.h"

/* A worker's buffers for one chunk, and which texts the chunk has. */
struct worker {
    struct activations activations;
    struct head_rows head_rows;
    struct worker_staging staging;
    size_t first, texts; /* index of the chunk's first text in the call, and number of texts */
};

struct embed_instance {
    struct embed_model *model;
    struct instance_plan plan;
    struct executor *executor;
    struct worker *workers;
    void *activations; /* all workers' */
    void *staging;     /* all workers', then the generator's */
    struct token_batch *tokens;
    struct token_span spans[TOKEN_BATCH_TEXTS];
    size_t chunks[TOKEN_BATCH_TEXTS + 1]; /* chunk i is texts chunks[i] to chunks[i + 1] - 1 */
    struct generator *generator; /* NULL if the model does not generate */
};

#endif
