/* cuda_layout.h - memory sizes on a GPU, known without having one
 *
 * This code is linked into both libembed, for its plans, and the plug-in.
 */
#ifndef LIB_BACKEND_CUDA_LAYOUT_H
#define LIB_BACKEND_CUDA_LAYOUT_H

#include "backend/backend.h"

/* Chunks in flight: while the GPU computes one, the CPU packs the next. */
enum { CUDA_SLOTS = 2 };

/* Allocations of up to half this size come from blocks of it; larger ones take multiples of it. */
#define CUDA_BLOCK ((size_t)2 << 20)

/* See round_up of struct backend. Rounds to the sizes that graphs are made for. */
void cuda_round_up(const struct chunk_limits *limits, size_t *N, size_t *B, size_t *longest);

/* Returns how many numbers one slot of an executor's memory holds: the arrays of the largest packed
 * batch, then the documents that begin. */
size_t cuda_slot_numbers(const struct chunk_limits *limits);

/* Returns whether weights of this kind are stored in FP32. In any dtype, vectors, attention's
 * relative bias and wide biases are: they are small, and are added or multiplied in FP32, so that
 * they lose nothing. */
bool cuda_weight_is_float(const struct backend *backend, enum weight_kind kind);

/* Costs assumed until they are measured. */
extern const struct device_costs cuda_allowances;

/* Fills in the fields of struct backend for dtype, chunks and bytes, and leaves all others alone.
 * EMBED_UNSUPPORTED for a dtype other than F16, F32 and EMBED_DTYPE_AUTO, which means F16. */
embed_status cuda_layout(struct backend *backend, int index, embed_dtype dtype);

/* Opens a backend that reports bytes and does nothing else. The caller holds it. */
embed_status cuda_layout_open(struct backend **backend, int index, embed_dtype dtype);

#endif
