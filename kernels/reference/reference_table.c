/* reference_table.c - the table of naive kernels, for the tests */
#include "kernels/reference/reference.h"

const struct cpu_kernels cpu_kernels_reference = {
    .name = "reference",
    .element_bytes = sizeof(float),
    .matrix_bytes = sizeof(float),
    .panel = 1,
    .store = reference_store,
    .linear_weight_bytes = reference_linear_weight_bytes,
    .linear_bias_size = reference_linear_bias_size,
    .linear_scratch_bytes = reference_linear_scratch_bytes,
    .linear_pack = reference_linear_pack,
    .linear = reference_linear,
    .layernorm_scratch_bytes = reference_layernorm_scratch_bytes,
    .embed_layernorm = reference_embed_layernorm,
    .add_layernorm = reference_add_layernorm,
    .residual_layernorm = reference_residual_layernorm,
    .attention_scratch_bytes = reference_attention_scratch_bytes,
    .attention = reference_attention,
    .decode_attention_scratch_bytes = reference_decode_attention_scratch_bytes,
    .decode_attention = reference_decode_attention,
    .logits = reference_logits,
    .log_softmax_sums = reference_log_softmax_sums,
    .largest = reference_largest,
    .pool = reference_pool,
    .dense = reference_dense,
    .l2_normalize = reference_l2_normalize,
};
