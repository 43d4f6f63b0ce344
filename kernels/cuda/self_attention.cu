/* self_attention.cu - the beams' last tokens attend to all tokens of their beams
 *
 *   qkv (D * K, 3C), cache (P, K, T, 2C), context (D * K, C)
 *
 *   work    one block per head of a document. It first appends the keys and values of the last
 *           tokens to the cache, then every beam looks up its past in the ancestor table: see
 *           decode_attention.cuh. Beams share most of their past, so what one warp reads, the
 *           others find in L1.
 *   types   qkv, cache, context of the table's type; products, softmax and sums FP32
 *   floor   reads 4C bytes per token in FP16, of T to K T tokens per document. 16 documents of 4
 *           beams, T = 80, C = 1024, half of the past shared: 13 MB per layer, 3.0 us at 4.3 TB/s.
 *           One document: 0.2 us, and 2 us of latency of dependent loads.
 */
#include "kernels/cuda/decode_attention.cuh"
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/running.cuh"

/* ---- kernel -------------------------------------------------------------------------------- */

/* Appends the keys and values of K tokens, of one head, at position t of the slot's rows. */
template <typename E, int WIDTH>
static __device__ __forceinline__ void append(E *rows, const E *qkv, int t, size_t T, unsigned K,
                                              size_t C, int HS)
{
    typedef element_vector<E, WIDTH> vector;
    const unsigned vectors = (unsigned)HS / WIDTH;
    for (unsigned i = threadIdx.x; i < 2 * K * vectors; i += blockDim.x) {
        const unsigned component = i % vectors * WIDTH;
        const size_t k = i / vectors / 2, is_value = i / vectors % 2;
        const E *from = qkv + k * 3 * C + (1 + is_value) * C + component;
        *(vector *)(rows + (k * T + (size_t)t) * 2 * C + is_value * C + component) =
            *(const vector *)from;
    }
}

/* Threads read parts of cache that other threads have just written, so it is neither const nor
 * __restrict__. Without the 1 in the launch bounds, ptxas 13.0 saves registers for a second block,
 * and spills. */
template <typename E, int WIDTH, int LANES>
static __global__ void __launch_bounds__(DECODE_WARPS *WARP, 1)
self_attention_kernel(E *context, const E *qkv, E *cache,
                      const __grid_constant__ struct decode_batch batch, int HS, float scale)
{
    SHARED_MEMORY(memory);
    const unsigned d = blockIdx.x, h = blockIdx.y, K = (unsigned)batch.K;
    const int length = running_length(batch, d);
    if (length == 0) return;

    const size_t C = (size_t)gridDim.y * HS, T = batch.beams.T, slot = (size_t)batch.slots[d];
    const int32_t *ancestors = beam_ancestors(&batch.beams, slot, length);
    E *rows = cache + slot * batch.beams.K * T * 2 * C + h * HS;
    const E *q = qkv + (size_t)d * K * 3 * C + h * HS;
    append<E, WIDTH>(rows, q, length - 1, T, K, C, HS);
    __syncthreads();

    const unsigned last = (unsigned)batch.beams.K - 1;
    auto key = [=](unsigned k, int t) {
        const unsigned row = min((unsigned)ancestors[k * T + t], last);
        return rows + (row * T + t) * 2 * C;
    };
    decode_attention<E, WIDTH, LANES>(context + (size_t)d * K * C + h * HS, q, 3 * C, key, length,
                                        HS, C, K, scale, (float *)memory);
}

/* ---- launchers ----------------------------------------------------------------------------- */

template <typename E>
static cudaError_t self_attention(void *context, const void *qkv, void *cache,
                                  const struct decode_batch *batch, size_t NH, size_t HS,
                                  float scale, cudaStream_t stream)
{
    const size_t K = batch->K;
    if (!decode_head_fits(HS) || K > MOST_BEAMS)
        return cudaErrorInvalidValue;
    auto kernel = HS <= 64    ? self_attention_kernel<E, 8, 8>
                  : HS <= 128 ? self_attention_kernel<E, 8, 16>
                              : self_attention_kernel<E, 8, 32>;
    if (HS % 8 != 0)
        kernel = HS <= 64 ? self_attention_kernel<E, 4, 16> : self_attention_kernel<E, 4, 32>;
    return launch(kernel, dim3((unsigned)batch->D, (unsigned)NH),
                  dim3((unsigned)K * decode_parts(K) * WARP), decode_shared_bytes(K, HS), stream,
                  (E *)context, (const E *)qkv, (E *)cache, *batch, (int)HS, scale);
}

cudaError_t cuda_self_attention_f16(void *context, const void *qkv, void *cache,
                                    const struct decode_batch *batch, size_t NH, size_t HS,
                                    float scale, cudaStream_t stream)
{
    return self_attention<__half>(context, qkv, cache, batch, NH, HS, scale, stream);
}

cudaError_t cuda_self_attention_f32(void *context, const void *qkv, void *cache,
                                    const struct decode_batch *batch, size_t NH, size_t HS,
                                    float scale, cudaStream_t stream)
{
    return self_attention<float>(context, qkv, cache, batch, NH, HS, scale, stream);
}
