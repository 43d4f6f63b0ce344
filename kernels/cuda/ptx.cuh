/* ptx.cuh - the instructions that CUDA C++ does not expose; the only file with PTX
 *
 * Fragment layouts are those of the PTX ISA, "Warp-level matrix instructions". Let g = l / 4 and
 * t = l % 4 for lane l. A register of A or B holds two adjacent 16-bit elements, the first in the
 * low half; for A, the coordinates are those of the first:
 *
 *   A (16 x 16)   a[0] (g, 2t)   a[1] (g + 8, 2t)   a[2] (g, 2t + 8)   a[3] (g + 8, 2t + 8)
 *   B (16 x 8)    b[0] (2t, g) and (2t + 1, g)      b[1] (2t + 8, g) and (2t + 9, g)
 *   D (16 x 8)    d[0] (g, 2t)   d[1] (g, 2t + 1)   d[2] (g + 8, 2t)   d[3] (g + 8, 2t + 1)
 *
 * so two D fragments, rounded to 16 bits, form an A fragment. With FP16 sums D has that form
 * already: d[0] holds (g, 2t) and (g, 2t + 1), d[1] the same of row g + 8. For tests without a GPU,
 * tests/emu reimplements each ptx_ function with exactly these layouts.
 */
#ifndef KERNELS_CUDA_PTX_CUH
#define KERNELS_CUDA_PTX_CUH

#include "kernels/cuda/device.cuh"

#if defined(__CUDACC__)

/* d += a (16 x 8, row-major) * b (8 x 8, column-major), FP16 with FP32 sums; sm_75 and later. */
static __device__ __forceinline__ void ptx_mma_m16n8k8(float d[4], const uint32_t a[2], uint32_t b)
{
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b));
}

/* The same with FP16 sums, which run at twice the rate on GeForce cards. */
static __device__ __forceinline__ void ptx_mma_m16n8k8_f16(uint32_t d[2], const uint32_t a[2],
                                                           uint32_t b)
{
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 {%0,%1}, {%2,%3}, {%4}, {%0,%1};"
                 : "+r"(d[0]), "+r"(d[1])
                 : "r"(a[0]), "r"(a[1]), "r"(b));
}

#if DEVICE_ARCH >= 800
static __device__ __forceinline__ void ptx_mma_m16n8k16(float d[4], const uint32_t a[4],
                                                        const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

static __device__ __forceinline__ void ptx_mma_m16n8k16_f16(uint32_t d[2], const uint32_t a[4],
                                                            const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0,%1}, {%2,%3,%4,%5}, "
                 "{%6,%7}, {%0,%1};"
                 : "+r"(d[0]), "+r"(d[1])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

/* Loads four 8 x 8 matrices of 16-bit elements from shared memory. Lane l passes the address of row
 * l % 8 of matrix l / 8: 16 bytes, 16-byte aligned. r[i] receives elements (g, 2t) and (g, 2t + 1)
 * of matrix i. */
static __device__ __forceinline__ void ptx_ldmatrix_x4(uint32_t r[4], const void *row)
{
    uint32_t address = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

/* The same, with each matrix transposed: r[i] receives (2t, g) and (2t + 1, g). */
static __device__ __forceinline__ void ptx_ldmatrix_x4_trans(uint32_t r[4], const void *row)
{
    uint32_t address = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

#if DEVICE_ARCH >= 800
/* Copies 16 bytes from global to shared memory asynchronously; both are 16-byte aligned. Reads only
 * the first `bytes` (16 or 0) and fills the rest with zeros. */
static __device__ __forceinline__ void ptx_cp_async_16(void *shared, const void *global,
                                                       uint32_t bytes)
{
    uint32_t address = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global),
                 "r"(bytes)
                 : "memory");
}

static __device__ __forceinline__ void ptx_cp_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits until at most PENDING of the thread's committed groups are in flight. */
template <int PENDING> static __device__ __forceinline__ void ptx_cp_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}
#endif

/* 2^x within 2 ulp; results below 2^-126 are flushed to 0. */
static __device__ __forceinline__ float ptx_ex2_approx(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#endif

/* ---- the same on every architecture -------------------------------------------------------- */

/* d += a (16 x 16) * b (16 x 8). On Turing, two instructions of half the depth. */
static __device__ __forceinline__ void mma_m16n8k16(float d[4], const uint32_t a[4],
                                                    const uint32_t b[2])
{
#if DEVICE_ARCH >= 800
    ptx_mma_m16n8k16(d, a, b);
#else
    ptx_mma_m16n8k8(d, a, b[0]);
    ptx_mma_m16n8k8(d, a + 2, b[1]);
#endif
}

static __device__ __forceinline__ void mma_m16n8k16_f16(uint32_t d[2], const uint32_t a[4],
                                                        const uint32_t b[2])
{
#if DEVICE_ARCH >= 800
    ptx_mma_m16n8k16_f16(d, a, b);
#else
    ptx_mma_m16n8k8_f16(d, a, b[0]);
    ptx_mma_m16n8k8_f16(d, a + 2, b[1]);
#endif
}

/* Copies 16 bytes from global to shared memory, or zeros unless `valid`. The copy is visible to the
 * thread after copy_wait, and to others after a barrier that follows it. Synchronous before Ampere.
 */
static __device__ __forceinline__ void copy_16(void *shared, const void *global, bool valid)
{
#if DEVICE_ARCH >= 800
    ptx_cp_async_16(shared, global, valid ? 16 : 0);
#else
    *(uint4 *)shared = valid ? *(const uint4 *)global : make_uint4(0, 0, 0, 0);
#endif
}

/* Commits the copies since the last call as a group. */
static __device__ __forceinline__ void copy_commit()
{
#if DEVICE_ARCH >= 800
    ptx_cp_async_commit();
#endif
}

/* Waits until at most PENDING groups are in flight. */
template <int PENDING> static __device__ __forceinline__ void copy_wait()
{
#if DEVICE_ARCH >= 800
    ptx_cp_async_wait<PENDING>();
#endif
}

#endif
