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
    size_t N = batch->N, C = m->C;

    TRY(op->linear(a->qkv, a->x, &w->qkv, N, ACTIVATION_NONE, e));
    TRY(op->attention(a->context, a->qkv, &encoder->relative_bias, batch, m->NH, m->HS, e));
    TRY(op->linear(a->projected, a->context, &w->attention_output, N, ACTIVATION_NONE, e));
    TRY(op->add_layernorm(a->x, a->projected, a->x, &w->attention_norm, N, C, m->epsilon, e));

    TRY(op->linear(a->inner, a->x, &w->feed_forward_in, N, ACTIVATION_GELU, e));
    TRY(op->linear(a->narrowed, a->inner, &w->feed_forward_out, N, ACTIVATION_NONE, e));
    return op->add_layernorm(a->x, a->narrowed, a->x, &w->feed_forward_norm, N, C, m->epsilon, e);
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
