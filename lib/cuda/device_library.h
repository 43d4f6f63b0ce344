/* device_library.h - per-process state on a GPU (context, cuBLASLt) and the memory it takes */
#ifndef LIB_CUDA_DEVICE_LIBRARY_H
#define LIB_CUDA_DEVICE_LIBRARY_H

#include "backend/backend.h"
#include "cuda/matmul.h"

/* Gets cuBLASLt on GPU `index`, which must be the current device. It is opened with the first
 * backend on the GPU and closed with the last; *costs is what was measured when it was opened. */
embed_status device_library_open(cublasLtHandle_t *cublas, struct device_costs *costs, int index);
void device_library_close(int index);

/* See measured_costs of struct cuda_plugin. */
bool device_library_costs(struct device_costs *costs, int index);

#endif
