/* test_cuda_lost.c - after an error that is fatal for a GPU, no more calls are made for it
 *
 * A loss affects the whole process, so every case is a process of its own: it opens a model on the
 * first of two emulated devices, creates an instance, encodes and closes, and a call in between
 * returns a fatal error. After that, whatever uses the device must fail with EMBED_DEVICE_LOST
 * without another call for it; host memory must be freed, and the device's left alone; and the
 * second device must continue to work. This file replaces lib/base/memory.c, to count blocks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "emu/emulator.h"
#include "embed.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- host memory --------------------------------------------------------------------------- */

static atomic_long live; /* blocks */

void *memory_allocate(size_t count, size_t size, const char *what)
{
    (void)what;
    atomic_fetch_add(&live, 1);
    return calloc(count > 0 ? count : 1, size > 0 ? size : 1);
}

void *memory_resize(void *old, size_t count, size_t size, const char *what)
{
    (void)what;
    if (old == NULL) atomic_fetch_add(&live, 1);
    return realloc(old, count * size + 1);
}

void *memory_allocate_aligned(size_t bytes, const char *what)
{
    (void)what;
    void *block = NULL;
    atomic_fetch_add(&live, 1);
    return posix_memalign(&block, 64, bytes + 1) == 0 ? block : NULL;
}

char *memory_copy_text(const char *text, size_t length, const char *what)
{
    char *copy = memory_allocate(length + 1, 1, what);
    memcpy(copy, text, length);
    return copy;
}

void memory_free(void *block)
{
    if (block == NULL) return;
    atomic_fetch_sub(&live, 1);
    free(block);
}

/* ---- a process for each case --------------------------------------------------------------- */

enum { TEXTS = 3, WIDTH = 64, AGAIN = 3, ROWS = TEXTS + AGAIN };

/* What a case reports to the test and to other cases. */
static struct {
    char call[64]; /* the first that failed; "": none */
    embed_status status;
    float expected[ROWS * WIDTH];
} *told;

/* In a case, cmocka's assertions would continue with the tests that follow. */
#define REQUIRE(condition, ...)                                                                  \
    do {                                                                                         \
        if (!(condition)) {                                                                      \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                      \
            fprintf(stderr, __VA_ARGS__);                                                        \
            fprintf(stderr, "\n");                                                               \
            _exit(1);                                                                            \
        }                                                                                        \
    } while (0)

struct plan {
    const char *call; /* NULL: any */
    unsigned long nth;
    int code;
    bool forever;
};

static void run_case(void (*test)(const struct plan *), const struct plan *plan)
{
    fflush(NULL);
    told->call[0] = '\0';
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        emulator_reset();
        emulator_set_devices(2);
        emulator_fail(plan->call, plan->nth, plan->code, plan->forever);
        test(plan);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("call %lu%s%s (%s) with code %d: wait status %d", plan->nth,
                 plan->call != NULL ? " of " : "", plan->call != NULL ? plan->call : "",
                 told->call, plan->code, status);
}

/* ---- the work ------------------------------------------------------------------------------ */

static const embed_text texts[TEXTS] = {EMBED_TEXT("a first text"), EMBED_TEXT(""),
                                        EMBED_TEXT("and another, which is longer than the first")};

struct objects {
    embed_model *model;
    embed_instance *instance;
};

static embed_status open_model(struct objects *objects, embed_device device, int index)
{
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = device;
    options.device_index = index;
    options.threads = 1; /* keeps the order of calls the same every time */
    return embed_model_open(&objects->model, "tests/vectors/tiny-bert", &options);
}

/* Encodes the last text several times, so that a graph is made of it and launched. */
static embed_status encode(const struct objects *objects, float rows[ROWS * WIDTH])
{
    embed_status status =
        embed_instance_encode(objects->instance, texts, TEXTS, NULL, rows, TEXTS * WIDTH, NULL);
    for (int i = TEXTS; i < ROWS && status == EMBED_OK; i++)
        status = embed_instance_encode(objects->instance, &texts[TEXTS - 1], 1, NULL,
                                       rows + i * WIDTH, WIDTH, NULL);
    return status;
}

