/* cuda_error.c - errors of the CUDA runtime as statuses */
#include "cuda/cuda_error.h"

embed_status cuda_fail(cudaError_t error, const char *what)
{
    cudaGetLastError(); /* or the next launch would report this one again */
    return fail(error == cudaErrorMemoryAllocation ? EMBED_OUT_OF_MEMORY : EMBED_DEVICE_FAILED,
                "CUDA: %s: %s (%s)", what, cudaGetErrorString(error), cudaGetErrorName(error));
}
