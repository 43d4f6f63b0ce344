/* running.cuh - the check that a document of a step is running */
#ifndef KERNELS_CUDA_RUNNING_CUH
#define KERNELS_CUDA_RUNNING_CUH

#include "kernels/cuda/device.cuh"

/* Returns the length of document d's beams, or 0 if its slot is not running and must be left
 * unchanged. Uniform over the threads of a block, as long as the slot is not written. */
static __device__ __forceinline__ int running_length(const struct decode_batch &batch, unsigned d)
{
    const int slot = batch.slots[d];
    if (batch.beams.states[slot] != BEAM_RUNNING) return 0;
    return min(batch.beams.lengths[slot], (int)batch.beams.T);
}

#endif
