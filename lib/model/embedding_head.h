/* embedding_head.h - from the last hidden states to rows: pooling, and what follows it */
#ifndef LIB_MODEL_EMBEDDING_HEAD_H
#define LIB_MODEL_EMBEDDING_HEAD_H

#include "backend/backend.h"
#include "description/embedding_pipeline.h"

/* One chunk's rows, before and after a Dense module by turns. Floats in any dtype. */
struct head_rows {
    float *rows, *others; /* (B, the widest that they ever are); others NULL: there is no Dense */
};

/* Places the rows of B sequences, of a transformer of width C, in memory that begins at `base`, and
 * returns how many bytes they take. With base = NULL it only counts. */
size_t head_rows_place(struct head_rows *rows, void *base,
                       const struct embedding_pipeline *pipeline, size_t C, size_t B);

/* What to make of the hidden states x (N, C) of a batch. */
struct embedding_head {
    const struct embedding_pipeline *pipeline;
    const struct dense *dense; /* (pipeline->dense_count) */
    size_t C;
    size_t D; /* components that are wanted */
    bool normalize;
};

/* *out (B, embedding_pipeline_width) = the batch's rows, in one of the buffers. */
embed_status embedding_head_forward(float **out, const struct embedding_head *head,
                                    const struct backend *backend, const struct head_rows *rows,
                                    const void *x, const struct packed_batch *batch,
                                    struct execution *execution);

#endif
