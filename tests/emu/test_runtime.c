/* test_runtime.c - the emulated device: memory, streams, graphs, machines */
#include "device_test.h"

#include <cublasLt.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

/* ---- memory -------------------------------------------------------------------------------- */

static void test_pointers_given_to_kernels(void **state)
{
    (void)state;
    float on_host[THREADS];
    assert_cuda(launch_seeded(RIGHT_BARRIER, on_host, NULL));
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
    assert_report("kernel reverse<true>: its argument, pointer 0, is not memory of device 0");

    emulator_reset();
    float *freed = numbers();
    assert_cuda(cudaFree(freed));
    assert_cuda(launch_seeded(RIGHT_BARRIER, freed, NULL));
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
    assert_report("at byte 0 of a freed allocation of 256 bytes");
}

static void test_addresses_that_kernels_make_up(void **state)
{
    (void)state;
    for (int write = 0; write < 2; write++) {
        emulator_reset();
        float *result = numbers(), *freed = numbers();
        assert_cuda(cudaFree(freed));
        assert_cuda(launch_poke(result, (uintptr_t)freed, write, NULL));
        assert_int_equal(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
        assert_report("of a freed allocation");

        emulator_reset();
        emulator_set_devices(2);
        result = numbers();
        assert_cuda(cudaSetDevice(1));
        float *of_other = numbers();
        assert_cuda(cudaSetDevice(0));
        assert_cuda(launch_poke(result, (uintptr_t)of_other, write, NULL));
        assert_int_equal(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
        assert_report("of device 1");
    }
}

/* In a child: reading it must end that. */
static void assert_unreadable(const volatile float *memory)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* not the test's */
        fclose(stderr);           /* a sanitizer would describe it */
        float read = memory[0];
        (void)read;
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_what_the_host_cannot_touch(void **state)
{
    (void)state;
    void *pinned;
    assert_unreadable(numbers());
    assert_cuda(cudaMallocHost(&pinned, 100));
    assert_cuda(cudaFreeHost(pinned));
    assert_unreadable(pinned);
}

static void test_fresh_memory_is_poison(void **state)
{
    (void)state;
    float memory[100], *pinned;
    void *device = device_memory(sizeof memory);
    download(memory, device, sizeof memory);
    for (int i = 0; i < 100; i++) assert_true(isnan(memory[i]));
    assert_cuda(cudaMallocHost((void **)&pinned, sizeof memory));
    for (int i = 0; i < 100; i++) assert_true(isnan(pinned[i]));
}

static void test_copies_are_checked(void **state)
{
    (void)state;
    float host[THREADS] = {0};
    float *device = numbers();
    assert_int_equal(cudaMemcpy(device, host, sizeof host + 4, cudaMemcpyHostToDevice),
                     cudaErrorInvalidValue);
    assert_report("256 bytes of device 0");
    assert_int_equal(cudaMemcpy(host, device + 1, sizeof host, cudaMemcpyDeviceToHost),
                     cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(host, device, sizeof host, cudaMemcpyHostToDevice),
                     cudaErrorInvalidValue);
    assert_int_equal(cudaMemset(host, 0, sizeof host), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    assert_cuda(cudaMemcpy(host, device, sizeof host, cudaMemcpyDefault)); /* none is fatal */
    assert_true(host[7] == 7);
    assert_int_equal(cudaFree(host), cudaErrorInvalidValue);
    assert_cuda(cudaFree(device));
    assert_int_equal(cudaFree(device), cudaErrorInvalidValue);
}

static void test_leaks_are_counted(void **state)
{
    (void)state;
    struct emulator_usage usage;
    void *device, *pinned;
    cudaStream_t stream;
    cudaEvent_t event;
    cublasLtHandle_t handle;
    cublasLtMatrixLayout_t layout;
    assert_cuda(cudaMalloc(&device, 1000));
    assert_cuda(cudaMallocHost(&pinned, 500));
    assert_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    assert_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    assert_int_equal(cublasLtCreate(&handle), CUBLAS_STATUS_SUCCESS);
    assert_int_equal(cublasLtMatrixLayoutCreate(&layout, CUDA_R_16F, 1, 1, 1),
                     CUBLAS_STATUS_SUCCESS);
    emulator_get_usage(&usage);
    const struct emulator_usage none = {0}, expected = {.device_allocations = 1,
                                                        .device_bytes = 1000,
                                                        .pinned_allocations = 1,
                                                        .pinned_bytes = 500,
                                                        .streams = 1,
                                                        .events = 1,
                                                        .handles = 1,
                                                        .descriptors = 1};
    assert_memory_equal(&usage, &expected, sizeof usage);

    assert_cuda(cudaFree(device));
    assert_cuda(cudaFreeHost(pinned));
    assert_cuda(cudaEventDestroy(event));
    assert_cuda(cudaStreamDestroy(stream));
    assert_int_equal(cublasLtDestroy(handle), CUBLAS_STATUS_SUCCESS);
    assert_int_equal(cublasLtMatrixLayoutDestroy(layout), CUBLAS_STATUS_SUCCESS);
    emulator_get_usage(&usage);
    assert_memory_equal(&usage, &none, sizeof usage);
    assert_no_report();
}

static void test_out_of_memory_at_a_set_size(void **state)
{
    (void)state;
    size_t available, total;
    void *memory, *small;
    cublasLtHandle_t handle;
    emulator_set_memory(0, 64 * MIB);
    emulator_set_costs(16 * MIB, 8 * MIB, 2 * MIB);
    assert_cuda(cudaMemGetInfo(&available, &total));
    assert_int_equal(total, 64 * MIB);
    assert_int_equal(available, 48 * MIB); /* the context */
    assert_cuda(cudaMalloc(&memory, 40 * MIB - 1));
    assert_cuda(cudaMalloc(&small, 1));
    assert_cuda(cudaMemGetInfo(&available, &total));
    assert_int_equal(available, 6 * MIB); /* a byte takes a block of 2 MiB */
    assert_int_equal(cublasLtCreate(&handle), CUBLAS_STATUS_ALLOC_FAILED);
    void *none;
    assert_int_equal(cudaMalloc(&none, 7 * MIB), cudaErrorMemoryAllocation);
    assert_null(none);
    assert_int_equal(emulator_peak(0), 58 * MIB);
    assert_cuda(cudaFree(memory));
    assert_int_equal(emulator_taken(0), 18 * MIB);
    assert_int_equal(cublasLtCreate(&handle), CUBLAS_STATUS_SUCCESS);
    assert_int_equal(emulator_taken(0), 26 * MIB);

    emulator_reset();
    emulator_set_memory(0, 8 * MIB); /* not even a context */
    assert_int_equal(cudaSetDevice(0), cudaErrorMemoryAllocation);
}

/* ---- streams ------------------------------------------------------------------------------- */

static void test_work_is_done_when_waited_for(void **state)
{
    (void)state;
    cudaStream_t stream;
    float *pinned, *device = numbers(), pageable[THREADS];
    assert_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    assert_cuda(cudaMallocHost((void **)&pinned, sizeof pageable));
    assert_cuda(launch_seeded(RIGHT_BARRIER, device, stream));
    assert_cuda(cudaMemcpyAsync(pinned, device, sizeof pageable, cudaMemcpyDeviceToHost, stream));
    assert_cuda(cudaMemcpy(pageable, device, sizeof pageable, cudaMemcpyDeviceToHost));
    assert_true(pageable[0] == 0);  /* the null stream does not wait for a non-blocking one */
    assert_true(isnan(pinned[0]));  /* read too early */
    assert_cuda(cudaStreamSynchronize(stream));
    assert_true(pinned[0] == THREADS - 1);

    assert_cuda(launch_seeded(RIGHT_BARRIER, device, stream));
    assert_cuda(cudaMemcpyAsync(pageable, device, sizeof pageable, cudaMemcpyDeviceToHost, stream));
    assert_true(pageable[0] == 0 && pageable[1] == 1); /* not pinned: done at once */
}

static void test_streams_that_wait_for_the_null_stream(void **state)
{
    (void)state;
    cudaStream_t stream;
    float *device = numbers(), memory[THREADS];
    assert_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamDefault));
    assert_cuda(launch_seeded(RIGHT_BARRIER, device, stream));
    assert_cuda(cudaMemcpy(memory, device, sizeof memory, cudaMemcpyDeviceToHost));
    assert_true(memory[0] == THREADS - 1);
}

static void test_events(void **state)
{
    (void)state;
    cudaStream_t stream;
    cudaEvent_t event;
    float *first, *second, *device = numbers();
    assert_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    assert_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    assert_cuda(cudaEventSynchronize(event)); /* not recorded: nothing to wait for */
    assert_cuda(cudaMallocHost((void **)&first, sizeof *first));
    assert_cuda(cudaMallocHost((void **)&second, sizeof *second));
    assert_cuda(cudaMemcpyAsync(first, device + 1, sizeof *first, cudaMemcpyDeviceToHost, stream));
    assert_cuda(cudaEventRecord(event, stream));
    assert_cuda(cudaMemcpyAsync(second, device + 2, sizeof *second, cudaMemcpyDeviceToHost,
                                stream));
    assert_true(isnan(*first));
    assert_cuda(cudaEventSynchronize(event));
    assert_true(*first == 1 && isnan(*second));
    assert_cuda(cudaStreamDestroy(stream));
    assert_true(*second == 2);
    assert_cuda(cudaEventSynchronize(event));
}

/* ---- graphs -------------------------------------------------------------------------------- */

/* A kernel that reverses the numbers on the device, and a copy of them to pinned memory. */
static cudaGraph_t capture(cudaStream_t stream, float *device, float *pinned)
{
    cudaGraph_t graph;
    assert_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    assert_cuda(launch_seeded(RIGHT_BARRIER, device, stream));
    assert_cuda(cudaMemcpyAsync(pinned, device, THREADS * sizeof *device, cudaMemcpyDeviceToHost,
                                stream));
    assert_cuda(cudaStreamEndCapture(stream, &graph));
    return graph;
}

static void test_graphs(void **state)
{
    (void)state;
    cudaStream_t stream;
    cudaGraphExec_t executable;
    struct emulator_usage usage;
    float *pinned, *device = numbers();
    assert_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    assert_cuda(cudaMallocHost((void **)&pinned, THREADS * sizeof *pinned));
    pinned[0] = 7;
    cudaGraph_t graph = capture(stream, device, pinned);
    assert_cuda(cudaGraphInstantiate(&executable, graph, 0));
    assert_cuda(cudaGraphDestroy(graph));
    assert_cuda(cudaStreamSynchronize(stream));
    assert_true(pinned[0] == 7); /* capturing does nothing */
    for (int launch = 0; launch < 3; launch++) {
        assert_cuda(cudaGraphLaunch(executable, stream));
        assert_true(isnan(pinned[0]));
        assert_cuda(cudaStreamSynchronize(stream));
        assert_true(pinned[0] == (launch % 2 == 0 ? THREADS - 1 : 0));
    }
    emulator_get_usage(&usage);
    assert_int_equal(usage.graphs, 1);
    assert_cuda(cudaFree(device));
    assert_cuda(cudaGraphLaunch(executable, stream));
    assert_int_equal(cudaStreamSynchronize(stream), cudaErrorIllegalAddress);
    assert_report("of a freed allocation");
    assert_int_equal(cudaGraphExecDestroy(executable), cudaErrorIllegalAddress); /* and destroys */
    emulator_get_usage(&usage);
    assert_int_equal(usage.graphs, 0);
}

static void test_what_spoils_a_capture(void **state)
{
    (void)state;
    cudaStream_t stream;
    cudaGraph_t graph;
    float *device = numbers(), pageable[THREADS];
    void *memory;
    assert_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    for (int what = 0; what < 4; what++) {
        cudaError_t error;
        assert_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
        switch (what) {
        case 0: error = cudaMalloc(&memory, 1); break;
        case 1: error = cudaStreamSynchronize(stream); break;
        case 2: error = cudaMemcpy(pageable, device, 4, cudaMemcpyDeviceToHost); break;
        default: error = cudaMemcpyAsync(pageable, device, 4, cudaMemcpyDeviceToHost, stream);
        }
        assert_int_equal(error, cudaErrorStreamCaptureUnsupported);
        assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
        assert_null(graph);
    }
    assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorInvalidValue);
    assert_cuda(cudaMalloc(&memory, 1));
}

