/* linear_path.h - who computes linear layers on a card: cuBLASLt, or our own kernel
 *
 * Their bits differ, so the choice is made once, when a model is opened, and never by the number of
 * rows. EMBED_CUDA_LINEAR names one of these, else a table by card does:
 *
 *   cublaslt   cuBLASLt
 *   own        kernels/cuda/linear.cu, where a row's bits do not depend on the others by
 *              construction, and bias and GELU are in the same kernel
 *   two-level  the same with partial sums in FP16, for cards whose FP32 sums are half as fast
 */
#ifndef LIB_CUDA_LINEAR_PATH_H
#define LIB_CUDA_LINEAR_PATH_H

#include "embed.h"

enum linear_path { LINEAR_CUBLASLT, LINEAR_OWN, LINEAR_TWO_LEVEL };

/* For the card of that name. EMBED_INVALID_ARGUMENT where the variable is set to another word. */
embed_status linear_path_choose(enum linear_path *path, const char *card);

const char *linear_path_word(enum linear_path path);

#endif
