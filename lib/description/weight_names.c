/* weight_names.c - the names of each family's tensors in its checkpoints */
#include "description/weight_names.h"

#include <stddef.h>
#include <string.h>

#define BERT_TENSORS                                                                           \
    .word = "embeddings.word_embeddings", .position = "embeddings.position_embeddings",        \
    .type = "embeddings.token_type_embeddings", .embeddings_norm = "embeddings.LayerNorm",     \
    .query = "encoder.layer.%zu.attention.self.query",                                         \
    .key = "encoder.layer.%zu.attention.self.key",                                             \
    .value = "encoder.layer.%zu.attention.self.value",                                         \
    .attention_output = "encoder.layer.%zu.attention.output.dense",                            \
    .attention_norm = "encoder.layer.%zu.attention.output.LayerNorm",                          \
    .feed_forward_in = "encoder.layer.%zu.intermediate.dense",                                 \
    .feed_forward_out = "encoder.layer.%zu.output.dense",                                      \
    .feed_forward_norm = "encoder.layer.%zu.output.LayerNorm"

static const struct weight_names bert = {.prefix = "bert.", BERT_TENSORS};
/* XLM-RoBERTa and CamemBERT have RoBERTa's prefix. */
static const struct weight_names roberta = {.prefix = "roberta.", BERT_TENSORS};

static const struct weight_names distilbert = {
    .prefix = "distilbert.",
    .word = "embeddings.word_embeddings",
    .position = "embeddings.position_embeddings",
    .embeddings_norm = "embeddings.LayerNorm",
    .query = "transformer.layer.%zu.attention.q_lin",
    .key = "transformer.layer.%zu.attention.k_lin",
    .value = "transformer.layer.%zu.attention.v_lin",
    .attention_output = "transformer.layer.%zu.attention.out_lin",
    .attention_norm = "transformer.layer.%zu.sa_layer_norm",
    .feed_forward_in = "transformer.layer.%zu.ffn.lin1",
    .feed_forward_out = "transformer.layer.%zu.ffn.lin2",
    .feed_forward_norm = "transformer.layer.%zu.output_layer_norm",
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

static const struct decoder_names bart_decoder = {
    .position = "decoder.embed_positions",
    .embeddings_norm = "decoder.layernorm_embedding",
    .query = "decoder.layers.%zu.self_attn.q_proj",
    .key = "decoder.layers.%zu.self_attn.k_proj",
    .value = "decoder.layers.%zu.self_attn.v_proj",
    .attention_output = "decoder.layers.%zu.self_attn.out_proj",
    .attention_norm = "decoder.layers.%zu.self_attn_layer_norm",
    .cross_query = "decoder.layers.%zu.encoder_attn.q_proj",
    .cross_key = "decoder.layers.%zu.encoder_attn.k_proj",
    .cross_value = "decoder.layers.%zu.encoder_attn.v_proj",
    .cross_output = "decoder.layers.%zu.encoder_attn.out_proj",
    .cross_norm = "decoder.layers.%zu.encoder_attn_layer_norm",
    .feed_forward_in = "decoder.layers.%zu.fc1",
    .feed_forward_out = "decoder.layers.%zu.fc2",
    .feed_forward_norm = "decoder.layers.%zu.final_layer_norm",
    .logits_bias = "final_logits_bias",
    .other_words = {"encoder.embed_tokens", "decoder.embed_tokens", "lm_head", NULL},
};

static const struct weight_names bart = {
    .prefix = "model.",
    .word = "shared",
    .position = "encoder.embed_positions",
    .embeddings_norm = "encoder.layernorm_embedding",
    .query = "encoder.layers.%zu.self_attn.q_proj",
    .key = "encoder.layers.%zu.self_attn.k_proj",
    .value = "encoder.layers.%zu.self_attn.v_proj",
    .attention_output = "encoder.layers.%zu.self_attn.out_proj",
    .attention_norm = "encoder.layers.%zu.self_attn_layer_norm",
    .feed_forward_in = "encoder.layers.%zu.fc1",
    .feed_forward_out = "encoder.layers.%zu.fc2",
    .feed_forward_norm = "encoder.layers.%zu.final_layer_norm",
    .decoder = &bart_decoder,
};

const struct weight_names *weight_names_of(const char *family)
{
    static const struct {
        const char *family;
        const struct weight_names *names;
    } all[] = {{"bert", &bert},
               {"roberta", &roberta},
               {"xlm-roberta", &roberta},
               {"camembert", &roberta},
               {"distilbert", &distilbert},
               {"mpnet", &mpnet},
               {"bart", &bart}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(family, all[i].family) == 0) return all[i].names;
    return NULL;
}
