/* device_numbers.h - for the CUDA programs of this folder: checks that exit on failure, and random
 * numbers on the device */
#ifndef TESTS_GPU_DEVICE_NUMBERS_H
#define TESTS_GPU_DEVICE_NUMBERS_H

#include "formats/float_convert.h"

#include <embed.h>

#include <cuda_runtime_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(call) check_cuda((call), #call)

static inline void check_cuda(cudaError_t error, const char *call)
{
    if (error == cudaSuccess) return;
    fprintf(stderr, "%s: %s\n", call, cudaGetErrorString(error));
    exit(1);
}

static inline void check(embed_status status)
{
    if (status == EMBED_OK) return;
    fprintf(stderr, "%s\n", embed_error_message());
    exit(1);
}

static inline void *host_memory(size_t bytes)
{
    void *block = malloc(bytes);
    if (block == NULL) fputs("out of memory\n", stderr), exit(1);
    return block;
}

static inline void *device_memory(size_t bytes)
{
    void *device;
    CHECK(cudaMalloc(&device, bytes));
    return device;
}

/* The copy is complete on return, also for streams that do not wait for the null stream. */
static inline void copy_to_device(void *device, const void *host, size_t bytes)
{
    CHECK(cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice));
    CHECK(cudaStreamSynchronize(NULL));
}

static inline void *device_copy(const void *host, size_t bytes)
{
    void *device = device_memory(bytes);
    copy_to_device(device, host, bytes);
    return device;
}

/* Returns `count` numbers in [-0.5, 0.5) on the device, as FP16 or FP32; the same in every run. */
static inline void *random_numbers(size_t count, size_t element_bytes)
{
    static uint32_t state =
        1; /* generator of Numerical Recipes; its upper bits are good enough */
    float *floats = host_memory(count * sizeof *floats);
    uint16_t *halves = host_memory(count * sizeof *halves);
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        floats[i] = (float)(state >> 8) / 16777216.0f - 0.5f;
    }
    float_to_f16(halves, floats, count);
    void *device = element_bytes == sizeof(float) ? device_copy(floats, count * sizeof *floats)
                                                  : device_copy(halves, count * sizeof *halves);
    free(floats);
    free(halves);
    return device;
}

#endif
