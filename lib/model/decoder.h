/* decoder.h - the transformer decoder: weights, cache, one step of generation
 *
 * BART: Lewis et al., "BART: Denoising Sequence-to-Sequence Pre-training for Natural Language
 * Generation, Translation, and Comprehension", 2019. Post-norm layers, as in the encoder. Dimension
 * letters: kernels/kernels.h and kernels/beam_search.h.
 */
#ifndef LIB_MODEL_DECODER_H
#define LIB_MODEL_DECODER_H

#include "backend/backend.h"
#include "description/transformer_config.h"

#include <stddef.h>

struct decoder_layer {
    struct linear qkv;              /* (3C, C) */
    struct linear attention_output; /* (C, C) */
    struct layernorm attention_norm;
    struct linear cross_query;     /* (C, C) */
    struct linear cross_key_value; /* (2C, C), applied to the encoder's output: keys, then values */
    struct linear cross_output;    /* (C, C) */
    struct layernorm cross_norm;
    struct linear feed_forward_in;  /* (F, C) */
    struct linear feed_forward_out; /* (C, F) */
    struct layernorm feed_forward_norm;
};

struct decoder {
    struct embeddings embeddings; /* the word table is the encoder's */
    struct decoder_layer *layers; /* config.decoder.L */
    struct linear head;           /* (V, C): the word table, and final_logits_bias */
};

/* What a generator keeps on the device for the documents in flight. */
struct decoder_cache {
    size_t most_sources;     /* maximum tokens of a source, S */
    size_t self_layer_bytes, cross_layer_bytes;
    void *self;              /* (L, P, K, T, 2C) keys and values of the beams' tokens */
    void *cross;             /* (L, P, S, 2C) keys and values of the sources' tokens */
    struct beam_slots beams; /* has P, K and T */
};

/* Activations of one step of R = D * K rows. Buffers that are never live at the same time share
 * memory. */
struct decoder_activations {
    void *x;         /* (R, C) hidden states */
    float *residual; /* (R, C) the same in FP32; equals x if elements are FP32 */
    void *context;   /* (R, C) attention output */
    void *qkv;       /* (R, 3C) */
    void *query;     /* (R, C) shares memory with qkv */
    float *projected; /* (R, C) shares memory with qkv */
    void *inner;     /* (R, F) shares memory with qkv */
    float *narrowed; /* (R, C) shares memory with context */
    float *logits;   /* (R, V) */
    struct beam_candidate *candidates; /* (R, BEAM_CANDIDATES(K)) */
};

/* Place the buffers of their first argument in memory that begins at `base`, and return how many
 * bytes they take. With base = NULL they only count. Return SIZE_MAX on overflow. */
size_t decoder_cache_place(struct decoder_cache *cache, void *base,
                           const struct transformer_config *config, size_t element_bytes, size_t P,
                           size_t K, size_t T, size_t S);
size_t decoder_activations_place(struct decoder_activations *activations, void *base,
                                 const struct transformer_config *config, size_t element_bytes,
                                 size_t R, size_t K);

/* Computes each layer's cross-attention keys and values for a source whose encoder output is
 * x (S, C), and writes them to the cache of `slot`. */
embed_status decoder_attend_to(const struct decoder *decoder,
                               const struct transformer_config *config, const struct backend *backend,
                               const struct decoder_cache *cache, size_t slot, const void *x,
                               size_t S, struct execution *execution);

/* Runs one step: computes activations->logits (R, V) for the token that follows each beam. */
embed_status decoder_forward(const struct decoder *decoder, const struct transformer_config *config,
                             const struct backend *backend, const struct decoder_cache *cache,
                             const struct decoder_activations *activations,
                             const struct decode_batch *batch, struct execution *execution);

#endif
