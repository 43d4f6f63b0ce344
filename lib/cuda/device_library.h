/* device_library.h - what a process has once per GPU: context and cuBLASLt, and what they take */
#ifndef LIB_CUDA_DEVICE_LIBRARY_H
#define LIB_CUDA_DEVICE_LIBRARY_H

#include "backend/backend.h"
#include "cuda/matmul.h"

/* Gets cuBLASLt on GPU `index`, which must be the current device: opened with the first backend on
 * it, closed with the last. *costs is what was measured at that opening. */
embed_status device_library_open(cublasLtHandle_t *cublas, struct device_costs *costs, int index);
void device_library_close(int index);

/* See measured_costs of struct cuda_plugin. */
bool device_library_costs(struct device_costs *costs, int index);

#endif
