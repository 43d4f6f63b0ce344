/* device.cuh - the foundation of every CUDA kernel
 *
 * Kernels depend on this header and ptx.cuh only, so that the same sources compile with nvcc and,
 * for tests without a GPU, with a C++ compiler against tests/emu. This constrains kernels: shared
 * memory through SHARED_MEMORY, launches through launch(), PTX only in ptx.cuh, DEVICE_ARCH instead
 * of __CUDA_ARCH__, warp operations by whole warps, barriers reached by all threads of a block, at
 * most one barrier per line, and no waiting for other blocks.
 *
 * __half is a storage format: kernels compute in float.
 */
#ifndef KERNELS_CUDA_DEVICE_CUH
#define KERNELS_CUDA_DEVICE_CUH

#include "kernels/kernels_cuda.h"

#if defined(__CUDACC__)

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#if defined(__CUDA_ARCH__)
#define DEVICE_ARCH __CUDA_ARCH__
#else
#define DEVICE_ARCH 0 /* the host compilation pass */
#endif

/* Declares the block's dynamic shared memory, as bytes; its size is set at launch. */
#define SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]

/* Enqueues kernel<<<grid, block, shared_bytes, stream>>>(arguments...) and returns its status. */
template <typename... Parameters, typename... Arguments>
static cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block,
                          size_t shared_bytes, cudaStream_t stream, Arguments... arguments)
{
    if (shared_bytes > 48 * 1024) { /* needs an explicit opt-in */
        cudaError_t error = cudaFuncSetAttribute(
            kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes);
        if (error != cudaSuccess) return error;
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    return cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

/* A store that other threads may make concurrently, of the same value. */
static __device__ __forceinline__ void store_same(float *p, float value)
{
    *(volatile float *)p = value;
}

#else
#include <emulated_device.h> /* all of the above, and threadIdx, __shfl_xor_sync, ... */
#endif

enum { WARP = 32 };

/* Replaces each of `values` by its sum over the lanes of the warp, in all lanes. The order of each
 * sum is fixed, and the reductions are independent, so their latencies overlap. */
template <int COUNT> static __device__ __forceinline__ void warp_sums(float (&values)[COUNT])
{
#pragma unroll
    for (int mask = WARP / 2; mask > 0; mask /= 2) {
#pragma unroll
        for (int i = 0; i < COUNT; i++)
            values[i] += __shfl_xor_sync(0xFFFFFFFFu, values[i], mask);
    }
}
static __device__ __forceinline__ float warp_sum(float value)
{
    float values[1] = {value};
    warp_sums(values);
    return values[0];
}

static __device__ __forceinline__ float to_float(float value)
{
    return value;
}

static __device__ __forceinline__ float to_float(__half value)
{
    return __half2float(value);
}

template <typename T> static __device__ __forceinline__ T from_float(float value);

template <> __device__ __forceinline__ float from_float<float>(float value)
{
    return value;
}

template <> __device__ __forceinline__ __half from_float<__half>(float value)
{
    return __float2half_rn(value);
}

#endif