static embed_status work(struct objects *objects, int index, float rows[ROWS * WIDTH])
{
    embed_status status = open_model(objects, EMBED_DEVICE_CUDA, index);
    if (status == EMBED_OK)
        status = embed_instance_create(&objects->instance, objects->model, NULL);
    if (status == EMBED_OK) status = encode(objects, rows);
    return status;
}

static void destroy(struct objects *objects)
{
    embed_instance_destroy(objects->instance);
    embed_model_close(objects->model);
    *objects = (struct objects){NULL, NULL};
}

/* ---- requirements after a loss ------------------------------------------------------------- */

static struct emulator_usage usage(void)
{
    struct emulator_usage now;
    emulator_get_usage(&now);
    return now;
}

static void require_same(struct emulator_usage now, struct emulator_usage before)
{
    REQUIRE(memcmp(&now, &before, sizeof now) == 0,
            "%zu blocks, %zu pinned, %zu streams, %zu events, %zu graphs, %zu handles, %zu "
            "descriptors; not %zu, %zu, %zu, %zu, %zu, %zu, %zu",
            now.device_allocations, now.pinned_allocations, now.streams, now.events, now.graphs,
            now.handles, now.descriptors, before.device_allocations, before.pinned_allocations,
            before.streams, before.events, before.graphs, before.handles, before.descriptors);
}

/* The message must name the device and the first error. */
static void require_lost(embed_status status, const char *error)
{
    REQUIRE(status == EMBED_DEVICE_LOST, "status %d: %s", (int)status, embed_error_message());
    REQUIRE(strstr(embed_error_message(), "cuda:0 is lost to this process: ") != NULL &&
                strstr(embed_error_message(), error) != NULL,
            "%s", embed_error_message());
}

/* Tries everything that the public API can do with the device, and destroys what exists, without a
 * single call. */
static void require_no_call(struct objects *objects, const char *error)
{
    struct emulator_usage left = usage();
    unsigned long calls = emulator_calls();
    float rows[ROWS * WIDTH];
    struct objects others = {NULL, NULL};
    if (objects->instance != NULL) require_lost(encode(objects, rows), error);
    if (objects->model != NULL)
        require_lost(embed_instance_create(&others.instance, objects->model, NULL), error);
    destroy(objects);
    require_lost(open_model(&others, EMBED_DEVICE_CUDA, 0), error);
    REQUIRE(open_model(&others, EMBED_DEVICE_AUTO, 0) == EMBED_OK, "%s", embed_error_message());
    destroy(&others);
    REQUIRE(emulator_calls() == calls, "%lu calls after the loss", emulator_calls() - calls);
    require_same(usage(), left);
}

static void require_second_device(void)
{
    float rows[ROWS * WIDTH];
    struct emulator_usage before = usage();
    struct objects objects = {NULL, NULL};
    embed_status status = work(&objects, 1, rows);
    REQUIRE(status == EMBED_OK, "status %d: %s", (int)status, embed_error_message());
    REQUIRE(memcmp(rows, told->expected, sizeof rows) == 0, "other rows on cuda:1");
    destroy(&objects);
    require_same(usage(), before);
}

static void require_clean_end(void)
{
    REQUIRE(emulator_calls_after_loss() == 0, "%lu", emulator_calls_after_loss());
    REQUIRE(atomic_load(&live) == 0, "%ld blocks of the host's memory lost", atomic_load(&live));
    REQUIRE(emulator_report() == NULL, "%s", emulator_report());
}

/* ---- every call ---------------------------------------------------------------------------- */

/* Calls that touch no device. They lose none, and fail only with their own result. */
static bool needs_no_device(const char *call)
{
    static const char *const calls[] = {
        "cudaGetDeviceCount",         "cudaGetDevice",
        "cublasLtMatmulDescCreate",   "cublasLtMatmulDescSetAttribute",
        "cublasLtMatrixLayoutCreate", "cublasLtMatrixLayoutSetAttribute",
        "cublasLtMatmulPreferenceCreate", "cublasLtMatmulPreferenceSetAttribute",
        "cublasLtMatmulAlgoConfigGetAttribute"};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (strcmp(call, calls[i]) == 0) return true;
    return false;
}

/* Releases of what is no longer needed, whose status is ignored. */
static bool is_release(const char *call)
{
    return strstr(call, "Destroy") != NULL || strncmp(call, "cudaFree", 8) == 0;
}

