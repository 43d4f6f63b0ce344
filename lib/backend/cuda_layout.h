/* cuda_layout.h - how much memory things take on a GPU, which is known without one
 *
 * Both libembed, for its plans, and the plug-in have this file inside.
 */
#ifndef LIB_BACKEND_CUDA_LAYOUT_H
#define LIB_BACKEND_CUDA_LAYOUT_H

#include "backend/backend.h"

/* Chunks under way: while the GPU computes one, the CPU packs the next. */
enum { CUDA_SLOTS = 2 };

/* Allocations of up to half of it come from blocks of so many bytes, larger ones in steps of it. */
#define CUDA_BLOCK ((size_t)2 << 20)

/* See round_up of struct backend: the sizes that graphs are made for. */
void cuda_round_up(const struct chunk_limits *limits, size_t *N, size_t *B, size_t *longest);

/* Numbers in one slot of an executor's memory: the arrays of a packed batch, and after the largest
 * documents that begin. */
size_t cuda_slot_numbers(const struct chunk_limits *limits);

/* Weights of this kind are FP32 in any dtype: LayerNorm's vectors, the token type, the relative
 * bias and that of the logits are small, and are added or multiplied in FP32, where they lose
 * nothing. */
bool cuda_weight_is_float(const struct backend *backend, enum weight_kind kind);

/* Until they are measured. */
extern const struct device_costs cuda_allowances;

/* What struct backend says of dtype, chunks and bytes; all else is as it was. EMBED_UNSUPPORTED
 * for a dtype that is not F16, F32 or EMBED_DTYPE_AUTO, which is F16. */
embed_status cuda_layout(struct backend *backend, int index, embed_dtype dtype);

/* A backend that tells bytes and does nothing else. The caller holds it. */
embed_status cuda_layout_open(struct backend **backend, int index, embed_dtype dtype);

#endif
