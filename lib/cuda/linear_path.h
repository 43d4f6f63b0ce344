/* linear_path.h - which code computes linear layers on a card: cuBLASLt, or our own kernel
 *
 * Their bits differ, so the choice is made once, when a model is opened, and never depends on the
 * number of rows. EMBED_CUDA_LINEAR names one of these; otherwise a table by card decides:
 *
 *   cublaslt   cuBLASLt
 *   own        kernels/cuda/linear.cu, where by construction a row's bits do not depend on the
 *              other rows, and bias and GELU are in the same kernel
 *   two-level  the same with partial sums in FP16, for cards whose FP32 sums are half as fast
 */
#ifndef LIB_CUDA_LINEAR_PATH_H
#define LIB_CUDA_LINEAR_PATH_H

#include "embed.h"

enum linear_path { LINEAR_CUBLASLT, LINEAR_OWN, LINEAR_TWO_LEVEL };

/* Chooses the path for the card of that name. EMBED_INVALID_ARGUMENT if EMBED_CUDA_LINEAR is set to
 * another word. */
embed_status linear_path_choose(enum linear_path *path, const char *card);

const char *linear_path_word(enum linear_path path);

#endif
