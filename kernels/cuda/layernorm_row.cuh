/* layernorm_row.cuh - LayerNorm of one row by one warp
 *
 *   layernorm(h) = (h - mean(h)) / sqrt(var(h) + eps) * weight + bias
 *
 * One warp per row, so that rows are independent and sums need no shared memory. The mean comes
 * first, then the squared differences: E[h^2] - E[h]^2 would cancel if the mean is larger than the
 * deviation. A lane adds its own numbers in order, and warp_sum adds the lanes: the order depends
 * on C alone.
 *
 * There are two variants. For the widths of common models (multiples of 128 up to 1024) C is a
 * template parameter, and the row is read once and stays in registers, 4 to 32 floats per lane.
 * Rows of any other width are read three times, twice from cache.
 */
#ifndef KERNELS_CUDA_LAYERNORM_ROW_CUH
#define KERNELS_CUDA_LAYERNORM_ROW_CUH

#include "kernels/cuda/vector.cuh"

/* Four rows per block, so that even a text of 16 tokens spreads over 4 SMs. For C = 384, 768 or
 * 1024 in FP16, add_layernorm takes 43, 56 or 71 registers on sm_90, so an SM has 40, 36 or 28 rows
 * in flight: at least 61 KB, while 4.3 TB/s at a load latency of some 800 ns need 26 KB. */
enum { LAYERNORM_WARPS = 4, LAYERNORM_THREADS = LAYERNORM_WARPS * WARP };

static inline dim3 layernorm_blocks(size_t N)
{
    return dim3((unsigned)((N + LAYERNORM_WARPS - 1) / LAYERNORM_WARPS));
}

/* Returns the row of this warp, which may be past the last. Not a size_t: nvcc 13.0 would then
 * compute addresses in a way that keeps it from vectorizing the stores of a vector. */
static __device__ __forceinline__ unsigned layernorm_row_of_warp()
{
    return blockIdx.x * LAYERNORM_WARPS + threadIdx.x / WARP;
}

/* ---- a row in registers -------------------------------------------------------------------- */

/* Vector v of lane l holds the WIDTH numbers from (v * WARP + l) * WIDTH on, so that a warp's
 * accesses are coalesced: 16 bytes per lane in FP32; in FP16 16 bytes if C allows it, else 8. */
