/* product.cpp - the one product of the emulated cuBLASLt: both operands contiguous along the sum
 *
 * Operands are converted to FP32, with rows zero-padded to whole vectors. An element is summed in 8
 * lanes along I and then across lanes, in the same order for any N, and without contraction, so
 * that AVX2 gives the same bits as SSE2.
 */
#include "machine.h"

#include <cuda_fp16.h>

#include <algorithm>
#include <atomic>
#include <memory>

typedef float vec __attribute__((vector_size(32), aligned(4), may_alias));
enum { LANES = 8, BLOCK = 16 /* rows of w per thread at a time */, TILE_O = 4, TILE_N = 2 };

#define INLINE inline __attribute__((always_inline))

static size_t padded(size_t count)
{
    return (count + LANES - 1) / LANES * LANES;
}

static INLINE float element(const struct product_matrix &m, size_t row, size_t column)
{
    size_t i = row * m.stride + column;
    return m.type == CUDA_R_16F ? __half2float(((const __half *)m.data)[i])
                                : ((const float *)m.data)[i];
}

/* Converts rows [first, first + rows) to padded FP32. */
static INLINE void convert(float *to, const struct product_matrix &m, size_t first, size_t rows,
                           size_t columns)
{
    size_t stride = padded(columns);
    for (size_t r = 0; r < rows; r++) {
        float *row = to + r * stride;
        if (m.type == CUDA_R_16F) {
            const __half *from = (const __half *)m.data + (first + r) * m.stride;
            for (size_t i = 0; i < columns; i++) row[i] = __half2float(from[i]);
        } else {
            const float *from = (const float *)m.data + (first + r) * m.stride;
            std::copy(from, from + columns, row);
        }
        std::fill(row + columns, row + stride, 0.0f);
    }
}

/* Adds x (N, I) @ w (O, I)^T over [begin, end) of I to sums (N, O). */
template <int N, int O>
static INLINE void tile(float sums[TILE_N][TILE_O], const float *x, const float *w, size_t stride,
                        size_t begin, size_t end)
{
    vec sum[N][O] = {};
    for (size_t i = begin; i < end; i += LANES)
        for (int n = 0; n < N; n++)
            for (int o = 0; o < O; o++)
                sum[n][o] += *(const vec *)(x + (size_t)n * stride + i) *
                             *(const vec *)(w + (size_t)o * stride + i);
    for (int n = 0; n < N; n++)
        for (int o = 0; o < O; o++) {
            vec &s = sum[n][o];
            sums[n][o] += ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
        }
}

static INLINE void write(const struct product &p, size_t n, size_t o, float sum)
{
    float value = p.alpha * sum;
    if (p.beta != 0) value += p.beta * element(p.c, n, o);
    if (p.has_bias) value += element(p.bias, 0, o);
    if (p.d_type == CUDA_R_16F) ((__half *)p.d)[n * p.d_stride + o] = __float2half_rn(value);
    else ((float *)p.d)[n * p.d_stride + o] = value;
}

/* Multiplies all rows of x by rows [first, first + rows) of p.w, given as FP32 in `w`. */
static INLINE void multiply(const struct product &p, const float *x, const float *w, size_t first,
                            size_t rows)
{
    size_t stride = padded(p.I), step = padded((stride + p.parts - 1) / p.parts);
    for (size_t n = 0; n < p.N; n += TILE_N) {
        for (size_t o = 0; o < rows; o += TILE_O) {
            float sums[TILE_N][TILE_O] = {};
            size_t across = std::min<size_t>(TILE_O, rows - o);
            size_t down = std::min<size_t>(TILE_N, p.N - n);
            for (size_t begin = 0; begin < stride; begin += step) {
                const float *xs = x + n * stride, *ws = w + o * stride;
                size_t end = std::min(begin + step, stride);
                if (across == TILE_O && down == TILE_N) {
                    tile<TILE_N, TILE_O>(sums, xs, ws, stride, begin, end);
                    continue;
                }
                for (size_t i = 0; i < down; i++)
                    for (size_t j = 0; j < across; j++) {
                        float one[TILE_N][TILE_O] = {{sums[i][j]}};
                        tile<1, 1>(one, xs + i * stride, ws + j * stride, stride, begin, end);
                        sums[i][j] = one[0][0];
                    }
            }
            for (size_t i = 0; i < down; i++)
                for (size_t j = 0; j < across; j++) write(p, n + i, first + o + j, sums[i][j]);
        }
    }
}

static INLINE void convert_and_multiply(const struct product &p, const float *x, float *w,
                                        size_t first)
{
    size_t rows = std::min<size_t>(BLOCK, p.O - first);
    convert(w, p.w, first, rows, p.I);
    multiply(p, x, w, first, rows);
}

static void plain(const struct product &p, const float *x, float *w, size_t first)
{
    convert_and_multiply(p, x, w, first);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void avx2(const struct product &p, const float *x, float *w,
                                                 size_t first)
{
    convert_and_multiply(p, x, w, first);
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}
#else
static bool has_avx2(void)
{
    return false;
}
#define avx2 plain
#endif

void product_run(const struct product *product)
{
    const struct product &p = *product;
    size_t stride = padded(p.I), blocks = (p.O + BLOCK - 1) / BLOCK;
    std::unique_ptr<float[]> x(new float[p.N * stride]);
    convert(x.get(), p.x, 0, p.N, p.I);
    std::atomic<size_t> next(0);
    size_t threads = p.N * p.O * p.I < 1 << 20 ? 1 : std::min(blocks, processors());
    run_parallel(threads, [&] {
        std::unique_ptr<float[]> w(new float[BLOCK * stride]);
        for (size_t block; (block = next++) < blocks;)
            (has_avx2() ? avx2 : plain)(p, x.get(), w.get(), block * BLOCK);
    });
}