/* The thread may do all but wait for the stream. */
static void test_relaxed_captures(void **state)
{
    (void)state;
    cudaStream_t stream;
    cudaGraph_t graph;
    float *device = numbers(), pageable[THREADS];
    void *memory;
    assert_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    assert_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
    assert_cuda(cudaMalloc(&memory, 1));
    assert_cuda(cudaMemcpy(pageable, device, 4, cudaMemcpyDeviceToHost));
    assert_cuda(cudaStreamEndCapture(stream, &graph));
    assert_cuda(cudaGraphDestroy(graph));
    for (int what = 0; what < 2; what++) {
        assert_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
        assert_int_equal(what == 0 ? cudaStreamSynchronize(stream)
                                   : cudaMemcpyAsync(pageable, device, 4,
                                                     cudaMemcpyDeviceToHost, stream),
                         cudaErrorStreamCaptureUnsupported);
        assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    }
}

/* ---- machines ------------------------------------------------------------------------------ */

static void test_two_devices(void **state)
{
    (void)state;
    int count;
    float memory[THREADS];
    struct cudaDeviceProp properties;
    emulator_set_devices(2);
    emulator_set_memory(1, 3000 * MIB);
    assert_cuda(cudaGetDeviceCount(&count));
    assert_int_equal(count, 2);
    assert_cuda(cudaGetDeviceProperties(&properties, 1));
    assert_int_equal(properties.totalGlobalMem, 3000 * MIB);
    assert_int_equal(properties.major * 100 + properties.minor * 10, EMULATED_ARCH);
    assert_int_equal(cudaSetDevice(2), cudaErrorInvalidDevice);

    float *on_first = numbers();
    assert_cuda(cudaSetDevice(1));
    float *on_second = numbers();
    assert_cuda(launch_seeded(RIGHT_BARRIER, on_second, NULL));
    download(memory, on_second, sizeof memory);
    assert_true(memory[0] == THREADS - 1);
    assert_int_equal(cudaMemcpy(memory, on_first, sizeof memory, cudaMemcpyDeviceToHost),
                     cudaErrorInvalidValue);
    assert_true(emulator_taken(0) > 0 && emulator_taken(0) == emulator_taken(1));
    assert_cuda(launch_seeded(RIGHT_BARRIER, on_first, NULL));
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
    assert_cuda(cudaSetDevice(0));
    assert_cuda(cudaDeviceSynchronize());
}

