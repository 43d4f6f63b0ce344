/* vector_types.h - CUDA's small vectors, for host code and emulated kernels; C11 and C++17 */
#ifndef EMULATED_VECTOR_TYPES_H
#define EMULATED_VECTOR_TYPES_H

/* Kernels read memory of any type through vectors, so these may alias. */
#define EMULATED_VECTOR(bytes) __attribute__((may_alias, aligned(bytes)))

struct EMULATED_VECTOR(8) int2 {
    int x, y;
};
struct EMULATED_VECTOR(16) int4 {
    int x, y, z, w;
};
struct EMULATED_VECTOR(8) uint2 {
    unsigned x, y;
};
struct uint3 {
    unsigned x, y, z;
};
struct EMULATED_VECTOR(16) uint4 {
    unsigned x, y, z, w;
};
struct EMULATED_VECTOR(8) float2 {
    float x, y;
};
struct EMULATED_VECTOR(16) float4 {
    float x, y, z, w;
};

struct dim3 {
    unsigned x, y, z;
#ifdef __cplusplus
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
#endif
};

#ifdef __cplusplus
static inline int2 make_int2(int x, int y)
{
    return int2{x, y};
}
static inline int4 make_int4(int x, int y, int z, int w)
{
    return int4{x, y, z, w};
}
static inline uint2 make_uint2(unsigned x, unsigned y)
{
    return uint2{x, y};
}
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return uint4{x, y, z, w};
}
static inline float2 make_float2(float x, float y)
{
    return float2{x, y};
}
static inline float4 make_float4(float x, float y, float z, float w)
{
    return float4{x, y, z, w};
}
#else
typedef struct int2 int2;
typedef struct int4 int4;
typedef struct uint2 uint2;
typedef struct uint3 uint3;
typedef struct uint4 uint4;
typedef struct float2 float2;
typedef struct float4 float4;
typedef struct dim3 dim3;
#endif

#endif
