/* float_convert.h - converts a checkpoint's numbers to FP32, and FP32 to FP16 */
#ifndef LIB_FORMATS_FLOAT_CONVERT_H
#define LIB_FORMATS_FLOAT_CONVERT_H

#include "formats/safetensors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Returns true for F32, F16 and BF16. */
bool float_convert_supports(enum safetensors_dtype dtype);

/* Converts `count` numbers of `dtype` at `in` (any alignment) to FP32, exactly. */
void float_convert(float *out, const void *in, enum safetensors_dtype dtype, size_t count);

/* Converts `count` floats to IEEE 754 binary16, rounded to nearest, ties to even. Returns the index
 * of the first finite value that becomes infinite (65,520 or more in magnitude), or count if there
 * is none. */
size_t float_to_f16(uint16_t *out, const float *in, size_t count);

#endif
