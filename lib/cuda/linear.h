/* linear.h - linear layers, by cuBLASLt or by our own kernel: see linear_path.h */
#ifndef LIB_CUDA_LINEAR_H
#define LIB_CUDA_LINEAR_H

#include "cuda/executor.h"

/* The functions of struct backend: `linear`, `linear_add_layernorm`, `residual_linear` and
 * `logits`. */
embed_status linear_run(void *y, const void *x, const struct linear *layer, size_t N,
                        enum activation activation, struct execution *execution);
embed_status linear_add_layernorm(void *x, const void *in, const struct linear *layer,
                                  const struct layernorm *norm, size_t N, float eps, void *buffer,
                                  struct execution *execution);
embed_status linear_residual(float *y, const void *x, const struct linear *layer, size_t N,
                             struct execution *execution);
embed_status linear_logits(float *y, const void *x, const struct linear *layer, size_t N,
                           struct execution *execution);

#endif
