/* emulated_device.h - what kernels see instead of CUDA C++ when a C++ compiler builds them
 *
 * Included by kernels/cuda/device.cuh. Declares the keywords, the built-in variables, barriers and
 * launch(); warp operations and the counterparts of ptx.cuh are in emulated_warp.h. Everything else
 * of CUDA is left out on purpose: a kernel that uses it does not compile. tests/emu/README.md says
 * how to add what is needed.
 */
#ifndef EMULATED_DEVICE_H
#define EMULATED_DEVICE_H

#include "cuda_fp16.h"
#include "cuda_runtime_api.h"

#include <functional>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <tuple>
#include <type_traits>

#ifndef EMULATED_ARCH
#error "give the architecture to emulate: -DEMULATED_ARCH=750 or -DEMULATED_ARCH=800"
#endif
#define DEVICE_ARCH EMULATED_ARCH

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#ifndef __restrict__
#define __restrict__ __restrict
#endif

/* ---- built-in variables -------------------------------------------------------------------- */

struct emulated_block {
    uint3 index;
    dim3 size, grid;
    unsigned char *shared_memory;
};

struct emulated_thread {
    uint3 index;
    unsigned number; /* lane, in its warp */
    const struct emulated_block *block;
};

#define EMULATED_THREAD_LOCAL __thread __attribute__((tls_model("initial-exec")))

extern EMULATED_THREAD_LOCAL const struct emulated_thread *emulated_this_thread; /* running */

#define threadIdx (emulated_this_thread->index)
#define blockIdx (emulated_this_thread->block->index)
#define blockDim (emulated_this_thread->block->size)
#define gridDim (emulated_this_thread->block->grid)

#define SHARED_MEMORY(name) \
    unsigned char *const name = emulated_this_thread->block->shared_memory

/* ---- barriers ------------------------------------------------------------------------------ */

/* A place in the source. Two barriers are the same if they are on the same line. */
#define EMULATED_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

void emulated_barrier(const char *file, int line);

static inline void __syncthreads(EMULATED_PLACE)
{
    emulated_barrier(file, line);
}

/* ---- launches ------------------------------------------------------------------------------ */

struct emulated_launch {
    const char *text; /* the launch's arguments as written, which begin with the kernel's name */
    int architecture;
    dim3 grid, block;
    size_t shared_bytes;
    const void *const *pointers; /* among the kernel's arguments */
    size_t pointer_count;
    std::function<void()> thread; /* what every thread runs */
};

cudaError_t emulated_launch_kernel(const struct emulated_launch *launch, cudaStream_t stream);

template <typename T> static inline void emulated_note(const void **, size_t *, const T &)
{
}

template <typename T>
static inline void emulated_note(const void **pointers, size_t *count, T *const &pointer)
{
    pointers[(*count)++] = (const void *)pointer;
}

template <typename... Parameters, typename... Arguments>
static cudaError_t emulated_launch_named(const char *text, void (*kernel)(Parameters...), dim3 grid,
                                         dim3 block, size_t shared_bytes, cudaStream_t stream,
                                         Arguments... arguments)
{
    static_assert((std::is_trivially_copyable<Parameters>::value && ...),
                  "a kernel's parameters are copied to the device as bytes");
    std::tuple<Parameters...> values{static_cast<Parameters>(arguments)...};
    const void *pointers[sizeof...(Parameters) + 1];
    size_t count = 0;
    std::apply([&](const auto &...value) { (emulated_note(pointers, &count, value), ...); },
               values);
    struct emulated_launch launch = {text,     DEVICE_ARCH, grid, block, shared_bytes, pointers,
                                     count, [=]() { std::apply(kernel, values); }};
    return emulated_launch_kernel(&launch, stream);
}

#define launch(...) emulated_launch_named(#__VA_ARGS__, __VA_ARGS__)

/* ---- functions ----------------------------------------------------------------------------- */

static inline void store_same(float *p, float value)
{
    __atomic_store(p, &value, __ATOMIC_RELAXED);
}

template <typename T> static inline T __ldg(const T *pointer)
{
    return *pointer;
}

static inline float emulated_rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}
#define rsqrtf emulated_rsqrtf /* some C libraries define one */
#define __expf expf            /* and other names that begin so */

/* A product that a compiler must not contract into a fused multiply-add. */
static inline float __fmul_rn(float x, float y)
{
    return x * y;
}

static inline float __fdividef(float x, float y)
{
    return x / y;
}

static inline float __frcp_rn(float x)
{
    return 1.0f / x;
}

static inline unsigned __float_as_uint(float value)
{
    return emulated_float_bits(value);
}

static inline float __uint_as_float(unsigned bits)
{
    return emulated_float_of(bits);
}

static inline int __popc(unsigned bits)
{
    return __builtin_popcount(bits);
}

/* Returns the position of the lowest set bit, counted from 1; 0 if none is set. */
static inline int __ffs(int bits)
{
    return __builtin_ffs(bits);
}

static inline int min(int a, int b)
{
    return a < b ? a : b;
}

static inline int max(int a, int b)
{
    return a > b ? a : b;
}

static inline unsigned min(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static inline unsigned max(unsigned a, unsigned b)
{
    return a > b ? a : b;
}

#include "emulated_warp.h"

#endif
