/* linear.h - who computes linear layers: cuBLASLt, or our own kernel
 *
 * Their bits differ, so the choice is made once, when a model is opened, and never by the
 * number of rows. cuBLASLt computes all layers unless EMBED_CUDA_LINEAR says otherwise:
 *
 *   own        kernels/cuda/linear.cu, where a row's bits do not depend on the others by
 *              construction, and bias and GELU are in the same kernel
 *   two-level  the same with partial sums in FP16, for cards whose FP32 sums are half as fast
 *   cublaslt   what is chosen anyway
 */
#ifndef LIB_CUDA_LINEAR_H
#define LIB_CUDA_LINEAR_H

#include "cuda/executor.h"

/* EMBED_INVALID_ARGUMENT where the variable is set to another word. */
embed_status linear_path_choose(enum linear_path *path);

/* The functions of struct backend: `linear`, `residual_linear` and `logits`. */
embed_status linear_run(void *y, const void *x, const struct linear *layer, size_t N,
                        enum activation activation, struct execution *execution);
embed_status linear_residual(float *y, const void *x, const struct linear *layer, size_t N,
                             struct execution *execution);
embed_status linear_logits(float *y, const void *x, const struct linear *layer, size_t N,
                           struct execution *execution);

#endif
