/* transformer_config.h - the sizes and conventions of a transformer, from its config.json */
#ifndef LIB_DESCRIPTION_TRANSFORMER_CONFIG_H
#define LIB_DESCRIPTION_TRANSFORMER_CONFIG_H

#include "embed.h"

#include <stdbool.h>
#include <stddef.h>

/* Letters as in kernels/kernels.h. */
struct transformer_config {
    const char *family;      /* model_type: "bert", "roberta", "distilbert", "mpnet", "bart", ... */
    size_t C;                /* hidden_size */
    size_t L;                /* num_hidden_layers */
    size_t NH, HS;           /* num_attention_heads, C / NH */
    size_t F;                /* intermediate_size */
    size_t V;                /* vocab_size */
    size_t positions;        /* max_position_embeddings: rows of the position table */
    size_t token_types;      /* type_vocab_size; 0: the family has none */
    size_t distance_buckets; /* of relative positions; 0: the family has none */
    float epsilon;           /* layer_norm_eps */
    float word_scale;        /* multiplies word embeddings when they are looked up */

    /* Set if positions are counted as in fairseq: the first token has row padding_id + 1; a padding
     * token inside a text has row padding_id and does not count. */
    bool positions_skip_padding;
    size_t padding_id;
    size_t first_position;   /* row of the position table for the first token: padding_id + 1 if
                                padding is skipped, 2 for BART, else 0 */

    /* The decoder, with the same width, vocabulary, positions and epsilon; 0 layers: none. */
    struct {
        size_t L, NH, HS, F;
    } decoder;
};

/* Reads FOLDER/config.json. EMBED_UNSUPPORTED names an architecture or setting that this version
 * does not run; EMBED_BAD_FILE names a value that has the wrong type, is out of range or
 * contradicts another. */
embed_status transformer_config_read(struct transformer_config *config, const char *folder);

/* Returns the number of tokens that the position table has rows for. */
size_t transformer_config_max_tokens(const struct transformer_config *config);

#endif
