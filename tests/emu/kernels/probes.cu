/* probes.cu - kernels that expose what the emulated device does, for naive computations to check */
#include "kernels.h"

#include "kernels/cuda/ptx.cuh"

/* ---- indices and shuffles ------------------------------------------------------------------ */

static __global__ void indices(int32_t *out)
{
    unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    unsigned threads = blockDim.x * blockDim.y * blockDim.z;
    int32_t *row = out + (size_t)(block * threads + thread) * 8;
    row[0] = (int32_t)threadIdx.x;
    row[1] = (int32_t)threadIdx.y;
    row[2] = (int32_t)threadIdx.z;
    row[3] = (int32_t)blockIdx.x;
    row[4] = (int32_t)blockIdx.y;
    row[5] = (int32_t)blockIdx.z;
    row[6] = (int32_t)__ballot_sync(0xFFFFFFFFu, threadIdx.x % 3 == 0);
    row[7] = (int32_t)warp_sum((float)thread);
}

static __global__ void shuffles(int32_t *out)
{
    int32_t lane = (int32_t)threadIdx.x;
    out[3 * lane] = __shfl_xor_sync(0xFFFFFFFFu, lane, 5);
    out[3 * lane + 1] = __shfl_xor_sync(0xFFFFFFFFu, lane, 3, 8);
    out[3 * lane + 2] = __shfl_sync(0xFFFFFFFFu, lane, 9);
}

/* ---- matrices ------------------------------------------------------------------------------ */

static __global__ void load_matrices(uint32_t *out, const uint16_t *in, bool transposed)
{
    SHARED_MEMORY(bytes);
    uint16_t *rows = (uint16_t *)bytes;
    unsigned lane = threadIdx.x;
    for (unsigned i = 0; i < 8; i++) rows[8 * lane + i] = in[8 * lane + i];
    __syncwarp();
    uint32_t r[4];
    if (transposed) ptx_ldmatrix_x4_trans(r, rows + 8 * lane);
    else ptx_ldmatrix_x4(r, rows + 8 * lane);
    for (unsigned i = 0; i < 4; i++) out[4 * lane + i] = r[i];
}

/* Packs two neighbours into one register, the first in the low half. */
static __device__ uint32_t pair(uint16_t first, uint16_t second)
{
    return first | (uint32_t)second << 16;
}

/* Gathers fragments by the table in ptx.cuh. a (16, 16) and b (16, `columns`) are row-major. */
static __device__ void gather_a(uint32_t fragment[4], const uint16_t *a)
{
    unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
    fragment[0] = pair(a[16 * g + 2 * t], a[16 * g + 2 * t + 1]);
    fragment[1] = pair(a[16 * (g + 8) + 2 * t], a[16 * (g + 8) + 2 * t + 1]);
    fragment[2] = pair(a[16 * g + 2 * t + 8], a[16 * g + 2 * t + 9]);
    fragment[3] = pair(a[16 * (g + 8) + 2 * t + 8], a[16 * (g + 8) + 2 * t + 9]);
}

static __device__ void gather_b(uint32_t fragment[2], const uint16_t *b, unsigned columns)
{
    unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
    fragment[0] = pair(b[2 * t * columns + g], b[(2 * t + 1) * columns + g]);
    fragment[1] = pair(b[(2 * t + 8) * columns + g], b[(2 * t + 9) * columns + g]);
}

/* Loads fragments by ldmatrix: the four 8 x 8 quarters of a, downwards first; the two of b,
 * transposed on load. */
static __device__ void load_fragments(uint32_t a_fragment[4], uint32_t b_fragment[2],
                                      const uint16_t *a, const uint16_t *b, uint16_t *shared)
{
    unsigned lane = threadIdx.x;
    uint16_t *shared_b = shared + 16 * 16;
    for (unsigned i = lane; i < 16 * 16; i += WARP) shared[i] = a[i];
    for (unsigned i = lane; i < 16 * 8; i += WARP) shared_b[i] = b[i];
    __syncwarp();
    ptx_ldmatrix_x4(a_fragment, shared + 16 * (lane % 16) + 8 * (lane / 16));
    uint32_t both[4];
    ptx_ldmatrix_x4_trans(both, shared_b + 8 * (lane % 16));
    b_fragment[0] = both[0];
    b_fragment[1] = both[1];
}

