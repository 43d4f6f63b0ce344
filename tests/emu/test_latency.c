/* test_latency.c - the emulated device: time that passes instead of work
 *
 * That a wait is not shorter than it must be holds on any machine. That it is hardly longer, only
 * where nothing else runs: so the shortest of some tries counts, and may be half as long again.
 */
#include "device_test.h"

#include <cublasLt.h>

#include <pthread.h>
#include <time.h>

#define LAUNCH 2000 /* us, of most tests */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

/* Asserts that `piece` takes so many microseconds, by the shortest of 20 tries; the device is idle
 * at the beginning of each. */
static void assert_takes(double expected, void (*piece)(void *), void *argument)
{
    double shortest = 1e9, most = 1.5 * expected + 500;
    for (int i = 0; i < 20 && !(shortest < most); i++) {
        assert_cuda(cudaDeviceSynchronize());
        double start = now();
        piece(argument);
        double took = now() - start;
        if (took < shortest) shortest = took;
    }
    if (!(shortest >= expected && shortest < most))
        fail_msg("took %.0f us, not %.0f", shortest, expected);
}

static cudaStream_t new_stream(void)
{
    cudaStream_t stream;
    assert_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return stream;
}

static void launch_some(float *memory, cudaStream_t stream, int count)
{
    for (int i = 0; i < count; i++) assert_cuda(launch_seeded(RIGHT_BARRIER, memory, stream));
}

/* ---- launches ------------------------------------------------------------------------------ */

struct streams {
    float *memory;
    cudaStream_t first, second;
    cudaEvent_t event;
};

static struct streams new_streams(void)
{
    struct streams s = {.memory = numbers(), .first = new_stream(), .second = new_stream()};
    assert_cuda(cudaEventCreateWithFlags(&s.event, cudaEventDisableTiming));
    return s;
}

static void enqueue_ten(void *streams)
{
    struct streams *s = streams;
    launch_some(s->memory, s->first, 10);
}

static void wait_for_ten(void *streams)
{
    struct streams *s = streams;
    enqueue_ten(s);
    assert_cuda(cudaStreamSynchronize(s->first));
}

static void wait_for_one_of_two(void *streams)
{
    struct streams *s = streams;
    launch_some(s->memory, s->first, 4);
    launch_some(s->memory, s->second, 6);
    assert_cuda(cudaStreamSynchronize(s->second));
}

static void wait_for_an_event(void *streams)
{
    struct streams *s = streams;
    launch_some(s->memory, s->first, 3);
    assert_cuda(cudaEventRecord(s->event, s->first));
    launch_some(s->memory, s->first, 7);
    assert_cuda(cudaEventSynchronize(s->event));
}

static void wait_for_the_device(void *streams)
{
    struct streams *s = streams;
    launch_some(s->memory, s->first, 4);
    launch_some(s->memory, s->second, 1);
    assert_cuda(cudaDeviceSynchronize());
}

static void test_launches(void **state)
{
    (void)state;
    emulator_set_latency(LAUNCH, 0);
    struct streams s = new_streams();
    double start = now();
    assert_takes(0, enqueue_ten, &s); /* and returns */
    assert_cuda(cudaStreamSynchronize(s.first));
    assert_true(now() - start >= 10 * LAUNCH);

    assert_takes(10 * LAUNCH, wait_for_ten, &s);
    assert_takes(10 * LAUNCH, wait_for_one_of_two, &s); /* which share the device */
    assert_takes(5 * LAUNCH, wait_for_the_device, &s);

    wait_for_an_event(&s);
    start = now();
    assert_cuda(cudaStreamSynchronize(s.first));
    assert_true(now() - start > 3 * LAUNCH); /* of the seven after it */
    assert_takes(3 * LAUNCH, wait_for_an_event, &s);
    assert_cuda(cudaStreamSynchronize(s.first));
    assert_cuda(cudaEventSynchronize(s.event)); /* long over */
    assert_no_report();
}

static void wait_for_one(void *streams)
{
    struct streams *s = streams;
    launch_some(s->memory, s->first, 1);
    assert_cuda(cudaStreamSynchronize(s->first));
}

static void test_short_launches(void **state)
{
    (void)state;
    emulator_set_latency(5, 0);
    struct streams s = new_streams();
    assert_takes(5, wait_for_one, &s);
    assert_takes(50, wait_for_ten, &s);
}

/* ---- graphs -------------------------------------------------------------------------------- */

struct captured {
    cudaStream_t stream;
    cudaGraphExec_t executable;
};

