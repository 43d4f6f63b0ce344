/* vector.cuh - loads and stores adjacent elements as floats, vectorized
 *
 * A thread moves 8 or 16 bytes per instruction, so that a warp makes few requests, of full cache
 * lines. COUNT is a power of two. The address is aligned to COUNT elements, or to 16 bytes if they
 * take more than that; such vectors take two instructions.
 */
#ifndef KERNELS_CUDA_VECTOR_CUH
#define KERNELS_CUDA_VECTOR_CUH

#include "kernels/cuda/device.cuh"

template <typename T, int COUNT>
struct alignas(COUNT * sizeof(T) < 16 ? COUNT * sizeof(T) : 16) element_vector {
    T element[COUNT];
};

template <int COUNT, typename T>
static __device__ __forceinline__ void load_vector(float (&x)[COUNT], const T *p)
{
    element_vector<T, COUNT> v = *(const element_vector<T, COUNT> *)p;
#pragma unroll
    for (int i = 0; i < COUNT; i++) x[i] = to_float(v.element[i]);
}

template <int COUNT, typename T>
static __device__ __forceinline__ void store_vector(T *p, const float (&x)[COUNT])
{
    element_vector<T, COUNT> v;
#pragma unroll
    for (int i = 0; i < COUNT; i++) v.element[i] = from_float<T>(x[i]);
    *(element_vector<T, COUNT> *)p = v;
}

#endif
