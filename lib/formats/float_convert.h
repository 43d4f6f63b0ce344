/* float_convert.h - the numbers of a checkpoint as FP32 */
#ifndef LIB_FORMATS_FLOAT_CONVERT_H
#define LIB_FORMATS_FLOAT_CONVERT_H

#include "formats/safetensors.h"

#include <stdbool.h>
#include <stddef.h>

/* F32, F16 and BF16 are. */
bool float_convert_supports(enum safetensors_dtype dtype);

/* count numbers of `dtype` at `in` (any alignment) to out; exact. */
void float_convert(float *out, const void *in, enum safetensors_dtype dtype, size_t count);

#endif
