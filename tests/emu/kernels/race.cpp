/* race.cpp - runs one kernel of broken.cu; built with -fsanitize=thread, which reports its races
 *
 *   usage: race NUMBER      of enum seeded_fault
 *
 * Exit status: 66 (the sanitizer's) if there is a race, 0 if there is none.
 */
#include "kernels.h"

#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments)
{
    if (count != 2) return 2;
    float memory[THREADS] = {}, *device;
    if (cudaMalloc((void **)&device, sizeof memory) != cudaSuccess ||
        cudaMemcpy(device, memory, sizeof memory, cudaMemcpyHostToDevice) != cudaSuccess)
        return 2;
    cudaError_t error = launch_seeded((enum seeded_fault)atoi(arguments[1]), device, NULL);
    if (error == cudaSuccess) error = cudaDeviceSynchronize();
    if (error != cudaSuccess) printf("%s\n", cudaGetErrorString(error));
    if (cudaMemcpy(memory, device, sizeof memory, cudaMemcpyDeviceToHost) != cudaSuccess) return 2;
    cudaFree(device);
    return error == cudaSuccess ? 0 : 2;
}
