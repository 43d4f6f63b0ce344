/* weight_names.c - what the tensors of each family are called in its checkpoints */
#include "description/weight_names.h"

#include <stddef.h>
#include <string.h>

static const struct weight_names bert = {
    .prefix = "bert.",
    .word = "embeddings.word_embeddings",
    .position = "embeddings.position_embeddings",
    .type = "embeddings.token_type_embeddings",
    .embeddings_norm = "embeddings.LayerNorm",
    .query = "encoder.layer.%zu.attention.self.query",
    .key = "encoder.layer.%zu.attention.self.key",
    .value = "encoder.layer.%zu.attention.self.value",
    .attention_output = "encoder.layer.%zu.attention.output.dense",
    .attention_norm = "encoder.layer.%zu.attention.output.LayerNorm",
    .feed_forward_in = "encoder.layer.%zu.intermediate.dense",
    .feed_forward_out = "encoder.layer.%zu.output.dense",
    .feed_forward_norm = "encoder.layer.%zu.output.LayerNorm",
};

static const struct weight_names mpnet = {
    .prefix = "mpnet.",
    .word = "embeddings.word_embeddings",
    .position = "embeddings.position_embeddings",
    .embeddings_norm = "embeddings.LayerNorm",
    .relative_bias = "encoder.relative_attention_bias",
    .query = "encoder.layer.%zu.attention.attn.q",
    .key = "encoder.layer.%zu.attention.attn.k",
    .value = "encoder.layer.%zu.attention.attn.v",
    .attention_output = "encoder.layer.%zu.attention.attn.o",
    .attention_norm = "encoder.layer.%zu.attention.LayerNorm",
    .feed_forward_in = "encoder.layer.%zu.intermediate.dense",
    .feed_forward_out = "encoder.layer.%zu.output.dense",
    .feed_forward_norm = "encoder.layer.%zu.output.LayerNorm",
};

const struct weight_names *weight_names_of(const char *family)
{
    if (strcmp(family, "bert") == 0) return &bert;
    if (strcmp(family, "mpnet") == 0) return &mpnet;
    return NULL;
}
