/* transformer_config.h - the sizes and conventions of a transformer, from its config.json */
#ifndef LIB_DESCRIPTION_TRANSFORMER_CONFIG_H
#define LIB_DESCRIPTION_TRANSFORMER_CONFIG_H

#include "embed.h"

#include <stddef.h>

/* Letters as in kernels/kernels.h. */
struct transformer_config {
    const char *family;  /* "bert" */
    size_t C;            /* hidden_size */
    size_t L;            /* num_hidden_layers */
    size_t NH, HS;       /* num_attention_heads, C / NH */
    size_t F;            /* intermediate_size */
    size_t V;            /* vocab_size */
    size_t positions;    /* max_position_embeddings */
    size_t token_types;  /* type_vocab_size */
    float epsilon;       /* layer_norm_eps */
};

/* Reads FOLDER/config.json. EMBED_UNSUPPORTED names an architecture or a setting that this version
 * does not run; EMBED_BAD_FILE a value that is of the wrong type, out of range or contradictory. */
embed_status transformer_config_read(struct transformer_config *config, const char *folder);

#endif
