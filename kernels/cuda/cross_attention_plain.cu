/* cross_attention_plain.cu - all beams of a document attend to its source, for any HS up to 256
 *
 *   work    one block per head of a document; see decode_attention.cuh. Every beam reads all keys
 *           and values again, mostly from L1 or L2.
 *
 * For everything that cross_attention.cu does not support: FP32, and FP16 with heads other than 64.
 */
#include "kernels/cuda/decode_attention.cuh"
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/running.cuh"

/* ---- kernel -------------------------------------------------------------------------------- */

template <typename E, int WIDTH, int LANES>
static __global__ void __launch_bounds__(DECODE_WARPS *WARP, 1)
cross_attention_plain_kernel(E *context, const E *q, const E *cache, size_t most_sources,
                             const __grid_constant__ struct decode_batch batch, int HS, float scale)
{
    SHARED_MEMORY(memory);
    const unsigned d = blockIdx.x, h = blockIdx.y, K = (unsigned)batch.K;
    if (running_length(batch, d) == 0) return;

    const size_t C = (size_t)gridDim.y * HS, slot = (size_t)batch.slots[d];
    const size_t first = (size_t)d * K * C + h * HS;
    const int S = min(batch.beams.sources[slot], (int)most_sources);
    const E *rows = cache + slot * most_sources * 2 * C + h * HS;
    auto key = [=](unsigned, int t) { return rows + t * 2 * C; };
    decode_attention<E, WIDTH, LANES>(context + first, q + first, C, key, S, HS, C, K, scale,
                                        (float *)memory);
}

/* ---- launchers ----------------------------------------------------------------------------- */

template <typename E>
static cudaError_t cross_attention_plain(void *context, const void *q, const void *cache,
                                         size_t most_sources, const struct decode_batch *batch,
                                         size_t NH, size_t HS, float scale, cudaStream_t stream)
{
    const size_t K = batch->K;
    if (!decode_head_fits(HS) || K > MOST_BEAMS ||
        most_sources > INT32_MAX)
        return cudaErrorInvalidValue;
    auto kernel = HS <= 64    ? cross_attention_plain_kernel<E, 8, 8>
                  : HS <= 128 ? cross_attention_plain_kernel<E, 8, 16>
                              : cross_attention_plain_kernel<E, 8, 32>;
    if (HS % 8 != 0)
        kernel = HS <= 64 ? cross_attention_plain_kernel<E, 4, 16>
                          : cross_attention_plain_kernel<E, 4, 32>;
    return launch(kernel, dim3((unsigned)batch->D, (unsigned)NH),
                  dim3((unsigned)K * decode_parts(K) * WARP), decode_shared_bytes(K, HS), stream,
                  (E *)context, (const E *)q, (const E *)cache, most_sources, *batch, (int)HS,
                  scale);
}

cudaError_t cuda_cross_attention_plain_f16(void *context, const void *q, const void *cache,
                                           size_t most_sources, const struct decode_batch *batch,
                                           size_t NH, size_t HS, float scale, cudaStream_t stream)
{
    return cross_attention_plain<__half>(context, q, cache, most_sources, batch, NH, HS, scale,
                                         stream);
}

cudaError_t cuda_cross_attention_f32(void *context, const void *q, const void *cache,
                                     size_t most_sources, const struct decode_batch *batch,
                                     size_t NH, size_t HS, float scale, cudaStream_t stream)
{
    return cross_attention_plain<float>(context, q, cache, most_sources, batch, NH, HS, scale,
                                        stream);
}
