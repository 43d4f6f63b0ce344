/* decoder.c - the decoder's memory, and one step of generation */
#include "model/decoder.h"

#include "base/placement.h"
#include "base/status.h"

size_t decoder_cache_place(struct decoder_cache *cache, void *base,
                           const struct transformer_config *config, size_t element_bytes, size_t P,
                           size_t K, size_t T, size_t S)
{
    size_t L = config->decoder.L, C = config->C;
    struct placement memory = {base, 0}, layer = {NULL, 0};
    cache->most_sources = S;
    placement_take(&layer, P * K * T, 2 * C, element_bytes);
    cache->self_layer_bytes = layer.bytes;
    layer.bytes = 0;
    placement_take(&layer, P * S, 2 * C, element_bytes);
    cache->cross_layer_bytes = layer.bytes;
    cache->self = placement_take(&memory, L, cache->self_layer_bytes, 1);
    cache->cross = placement_take(&memory, L, cache->cross_layer_bytes, 1);
    size_t beams = beam_slots_place(&cache->beams, NULL, P, K, T);
    void *slots = placement_take(&memory, beams, 1, 1);
    beam_slots_place(&cache->beams, slots, P, K, T);
    return memory.bytes;
}

size_t decoder_activations_place(struct decoder_activations *a, void *base,
                                 const struct transformer_config *config, size_t element_bytes,
                                 size_t R, size_t K)
{
    size_t C = config->C, F = config->decoder.F, wide = 3 * C > F ? 3 * C : F;
    struct placement memory = {base, 0};
    a->x = placement_take(&memory, R, C, element_bytes);
    a->residual = element_bytes == sizeof *a->residual
                      ? a->x
                      : placement_take(&memory, R, C, sizeof *a->residual);
    a->context = placement_take(&memory, R, C, sizeof *a->narrowed); /* FP32: also fits elements */
    a->qkv = placement_take(&memory, R, wide, element_bytes);
    a->logits = placement_take(&memory, R, config->V, sizeof *a->logits);
    a->candidates = placement_take(&memory, R, BEAM_CANDIDATES(K), sizeof *a->candidates);
    a->query = a->projected = a->inner = a->qkv;
    a->narrowed = a->context;
    return memory.bytes;
}

embed_status decoder_attend_to(const struct decoder *decoder,
                               const struct transformer_config *config, const struct backend *op,
                               const struct decoder_cache *cache, size_t slot, const void *x,
                               size_t S, struct execution *e)
{
    size_t row = 2 * config->C * op->activation_bytes;
    for (size_t l = 0; l < config->decoder.L; l++) {
        char *layer = (char *)cache->cross + l * cache->cross_layer_bytes;
        TRY(op->linear(layer + slot * cache->most_sources * row, x,
                       &decoder->layers[l].cross_key_value, S, ACTIVATION_NONE, e));
    }
    return EMBED_OK;
}

embed_status decoder_forward(const struct decoder *decoder, const struct transformer_config *m,
                             const struct backend *op, const struct decoder_cache *cache,
                             const struct decoder_activations *a, const struct decode_batch *batch,
                             struct execution *e)
{
    size_t R = batch->D * batch->K, C = m->C, NH = m->decoder.NH, HS = m->decoder.HS;

    TRY(op->embed_beams(a->x, a->residual, batch, &decoder->embeddings, m->first_position, C,
                        m->epsilon, e));

    for (size_t l = 0; l < m->decoder.L; l++) {
        const struct decoder_layer *w = &decoder->layers[l];
        void *self = (char *)cache->self + l * cache->self_layer_bytes;
        const void *cross = (const char *)cache->cross + l * cache->cross_layer_bytes;

        TRY(op->linear(a->qkv, a->x, &w->qkv, R, ACTIVATION_NONE, e));
        TRY(op->self_attention(a->context, a->qkv, self, batch, NH, HS, e));
        TRY(op->residual_linear(a->projected, a->context, &w->attention_output, R, e));
        TRY(op->residual_layernorm(a->x, a->residual, a->projected, &w->attention_norm, R, C,
                                   m->epsilon, e));

        TRY(op->linear(a->query, a->x, &w->cross_query, R, ACTIVATION_NONE, e));
        TRY(op->cross_attention(a->context, a->query, cross, cache->most_sources, batch, NH, HS, e));
        TRY(op->residual_linear(a->projected, a->context, &w->cross_output, R, e));
        TRY(op->residual_layernorm(a->x, a->residual, a->projected, &w->cross_norm, R, C,
                                   m->epsilon, e));

        TRY(op->linear(a->inner, a->x, &w->feed_forward_in, R, ACTIVATION_GELU, e));
        TRY(op->residual_linear(a->narrowed, a->inner, &w->feed_forward_out, R, e));
        TRY(op->residual_layernorm(a->x, a->residual, a->narrowed, &w->feed_forward_norm, R, C,
                                   m->epsilon, e));
    }
    return op->logits(a->logits, a->x, &decoder->head, R, e);
}
