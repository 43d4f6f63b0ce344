/* test_cuda_faults.c - every CUDA runtime and cuBLASLt call fails, once and from then on
 *
 * A piece of work (open a model, create an instance, encode, close) is repeated on the emulated
 * device with its n-th call failing, n = 1, 2, ... Each time it must end with a status and an error
 * message, and leave nothing on the device or in pinned memory; the next attempt must succeed.
 * Errors that are fatal for the device are in test_cuda_lost.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "emu/emulator.h"
#include "embed.h"

#include <cuda_runtime_api.h>

enum { TEXTS = 3, WIDTH = 64, AGAIN = 3, ROWS = TEXTS + AGAIN };

/* Encodes the last text several times, so that a graph is made of it and launched. */
static embed_status work(float rows[ROWS * WIDTH])
{
    static const embed_text texts[TEXTS] = {
        EMBED_TEXT("a first text"), EMBED_TEXT(""),
        EMBED_TEXT("and another, which is longer than the first")};
    embed_model *model = NULL;
    embed_instance *instance = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CUDA;
    options.threads = 1; /* keeps the order of calls the same every time */
    embed_status status = embed_model_open(&model, "tests/vectors/tiny-bert", &options);
    if (status == EMBED_OK) status = embed_instance_create(&instance, model, NULL);
    if (status == EMBED_OK)
        status = embed_instance_encode(instance, texts, TEXTS, NULL, rows, TEXTS * WIDTH, NULL);
    for (int i = TEXTS; i < ROWS && status == EMBED_OK; i++)
        status = embed_instance_encode(instance, &texts[TEXTS - 1], 1, NULL, rows + i * WIDTH,
                                       WIDTH, NULL);
    embed_instance_destroy(instance);
    embed_model_close(model);
    return status;
}

/* Calls whose failure a caller cannot act on: what they release is released anyway, and the
 * program's current device is restored as far as possible. */
static int is_harmless(const char *call)
{
    static const char *const calls[] = {"cudaFree", "cudaFreeHost", "cudaStreamDestroy", "cudaEventDestroy",
                                        "cudaGetDevice", "cudaSetDevice", "cudaGetLastError",
                                        "cudaGraphInstantiate", "cudaStreamEndCapture",
                                        "cudaMemGetInfo", "cublasLtMatmulAlgoConfigGetAttribute"};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (strcmp(call, calls[i]) == 0) return 1;
    }
    return strstr(call, "Destroy") != NULL;
}

static void check_nothing_is_left(unsigned long n, const char *call)
{
    struct emulator_usage left;
    emulator_get_usage(&left);
    if (left.device_allocations + left.pinned_allocations + left.streams + left.events +
            left.graphs + left.handles + left.descriptors >
        0)
        fail_msg("call %lu, %s: left are %zu blocks, %zu pinned, %zu streams, %zu events, "
                 "%zu graphs, %zu handles, %zu descriptors",
                 n, call, left.device_allocations, left.pinned_allocations, left.streams,
                 left.events, left.graphs, left.handles, left.descriptors);
    if (emulator_report() != NULL) fail_msg("call %lu, %s: %s", n, call, emulator_report());
}

static int is_expected(embed_status status, int code)
{
    return status == EMBED_DEVICE_FAILED || status == EMBED_NO_DEVICE ||
           status == EMBED_UNSUPPORTED ||
           (status == EMBED_OUT_OF_MEMORY && code == cudaErrorMemoryAllocation);
}

static void fail_each(int code, int forever)
{
    float expected[ROWS * WIDTH], rows[ROWS * WIDTH];
    emulator_reset();
    assert_int_equal(work(expected), EMBED_OK);
    for (int i = TEXTS; i < ROWS; i++)
        assert_memory_equal(expected + i * WIDTH, expected + (TEXTS - 1) * WIDTH,
                            WIDTH * sizeof *expected);
    unsigned long n = 0, failures = 0;
    for (;;) {
        emulator_reset();
        emulator_fail(NULL, ++n, code, forever != 0);
        embed_status status = work(rows);
        const char *call = emulator_failed_call();
        if (call == NULL) break;
        check_nothing_is_left(n, call);
        if (status == EMBED_OK) {
            if (!is_harmless(call)) fail_msg("call %lu, %s: its failure is not noticed", n, call);
            assert_memory_equal(rows, expected, sizeof rows);
        } else {
            failures++;
            if (!is_expected(status, code) || *embed_error_message() == '\0')
                fail_msg("call %lu, %s: status %d, %s", n, call, (int)status,
                         embed_error_message());
        }
    }
    assert_true(failures > 40); /* otherwise the plan had no effect */
    emulator_reset();
    assert_int_equal(work(rows), EMBED_OK);
    assert_memory_equal(rows, expected, sizeof rows);
    print_message("%lu calls failed with code %d\n", n - 1, code);
}

