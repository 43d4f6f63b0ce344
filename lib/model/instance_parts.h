/* instance_parts.h - what an instance is made of, for the files that compute with one */
#ifndef LIB_MODEL_INSTANCE_PARTS_H
#define LIB_MODEL_INSTANCE_PARTS_H

#include "model/embedding_head.h"
#include "model/instance.h"
#include "model/plan.h"
#include "model/token_batch.h"

/* What a worker needs for one chunk, and where the chunk's results belong. */
struct worker {
    struct activations activations;
    struct head_rows head_rows;
    struct worker_staging staging;
    size_t first, texts; /* of the call's */
};

struct embed_instance {
    struct embed_model *model;
    struct instance_plan plan;
    struct executor *executor;
    struct worker *workers;
    void *activations; /* all workers' */
    void *staging;     /* all workers', and the generator's after them */
    struct token_batch *tokens;
    struct token_span spans[TOKEN_BATCH_TEXTS];
    size_t chunks[TOKEN_BATCH_TEXTS + 1]; /* chunk i is texts chunks[i] to chunks[i + 1] - 1 */
    struct generator *generator; /* NULL: the model does not generate */
};

#endif