template <typename T, int C> struct layernorm_row {
    static constexpr int WIDTH = sizeof(T) == 2 && C % (8 * WARP) == 0 ? 8 : 4;
    static constexpr int VECTORS = C / (WIDTH * WARP);
    static_assert(VECTORS * WIDTH * WARP == C, "C is a multiple of 128");

    float h[VECTORS][WIDTH];

    static __device__ __forceinline__ int first_of(int v)
    {
        return (v * WARP + (int)threadIdx.x % WARP) * WIDTH;
    }

    /* h = x, and h += x, with x of the element type or FP32. */
    template <typename X> __device__ __forceinline__ void load(const X *x)
    {
#pragma unroll
        for (int v = 0; v < VECTORS; v++) load_vector(h[v], x + first_of(v));
    }

    template <typename X> __device__ __forceinline__ void add(const X *x)
    {
#pragma unroll
        for (int v = 0; v < VECTORS; v++) {
            float more[WIDTH];
            load_vector(more, x + first_of(v));
#pragma unroll
            for (int i = 0; i < WIDTH; i++) h[v][i] += more[i];
        }
    }

    /* Returns the lane's part of the row's sum. */
    __device__ __forceinline__ float sum() const
    {
        float sum = 0;
#pragma unroll
        for (int v = 0; v < VECTORS; v++) {
#pragma unroll
            for (int i = 0; i < WIDTH; i++) sum += h[v][i];
        }
        return sum;
    }

    /* Returns the mean from the sum over all lanes. __fmul_rn keeps the compiler from fusing this
     * product with the following subtraction, which it might do in one kernel and not in another:
     * their bits must agree. */
    static __device__ __forceinline__ float mean(float sum)
    {
        return __fmul_rn(sum, 1.0f / C);
    }

    /* Returns the lane's part of the sum of (h - mean)^2. */
    __device__ __forceinline__ float squares(float mean) const
    {
        float squares = 0;
#pragma unroll
        for (int v = 0; v < VECTORS; v++) {
#pragma unroll
            for (int i = 0; i < WIDTH; i++) squares += (h[v][i] - mean) * (h[v][i] - mean);
        }
        return squares;
    }

    static __device__ __forceinline__ float scale(float squares, float eps)
    {
        return rsqrtf(squares * (1.0f / C) + eps);
    }

    /* y = h = (h - mean) * scale * weight + bias */
    __device__ __forceinline__ void finish(T *y, float mean, float scale,
                                           const float *__restrict__ weight,
                                           const float *__restrict__ bias)
    {
#pragma unroll
        for (int v = 0; v < VECTORS; v++) {
            float w[WIDTH], b[WIDTH];
            load_vector(w, weight + first_of(v));
            load_vector(b, bias + first_of(v));
#pragma unroll
            for (int i = 0; i < WIDTH; i++) h[v][i] = (h[v][i] - mean) * scale * w[i] + b[i];
            store_vector(y + first_of(v), h[v]);
        }
    }

    /* y = h = layernorm(h) */
    __device__ __forceinline__ void normalize(T *y, const float *__restrict__ weight,
                                              const float *__restrict__ bias, float eps)
    {
        const float average = mean(warp_sum(sum()));
        finish(y, average, scale(warp_sum(squares(average)), eps), weight, bias);
    }

    /* y = h */
    __device__ __forceinline__ void store(float *y) const
    {
#pragma unroll
        for (int v = 0; v < VECTORS; v++) store_vector(y + first_of(v), h[v]);
    }
};

/* layernorm_row::normalize for several rows, row r to y + r * C, with their warp reductions
 * overlapped. */
template <int COUNT, typename T, int C>
static __device__ __forceinline__ void
layernorm_rows(T *y, layernorm_row<T, C> (&rows)[COUNT], const float *__restrict__ weight,
               const float *__restrict__ bias, float eps)
{
    using row = layernorm_row<T, C>;
    float sums[COUNT], squares[COUNT];
#pragma unroll
    for (int r = 0; r < COUNT; r++) sums[r] = rows[r].sum();
    warp_sums(sums);
#pragma unroll
    for (int r = 0; r < COUNT; r++) squares[r] = rows[r].squares(row::mean(sums[r]));
    warp_sums(squares);
#pragma unroll
    for (int r = 0; r < COUNT; r++)
        rows[r].finish(y + (size_t)r * C, row::mean(sums[r]), row::scale(squares[r], eps), weight,
                       bias);
}

/* ---- a row of any width -------------------------------------------------------------------- */

/* Computes layernorm(h): h(i) returns number i, and write(i, value) stores result i. Lanes write
 * only after the last warp reduction, and only numbers that no other lane reads, so `write` may
 * overwrite what h reads. */
template <typename Write, typename Read>
static __device__ __forceinline__ void
layernorm_any_width(const Write &write, const Read &h, const float *__restrict__ weight,
                    const float *__restrict__ bias, size_t C, float eps)
{
    size_t lane = threadIdx.x % WARP;
    float sum = 0, squares = 0;
    for (size_t i = lane; i < C; i += WARP) sum += h(i);
    float mean = warp_sum(sum) / (float)C;
    for (size_t i = lane; i < C; i += WARP) squares += (h(i) - mean) * (h(i) - mean);
    float scale = rsqrtf(warp_sum(squares) / (float)C + eps);
    for (size_t i = lane; i < C; i += WARP)
        write(i, (h(i) - mean) * scale * weight[i] + bias[i]);
}

#endif
