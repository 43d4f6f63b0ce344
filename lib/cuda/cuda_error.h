/* cuda_error.h - errors of the CUDA runtime as statuses */
#ifndef LIB_CUDA_CUDA_ERROR_H
#define LIB_CUDA_CUDA_ERROR_H

#include "base/status.h"

#include <cuda_runtime_api.h>

/* Fails with "CUDA: <what>: <why>" and the status that suits the error: EMBED_OUT_OF_MEMORY, or
 * EMBED_DEVICE_FAILED. */
embed_status cuda_fail(cudaError_t error, const char *what);

/* Returns a failure of `call` to the caller. `what` was being done. */
#define TRY_CUDA(call, what)                                                                   \
    do {                                                                                       \
        cudaError_t try_error_ = (call);                                                       \
        if (try_error_ != cudaSuccess) return cuda_fail(try_error_, what);                     \
    } while (0)

#endif
