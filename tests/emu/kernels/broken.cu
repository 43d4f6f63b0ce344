/* broken.cu - kernels with one fault each, which the emulated device must find */
#include "kernels.h"

#include "kernels/cuda/ptx.cuh"

static __device__ unsigned reversed()
{
    return THREADS - 1 - threadIdx.x;
}

/* ---- order --------------------------------------------------------------------------------- */

template <bool BARRIER> static __global__ void reverse(float *memory)
{
    SHARED_MEMORY(bytes);
    float *shared = (float *)bytes;
    shared[threadIdx.x] = memory[threadIdx.x];
    if (BARRIER) __syncthreads();
    memory[threadIdx.x] = shared[reversed()];
}

template <bool ORDER> static __global__ void reverse_in_warps(float *memory)
{
    SHARED_MEMORY(bytes);
    float *shared = (float *)bytes;
    shared[threadIdx.x] = memory[threadIdx.x];
    if (ORDER) __syncwarp();
    memory[threadIdx.x] = shared[threadIdx.x ^ (WARP - 1)];
}

/* A fast thread writes the next round's value while a slow one still reads this round's. */
static __global__ void no_barrier_at_end_of_loop(float *memory)
{
    SHARED_MEMORY(bytes);
    float *shared = (float *)bytes, sum = 0;
    for (int round = 0; round < 4; round++) {
        shared[threadIdx.x] = memory[threadIdx.x] + (float)round;
        __syncthreads();
        sum += shared[reversed()];
    }
    memory[threadIdx.x] = sum;
}

static __global__ void unwritten_shared_memory(float *memory)
{
    SHARED_MEMORY(bytes);
    memory[threadIdx.x] = ((float *)bytes)[threadIdx.x];
}

/* ---- addresses ----------------------------------------------------------------------------- */

static __global__ void write_shared(float *memory, int index)
{
    SHARED_MEMORY(bytes);
    if (threadIdx.x == 5) ((volatile float *)bytes)[index] = memory[0];
}

static __global__ void write_global(float *memory, int index)
{
    if (threadIdx.x == 5) ((volatile float *)memory)[index] = 1;
}

static __global__ void write_through_null(float *memory, volatile float *null)
{
    if (threadIdx.x == 5) *null = memory[0];
}

static __global__ void poke(float *result, uintptr_t address, bool write)
{
    volatile float *pointer = (volatile float *)address;
    if (write) *pointer = 1;
    else *result = *pointer;
}

/* ---- barriers and warps -------------------------------------------------------------------- */

static __global__ void divergent_barriers(float *memory)
{
    if (threadIdx.x < 32) {
        memory[threadIdx.x] = 1;
        __syncthreads();
    } else {
        memory[threadIdx.x] = 2;
        __syncthreads();
    }
}

static __global__ void exit_before_barrier(float *memory)
{
    if (threadIdx.x >= 40) return;
    __syncthreads();
    memory[threadIdx.x] = 1;
}

static __global__ void absent_lane(float *memory)
{
    if (threadIdx.x == 7) return;
    memory[threadIdx.x] = warp_sum(1);
}

static __global__ void partial_warp(float *memory)
{
    memory[threadIdx.x] = warp_sum(1);
}

static __global__ void other_warp_operation(float *memory)
{
    float value = memory[threadIdx.x];
    if (threadIdx.x == 9) value = __shfl_sync(0xFFFFFFFFu, value, 0);
    else value = __shfl_xor_sync(0xFFFFFFFFu, value, 1);
    memory[threadIdx.x] = value;
}

static __global__ void shuffle_from_outside_mask(float *memory)
{
    if (threadIdx.x % WARP < 16)
        memory[threadIdx.x] = __shfl_sync(0x0000FFFFu, memory[threadIdx.x], 20);
}

static __global__ void lane_outside_mask(float *memory)
{
    memory[threadIdx.x] = __shfl_xor_sync(0x0000FFFFu, memory[threadIdx.x], 1);
}

static __global__ void half_warps(float *memory)
{
    unsigned mask = threadIdx.x % WARP < 16 ? 0x0000FFFFu : 0xFFFF0000u;
    float value = memory[threadIdx.x];
    if (threadIdx.x % WARP < 16) value = __shfl_xor_sync(mask, value, 15);
    else value = __shfl_xor_sync(mask, value, 15);
    __syncwarp(mask);
    memory[threadIdx.x] = value;
}

/* ---- matrices and copies ------------------------------------------------------------------- */

static __global__ void misaligned_ldmatrix(float *memory)
{
    SHARED_MEMORY(bytes);
    uint32_t r[4];
    ptx_ldmatrix_x4(r, bytes + threadIdx.x % 8 * 16 + (threadIdx.x == 3 ? 8 : 0));
    memory[threadIdx.x] = (float)r[0];
}

static __global__ void ldmatrix_of_global_memory(float *memory)
{
    uint32_t r[4];
    ptx_ldmatrix_x4(r, memory);
    memory[threadIdx.x] = (float)r[0];
}

#if DEVICE_ARCH >= 800

enum copy_fault { NO_FAULT, NEVER_WAITS, WAITS_FOR_LESS, DOES_NOT_COMMIT, HAS_NO_BARRIER };

/* Reverses memory in pieces of 4, by two copies of half of it each. */
template <int FAULT> static __global__ void copy(float *memory)
{
    SHARED_MEMORY(bytes);
    float *shared = (float *)bytes;
    unsigned t = threadIdx.x, half = THREADS / 2;
    shared[t] = -1; /* a wrong value for a reader that comes too early */
    __syncthreads();
    for (unsigned first = 0; first < THREADS; first += half) {
        if (t < half / 4) copy_16(shared + first + 4 * t, memory + first + 4 * t, true);
        if (FAULT != DOES_NOT_COMMIT) copy_commit();
    }
    if (FAULT == WAITS_FOR_LESS) copy_wait<1>();
    else if (FAULT != NEVER_WAITS) copy_wait<0>();
    if (FAULT != HAS_NO_BARRIER) __syncthreads();
    float value = shared[t ^ (THREADS - 4)];
    __syncthreads();
    memory[t] = value;
    if (FAULT == WAITS_FOR_LESS) copy_wait<0>();
}