static __device__ float *element_of_d(float *d, unsigned i)
{
    unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
    const unsigned row[4] = {g, g, g + 8, g + 8};
    const unsigned column[4] = {2 * t, 2 * t + 1, 2 * t, 2 * t + 1};
    return &d[8 * row[i] + column[i]];
}

static __global__ void multiply(float *d, const uint16_t *a, const uint16_t *b, bool by_ldmatrix)
{
    SHARED_MEMORY(bytes);
    uint32_t a_fragment[4], b_fragment[2];
    float sums[4];
    if (by_ldmatrix) {
        load_fragments(a_fragment, b_fragment, a, b, (uint16_t *)bytes);
    } else {
        gather_a(a_fragment, a);
        gather_b(b_fragment, b, 8);
    }
    for (unsigned i = 0; i < 4; i++) sums[i] = *element_of_d(d, i);
    mma_m16n8k16(sums, a_fragment, b_fragment);
    for (unsigned i = 0; i < 4; i++) *element_of_d(d, i) = sums[i];
}

static __global__ void multiply_f16(uint16_t *d, const uint16_t *a, const uint16_t *b)
{
    unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
    uint32_t a_fragment[4], b_fragment[2], sums[2];
    gather_a(a_fragment, a);
    gather_b(b_fragment, b, 8);
    uint32_t *rows[2] = {(uint32_t *)(d + 8 * g + 2 * t), (uint32_t *)(d + 8 * (g + 8) + 2 * t)};
    for (unsigned i = 0; i < 2; i++) sums[i] = *rows[i];
    mma_m16n8k16_f16(sums, a_fragment, b_fragment);
    for (unsigned i = 0; i < 2; i++) *rows[i] = sums[i];
}

static __device__ uint32_t to_pair(float first, float second)
{
    __half2 halves = __floats2half2_rn(first, second);
    return *(uint32_t *)&halves;
}

static __global__ void multiply_twice(float *d, const uint16_t *a, const uint16_t *b,
                                      const uint16_t *c)
{
    uint32_t a_fragment[4], b_fragment[2], between[4];
    gather_a(a_fragment, a);
    for (unsigned side = 0; side < 2; side++) { /* left and right 8 columns of b */
        float sums[4] = {0, 0, 0, 0};
        gather_b(b_fragment, b + 8 * side, 16);
        mma_m16n8k16(sums, a_fragment, b_fragment);
        between[2 * side] = to_pair(sums[0], sums[1]);
        between[2 * side + 1] = to_pair(sums[2], sums[3]);
    }
    float sums[4] = {0, 0, 0, 0};
    gather_b(b_fragment, c, 8);
    mma_m16n8k16(sums, between, b_fragment);
    for (unsigned i = 0; i < 4; i++) *element_of_d(d, i) = sums[i];
}

/* ---- launchers ----------------------------------------------------------------------------- */

cudaError_t launch_indices(int32_t *out, dim3 grid, dim3 block, cudaStream_t stream)
{
    return launch(indices, grid, block, 0, stream, out);
}

cudaError_t launch_shuffles(int32_t *out, cudaStream_t stream)
{
    return launch(shuffles, 1, WARP, 0, stream, out);
}

cudaError_t launch_ldmatrix(uint32_t *out, const uint16_t *in, int transposed, cudaStream_t stream)
{
    return launch(load_matrices, 1, WARP, 32 * 16, stream, out, in, transposed != 0);
}

cudaError_t launch_mma(float *d, const uint16_t *a, const uint16_t *b, int by_ldmatrix,
                       cudaStream_t stream)
{
    return launch(multiply, 1, WARP, (16 * 16 + 16 * 8) * 2, stream, d, a, b, by_ldmatrix != 0);
}

cudaError_t launch_mma_f16(uint16_t *d, const uint16_t *a, const uint16_t *b, cudaStream_t stream)
{
    return launch(multiply_f16, 1, WARP, 0, stream, d, a, b);
}

cudaError_t launch_mma_twice(float *d, const uint16_t *a, const uint16_t *b, const uint16_t *c,
                             cudaStream_t stream)
{
    return launch(multiply_twice, 1, WARP, 0, stream, d, a, b, c);
}
