/* encoder.c - the forward pass */
#include "model/encoder.h"

#include "base/memory.h"
#include "base/status.h"

size_t activations_place(struct activations *a, void *base, const struct transformer_config *config,
                         size_t element_bytes, size_t N, size_t B)
{
    size_t wide = 3 * config->C > config->F ? 3 * config->C : config->F;
    void *rows;
    const struct {
        void **buffer;
        size_t rows, columns, bytes;
    } buffers[] = {
        {&a->x, N, config->C, element_bytes},
        {&a->context, N, config->C, element_bytes},
        {&a->qkv, N, wide, element_bytes},
        {&rows, B, config->C, sizeof(float)},
    };
    size_t total = 0;
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        size_t bytes;
        if (!size_multiply(buffers[i].rows, buffers[i].columns, &bytes) ||
            !size_multiply(bytes, buffers[i].bytes, &bytes) || bytes > SIZE_MAX / 8)
            return SIZE_MAX;
        *buffers[i].buffer = base == NULL ? NULL : (char *)base + total;
        total += (bytes + 255) / 256 * 256; /* what CUDA's vector loads and any cache line like */
        if (total > SIZE_MAX / 8) return SIZE_MAX;
    }
    a->projected = a->inner = a->qkv;
    a->narrowed = a->context;
    a->rows = rows;
    return total;
}

embed_status encoder_forward(const struct encoder *encoder, const struct backend *op,
                             const struct activations *a, const struct packed_batch *batch,
                             struct execution *e)
{
    const struct transformer_config *m = &encoder->config;
    size_t N = batch->N, C = m->C;

    TRY(op->embed_layernorm(a->x, batch, &encoder->embeddings, C, m->epsilon, e));

    for (size_t l = 0; l < m->L; l++) {
        const struct encoder_layer *w = &encoder->layers[l];

        TRY(op->linear(a->qkv, a->x, &w->qkv, N, ACTIVATION_NONE, e));
        TRY(op->attention(a->context, a->qkv, &encoder->relative_bias, batch, m->NH, m->HS, e));
        TRY(op->linear(a->projected, a->context, &w->attention_output, N, ACTIVATION_NONE, e));
        TRY(op->add_layernorm(a->x, a->projected, a->x, &w->attention_norm, N, C, m->epsilon, e));

        TRY(op->linear(a->inner, a->x, &w->feed_forward_in, N, ACTIVATION_GELU, e));
        TRY(op->linear(a->narrowed, a->inner, &w->feed_forward_out, N, ACTIVATION_NONE, e));
        TRY(op->add_layernorm(a->x, a->narrowed, a->x, &w->feed_forward_norm, N, C, m->epsilon, e));
    }
    return EMBED_OK;
}