static __global__ void misaligned_copy(float *memory)
{
    SHARED_MEMORY(bytes);
    copy_16(bytes + 16 * threadIdx.x % 512, memory + 1, true);
    copy_commit();
    copy_wait<0>();
}

static cudaError_t launch_copy(enum seeded_fault fault, float *memory, cudaStream_t stream)
{
    switch (fault) {
    case RIGHT_COPY: return launch(copy<NO_FAULT>, 1, THREADS, SHARED_BYTES, stream, memory);
    case COPY_NEVER_WAITED_FOR:
        return launch(copy<NEVER_WAITS>, 1, THREADS, SHARED_BYTES, stream, memory);
    case COPY_GROUP_NOT_WAITED_FOR:
        return launch(copy<WAITS_FOR_LESS>, 1, THREADS, SHARED_BYTES, stream, memory);
    case COPY_NOT_COMMITTED:
        return launch(copy<DOES_NOT_COMMIT>, 1, THREADS, SHARED_BYTES, stream, memory);
    case COPY_WITHOUT_BARRIER:
        return launch(copy<HAS_NO_BARRIER>, 1, THREADS, SHARED_BYTES, stream, memory);
    default: return launch(misaligned_copy, 1, THREADS, SHARED_BYTES, stream, memory);
    }
}

#else

static cudaError_t launch_copy(enum seeded_fault, float *, cudaStream_t)
{
    return cudaErrorNotSupported;
}

#endif

/* ---- launchers ----------------------------------------------------------------------------- */

static cudaError_t launch_addresses(enum seeded_fault fault, float *memory, cudaStream_t stream)
{
    int past_shared = SHARED_BYTES / (int)sizeof(float), index = 0;
    switch (fault) {
    case SHARED_MEMORY_PAST_END: index = past_shared; break;
    case SHARED_MEMORY_BEFORE_BEGINNING: index = -1; break;
    case SHARED_MEMORY_FAR_PAST_END: index = past_shared + 10000; break;
    case GLOBAL_MEMORY_PAST_END: index = THREADS; break;
    case GLOBAL_MEMORY_BEFORE_BEGINNING: index = -1; break;
    case GLOBAL_MEMORY_FAR_PAST_END: index = THREADS + 10000; break;
    default: return launch(write_through_null, 1, THREADS, 0, stream, memory, nullptr);
    }
    if (fault >= GLOBAL_MEMORY_PAST_END)
        return launch(write_global, 1, THREADS, 0, stream, memory, index);
    return launch(write_shared, 1, THREADS, SHARED_BYTES, stream, memory, index);
}

cudaError_t launch_seeded(enum seeded_fault fault, float *memory, cudaStream_t stream)
{
    switch (fault) {
    case RIGHT_BARRIER: return launch(reverse<true>, 1, THREADS, SHARED_BYTES, stream, memory);
    case MISSING_BARRIER: return launch(reverse<false>, 1, THREADS, SHARED_BYTES, stream, memory);
    case RIGHT_WARP_ORDER:
        return launch(reverse_in_warps<true>, 1, THREADS, SHARED_BYTES, stream, memory);
    case MISSING_WARP_ORDER:
        return launch(reverse_in_warps<false>, 1, THREADS, SHARED_BYTES, stream, memory);
    case MISSING_BARRIER_AT_END_OF_LOOP:
        return launch(no_barrier_at_end_of_loop, 1, THREADS, SHARED_BYTES, stream, memory);
    case UNWRITTEN_SHARED_MEMORY:
        return launch(unwritten_shared_memory, 1, THREADS, SHARED_BYTES, stream, memory);
    case DIVERGENT_BARRIERS: return launch(divergent_barriers, 1, THREADS, 0, stream, memory);
    case EXIT_BEFORE_BARRIER: return launch(exit_before_barrier, 1, THREADS, 0, stream, memory);
    case ABSENT_LANE: return launch(absent_lane, 1, THREADS, 0, stream, memory);
    case OTHER_WARP_OPERATION: return launch(other_warp_operation, 1, THREADS, 0, stream, memory);
    case SHUFFLE_FROM_OUTSIDE_MASK:
        return launch(shuffle_from_outside_mask, 1, THREADS, 0, stream, memory);
    case LANE_OUTSIDE_MASK: return launch(lane_outside_mask, 1, THREADS, 0, stream, memory);
    case RIGHT_HALF_WARPS: return launch(half_warps, 1, THREADS, 0, stream, memory);
    case MISALIGNED_LDMATRIX:
        return launch(misaligned_ldmatrix, 1, THREADS, SHARED_BYTES, stream, memory);
    case LDMATRIX_OF_GLOBAL_MEMORY:
        return launch(ldmatrix_of_global_memory, 1, THREADS, SHARED_BYTES, stream, memory);
    default:
        return fault < RIGHT_COPY ? launch_addresses(fault, memory, stream)
                                  : launch_copy(fault, memory, stream);
    }
}

cudaError_t launch_partial_warp(float *memory, cudaStream_t stream)
{
    return launch(partial_warp, 1, 40, 0, stream, memory);
}

cudaError_t launch_poke(float *result, uintptr_t address, int write, cudaStream_t stream)
{
    return launch(poke, 1, 1, 0, stream, result, address, write != 0);
}
