/* embedding_head.c - from the last hidden states to rows: pooling and the steps after it */
#include "model/embedding_head.h"

#include "base/placement.h"
#include "base/status.h"

size_t head_rows_place(struct head_rows *rows, void *base,
                       const struct embedding_pipeline *pipeline, size_t C, size_t B)
{
    size_t widest = embedding_pipeline_pooled_width(pipeline, C);
    for (size_t i = 0; i < pipeline->dense_count; i++)
        if (pipeline->dense[i].O > widest) widest = pipeline->dense[i].O;
    struct placement memory = {base, 0};
    rows->rows = placement_take(&memory, B, widest, sizeof(float));
    rows->others = pipeline->dense_count > 0 ? placement_take(&memory, B, widest, sizeof(float))
                                             : NULL;
    return memory.bytes;
}

embed_status embedding_head_forward(float **out, const struct embedding_head *head,
                                    const struct backend *op, const struct head_rows *rows,
                                    const void *x, const struct packed_batch *batch,
                                    struct execution *e)
{
    const struct embedding_pipeline *pipeline = head->pipeline;
    size_t C = head->C, B = batch->B, W = embedding_pipeline_pooled_width(pipeline, C);
    float *from = rows->rows, *to = rows->others;
    *out = from;
    if (pipeline->pooling_modes == 1 && pipeline->step_count == 0) /* nearly all models */
        return op->pool(from, W, x, batch, C, pipeline->pooling[0], head->D, head->normalize, e);

    for (size_t i = 0; i < pipeline->pooling_modes; i++)
        TRY(op->pool(from + i * C, W, x, batch, C, pipeline->pooling[i], C, false, e));
    for (size_t i = 0; i < pipeline->step_count; i++) {
        const struct pipeline_step *step = &pipeline->steps[i];
        if (step->kind == STEP_NORMALIZE) {
            TRY(op->l2_normalize(from, B, W, W, e));
            continue;
        }
        const struct dense *dense = &head->dense[step->dense];
        TRY(op->dense(to, from, dense, B, e));
        float *done = from;
        from = to;
        to = done;
        W = dense->O;
    }
    *out = from;
    return head->normalize ? op->l2_normalize(from, B, W, head->D, e) : EMBED_OK;
}
