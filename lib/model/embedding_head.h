/* embedding_head.h - from the last hidden states to rows: pooling and the steps after it */
#ifndef LIB_MODEL_EMBEDDING_HEAD_H
#define LIB_MODEL_EMBEDDING_HEAD_H

#include "backend/backend.h"
#include "description/embedding_pipeline.h"

/* One chunk's rows: a Dense module reads one buffer and writes the other, in turn. Floats for every
 * dtype. */
struct head_rows {
    float *rows, *others; /* (B, largest width of any step); others: NULL without Dense modules */
};

/* Places the rows of B sequences of a transformer of width C in memory that begins at `base`, and
 * returns how many bytes they take. With base = NULL only counts. */
size_t head_rows_place(struct head_rows *rows, void *base,
                       const struct embedding_pipeline *pipeline, size_t C, size_t B);

/* How a batch's hidden states x (N, C) become rows. */
struct embedding_head {
    const struct embedding_pipeline *pipeline;
    const struct dense *dense; /* (pipeline->dense_count) */
    size_t C;
    size_t D; /* leading components to keep */
    bool normalize;
};

/* Computes the batch's rows (B, embedding_pipeline_width); *out points to one of the buffers in
 * `rows`. */
embed_status embedding_head_forward(float **out, const struct embedding_head *head,
                                    const struct backend *backend, const struct head_rows *rows,
                                    const void *x, const struct packed_batch *batch,
                                    struct execution *execution);

#endif
