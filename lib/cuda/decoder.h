/* decoder.h - the operations of a decoding step, under their names in struct backend */
#ifndef LIB_CUDA_DECODER_H
#define LIB_CUDA_DECODER_H

#include "cuda/executor.h"

embed_status decoder_beam_start(const struct beam_slots *beams,
                                const struct beam_document *documents, size_t D,
                                struct execution *execution);
embed_status decoder_embed_beams(void *x, float *residual, const struct decode_batch *batch,
                                 const struct embeddings *embeddings, size_t first_position,
                                 size_t C, float eps, struct execution *execution);
embed_status decoder_residual_layernorm(void *x, float *residual, const float *more,
                                        const struct layernorm *norm, size_t N, size_t C,
                                        float eps, struct execution *execution);
embed_status decoder_self_attention(void *context, const void *qkv, void *cache,
                                    const struct decode_batch *batch, size_t NH, size_t HS,
                                    struct execution *execution);
embed_status decoder_cross_attention(void *context, const void *q, const void *cache,
                                     size_t most_sources, const struct decode_batch *batch,
                                     size_t NH, size_t HS, struct execution *execution);
embed_status decoder_beam_candidates(struct beam_candidate *candidates, float *logits,
                                     const struct decode_batch *batch, size_t V,
                                     struct execution *execution);
embed_status decoder_beam_step(const struct decode_batch *batch,
                               const struct beam_candidate *candidates,
                               struct execution *execution);

#endif
