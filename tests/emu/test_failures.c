/* test_failures.c - the emulated device: failures that tests plan, and devices that are lost by them */
#include "device_test.h"

#include <cublasLt.h>

static void test_nth_call_fails(void **state)
{
    (void)state;
    void *a, *b;
    unsigned long before = emulator_calls();
    emulator_fail("cudaMalloc", 2, cudaErrorMemoryAllocation, false);
    assert_cuda(cudaMalloc(&a, 100));
    assert_cuda(cudaMemset(a, 0, 100));
    assert_null(emulator_failed_call());
    assert_int_equal(cudaMalloc(&b, 100), cudaErrorMemoryAllocation);
    assert_string_equal(emulator_failed_call(), "cudaMalloc");
    assert_int_equal(cudaGetLastError(), cudaErrorMemoryAllocation);
    assert_cuda(cudaMalloc(&b, 100));
    assert_int_equal(emulator_calls() - before, 4);

    cublasLtHandle_t handle;
    emulator_fail(NULL, 2, cudaErrorMemoryAllocation, true);
    assert_cuda(cudaDeviceSynchronize());
    assert_int_equal(cublasLtCreate(&handle), CUBLAS_STATUS_ALLOC_FAILED);
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorMemoryAllocation);
    assert_int_equal(cudaFree(a), cudaErrorMemoryAllocation); /* and frees */
    assert_string_equal(emulator_failed_call(), "cublasLtCreate");
    emulator_fail("cublasLtCreate", 1, CUBLAS_STATUS_NOT_INITIALIZED, false);
    assert_int_equal(cublasLtCreate(&handle), CUBLAS_STATUS_NOT_INITIALIZED);
    emulator_fail("cudaLaunchKernel", 1, cudaErrorLaunchOutOfResources, false);
    assert_int_equal(launch_seeded(RIGHT_BARRIER, b, NULL), cudaErrorLaunchOutOfResources);

    struct emulator_usage usage;
    emulator_get_usage(&usage);
    assert_int_equal(usage.device_allocations, 1);
    assert_no_report();
}

static void test_fatal_errors_stay(void **state)
{
    (void)state;
    void *memory = numbers();
    emulator_set_devices(2);
    emulator_fail("cudaStreamSynchronize", 1, cudaErrorLaunchFailure, false);
    assert_int_equal(cudaStreamSynchronize(NULL), cudaErrorLaunchFailure);
    assert_int_equal(cudaMalloc(&memory, 1), cudaErrorLaunchFailure);
    assert_int_equal(cudaGetLastError(), cudaErrorLaunchFailure);
    assert_int_equal(cudaGetLastError(), cudaErrorLaunchFailure);
    cublasLtHandle_t handle;
    assert_int_equal(cublasLtCreate(&handle), CUBLAS_STATUS_EXECUTION_FAILED);
    assert_cuda(cudaSetDevice(1)); /* the other one is well */
    assert_cuda(cudaMalloc(&memory, 1));
}

static void test_calls_after_a_loss(void **state)
{
    (void)state;
    void *memory;
    int index;
    struct cudaDeviceProp properties;
    cublasLtMatrixLayout_t layout;
    emulator_set_devices(2);
    emulator_fail("cudaMalloc", 1, cudaErrorIllegalAddress, false);
    assert_int_equal(cudaMalloc(&memory, 1), cudaErrorIllegalAddress);
    assert_cuda(cudaGetDevice(&index)); /* asks the thread */
    assert_int_equal(emulator_calls_after_loss(), 0);
    assert_int_equal(cudaMalloc(&memory, 1), cudaErrorIllegalAddress);
    assert_int_equal(emulator_calls_after_loss(), 1);
    cudaGetLastError();
    assert_int_equal(emulator_calls_after_loss(), 2);
    cublasLtMatrixLayoutCreate(&layout, CUDA_R_16F, 1, 1, 1);
    assert_int_equal(emulator_calls_after_loss(), 3);
    assert_cuda(cudaGetDeviceProperties(&properties, 1)); /* of the other */
    assert_cuda(cudaSetDevice(1));
    assert_cuda(cudaMalloc(&memory, 1));
    assert_cuda(cudaGetLastError());
    assert_int_equal(emulator_calls_after_loss(), 3);
    cudaGetDeviceProperties(&properties, 0);
    assert_int_equal(emulator_calls_after_loss(), 4);
    cudaSetDevice(0);
    assert_int_equal(emulator_calls_after_loss(), 5);
    emulator_reset();
    assert_int_equal(emulator_calls_after_loss(), 0);
}

/* What cuBLASLt returns does not tell: one more call may ask. Nor does a call that needs no device
 * lose one. */
static void test_losses_that_cublaslt_sees(void **state)
{
    (void)state;
    cublasLtHandle_t handle;
    cublasLtMatrixLayout_t layout;
    size_t available, total;
    emulator_fail(NULL, 1, cudaErrorLaunchFailure, false);
    assert_int_equal(cublasLtMatrixLayoutCreate(&layout, CUDA_R_16F, 1, 1, 1),
                     CUBLAS_STATUS_EXECUTION_FAILED);
    assert_cuda(cudaDeviceSynchronize());
    emulator_fail(NULL, 1, cudaErrorLaunchFailure, false);
    assert_int_equal(cublasLtCreate(&handle), CUBLAS_STATUS_EXECUTION_FAILED);
    assert_int_equal(cudaMemGetInfo(&available, &total), cudaErrorLaunchFailure);
    assert_int_equal(emulator_calls_after_loss(), 0);
    assert_int_equal(cudaMemGetInfo(&available, &total), cudaErrorLaunchFailure);
    assert_int_equal(emulator_calls_after_loss(), 1);
}

static void test_devices_that_are_unavailable(void **state)
{
    (void)state;
    void *memory;
    emulator_fail(NULL, 1, cudaErrorDevicesUnavailable, false);
    assert_int_equal(cudaSetDevice(0), cudaErrorDevicesUnavailable);
    assert_cuda(cudaSetDevice(0));
    emulator_fail(NULL, 1, cudaErrorDevicesUnavailable, false);
    assert_int_equal(cudaMalloc(&memory, 1), cudaErrorDevicesUnavailable);
    assert_int_equal(cudaMalloc(&memory, 1), cudaErrorDevicesUnavailable);
}

/* Pinned memory may be used by any device's work; a lost one does none. */
static void test_pinned_memory_beside_a_lost_device(void **state)
{
    (void)state;
    void *pinned;
    emulator_set_devices(2);
    emulator_fail("cudaDeviceSynchronize", 1, cudaErrorLaunchFailure, false);
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorLaunchFailure);
    assert_cuda(cudaSetDevice(1));
    assert_cuda(cudaMallocHost(&pinned, 100));
    assert_cuda(cudaFreeHost(pinned));
}

static void test_kernel_faults_stay(void **state)
{
    (void)state;
    assert_fails(EXIT_BEFORE_BARRIER, cudaErrorLaunchFailure, "kernel exit_before_barrier");
    int count;
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorLaunchFailure);
    assert_cuda(cudaGetDeviceCount(&count));
    assert_int_equal(cudaSetDevice(0), cudaErrorLaunchFailure);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nth_call_fails),
        TEST(test_fatal_errors_stay),
        TEST(test_calls_after_a_loss),
        TEST(test_losses_that_cublaslt_sees),
        TEST(test_devices_that_are_unavailable),
        TEST(test_pinned_memory_beside_a_lost_device),
        TEST(test_kernel_faults_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
