/* cuda_fp16.h - FP16 as a storage format: exact conversions that round to nearest even */
#ifndef EMULATED_CUDA_FP16_H
#define EMULATED_CUDA_FP16_H

#include "vector_types.h"

#include <stdint.h>
#include <string.h>

struct __attribute__((may_alias, aligned(2))) __half {
    uint16_t bits;
};
struct __attribute__((may_alias, aligned(4))) __half2 {
    struct __half x, y;
};
#ifndef __cplusplus
typedef struct __half __half;
typedef struct __half2 __half2;
#endif

static inline uint32_t emulated_float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float emulated_float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Shifted to a float's place, exponent and fraction keep their meaning except for the bias: 127 -
 * 15 = 112. The product is exact, also for subnormal numbers. */
static inline float __half2float(__half half)
{
    uint32_t magnitude = half.bits & 0x7FFFu;
    uint32_t bits = emulated_float_bits(emulated_float_of(magnitude << 13) * 0x1p112f);
    if (magnitude >= 0x7C00u) bits = 0x7F800000u | magnitude << 13; /* infinity, NaN */
    return emulated_float_of(bits | (uint32_t)(half.bits & 0x8000u) << 16);
}

static inline __half __float2half_rn(float value)
{
    uint32_t bits = emulated_float_bits(value), sign = bits >> 16 & 0x8000u;
    uint32_t magnitude = bits & 0x7FFFFFFFu, rounded;
    __half half;
    if (magnitude > 0x7F800000u) { /* NaN */
        half.bits = 0x7FFF;
        return half;
    }
    if (magnitude >= 0x477FF000u) { /* 65520, the tie between 65504 and 2^16: infinity */
        rounded = 0x7C00u;
    } else if (magnitude < 0x38800000u) { /* below 2^-14: 0.5 has its last bit at 2^-24, like */
        float sum = emulated_float_of(magnitude) + 0.5f; /* subnormal halves: the sum rounds */
        rounded = emulated_float_bits(sum) - 0x3F000000u;
    } else {
        uint32_t odd = magnitude >> 13 & 1;
        rounded = (magnitude - 0x38000000u + 0xFFFu + odd) >> 13;
    }
    half.bits = (uint16_t)(sign | rounded);
    return half;
}

static inline __half __float2half(float value)
{
    return __float2half_rn(value);
}

static inline __half2 __floats2half2_rn(float x, float y)
{
    __half2 pair;
    pair.x = __float2half_rn(x);
    pair.y = __float2half_rn(y);
    return pair;
}

static inline __half2 __halves2half2(__half x, __half y)
{
    __half2 pair;
    pair.x = x;
    pair.y = y;
    return pair;
}

#ifdef __cplusplus
static inline float2 __half22float2(__half2 pair)
{
    return make_float2(__half2float(pair.x), __half2float(pair.y));
}

static inline __half2 __float22half2_rn(float2 pair)
{
    return __floats2half2_rn(pair.x, pair.y);
}

static inline float __low2float(__half2 pair)
{
    return __half2float(pair.x);
}

static inline float __high2float(__half2 pair)
{
    return __half2float(pair.y);
}
#endif

static inline unsigned short __half_as_ushort(__half half)
{
    return half.bits;
}

static inline __half __ushort_as_half(unsigned short bits)
{
    __half half;
    half.bits = bits;
    return half;
}

#endif
