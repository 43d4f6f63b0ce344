/* table.c - the tables of launchers, one per element type */
#include "kernels/cuda/launchers.h"

#define TABLE(type, bytes)                                                                        \
    {                                                                                             \
        .name = #type,                                                                            \
        .element_bytes = bytes,                                                                   \
        .embed_layernorm = cuda_embed_layernorm_##type,                                           \
        .add_layernorm = cuda_add_layernorm_##type,                                               \
        .bias_gelu = cuda_bias_gelu_##type,                                                       \
        .attention = cuda_attention_##type,                                                       \
        .pool = cuda_pool_##type,                                                                 \
        .embed_beams = cuda_embed_beams_##type,                                                   \
        .self_attention = cuda_self_attention_##type,                                             \
        .cross_attention = cuda_cross_attention_##type,                                           \
    }

const struct cuda_kernels cuda_kernels_f16 = TABLE(f16, 2);
const struct cuda_kernels cuda_kernels_f32 = TABLE(f32, 4);
