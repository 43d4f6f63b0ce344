/* linear.h - linear layers, by cuBLASLt or by our own kernel: see linear_path.h */
#ifndef LIB_CUDA_LINEAR_H
#define LIB_CUDA_LINEAR_H

#include "cuda/executor.h"

/* The functions of struct backend: `linear`, `residual_linear` and `logits`. */
embed_status linear_run(void *y, const void *x, const struct linear *layer, size_t N,
                        enum activation activation, struct execution *execution);
embed_status linear_residual(float *y, const void *x, const struct linear *layer, size_t N,
                             struct execution *execution);
embed_status linear_logits(float *y, const void *x, const struct linear *layer, size_t N,
                           struct execution *execution);

#endif
