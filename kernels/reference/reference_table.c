/* reference_table.c - the naive kernels as a table, for the tests */
#include "kernels/reference/reference.h"

const struct cpu_kernels cpu_kernels_reference = {
    .name = "reference",
    .panel = 1,
    .linear_weight_size = reference_linear_weight_size,
    .linear_bias_size = reference_linear_bias_size,
    .linear_pack = reference_linear_pack,
    .linear = reference_linear,
    .embed_layernorm = reference_embed_layernorm,
    .add_layernorm = reference_add_layernorm,
    .attention_scratch_size = reference_attention_scratch_size,
    .attention = reference_attention,
    .pool = reference_pool,
    .l2_normalize = reference_l2_normalize,
};
