/* beam_step.cu - starts slots, and extends beams by one token
 *
 *   work    one block per document. One thread decides the step, from candidates that were first
 *           copied to shared memory, and all threads carry it out: kernels/beam_step.h.
 *   floor   2K rows of T ancestors and 2K candidates per row, 10 KB for K = 4 and T = 142:
 *           negligible. The time is the latency of a few dependent loads, some 3 us.
 */
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/running.cuh"

#include "kernels/beam_step.h"

enum { THREADS = 128 };

/* ---- kernels ------------------------------------------------------------------------------- */

static __global__ void __launch_bounds__(WARP)
beam_start_kernel(const __grid_constant__ struct beam_slots beams,
                  const struct beam_document *documents, unsigned D)
{
    const unsigned d = blockIdx.x * WARP + threadIdx.x;
    if (d < D) beam_begin(&beams, &documents[d]);
}

/* Without the 1, ptxas 13.0 limits it to 40 registers on sm_120, and spills. */
static __global__ void __launch_bounds__(THREADS, 1)
beam_step_kernel(const __grid_constant__ struct decode_batch batch,
                 const struct beam_candidate *candidates)
{
    SHARED_MEMORY(memory);
    struct beam_decision *decision = (struct beam_decision *)memory;
    struct beam_candidate *own = (struct beam_candidate *)(decision + 1);
    const unsigned d = blockIdx.x, K = (unsigned)batch.K, count = K * BEAM_CANDIDATES(K);
    const size_t slot = (size_t)batch.slots[d];
    if (running_length(batch, d) == 0) return;

    for (unsigned i = threadIdx.x; i < count; i += THREADS) own[i] = candidates[d * count + i];
    __syncthreads();
    if (threadIdx.x == 0) beam_decide(decision, &batch.beams, slot, K, own);
    __syncthreads();
    beam_copy(decision, &batch.beams, slot, K, threadIdx.x, THREADS);
    if (threadIdx.x == 0) beam_settle(decision, &batch.beams, slot, K);
}

/* ---- launchers ----------------------------------------------------------------------------- */

cudaError_t cuda_beam_start(const struct beam_slots *beams, const struct beam_document *documents,
                            size_t D, cudaStream_t stream)
{
    return launch(beam_start_kernel, dim3((unsigned)((D + WARP - 1) / WARP)), dim3(WARP), 0, stream,
                  *beams, documents, (unsigned)D);
}

cudaError_t cuda_beam_step(const struct decode_batch *batch,
                           const struct beam_candidate *candidates, cudaStream_t stream)
{
    if (batch->K > MOST_BEAMS) return cudaErrorInvalidValue;
    const size_t shared = sizeof(struct beam_decision) +
                          batch->K * BEAM_CANDIDATES(batch->K) * sizeof *candidates;
    return launch(beam_step_kernel, dim3((unsigned)batch->D), dim3(THREADS), shared, stream, *batch,
                  candidates);
}
