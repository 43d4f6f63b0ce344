/* gpu_info.c - prints the GPU and the versions of its driver and libraries in one line */
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <stdio.h>

int main(void)
{
    struct cudaDeviceProp gpu;
    int driver = 0, runtime = 0, count = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && count > 0) error = cudaGetDeviceProperties(&gpu, 0);
    if (error != cudaSuccess || count == 0) {
        printf("%s\n", driver == 0 ? "there is no NVIDIA driver" : cudaGetErrorString(error));
        return 1;
    }
    printf("%s; sm_%d%d; %d multiprocessors; %.0f GiB; L2 %d MiB; driver for CUDA %d.%d; "
           "CUDA runtime %d.%d; cuBLASLt %zu\n",
           gpu.name, gpu.major, gpu.minor, gpu.multiProcessorCount,
           (double)gpu.totalGlobalMem / 1073741824, gpu.l2CacheSize >> 20, driver / 1000,
           driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10, cublasLtGetVersion());
    return 0;
}
