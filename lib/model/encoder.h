/* encoder.h - the transformer encoder: weights, activations, forward pass
 *
 * BERT: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2018. Post-norm
 * layers as in Vaswani et al., "Attention Is All You Need", 2017. MPNet: Song et al., "MPNet:
 * Masked and Permuted Pre-training for Language Understanding", 2020: BERT without token types,
 * plus a relative position bias that the attention of all layers shares. Dimension letters:
 * kernels/kernels.h.
 */
#ifndef LIB_MODEL_ENCODER_H
#define LIB_MODEL_ENCODER_H

#include "backend/backend.h"
#include "description/transformer_config.h"

#include <stddef.h>

struct encoder_layer {
    struct linear qkv;              /* (3C, C): query, key and value in one matrix */
    struct linear attention_output; /* (C, C) */
    struct layernorm attention_norm;
    struct linear feed_forward_in;  /* (F, C) */
    struct linear feed_forward_out; /* (C, F) */
    struct layernorm feed_forward_norm;
};

struct encoder {
    struct transformer_config config;
    struct embeddings embeddings;
    struct relative_bias relative_bias;
    struct encoder_layer *layers; /* L */
};

/* Activations of one chunk. Buffers that are never live at the same time share memory. */
struct activations {
    void *x;         /* (N, C) hidden states */
    void *context;   /* (N, C) attention output */
    void *qkv;       /* (N, 3C) */
    void *projected; /* (N, C) shares memory with qkv: the first linear_add_layernorm's buffer */
    void *inner;     /* (N, F) shares memory with qkv */
    void *narrowed;  /* (N, C) shares memory with context: the second one's */
};

/* Places the activations for chunks of N tokens in memory that begins at `base`, and returns how
 * many bytes they take; SIZE_MAX on overflow. With base = NULL only counts, so that the size
 * reported beforehand and the size used cannot differ. */
size_t activations_place(struct activations *activations, void *base,
                         const struct transformer_config *config, size_t element_bytes, size_t N);

/* Computes activations->x (N, C): the batch's hidden states after the last layer. */
embed_status encoder_forward(const struct encoder *encoder, const struct backend *backend,
                             const struct activations *activations,
                             const struct packed_batch *batch, struct execution *execution);

/* As encoder_forward, but of each sequence only the row that POOLING_CLS takes is valid; it has the
 * same bits. After its attention, the last layer computes only these rows, which saves up to three
 * quarters of the layer. */
embed_status encoder_forward_first_rows(const struct encoder *encoder,
                                        const struct backend *backend,
                                        const struct activations *activations,
                                        const struct packed_batch *batch,
                                        struct execution *execution);

/* The parts of encoder_forward. encoder_embed writes the embeddings' output to activations->x;
 * encoder_layer replaces x, the output of the layer before, by that of layer l. */
embed_status encoder_embed(const struct encoder *encoder, const struct backend *backend,
                           const struct activations *activations, const struct packed_batch *batch,
                           struct execution *execution);
embed_status encoder_layer(const struct encoder *encoder, size_t l, const struct backend *backend,
                           const struct activations *activations, const struct packed_batch *batch,
                           struct execution *execution);

#endif
