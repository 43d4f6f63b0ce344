/* table.c - collects one instruction set's kernels in a table */
#include "kernels/cpu/kernels_cpu.h"

#define TEXT_NOW(x) #x
#define TEXT(x)     TEXT_NOW(x)

#if defined(ISA_avx512_vnni)
#define MATRIX_BYTES 1
#else
#define MATRIX_BYTES sizeof(element)
#endif

const struct cpu_kernels JOIN(cpu_kernels, ISA) = {
    .name = TEXT(ISA),
    .element_bytes = sizeof(element),
    .matrix_bytes = MATRIX_BYTES,
    .panel = PANEL,
    .store = KERNEL(store),
    .linear_weight_bytes = KERNEL(linear_weight_bytes),
    .linear_bias_size = KERNEL(linear_bias_size),
    .linear_scratch_bytes = KERNEL(linear_scratch_bytes),
    .linear_pack = KERNEL(linear_pack),
    .linear = KERNEL(linear),
    .layernorm_scratch_bytes = KERNEL(layernorm_scratch_bytes),
    .embed_layernorm = KERNEL(embed_layernorm),
    .add_layernorm = KERNEL(add_layernorm),
    .residual_layernorm = KERNEL(residual_layernorm),
    .attention_scratch_bytes = KERNEL(attention_scratch_bytes),
    .attention = KERNEL(attention),
    .decode_attention_scratch_bytes = KERNEL(decode_attention_scratch_bytes),
    .decode_attention = KERNEL(decode_attention),
    .logits = KERNEL(logits),
    .log_softmax_sums = KERNEL(log_softmax_sums),
    .largest = KERNEL(largest),
    .pool = KERNEL(pool),
    .dense = KERNEL(dense),
    .l2_normalize = KERNEL(l2_normalize),
};
