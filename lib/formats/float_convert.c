/* float_convert.c - converts a checkpoint's numbers to FP32, and FP32 to FP16 */
#include "formats/float_convert.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

bool float_convert_supports(enum safetensors_dtype dtype)
{
    return dtype == SAFETENSORS_F32 || dtype == SAFETENSORS_F16 || dtype == SAFETENSORS_BF16;
}

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* IEEE 754 binary16: sign, 5 bits of exponent (bias 15), 10 bits of fraction. */
static float from_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = (half >> 10) & 0x1F, fraction = half & 0x3FF;
    if (exponent == 0) /* zero and subnormals: fraction * 2^-24 */
        return from_bits(sign | 0x3F800000u) * ldexpf((float)fraction, -24);
    if (exponent == 0x1F) return from_bits(sign | 0x7F800000u | fraction << 13);
    return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

void float_convert(float *out, const void *in, enum safetensors_dtype dtype, size_t count)
{
    if (dtype == SAFETENSORS_F32) {
        memcpy(out, in, count * sizeof(float));
        return;
    }
    const unsigned char *bytes = in;
    for (size_t i = 0; i < count; i++) {
        uint16_t bits = (uint16_t)(bytes[2 * i] | bytes[2 * i + 1] << 8);
        out[i] = dtype == SAFETENSORS_F16 ? from_f16(bits) : from_bits((uint32_t)bits << 16);
    }
}

static uint16_t to_f16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) return (uint16_t)(sign | 0x7E00); /* NaN */
    if (magnitude >= 0x477FF000) return (uint16_t)(sign | 0x7C00); /* 65,520 or more */
    if (magnitude < 0x38800000) { /* below 2^-14: adding 0.5 leaves value * 2^24 in the low bits */
        float shifted = from_bits(magnitude) + 0.5f;
        memcpy(&bits, &shifted, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3F000000));
    }
    magnitude += 0xFFF + (magnitude >> 13 & 1); /* adds half a unit; ties to even */
    return (uint16_t)(sign | ((magnitude - 0x38000000) >> 13));
}

size_t float_to_f16(uint16_t *out, const float *in, size_t count)
{
    size_t overflow = count;
    for (size_t i = 0; i < count; i++) {
        out[i] = to_f16(in[i]);
        bool infinite = (out[i] & 0x7FFF) == 0x7C00;
        if (infinite && isfinite(in[i]) && overflow == count) overflow = i;
    }
    return overflow;
}
