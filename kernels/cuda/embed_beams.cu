/* embed_beams.cu - x (D * K, C) = layernorm(word[last token of each beam] +
 * position[first_position + its position]), per row; residual (D * K, C) is the same, unrounded
 *
 *   work    one warp per row, four rows per block; see layernorm_row.cuh. Rows of documents that
 *           are not running are left unchanged.
 *   types   word, position, x of the table's type; everything else FP32
 *   floor   reads 2 rows and writes 1 in FP16, and writes 1 in FP32: 10C bytes per beam. 64 beams
 *           of C = 1024 are 0.7 MB, 0.2 us: the time is the latency of five dependent loads.
 */
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/layernorm_row.cuh"
#include "kernels/cuda/running.cuh"

/* ---- kernels ------------------------------------------------------------------------------- */

/* Row indices in the two tables. */
struct beam_place {
    int32_t token, position;
};

/* Finds the place of row n of the step. Returns false if there is nothing to do. */
static __device__ __forceinline__ bool find_place(beam_place &place,
                                                  const struct decode_batch &batch, unsigned n)
{
    const unsigned K = (unsigned)batch.K, d = n / K;
    if (d >= batch.D) return false;
    const int length = running_length(batch, d);
    if (length == 0) return false;
    place.position = length - 1;
    place.token = beam_token(&batch.beams, (size_t)batch.slots[d], length, n % K,
                             (size_t)place.position);
    return true;
}

template <typename T>
using embed_beams_kernel = void(T *x, float *residual, const struct decode_batch batch,
                                const T *word, const T *position, const float *weight,
                                const float *bias, size_t C, float eps);

template <typename T, int C>
static __global__ void __launch_bounds__(LAYERNORM_THREADS)
embed_beams_in_registers(T *__restrict__ x, float *__restrict__ residual,
                         const __grid_constant__ struct decode_batch batch,
                         const T *__restrict__ word, const T *__restrict__ position,
                         const float *__restrict__ weight, const float *__restrict__ bias, size_t,
                         float eps)
{
    const unsigned n = layernorm_row_of_warp();
    beam_place place;
    if (!find_place(place, batch, n)) return;
    layernorm_row<T, C> row;
    row.load(word + (size_t)place.token * C);
    row.add(position + (size_t)place.position * C);
    row.normalize(x + (size_t)n * C, weight, bias, eps);
    if (residual != NULL) row.store(residual + (size_t)n * C);
}

template <typename T>
static __global__ void __launch_bounds__(LAYERNORM_THREADS)
embed_beams_any_width(T *__restrict__ x, float *__restrict__ residual,
                      const __grid_constant__ struct decode_batch batch, const T *__restrict__ word,
                      const T *__restrict__ position, const float *__restrict__ weight,
                      const float *__restrict__ bias, size_t C, float eps)
{
    const unsigned n = layernorm_row_of_warp();
    beam_place place;
    if (!find_place(place, batch, n)) return;
    const T *a = word + (size_t)place.token * C, *b = position + (size_t)place.position * C;
    auto h = [=](size_t i) { return to_float(a[i]) + to_float(b[i]); };
    const size_t first = n * C;
    auto write = [=](size_t i, float value) {
        x[first + i] = from_float<T>(value);
        if (residual != NULL) residual[first + i] = value;
    };
    layernorm_any_width(write, h, weight, bias, C, eps);
}

/* ---- launchers ----------------------------------------------------------------------------- */

/* The widths of BART-base and BART-large stay in registers. */
template <typename T> static embed_beams_kernel<T> *kernel_of_width(size_t C)
{
    switch (C) {
    case 768: return embed_beams_in_registers<T, 768>;
    case 1024: return embed_beams_in_registers<T, 1024>;
    default: return embed_beams_any_width<T>;
    }
}

template <typename T>
static cudaError_t embed_beams(void *x, float *residual, const struct decode_batch *batch,
                               const void *word, const void *position, const float *weight,
                               const float *bias, size_t first_position, size_t C, float eps,
                               cudaStream_t stream)
{
    return launch(kernel_of_width<T>(C), layernorm_blocks(batch->D * batch->K),
                  dim3(LAYERNORM_THREADS), 0, stream, (T *)x, residual, *batch, (const T *)word,
                  (const T *)position + first_position * C, weight, bias, C, eps);
}

cudaError_t cuda_embed_beams_f16(void *x, float *residual, const struct decode_batch *batch,
                                 const void *word, const void *position, const float *weight,
                                 const float *bias, size_t first_position, size_t C, float eps,
                                 cudaStream_t stream)
{
    return embed_beams<__half>(x, residual, batch, word, position, weight, bias, first_position, C,
                               eps, stream);
}

cudaError_t cuda_embed_beams_f32(void *x, float *residual, const struct decode_batch *batch,
                                 const void *word, const void *position, const float *weight,
                                 const float *bias, size_t first_position, size_t C, float eps,
                                 cudaStream_t stream)
{
    return embed_beams<float>(x, residual, batch, word, position, weight, bias, first_position, C,
                              eps, stream);
}
