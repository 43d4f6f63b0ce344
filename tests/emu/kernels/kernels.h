/* kernels.h - kernels for the tests of the emulated device: broken ones, and probes */
#ifndef EMULATOR_KERNELS_H
#define EMULATOR_KERNELS_H

#include <cuda_runtime_api.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- broken.cu ----------------------------------------------------------------------------- */

/* Kernels with one block of THREADS threads and SHARED_BYTES of shared memory. Each has one fault,
 * or is a correct version for comparison. `memory` has THREADS floats. */
enum seeded_fault {
    RIGHT_BARRIER,   /* memory reversed through shared memory */
    MISSING_BARRIER, /* the same without the barrier */
    RIGHT_WARP_ORDER,
    MISSING_WARP_ORDER, /* the same within warps, without __syncwarp */
    MISSING_BARRIER_AT_END_OF_LOOP,
    UNWRITTEN_SHARED_MEMORY,
    SHARED_MEMORY_PAST_END, /* by one float */
    SHARED_MEMORY_BEFORE_BEGINNING,
    SHARED_MEMORY_FAR_PAST_END,
    GLOBAL_MEMORY_PAST_END, /* by one float */
    GLOBAL_MEMORY_BEFORE_BEGINNING,
    GLOBAL_MEMORY_FAR_PAST_END,
    NULL_POINTER,
    DIVERGENT_BARRIERS,
    EXIT_BEFORE_BARRIER,
    ABSENT_LANE,
    OTHER_WARP_OPERATION,
    SHUFFLE_FROM_OUTSIDE_MASK,
    LANE_OUTSIDE_MASK,
    RIGHT_HALF_WARPS, /* each half with its own mask */
    MISALIGNED_LDMATRIX,
    LDMATRIX_OF_GLOBAL_MEMORY,
    RIGHT_COPY, /* from here on: sm_80 */
    COPY_NEVER_WAITED_FOR,
    COPY_GROUP_NOT_WAITED_FOR,
    COPY_NOT_COMMITTED,
    COPY_WITHOUT_BARRIER,
    MISALIGNED_COPY,
    SEEDED_FAULTS
};

enum { THREADS = 64, SHARED_BYTES = 1020 };

/* The correct kernels do not depend on the order of threads. */
cudaError_t launch_seeded(enum seeded_fault fault, float *memory, cudaStream_t stream);

/* The block ends with a partial warp; __shfl_xor_sync names the whole warp. */
cudaError_t launch_partial_warp(float *memory, cudaStream_t stream);

/* Reads or writes a float at an address that launch() cannot recognize as a pointer. */
cudaError_t launch_poke(float *result, uintptr_t address, int write, cudaStream_t stream);

/* ---- probes.cu ----------------------------------------------------------------------------- */

/* out (blocks * threads, 8), for each thread: threadIdx x, y, z, blockIdx x, y, z, the ballot of "x
 * % 3 is 0", and the warp_sum of the threads' numbers in the block. */
cudaError_t launch_indices(int32_t *out, dim3 grid, dim3 block, cudaStream_t stream);

/* out (32, 4): the registers r of each lane. in (32, 8): rows of 16-bit elements; row l is lane
 * l's. */
cudaError_t launch_ldmatrix(uint32_t *out, const uint16_t *in, int transposed, cudaStream_t stream);

/* d (16, 8) += a (16, 16) b (16, 8), all row-major, a and b in FP16. Fragments are gathered element
 * by element according to ptx.cuh, or loaded by ldmatrix. */
cudaError_t launch_mma(float *d, const uint16_t *a, const uint16_t *b, int by_ldmatrix,
                       cudaStream_t stream);

/* d (16, 8) in FP16 += a b, summed in FP16. */
cudaError_t launch_mma_f16(uint16_t *d, const uint16_t *a, const uint16_t *b, cudaStream_t stream);

/* d (16, 8) = half(a (16, 16) b (16, 16)) c (16, 8): D of the first product is A of the second. */
cudaError_t launch_mma_twice(float *d, const uint16_t *a, const uint16_t *b, const uint16_t *c,
                             cudaStream_t stream);

/* Shuffles the lanes' numbers: out (32, 3) = xor 5, xor 3 in segments of 8, from lane 9. */
cudaError_t launch_shuffles(int32_t *out, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