static void launch_graph(void *captured)
{
    struct captured *c = captured;
    assert_cuda(cudaGraphLaunch(c->executable, c->stream));
    assert_cuda(cudaGraphLaunch(c->executable, c->stream));
    assert_cuda(cudaStreamSynchronize(c->stream));
}

static void test_graphs(void **state)
{
    (void)state;
    emulator_set_latency(LAUNCH, 0);
    struct captured c = {.stream = new_stream()};
    cudaGraph_t graph;
    float *memory = numbers();
    assert_cuda(cudaStreamBeginCapture(c.stream, cudaStreamCaptureModeThreadLocal));
    launch_some(memory, c.stream, 30);
    assert_cuda(cudaStreamEndCapture(c.stream, &graph));
    assert_cuda(cudaGraphInstantiate(&c.executable, graph, 0));
    assert_takes(2 * LAUNCH, launch_graph, &c);
}

/* ---- products ------------------------------------------------------------------------------ */

enum { O = 16, I = 8, N = 500 };

struct product {
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t w, x, y;
    void *weight, *in, *out;
};

static void multiply(void *product)
{
    struct product *p = product;
    const float one = 1, zero = 0;
    assert_int_equal(cublasLtMatmul(p->handle, p->desc, &one, p->weight, p->w, p->in, p->x, &zero,
                                    p->out, p->y, p->out, p->y, NULL, NULL, 0, NULL),
                     CUBLAS_STATUS_SUCCESS);
    assert_cuda(cudaStreamSynchronize(NULL));
}

static void test_products(void **state)
{
    (void)state;
    float out[N * O];
    const cublasOperation_t transposed = CUBLAS_OP_T;
    emulator_set_latency(100, 10);
    struct product p = {.weight = device_memory(O * I * 4),
                        .in = device_memory(N * I * 4),
                        .out = device_memory(sizeof out)};
    assert_int_equal(cublasLtCreate(&p.handle), CUBLAS_STATUS_SUCCESS);
    cublasLtMatmulDescCreate(&p.desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    cublasLtMatmulDescSetAttribute(p.desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                   sizeof transposed);
    cublasLtMatrixLayoutCreate(&p.w, CUDA_R_32F, I, O, I);
    cublasLtMatrixLayoutCreate(&p.x, CUDA_R_32F, I, N, I);
    cublasLtMatrixLayoutCreate(&p.y, CUDA_R_32F, O, N, O);
    assert_takes(100 + 10 * N, multiply, &p);
    download(out, p.out, sizeof out); /* what nobody has written is not NaN */
    for (int i = 0; i < N * O; i++) assert_true(out[i] == 0);
    assert_no_report();
}

/* ---- what is as without a latency ---------------------------------------------------------- */

static void test_arguments_are_checked(void **state)
{
    (void)state;
    float on_host[THREADS], *device, *pinned;
    emulator_set_latency(LAUNCH, 0);
    device = numbers();
    assert_cuda(launch_seeded(RIGHT_BARRIER, device, NULL)); /* not computed, but copied */
    assert_cuda(cudaMallocHost((void **)&pinned, sizeof on_host));
    assert_cuda(cudaMemcpyAsync(pinned, device, sizeof on_host, cudaMemcpyDeviceToHost, NULL));
    assert_true(isnan(pinned[0])); /* read too early */
    assert_cuda(cudaStreamSynchronize(NULL));
    for (int i = 0; i < THREADS; i++) assert_true(pinned[i] == (float)i);

    assert_cuda(launch_seeded(RIGHT_BARRIER, on_host, NULL));
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
    assert_report("is not memory of device 0");
}

/* ---- devices and threads ------------------------------------------------------------------- */

static void *use_device(void *index)
{
    assert_cuda(cudaSetDevice(*(int *)index));
    struct streams s = new_streams();
    for (int i = 0; i < 10; i++) wait_for_ten(&s);
    return NULL;
}

/* Each thread waits on its own device: at the same time. */
static void use_two_devices(void *unused)
{
    (void)unused;
    int indices[2] = {0, 1};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_device, &indices[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
}

static void use_one_device_twice(void *unused)
{
    (void)unused;
    int index = 0;
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_device, &index), 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
}

static void test_devices_and_threads(void **state)
{
    (void)state;
    emulator_set_devices(2);
    emulator_set_latency(200, 0);
    assert_takes(100 * 200, use_two_devices, NULL);
    assert_takes(200 * 200, use_one_device_twice, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_launches),
        TEST(test_short_launches),
        TEST(test_graphs),
        TEST(test_products),
        TEST(test_arguments_are_checked),
        TEST(test_devices_and_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
