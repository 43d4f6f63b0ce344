/* encoder.h - the transformer encoder: its weights, its activations, its forward pass
 *
 * BERT: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2018; post-norm
 * layers as in Vaswani et al., "Attention Is All You Need", 2017. MPNet: Song et al., "MPNet: Masked
 * and Permuted Pre-training for Language Understanding", 2020: BERT without token types, and with
 * a bias by distance that all layers' attention shares. Letters: kernels/kernels.h.
 */
#ifndef LIB_MODEL_ENCODER_H
#define LIB_MODEL_ENCODER_H

#include "backend/backend.h"
#include "description/transformer_config.h"

#include <stddef.h>

struct encoder_layer {
    struct linear qkv;              /* (3C, C): query, key and value in one */
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

/* One chunk's. Buffers that are never alive together share memory. */
struct activations {
    void *x;         /* (N, C) hidden states */
    void *context;   /* (N, C) what attention gives */
    void *qkv;       /* (N, 3C) */
    void *projected; /* (N, C) in the place of qkv: linear_add_layernorm's buffer */
    void *inner;     /* (N, F) in the place of qkv */
    void *narrowed;  /* (N, C) in the place of context: the other's */
};

/* Places the activations for chunks of N tokens in memory that begins at `base`,
 * and returns how many bytes they take. With base = NULL it only counts: what is reported before
 * and what is used after cannot differ. SIZE_MAX where the bytes do not fit. */
size_t activations_place(struct activations *activations, void *base,
                         const struct transformer_config *config, size_t element_bytes, size_t N);

/* activations->x (N, C) = the last layer's hidden states of the batch. */
embed_status encoder_forward(const struct encoder *encoder, const struct backend *backend,
                             const struct activations *activations,
                             const struct packed_batch *batch, struct execution *execution);

/* As encoder_forward, but of each sequence only the row that POOLING_CLS takes is sure to be what it
 * should; it has the same bits. The last layer computes no more than that, which saves up to three
 * quarters of it. */
embed_status encoder_forward_first_rows(const struct encoder *encoder,
                                        const struct backend *backend,
                                        const struct activations *activations,
                                        const struct packed_batch *batch,
                                        struct execution *execution);

/* Its parts: activations->x = the embeddings' output; and the output of layer l, of the one before. */
embed_status encoder_embed(const struct encoder *encoder, const struct backend *backend,
                           const struct activations *activations, const struct packed_batch *batch,
                           struct execution *execution);
embed_status encoder_layer(const struct encoder *encoder, size_t l, const struct backend *backend,
                           const struct activations *activations, const struct packed_batch *batch,
                           struct execution *execution);

#endif
