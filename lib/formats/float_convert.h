/* float_convert.h - the numbers of a checkpoint as FP32, and from there as FP16 */
#ifndef LIB_FORMATS_FLOAT_CONVERT_H
#define LIB_FORMATS_FLOAT_CONVERT_H

#include "formats/safetensors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* F32, F16 and BF16 are. */
bool float_convert_supports(enum safetensors_dtype dtype);

/* count numbers of `dtype` at `in` (any alignment) to out; exact. */
void float_convert(float *out, const void *in, enum safetensors_dtype dtype, size_t count);

/* count floats to IEEE 754 binary16, rounded to nearest, ties to even. Returns the index of the first
 * that is finite and too large to stay so (65,520 or more), or count. */
size_t float_to_f16(uint16_t *out, const float *in, size_t count);

#endif