static void test_out_of_memory_once(void **state)
{
    (void)state;
    fail_each(cudaErrorMemoryAllocation, 0);
}

static void test_out_of_memory_from_then_on(void **state)
{
    (void)state;
    fail_each(cudaErrorMemoryAllocation, 1);
}

/* Not fatal: the device continues to work. */
static void test_other_error_once(void **state)
{
    (void)state;
    fail_each(cudaErrorLaunchOutOfResources, 0);
}

/* ---- generation ---------------------------------------------------------------------------- */

/* 18 tokens are three chunks of steps: enqueued, captured, replayed. */
static embed_status write_summary(char text[256])
{
    static const embed_text source = EMBED_TEXT("Denby votes to build a new school.");
    embed_model *model = NULL;
    embed_instance *instance = NULL;
    embed_strings out = EMBED_STRINGS_INIT;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    embed_instance_options instance_options = EMBED_INSTANCE_OPTIONS_INIT;
    embed_generate_options generate = EMBED_GENERATE_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CUDA;
    options.threads = 1;
    instance_options.documents = 1;
    instance_options.num_beams = generate.num_beams = 2;
    instance_options.max_length = generate.max_length = 18;
    generate.min_length = 18;
    embed_status status = embed_model_open(&model, "tests/vectors/tiny-bart", &options);
    if (status == EMBED_OK) status = embed_instance_create(&instance, model, &instance_options);
    if (status == EMBED_OK) status = embed_instance_generate(instance, &source, 1, &generate, &out);
    if (status == EMBED_OK) snprintf(text, 256, "%s", out.items[0].text);
    embed_strings_free(&out);
    embed_instance_destroy(instance);
    embed_model_close(model);
    return status;
}

/* Makes a sample of its 2,000 calls fail: those of the first steps recur in all others. */
static void fail_some(int code)
{
    char expected[256] = "", text[256];
    emulator_reset();
    assert_int_equal(write_summary(expected), EMBED_OK);
    assert_true(strlen(expected) > 10);
    unsigned long failures = 0;
    for (unsigned long n = 1;; n += 1 + n / 12) {
        emulator_reset();
        emulator_fail(NULL, n, code, false);
        embed_status status = write_summary(text);
        const char *call = emulator_failed_call();
        if (call == NULL) break;
        check_nothing_is_left(n, call);
        if (status == EMBED_OK) {
            if (!is_harmless(call)) fail_msg("call %lu, %s: its failure is not noticed", n, call);
            assert_string_equal(text, expected);
            continue;
        }
        failures++;
        if (!is_expected(status, code) || *embed_error_message() == '\0')
            fail_msg("call %lu, %s: status %d, %s", n, call, (int)status, embed_error_message());
    }
    assert_true(failures > 20);
    print_message("%lu failures while generating, with code %d\n", failures, code);
}

static void test_generation(void **state)
{
    (void)state;
    fail_some(cudaErrorMemoryAllocation);
    fail_some(cudaErrorLaunchOutOfResources);
}

/* Less and less memory: a call that gets none reports it, and nothing is left. */
static void test_small_memories(void **state)
{
    (void)state;
    float rows[ROWS * WIDTH];
    unsigned failures = 0;
    for (size_t bytes = 64 << 10; bytes <= 16 << 20; bytes += bytes / 2) {
        emulator_reset();
        emulator_set_costs(0, 0, 0);
        emulator_set_memory(0, bytes);
        embed_status status = work(rows);
        check_nothing_is_left(bytes, "memory");
        assert_true(status == EMBED_OK || status == EMBED_OUT_OF_MEMORY);
        failures += status == EMBED_OUT_OF_MEMORY;
    }
    assert_true(failures > 2);
}

int main(void)
{
    setenv("EMBED_CUDA_PLUGIN", EMULATED_PLUGIN, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_out_of_memory_once),
        cmocka_unit_test(test_out_of_memory_from_then_on),
        cmocka_unit_test(test_other_error_once),
        cmocka_unit_test(test_small_memories),
        cmocka_unit_test(test_generation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