static void test_machine_of_the_environment(void **state)
{
    (void)state;
    int count, version;
    struct cudaDeviceProp properties;
    setenv("EMULATOR_DEVICES", "3", 1);
    setenv("EMULATOR_MEMORY", "1073741824", 1);
    setenv("EMULATOR_DRIVER", "13020", 1);
    emulator_reset();
    unsetenv("EMULATOR_DEVICES");
    unsetenv("EMULATOR_MEMORY");
    unsetenv("EMULATOR_DRIVER");
    assert_cuda(cudaGetDeviceCount(&count));
    assert_int_equal(count, 3);
    assert_cuda(cudaGetDeviceProperties(&properties, 2));
    assert_int_equal(properties.totalGlobalMem, 1024 * MIB);
    assert_cuda(cudaDriverGetVersion(&version));
    assert_int_equal(version, 13020);
}

/* Each has a stream and a device's memory of its own; calls come in any order. */
static void *use_device(void *failed)
{
    float *device = numbers(), memory[THREADS];
    cudaStream_t stream;
    cudaError_t error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    for (int i = 0; i < 20 && error == cudaSuccess; i++) {
        error = launch_seeded(RIGHT_BARRIER, device, stream);
        if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
    }
    if (error == cudaSuccess)
        error = cudaMemcpy(memory, device, sizeof memory, cudaMemcpyDeviceToHost);
    *(bool *)failed = error != cudaSuccess || memory[3] != 3; /* reversed an even number of times */
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    enum { COUNT = 4 };
    pthread_t threads[COUNT];
    bool failed[COUNT];
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_device, &failed[i]), 0);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_false(failed[i]);
    }
    assert_no_report();
}

