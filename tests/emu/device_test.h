/* device_test.h - helpers for the tests of the emulated device */
#ifndef EMULATOR_DEVICE_TEST_H
#define EMULATOR_DEVICE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "emulator.h"
#include "kernels/kernels.h"

#include <cuda_runtime_api.h>

#include <math.h>
#include <stdbool.h>
#include <string.h>

static inline int begin(void **state)
{
    (void)state;
    emulator_reset();
    return 0;
}

static inline void assert_report(const char *part)
{
    const char *report = emulator_report();
    if (report == NULL) fail_msg("no report; expected one with \"%s\"", part);
    if (strstr(report, part) == NULL) fail_msg("\"%s\" is not in the report: %s", part, report);
}

static inline void assert_no_report(void)
{
    if (emulator_report() != NULL) fail_msg("%s", emulator_report());
}

static inline void assert_cuda(cudaError_t error)
{
    if (error != cudaSuccess)
        fail_msg("%s%s%s", cudaGetErrorName(error), emulator_report() != NULL ? ": " : "",
                 emulator_report() != NULL ? emulator_report() : "");
}

static inline void *device_memory(size_t bytes)
{
    void *memory;
    assert_cuda(cudaMalloc(&memory, bytes));
    return memory;
}

static inline void *upload(const void *from, size_t bytes)
{
    void *memory = device_memory(bytes);
    assert_cuda(cudaMemcpy(memory, from, bytes, cudaMemcpyHostToDevice));
    return memory;
}

static inline void download(void *to, const void *from, size_t bytes)
{
    assert_cuda(cudaDeviceSynchronize());
    assert_cuda(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost));
}

static inline uint64_t random_bits(void)
{
    static uint64_t state = 88172645463325252u; /* xorshift64, Marsaglia 2003 */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static inline float random_float(void)
{
    return (float)((double)(random_bits() >> 11) / 4503599627370496.0 - 1.0);
}

/* Uploads 0, 1, 2, ... */
static inline float *numbers(void)
{
    float memory[THREADS];
    for (int i = 0; i < THREADS; i++) memory[i] = (float)i;
    return upload(memory, sizeof memory);
}

/* Runs a kernel that must fail with `expected`; the report must contain `reported`. */
static inline void assert_fails(enum seeded_fault fault, cudaError_t expected, const char *reported)
{
    emulator_reset();
    assert_cuda(launch_seeded(fault, numbers(), NULL));
    cudaError_t error = cudaDeviceSynchronize();
    if (error != expected)
        fail_msg("%s, not %s", cudaGetErrorName(error), cudaGetErrorName(expected));
    assert_report(reported);
}

#define TEST(name) cmocka_unit_test_setup(name, begin)

#endif
