/* decoder.h - the transformer decoder: its weights, its cache, one step of generation
 *
 * BART: Lewis et al., "BART: Denoising Sequence-to-Sequence Pre-training for Natural Language
 * Generation, Translation, and Comprehension", 2019; post-norm layers as in the encoder. Letters:
 * kernels/kernels.h and kernels/beam_search.h.
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
    struct linear cross_key_value; /* (2C, C), of the encoder's output: keys, then values */
    struct linear cross_output;    /* (C, C) */
    struct layernorm cross_norm;
    struct linear feed_forward_in;  /* (F, C) */
    struct linear feed_forward_out; /* (C, F) */
    struct layernorm feed_forward_norm;
};

struct decoder {
    struct embeddings embeddings; /* the words are the encoder's */
    struct decoder_layer *layers; /* config.decoder.L */
    struct linear head;           /* (V, C): the words again, and final_logits_bias */
};

/* What a generator keeps of the documents under way, on the device. */
struct decoder_cache {
    size_t most_sources;     /* tokens of a source, S */
    size_t self_layer_bytes, cross_layer_bytes;
    void *self;              /* (L, P, K, T, 2C) keys and values of the beams' tokens */
    void *cross;             /* (L, P, S, 2C) of the sources' */
    struct beam_slots beams; /* P, K and T are here */
};

/* Of one step of R = D * K rows. Buffers that are never alive together share memory. */
struct decoder_activations {
    void *x;         /* (R, C) hidden states */
    float *residual; /* (R, C) the same in FP32: x, where elements are FP32 */
    void *context;   /* (R, C) what attention gives */
    void *qkv;       /* (R, 3C) */
    void *query;     /* (R, C) in the place of qkv */
    float *projected; /* (R, C) in the place of qkv */
    void *inner;     /* (R, F) in the place of qkv */
    float *narrowed; /* (R, C) in the place of context */
    float *logits;   /* (R, V) */
    struct beam_candidate *candidates; /* (R, BEAM_CANDIDATES(K)) */
};

/* Both place what they fill in memory that begins at `base`, and return how many bytes that takes.
 * With base = NULL they only count. SIZE_MAX where the bytes do not fit. */
size_t decoder_cache_place(struct decoder_cache *cache, void *base,
                           const struct transformer_config *config, size_t element_bytes, size_t P,
                           size_t K, size_t T, size_t S);
size_t decoder_activations_place(struct decoder_activations *activations, void *base,
                                 const struct transformer_config *config, size_t element_bytes,
                                 size_t R, size_t K);

/* What the decoder attends to of the batch's sequence b, whose hidden states are x: keys and values of
 * each layer, into the cache of `slot`. */
embed_status decoder_attend_to(const struct decoder *decoder,
                               const struct transformer_config *config, const struct backend *backend,
                               const struct decoder_cache *cache, size_t slot, const void *x,
                               size_t S, struct execution *execution);

/* activations->logits (R, V) of the token that follows each beam. */
embed_status decoder_forward(const struct decoder *decoder, const struct transformer_config *config,
                             const struct backend *backend, const struct decoder_cache *cache,
                             const struct decoder_activations *activations,
                             const struct decode_batch *batch, struct execution *execution);

#endif
