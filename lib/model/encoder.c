/* encoder.c - the forward pass */
#include "model/encoder.h"

#include "base/placement.h"
#include "base/status.h"

size_t activations_place(struct activations *a, void *base, const struct transformer_config *config,
                         size_t element_bytes, size_t N)
{
    size_t C = config->C, wide = 3 * C > config->F ? 3 * C : config->F;
    struct placement memory = {base, 0};
    a->x = placement_take(&memory, N, C, element_bytes);
    a->context = placement_take(&memory, N, C, element_bytes);
    a->qkv = placement_take(&memory, N, wide, element_bytes);
    a->projected = a->inner = a->qkv;
    a->narrowed = a->context;
    return memory.bytes;
}

embed_status encoder_embed(const struct encoder *encoder, const struct backend *op,
                           const struct activations *a, const struct packed_batch *batch,
                           struct execution *e)
{
    const struct transformer_config *m = &encoder->config;
    return op->embed_layernorm(a->x, batch, &encoder->embeddings, m->C, m->epsilon, e);
}

embed_status encoder_layer(const struct encoder *encoder, size_t l, const struct backend *op,
                           const struct activations *a, const struct packed_batch *batch,
                           struct execution *e)
{
    const struct transformer_config *m = &encoder->config;
    const struct encoder_layer *w = &encoder->layers[l];
    size_t N = batch->N;

    TRY(op->linear(a->qkv, a->x, &w->qkv, N, ACTIVATION_NONE, e));
    TRY(op->attention(a->context, a->qkv, &encoder->relative_bias, batch, m->NH, m->HS, e));
    TRY(op->linear_add_layernorm(a->x, a->context, &w->attention_output, &w->attention_norm, N,
                                 m->epsilon, a->projected, e));

    TRY(op->linear(a->inner, a->x, &w->feed_forward_in, N, ACTIVATION_GELU, e));
    return op->linear_add_layernorm(a->x, a->inner, &w->feed_forward_out, &w->feed_forward_norm, N,
                                    m->epsilon, a->narrowed, e);
}

embed_status encoder_forward(const struct encoder *encoder, const struct backend *op,
                             const struct activations *a, const struct packed_batch *batch,
                             struct execution *e)
{
    TRY(encoder_embed(encoder, op, a, batch, e));
    for (size_t l = 0; l < encoder->config.L; l++)
        TRY(encoder_layer(encoder, l, op, a, batch, e));
    return EMBED_OK;
}