static void fail_one_call(const struct plan *plan)
{
    float rows[ROWS * WIDTH];
    struct objects objects = {NULL, NULL};
    embed_status status = work(&objects, 0, rows);
    const char *call = emulator_failed_call();
    bool during_work = call != NULL;
    if (status == EMBED_OK) {
        REQUIRE(memcmp(rows, told->expected, sizeof rows) == 0, "other rows");
        destroy(&objects);
        call = emulator_failed_call();
    }
    if (call == NULL) return;
    call = strcpy(told->call, call);
    told->status = status;
    emulator_fail(NULL, 0, 0, false); /* a lost device stays lost without a plan */

    const char *error = cudaGetErrorName((cudaError_t)plan->code);
    if (status == EMBED_DEVICE_LOST) require_no_call(&objects, error);
    else if (needs_no_device(call)) destroy(&objects);
    else if (strcmp(call, "cudaSetDevice") == 0 && plan->code == cudaErrorDevicesUnavailable)
        REQUIRE(status == EMBED_NO_DEVICE, "%s: status %d", call, (int)status);
    else
        REQUIRE(status == EMBED_OK && (!during_work || is_release(call)),
                "%s: status %d: %s", call, (int)status, embed_error_message());
    if (plan->nth % 5 == 0) require_second_device(); /* takes the most time */
    require_clean_end();
}

/* Makes every `step`-th call fail. */
static void fail_each_call(int code, bool forever, unsigned long step)
{
    unsigned long lost = 0, n = 1;
    for (;; n += step) {
        run_case(fail_one_call, &(struct plan){NULL, n, code, forever});
        if (*told->call == '\0') break;
        lost += told->status == EMBED_DEVICE_LOST;
    }
    assert_true(lost > 100 / step); /* otherwise the plan had no effect */
    print_message("of %lu calls with code %d, %lu lose the device\n", (n - 1) / step, code, lost);
}

static void test_launch_failure_in_every_call(void **state)
{
    (void)state;
    fail_each_call(cudaErrorLaunchFailure, false, 1);
}

static void test_illegal_address_from_every_call_on(void **state)
{
    (void)state;
    fail_each_call(cudaErrorIllegalAddress, true, 3);
}

static void test_unavailable_device_in_every_call(void **state)
{
    (void)state;
    fail_each_call(cudaErrorDevicesUnavailable, false, 7);
}

/* ---- what is left alone -------------------------------------------------------------------- */

/* A lost device keeps all that an instance and its model have on it, as while they were in use. */
static void lose_while_encoding(const struct plan *plan)
{
    float rows[ROWS * WIDTH];
    struct objects objects = {NULL, NULL};
    emulator_fail(NULL, 0, 0, false);
    REQUIRE(work(&objects, 0, rows) == EMBED_OK, "%s", embed_error_message());
    for (int i = 0; i < 4; i++) /* until all graphs exist */
        REQUIRE(encode(&objects, rows) == EMBED_OK, "%s", embed_error_message());
    struct emulator_usage while_alive = usage();
    REQUIRE(while_alive.device_allocations > 2 && while_alive.pinned_allocations == 1 &&
                while_alive.streams == 1 && while_alive.events == 2 && while_alive.graphs >= 1 &&
                while_alive.handles == 1 && while_alive.descriptors >= 4,
            "not what an instance has");
    emulator_fail(plan->call, plan->nth, plan->code, plan->forever);
    require_lost(encode(&objects, rows), cudaGetErrorName((cudaError_t)plan->code));
    require_no_call(&objects, cudaGetErrorName((cudaError_t)plan->code));
    require_same(usage(), while_alive);
    require_clean_end();
}

static void test_what_is_left_alone(void **state)
{
    (void)state;
    run_case(lose_while_encoding,
             &(struct plan){"cudaGraphLaunch", 1, cudaErrorIllegalAddress, false});
    run_case(lose_while_encoding,
             &(struct plan){"cudaEventSynchronize", 2, cudaErrorLaunchFailure, false});
}

