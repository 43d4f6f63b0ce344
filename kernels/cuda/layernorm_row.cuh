/* layernorm_row.cuh - LayerNorm of one row by one warp
 *
 *   layernorm(h) = (h - mean(h)) / sqrt(var(h) + eps) * weight + bias
 *
 * One warp a row, so that no row waits for another and no sum needs shared memory. The mean comes
 * first, then the squares of the differences: E[h^2] - E[h]^2 would cancel where the mean is larger
 * than the deviation. A lane sums its own numbers in their order, the lanes are summed in that of
 * warp_sum: it depends on C alone.
 *
 * Two ways. For the widths that models have (multiples of 128 up to 1024) the row stays in
 * registers, 4 to 32 floats a lane, and is read once; the compiler knows C. Any other width is read
 * three times, twice from cache.
 */
#ifndef KERNELS_CUDA_LAYERNORM_ROW_CUH
#define KERNELS_CUDA_LAYERNORM_ROW_CUH

#include "kernels/cuda/vector.cuh"

/* Four rows a block: a text of 16 tokens already spreads over 4 multiprocessors. For C = 384, 768
 * or 1024 in FP16, add_layernorm takes 43, 56 or 71 registers on sm_90, so a multiprocessor has 40,
 * 36 or 28 rows under way: 61 KB and more, where 4.3 TB/s at some 800 ns a load ask for 26 KB. */
enum { LAYERNORM_WARPS = 4, LAYERNORM_THREADS = LAYERNORM_WARPS * WARP };

static inline dim3 layernorm_blocks(size_t N)
{
    return dim3((unsigned)((N + LAYERNORM_WARPS - 1) / LAYERNORM_WARPS));
}

/* The row of this warp; may be past the last. Not a size_t: from one, nvcc 13.0 computes addresses
 * in a way that hides from it that the stores of a vector are neighbours. */
static __device__ __forceinline__ unsigned layernorm_row_of_warp()
{
    return blockIdx.x * LAYERNORM_WARPS + threadIdx.x / WARP;
}

/* ---- a row in registers -------------------------------------------------------------------- */

/* Vector v of lane l holds the numbers from (v * WARP + l) * WIDTH on: a warp reads neighbours. Of
 * FP16, 16 bytes a lane where C allows it, else 8; of FP32 16. */
template <typename T, int C> struct layernorm_row {
    static constexpr int WIDTH = sizeof(T) == 2 && C % (8 * WARP) == 0 ? 8 : 4;
    static constexpr int VECTORS = C / (WIDTH * WARP);
    static_assert(VECTORS * WIDTH * WARP == C, "C is a multiple of 128");

    float h[VECTORS][WIDTH];

    static __device__ __forceinline__ int first_of(int v)
    {
        return (v * WARP + (int)threadIdx.x % WARP) * WIDTH;
    }

    /* h = x, and h += x: of the element type or FP32 */
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

    /* The lane's part of the row's sum. */
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

    /* From the sum of all lanes. Rounded before it is subtracted, which a compiler might do in one
     * kernel and not in another: their bits are the same. */
    static __device__ __forceinline__ float mean(float sum)
    {
        return __fmul_rn(sum, 1.0f / C);
    }

    /* The lane's part of the sum of squares of what differs from the mean. */
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

/* The same for several rows, row r at y + r * C: while one row's sum goes from lane to lane, so do
 * the others'. */
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

/* layernorm(h), where h(i) reads number i, and write(i, value) takes that of the result. A lane
 * writes what it alone reads, after all have read theirs, so it may be where h reads from. */
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
