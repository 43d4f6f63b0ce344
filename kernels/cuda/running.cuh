/* running.cuh - what a kernel asks first of a document of a step */
#ifndef KERNELS_CUDA_RUNNING_CUH
#define KERNELS_CUDA_RUNNING_CUH

#include "kernels/cuda/device.cuh"

/* Tokens of the beams of document d; 0 where its slot is not running, and so is to be left as it
 * is. The same in all threads of a block, until the slot is written. */
static __device__ __forceinline__ int running_length(const struct decode_batch &batch, unsigned d)
{
    const int slot = batch.slots[d];
    if (batch.beams.states[slot] != BEAM_RUNNING) return 0;
    return min(batch.beams.lengths[slot], (int)batch.beams.T);
}

#endif