static void test_each_fatal_code(void **state)
{
    (void)state;
    static const int codes[] = {
        cudaErrorCudartUnloading,   cudaErrorDevicesUnavailable,  cudaErrorECCUncorrectable,
        cudaErrorNvlinkUncorrectable, cudaErrorContained,         cudaErrorIllegalAddress,
        cudaErrorLaunchTimeout,     cudaErrorContextIsDestroyed,  cudaErrorAssert,
        cudaErrorHardwareStackError, cudaErrorIllegalInstruction, cudaErrorMisalignedAddress,
        cudaErrorInvalidAddressSpace, cudaErrorInvalidPc,         cudaErrorLaunchFailure,
        cudaErrorTensorMemoryLeak,  cudaErrorMpsRpcFailure,       cudaErrorMpsClientTerminated,
        cudaErrorExternalDevice,    cudaErrorUnknown};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        run_case(lose_while_encoding,
                 &(struct plan){"cudaEventSynchronize", 1, codes[i], false});
}

static void fail_while_encoding(const struct plan *plan)
{
    float rows[ROWS * WIDTH];
    struct objects objects = {NULL, NULL};
    embed_status status = work(&objects, 0, rows);
    REQUIRE(status == EMBED_DEVICE_FAILED ||
                (status == EMBED_OUT_OF_MEMORY && plan->code == cudaErrorMemoryAllocation),
            "status %d: %s", (int)status, embed_error_message());
    REQUIRE(encode(&objects, rows) == EMBED_OK, "%s", embed_error_message());
    REQUIRE(memcmp(rows, told->expected, sizeof rows) == 0, "other rows");
    destroy(&objects);
    require_clean_end();
}

static void test_codes_that_are_not_fatal(void **state)
{
    (void)state;
    static const int codes[] = {cudaErrorInvalidValue, cudaErrorMemoryAllocation,
                                cudaErrorInvalidResourceHandle, cudaErrorLaunchOutOfResources,
                                cudaErrorNotSupported};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        run_case(fail_while_encoding, &(struct plan){"cudaEventSynchronize", 1, codes[i], false});
    run_case(fail_while_encoding,
             &(struct plan){"cublasLtMatmul", 3, CUBLAS_STATUS_EXECUTION_FAILED, false});
}

/* ---- loss before first use ----------------------------------------------------------------- */

/* Another process may hold the GPU exclusively, and then end. */
static void be_unavailable_at_first(const struct plan *plan)
{
    (void)plan;
    float rows[ROWS * WIDTH];
    struct objects objects = {NULL, NULL};
    embed_status status = work(&objects, 0, rows);
    REQUIRE(status == EMBED_NO_DEVICE, "status %d: %s", (int)status, embed_error_message());
    status = work(&objects, 0, rows);
    REQUIRE(status == EMBED_OK, "status %d: %s", (int)status, embed_error_message());
    destroy(&objects);
    require_clean_end();
}

static void test_device_that_is_unavailable_at_first(void **state)
{
    (void)state;
    run_case(be_unavailable_at_first,
             &(struct plan){"cudaSetDevice", 1, cudaErrorDevicesUnavailable, false});
}

/* While weights are copied, with any device allowed. */
static void lose_while_opening(const struct plan *plan)
{
    (void)plan;
    struct objects objects = {NULL, NULL};
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    REQUIRE(open_model(&objects, EMBED_DEVICE_AUTO, 0) == EMBED_OK, "%s", embed_error_message());
    REQUIRE(embed_model_get_info(objects.model, &info) == EMBED_OK, "%s", embed_error_message());
    REQUIRE(info.device == EMBED_DEVICE_CPU, "device %d", (int)info.device);
    destroy(&objects);
    require_second_device();
    require_clean_end();
}

static void test_any_device_when_one_is_lost(void **state)
{
    (void)state;
    run_case(lose_while_opening,
             &(struct plan){"cudaMemcpy", 2, cudaErrorECCUncorrectable, false});
}

static void list_devices(const struct plan *plan)
{
    (void)plan;
    struct objects objects = {NULL, NULL};
    embed_device_info info[3] = {EMBED_DEVICE_INFO_INIT, EMBED_DEVICE_INFO_INIT,
                                 EMBED_DEVICE_INFO_INIT};
    size_t count;
    require_lost(open_model(&objects, EMBED_DEVICE_CUDA, 0), "cudaErrorUnknown");
    embed_status status = embed_device_list(info, 3, &count);
    REQUIRE(status == EMBED_OK && count == 3, "status %d: %s", (int)status, embed_error_message());
    REQUIRE(strcmp(info[1].details, "lost to this process") == 0, "%s", info[1].details);
    REQUIRE(strstr(info[2].details, "compute capability") != NULL, "%s", info[2].details);
    require_clean_end();
}

