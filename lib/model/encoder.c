/* encoder.c - the encoder's memory and forward pass */
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

/* Computes a->context: the attention output of each token, over its whole sequence. */
static embed_status attend(const struct encoder *encoder, const struct encoder_layer *w,
                           const struct backend *op, const struct activations *a,
                           const struct packed_batch *batch, struct execution *e)
{
    const struct transformer_config *m = &encoder->config;
    TRY(op->linear(a->qkv, a->x, &w->qkv, batch->N, ACTIVATION_NONE, e));
    return op->attention(a->context, a->qkv, &encoder->relative_bias, batch, m->NH, m->HS, e);
}

/* Computes the rest of a layer, which treats each of the N rows separately. */
static embed_status transform(const struct encoder *encoder, const struct encoder_layer *w,
                              const struct backend *op, const struct activations *a, size_t N,
                              struct execution *e)
{
    float epsilon = encoder->config.epsilon;
    TRY(op->linear_add_layernorm(a->x, a->context, &w->attention_output, &w->attention_norm, N,
                                 epsilon, a->projected, e));
    TRY(op->linear(a->inner, a->x, &w->feed_forward_in, N, ACTIVATION_GELU, e));
    return op->linear_add_layernorm(a->x, a->inner, &w->feed_forward_out, &w->feed_forward_norm, N,
                                    epsilon, a->narrowed, e);
}

embed_status encoder_layer(const struct encoder *encoder, size_t l, const struct backend *op,
                           const struct activations *a, const struct packed_batch *batch,
                           struct execution *e)
{
    const struct encoder_layer *w = &encoder->layers[l];
    TRY(attend(encoder, w, op, a, batch, e));
    return transform(encoder, w, op, a, batch->N, e);
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

/* Places the activations of the first rows where qkv is, which is not used after attention. Returns
 * whether they fit: they do with at least three tokens per sequence. */
static bool place_first_rows(struct activations *first, const struct activations *a,
                             const struct transformer_config *config, size_t element_bytes,
                             const struct packed_batch *batch)
{
    size_t room = batch->N * 3 * config->C * element_bytes;
    return activations_place(first, a->qkv, config, element_bytes, batch->B) <= room;
}

embed_status encoder_forward_first_rows(const struct encoder *encoder, const struct backend *op,
                                        const struct activations *a,
                                        const struct packed_batch *batch, struct execution *e)
{
    const struct transformer_config *m = &encoder->config;
    struct activations first;
    if (op->take_first_rows == NULL ||
        !place_first_rows(&first, a, m, op->activation_bytes, batch))
        return encoder_forward(encoder, op, a, batch, e);

    TRY(encoder_embed(encoder, op, a, batch, e));
    for (size_t l = 0; l < m->L - 1; l++) TRY(encoder_layer(encoder, l, op, a, batch, e));
    const struct encoder_layer *last = &encoder->layers[m->L - 1];
    TRY(attend(encoder, last, op, a, batch, e));
    TRY(op->take_first_rows(first.x, a->x, batch, m->C, e));
    TRY(op->take_first_rows(first.context, a->context, batch, m->C, e));
    TRY(transform(encoder, last, op, &first, batch->B, e));
    return op->put_first_rows(a->x, first.x, batch, m->C, e);
}