static void test_machines_without_a_device(void **state)
{
    (void)state;
    int count = 7, version;
    void *memory;
    emulator_set_devices(0);
    assert_int_equal(cudaGetDeviceCount(&count), cudaErrorNoDevice);
    assert_int_equal(count, 0);
    assert_int_equal(cudaMalloc(&memory, 1), cudaErrorNoDevice);
    emulator_reset();
    emulator_set_driver(12080);
    assert_cuda(cudaDriverGetVersion(&version));
    assert_int_equal(version, 12080);
    assert_int_equal(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
    assert_int_equal(cudaMalloc(&memory, 1), cudaErrorInsufficientDriver);
    emulator_reset();
    emulator_set_capability(6, 1);
    assert_int_equal(launch_seeded(RIGHT_BARRIER, numbers(), NULL),
                     cudaErrorNoKernelImageForDevice);
}

static void test_shapes_that_no_launch_may_have(void **state)
{
    (void)state;
    void *out = device_memory(1000);
    assert_int_equal(launch_indices(out, (dim3){1, 1, 1}, (dim3){1025, 1, 1}, NULL),
                     cudaErrorInvalidConfiguration);
    assert_int_equal(launch_indices(out, (dim3){1, 65536, 1}, (dim3){32, 1, 1}, NULL),
                     cudaErrorInvalidConfiguration);
    assert_int_equal(launch_indices(out, (dim3){0, 1, 1}, (dim3){32, 1, 1}, NULL),
                     cudaErrorInvalidConfiguration);
    assert_cuda(cudaDeviceSynchronize());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_pointers_given_to_kernels),
        TEST(test_addresses_that_kernels_make_up),
        TEST(test_what_the_host_cannot_touch),
        TEST(test_fresh_memory_is_poison),
        TEST(test_copies_are_checked),
        TEST(test_leaks_are_counted),
        TEST(test_out_of_memory_at_a_set_size),
        TEST(test_work_is_done_when_waited_for),
        TEST(test_streams_that_wait_for_the_null_stream),
        TEST(test_events),
        TEST(test_graphs),
        TEST(test_what_spoils_a_capture),
        TEST(test_relaxed_captures),
        TEST(test_two_devices),
        TEST(test_machine_of_the_environment),
        TEST(test_threads),
        TEST(test_machines_without_a_device),
        TEST(test_shapes_that_no_launch_may_have),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