static void test_list_of_devices(void **state)
{
    (void)state;
    run_case(list_devices, &(struct plan){"cudaMalloc", 1, cudaErrorUnknown, false});
}

/* ---- two threads --------------------------------------------------------------------------- */

static void *encode_until_failure(void *objects)
{
    float rows[ROWS * WIDTH];
    embed_status status;
    while ((status = encode(objects, rows)) == EMBED_OK) continue;
    require_lost(status, "cudaErrorLaunchFailure");
    return NULL;
}

/* Each thread has an instance. One sees the error; the other stops calling as soon as the first has
 * noted it, one call later as a rule. A scheduler that takes the processor from the first just then
 * allows the other a few more: 5 were seen under AddressSanitizer, and encoding once takes 70. */
static void lose_under_two(const struct plan *plan)
{
    struct objects objects[2] = {{NULL, NULL}, {NULL, NULL}};
    pthread_t threads[2];
    emulator_fail(NULL, 0, 0, false);
    REQUIRE(open_model(&objects[0], EMBED_DEVICE_CUDA, 0) == EMBED_OK, "%s",
            embed_error_message());
    objects[1].model = objects[0].model;
    for (int i = 0; i < 2; i++)
        REQUIRE(embed_instance_create(&objects[i].instance, objects[i].model, NULL) == EMBED_OK,
                "%s", embed_error_message());
    emulator_fail(plan->call, plan->nth, plan->code, plan->forever);
    for (int i = 0; i < 2; i++)
        REQUIRE(pthread_create(&threads[i], NULL, encode_until_failure, &objects[i]) == 0,
                "no thread");
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    unsigned long calls = emulator_calls_after_loss();
    REQUIRE(calls <= 1000, "%lu", calls);
    objects[1].model = NULL;
    destroy(&objects[1]);
    destroy(&objects[0]);
    REQUIRE(emulator_calls_after_loss() == calls, "%lu", emulator_calls_after_loss());
    REQUIRE(atomic_load(&live) == 0, "%ld blocks of the host's memory lost", atomic_load(&live));
}

static void test_two_threads(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned long nth;
    } calls[] = {{"cudaEventSynchronize", 1}, {"cudaEventSynchronize", 20},
                 {"cudaEventSynchronize", 101}, {"cudaLaunchKernel", 1},
                 {"cudaLaunchKernel", 40}, {"cudaMemcpyAsync", 3},
                 {"cudaGraphLaunch", 1}, {"cudaGraphLaunch", 50}};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        run_case(lose_under_two,
                 &(struct plan){calls[i].name, calls[i].nth, cudaErrorLaunchFailure, false});
}

/* -------------------------------------------------------------------------------------------- */

static void work_without_a_fault(const struct plan *plan)
{
    (void)plan;
    struct objects objects = {NULL, NULL};
    REQUIRE(work(&objects, 0, told->expected) == EMBED_OK, "%s", embed_error_message());
    destroy(&objects);
    require_second_device();
    require_clean_end();
}

static int begin(void **state)
{
    (void)state;
    told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (told == MAP_FAILED) return -1;
    run_case(work_without_a_fault, &(struct plan){NULL, 0, 0, false});
    return 0;
}

int main(void)
{
    setenv("EMBED_CUDA_PLUGIN", EMULATED_PLUGIN, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_launch_failure_in_every_call),
        cmocka_unit_test(test_illegal_address_from_every_call_on),
        cmocka_unit_test(test_unavailable_device_in_every_call),
        cmocka_unit_test(test_what_is_left_alone),
        cmocka_unit_test(test_each_fatal_code),
        cmocka_unit_test(test_codes_that_are_not_fatal),
        cmocka_unit_test(test_device_that_is_unavailable_at_first),
        cmocka_unit_test(test_any_device_when_one_is_lost),
        cmocka_unit_test(test_list_of_devices),
        cmocka_unit_test(test_two_threads),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
