/* emulated_warp.h - operations that the lanes of a warp do together, and counterparts of ptx.cuh
 *
 * Each lane hands over its operands; the last one to arrive performs the operation for all.
 * Fragment layouts are those of ptx.cuh, computed in tests/emu/warp_operations.cpp.
 */
#ifndef EMULATED_WARP_H
#define EMULATED_WARP_H

#include "emulated_device.h"

enum { EMULATED_WARP = 32 };

/* operands[l] is what lane l handed over, for each lane in mask. */
typedef void emulated_operation(void *const operands[EMULATED_WARP], unsigned mask);

/* Waits for all lanes in mask to arrive, and performs the operation. */
void emulated_together(emulated_operation *operation, const char *name, unsigned mask,
                       void *operands, const char *file, int line);

/* ---- votes and shuffles -------------------------------------------------------------------- */

struct emulated_shuffle {
    uint64_t bits; /* in: the lane's own; out: the source's */
    unsigned source;
};

struct emulated_vote {
    bool predicate;
    unsigned ballot; /* out */
};

emulated_operation emulated_do_shuffle, emulated_do_vote, emulated_do_nothing;

template <typename T>
static inline T emulated_shuffle_value(const char *name, unsigned mask, T value, unsigned source,
                                       const char *file, int line)
{
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable<T>::value, "4 or 8 bytes");
    struct emulated_shuffle shuffle = {0, source};
    memcpy(&shuffle.bits, &value, sizeof value);
    emulated_together(emulated_do_shuffle, name, mask, &shuffle, file, line);
    memcpy(&value, &shuffle.bits, sizeof value);
    return value;
}

template <typename T>
static inline T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = EMULATED_WARP,
                                EMULATED_PLACE)
{
    unsigned lane = emulated_this_thread->number, source = lane ^ (unsigned)lane_mask;
    if (source > (lane | (unsigned)(width - 1))) source = lane; /* past the segment's end */
    return emulated_shuffle_value("__shfl_xor_sync", mask, value, source, file, line);
}

template <typename T>
static inline T __shfl_sync(unsigned mask, T value, int source, int width = EMULATED_WARP,
                            EMULATED_PLACE)
{
    unsigned within = (unsigned)width - 1;
    unsigned from = (emulated_this_thread->number & ~within) | ((unsigned)source & within);
    return emulated_shuffle_value("__shfl_sync", mask, value, from, file, line);
}

static inline unsigned __ballot_sync(unsigned mask, bool predicate, EMULATED_PLACE)
{
    struct emulated_vote vote = {predicate, 0};
    emulated_together(emulated_do_vote, "__ballot_sync", mask, &vote, file, line);
    return vote.ballot;
}

static inline int __any_sync(unsigned mask, bool predicate, EMULATED_PLACE)
{
    return __ballot_sync(mask, predicate, file, line) != 0;
}

static inline int __all_sync(unsigned mask, bool predicate, EMULATED_PLACE)
{
    return __ballot_sync(mask, !predicate, file, line) == 0;
}

/* Only after this does a lane see what the other lanes have written. */
static inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, EMULATED_PLACE)
{
    emulated_together(emulated_do_nothing, "__syncwarp", mask, NULL, file, line);
}

/* ---- counterparts of ptx.cuh --------------------------------------------------------------- */

struct emulated_mma {
    float *d;          /* FP32 sums; or NULL, and */
    uint32_t *d_pairs; /* FP16 sums */
    const uint32_t *a, *b;
};

struct emulated_ldmatrix {
    uint32_t *r;
    const void *row;
};

emulated_operation emulated_do_mma_k8, emulated_do_mma_k16;
emulated_operation emulated_do_ldmatrix, emulated_do_ldmatrix_trans;

/* Records that the lane reads 16 bytes at `row`, which must be aligned and in shared memory. */
void emulated_reads_row(const void *row, const char *name, const char *file, int line);

static inline void ptx_mma_m16n8k8(float d[4], const uint32_t a[2], uint32_t b, EMULATED_PLACE)
{
    struct emulated_mma mma = {d, NULL, a, &b};
    emulated_together(emulated_do_mma_k8, "mma.m16n8k8", ~0u, &mma, file, line);
}

static inline void ptx_mma_m16n8k8_f16(uint32_t d[2], const uint32_t a[2], uint32_t b,
                                       EMULATED_PLACE)
{
    struct emulated_mma mma = {NULL, d, a, &b};
    emulated_together(emulated_do_mma_k8, "mma.m16n8k8 (f16)", ~0u, &mma, file, line);
}

static inline void ptx_ldmatrix_x4(uint32_t r[4], const void *row, EMULATED_PLACE)
{
    struct emulated_ldmatrix load = {r, row};
    emulated_reads_row(row, "ldmatrix", file, line);
    emulated_together(emulated_do_ldmatrix, "ldmatrix", ~0u, &load, file, line);
}

static inline void ptx_ldmatrix_x4_trans(uint32_t r[4], const void *row, EMULATED_PLACE)
{
    struct emulated_ldmatrix load = {r, row};
    emulated_reads_row(row, "ldmatrix.trans", file, line);
    emulated_together(emulated_do_ldmatrix_trans, "ldmatrix.trans", ~0u, &load, file, line);
}

/* The target is poison until its group is waited for; only then is `global` read. */
void emulated_copy_async(void *shared, const void *global, uint32_t bytes, const char *file,
                         int line);
void emulated_copy_async_commit(void);
void emulated_copy_async_wait(unsigned pending);

#if DEVICE_ARCH >= 800
static inline void ptx_mma_m16n8k16(float d[4], const uint32_t a[4], const uint32_t b[2],
                                    EMULATED_PLACE)
{
    struct emulated_mma mma = {d, NULL, a, b};
    emulated_together(emulated_do_mma_k16, "mma.m16n8k16", ~0u, &mma, file, line);
}

static inline void ptx_mma_m16n8k16_f16(uint32_t d[2], const uint32_t a[4], const uint32_t b[2],
                                        EMULATED_PLACE)
{
    struct emulated_mma mma = {NULL, d, a, b};
    emulated_together(emulated_do_mma_k16, "mma.m16n8k16 (f16)", ~0u, &mma, file, line);
}

static inline void ptx_cp_async_16(void *shared, const void *global, uint32_t bytes, EMULATED_PLACE)
{
    emulated_copy_async(shared, global, bytes, file, line);
}

static inline void ptx_cp_async_commit()
{
    emulated_copy_async_commit();
}

template <int PENDING> static inline void ptx_cp_async_wait()
{
    emulated_copy_async_wait(PENDING);
}
#endif

static inline float ptx_ex2_approx(float x)
{
    float y = exp2f(x);
    return y < 0x1p-126f ? 0.0f : y;
}

#endif
