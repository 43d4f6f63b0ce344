/* decoder.c - the operations of a decoding step on a GPU
 *
 * They only enqueue, and in a replayed chunk they do nothing. An array on the device says which
 * documents take a step, and each document's state is in its slot, so a graph of steps stays valid.
 */
#include "cuda/decoder.h"

#include "base/status.h"
#include "cuda/cuda_error.h"

#include <math.h>

/* Its chunk is never in a graph: the documents are at another address each time. */
embed_status decoder_beam_start(const struct beam_slots *beams,
                                const struct beam_document *documents, size_t D,
                                struct execution *execution)
{
    TRY_CUDA(execution->device,
             cudaMemcpyAsync(execution->documents, documents, D * sizeof *documents,
                             cudaMemcpyHostToDevice, execution->stream),
             "copying documents that begin");
    TRY_CUDA(execution->device,
             cuda_beam_start(beams, execution->documents, D, execution->stream), "beam_start");
    return EMBED_OK;
}

/* In FP32, x is the residual stream itself. */
embed_status decoder_embed_beams(void *x, float *residual, const struct decode_batch *batch,
                                 const struct embeddings *embeddings, size_t first_position,
                                 size_t C, float eps, struct execution *execution)
{
    if (execution->mode == EXECUTION_REPLAYED) return EMBED_OK;
    const struct embeddings *w = embeddings;
    TRY_CUDA(execution->device,
             execution->kernels->embed_beams(x, residual == x ? NULL : residual, batch, w->word,
                                             w->position, w->norm.weight, w->norm.bias,
                                             first_position, C, eps, execution->stream),
             "embed_beams");
    return EMBED_OK;
}

embed_status decoder_residual_layernorm(void *x, float *residual, const float *more,
                                        const struct layernorm *norm, size_t N, size_t C,
                                        float eps, struct execution *execution)
{
    if (execution->mode == EXECUTION_REPLAYED) return EMBED_OK;
    cudaError_t error =
        residual == x ? execution->kernels->add_layernorm(x, more, residual, norm->weight,
                                                          norm->bias, N, C, eps, execution->stream)
                      : cuda_residual_layernorm_f16(x, residual, more, norm->weight, norm->bias, N,
                                                    C, eps, execution->stream);
    TRY_CUDA(execution->device, error, "residual_layernorm");
    return EMBED_OK;
}

embed_status decoder_self_attention(void *context, const void *qkv, void *cache,
                                    const struct decode_batch *batch, size_t NH, size_t HS,
                                    struct execution *execution)
{
    if (execution->mode == EXECUTION_REPLAYED) return EMBED_OK;
    if (HS % 4 != 0 || (HS % 8 != 0 && HS > 128))
        return fail(EMBED_UNSUPPORTED,
                    "decoder head size %zu: a GPU needs a multiple of 8, or a multiple of 4 up to "
                    "128",
                    HS);
    TRY_CUDA(execution->device,
             execution->kernels->self_attention(context, qkv, cache, batch, NH, HS,
                                                1.0f / sqrtf((float)HS), execution->stream),
             "self_attention");
    return EMBED_OK;
}

embed_status decoder_cross_attention(void *context, const void *q, const void *cache,
                                     size_t most_sources, const struct decode_batch *batch,
                                     size_t NH, size_t HS, struct execution *execution)
{
    if (execution->mode == EXECUTION_REPLAYED) return EMBED_OK;
    TRY_CUDA(execution->device,
             execution->kernels->cross_attention(context, q, cache, most_sources, batch, NH, HS,
                                                 1.0f / sqrtf((float)HS), execution->stream),
             "cross_attention");
    return EMBED_OK;
}

embed_status decoder_beam_candidates(struct beam_candidate *candidates, float *logits,
                                     const struct decode_batch *batch, size_t V,
                                     struct execution *execution)
{
    if (execution->mode == EXECUTION_REPLAYED) return EMBED_OK;
    TRY_CUDA(execution->device,
             cuda_beam_candidates(candidates, logits, batch, V, execution->stream),
             "beam_candidates");
    return EMBED_OK;
}

embed_status decoder_beam_step(const struct decode_batch *batch,
                               const struct beam_candidate *candidates,
                               struct execution *execution)
{
    if (execution->mode == EXECUTION_REPLAYED) return EMBED_OK;
    TRY_CUDA(execution->device, cuda_beam_step(batch, candidates, execution->stream), "beam_step");
    return EMBED_OK;
}
