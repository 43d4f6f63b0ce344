/* test_faults.c - the emulated device: are threads what they should be, are faults of kernels found
 *
 * A fault that it let pass would let the same fault pass in our kernels. Broken kernels are in
 * kernels/broken.cu, beside what would be right. Built for each emulated architecture.
 */
#include "device_test.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- threads and warps --------------------------------------------------------------------- */

static void test_indices(void **state)
{
    (void)state;
    enum { BX = 8, BY = 4, BZ = 2, GX = 3, GY = 2, GZ = 2, ROWS = BX * BY * BZ * GX * GY * GZ };
    static int32_t rows[ROWS][8];
    void *device = device_memory(sizeof rows);
    const dim3 grid = {GX, GY, GZ}, block = {BX, BY, BZ};
    assert_cuda(launch_indices(device, grid, block, NULL));
    download(rows, device, sizeof rows);
    for (int i = 0; i < ROWS; i++) {
        int thread = i % (BX * BY * BZ), b = i / (BX * BY * BZ), warp = thread / 32;
        const int32_t expected[8] = {thread % BX,
                                     thread / BX % BY,
                                     thread / BX / BY,
                                     b % GX,
                                     b / GX % GY,
                                     b / GX / GY,
                                     0x49494949, /* x is 0, 3 or 6 */
                                     32 * 32 * warp + 31 * 16};
        assert_memory_equal(rows[i], expected, sizeof expected);
    }
    assert_no_report();
}

static void test_shuffles(void **state)
{
    (void)state;
    int32_t out[32][3];
    void *device = device_memory(sizeof out);
    assert_cuda(launch_shuffles(device, NULL));
    download(out, device, sizeof out);
    for (int l = 0; l < 32; l++) {
        assert_int_equal(out[l][0], l ^ 5);
        assert_int_equal(out[l][1], l ^ 3);
        assert_int_equal(out[l][2], 9);
    }
}

/* ---- seeded faults ------------------------------------------------------------------------- */

/* Runs a kernel that is not expected to fail, and says how many numbers are poison. */
static int run_for_poison(enum seeded_fault fault, float memory[THREADS])
{
    float *device = numbers();
    int poisoned = 0;
    assert_cuda(launch_seeded(fault, device, NULL));
    download(memory, device, THREADS * sizeof *memory);
    for (int i = 0; i < THREADS; i++) poisoned += isnan(memory[i]);
    return poisoned;
}

static void test_kernels_that_are_right(void **state)
{
    (void)state;
    float memory[THREADS];
    for (uint64_t schedule = 0; schedule < 5; schedule++) {
        emulator_reset();
        emulator_set_schedule(schedule);
        assert_int_equal(run_for_poison(RIGHT_BARRIER, memory), 0);
        for (int i = 0; i < THREADS; i++) assert_true(memory[i] == (float)(THREADS - 1 - i));
        assert_int_equal(run_for_poison(RIGHT_WARP_ORDER, memory), 0);
        for (int i = 0; i < THREADS; i++) assert_true(memory[i] == (float)(i ^ 31));
        assert_int_equal(run_for_poison(RIGHT_HALF_WARPS, memory), 0);
        for (int i = 0; i < THREADS; i++) assert_true(memory[i] == (float)(i ^ 15));
        assert_no_report();
    }
}

static void test_missing_order_shows_as_poison(void **state)
{
    (void)state;
    float memory[THREADS];
    assert_true(run_for_poison(MISSING_BARRIER, memory) > 0);
    assert_true(run_for_poison(MISSING_WARP_ORDER, memory) > 0);
    assert_int_equal(run_for_poison(UNWRITTEN_SHARED_MEMORY, memory), THREADS);
}

static void test_shared_memory(void **state)
{
    (void)state;
    assert_fails(SHARED_MEMORY_PAST_END, cudaErrorIllegalAddress, "kernel write_shared");
    assert_report("byte 1020 of its shared memory");
    assert_fails(SHARED_MEMORY_BEFORE_BEGINNING, cudaErrorIllegalAddress,
                 "byte -4 of its shared memory");
    assert_fails(SHARED_MEMORY_FAR_PAST_END, cudaErrorIllegalAddress,
                 "thread (5, 0, 0): illegal access: byte 41020 of shared memory");
}

static void test_global_memory(void **state)
{
    (void)state;
    assert_fails(GLOBAL_MEMORY_PAST_END, cudaErrorIllegalAddress, "0 bytes past the end");
    assert_report("kernel write_global");
    assert_fails(GLOBAL_MEMORY_BEFORE_BEGINNING, cudaErrorIllegalAddress,
                 "bytes before the beginning");
    assert_fails(GLOBAL_MEMORY_FAR_PAST_END, cudaErrorIllegalAddress,
                 "40000 bytes past the end of an allocation of 256 bytes of device 0");
    assert_fails(NULL_POINTER, cudaErrorIllegalAddress, "a null pointer");
    assert_report("kernel write_through_null, block (0, 0, 0), thread (5, 0, 0)");
}

static void test_barriers(void **state)
{
    (void)state;
    assert_fails(DIVERGENT_BARRIERS, cudaErrorLaunchFailure, "waits in __syncthreads at ");
    assert_report("broken.cu:");
    assert_report("thread (32, 0, 0)");
    assert_fails(EXIT_BEFORE_BARRIER, cudaErrorLaunchFailure,
                 "is reached by 40 of 64 threads; 24 have ended before, as thread (40, 0, 0)");
}

static void test_warps(void **state)
{
    (void)state;
    assert_fails(ABSENT_LANE, cudaErrorLaunchFailure, "waits for lanes 0x00000080");
    assert_report("__shfl_xor_sync at ");
    assert_fails(OTHER_WARP_OPERATION, cudaErrorLaunchFailure,
                 "lane 9 of the warp is in __shfl_sync");
    assert_fails(SHUFFLE_FROM_OUTSIDE_MASK, cudaErrorLaunchFailure,
                 "takes from lane 20, which is not in it");
    assert_fails(LANE_OUTSIDE_MASK, cudaErrorLaunchFailure, "without the lane itself, 16");
    emulator_reset();
    assert_cuda(launch_partial_warp(numbers(), NULL));
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorLaunchFailure);
    assert_report("lanes 0xffffff00, which are absent");
}

static void test_ldmatrix_addresses(void **state)
{
    (void)state;
    assert_fails(MISALIGNED_LDMATRIX, cudaErrorMisalignedAddress, "ldmatrix at ");
    assert_report("byte 56 of shared memory is not a multiple of 16");
    assert_fails(LDMATRIX_OF_GLOBAL_MEMORY, cudaErrorIllegalAddress,
                 "is not in the block's shared");
}

static void test_asynchronous_copies(void **state)
{
    (void)state;
    float memory[THREADS];
    if (EMULATED_ARCH < 800) {
        print_message("cp.async begins with sm_80\n");
        skip();
    }
    assert_int_equal(run_for_poison(RIGHT_COPY, memory), 0);
    for (int i = 0; i < THREADS; i++) assert_true(memory[i] == (float)(i ^ (THREADS - 4)));
    assert_int_equal(run_for_poison(COPY_GROUP_NOT_WAITED_FOR, memory), THREADS / 2);
    run_for_poison(COPY_WITHOUT_BARRIER, memory); /* or what was there before the copy began */
    int wrong = 0;
    for (int i = 0; i < THREADS; i++) wrong += !(memory[i] == (float)(i ^ (THREADS - 4)));
    assert_true(wrong > 0);
    assert_no_report();
    assert_fails(COPY_NEVER_WAITED_FOR, cudaErrorLaunchFailure, "was never waited for");
    assert_fails(COPY_NOT_COMMITTED, cudaErrorLaunchFailure, "was never waited for");
    assert_fails(MISALIGNED_COPY, cudaErrorMisalignedAddress, "cp.async at ");
}

/* The threads sanitizer, in a program of its own: it must find the race, and nothing else. */
static int race_status(enum seeded_fault fault, char output[4096])
{
    char command[512];
    snprintf(command, sizeof command,
             "if setarch -R true 2>/dev/null; then setarch -R %s %d; else %s %d; fi 2>&1",
             RACE_PROGRAM, (int)fault, RACE_PROGRAM, (int)fault);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t length = fread(output, 1, 4095, pipe);
    output[length] = '\0';
    while (fgetc(pipe) != EOF) continue;
    int status = pclose(pipe);
    if (strstr(output, "unexpected memory mapping") != NULL) {
        print_message("the threads sanitizer does not run here\n");
        skip();
    }
    return WEXITSTATUS(status);
}

static void test_races(void **state)
{
    (void)state;
    const struct {
        enum seeded_fault wrong, right;
    } pairs[] = {{MISSING_BARRIER, RIGHT_BARRIER},
                 {MISSING_WARP_ORDER, RIGHT_WARP_ORDER},
                 {MISSING_BARRIER_AT_END_OF_LOOP, RIGHT_HALF_WARPS},
                 {COPY_WITHOUT_BARRIER, RIGHT_COPY}};
    char output[4096];
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if (EMULATED_ARCH < 800 && pairs[i].right == RIGHT_COPY) continue;
        if (race_status(pairs[i].wrong, output) != 66 || strstr(output, "data race") == NULL)
            fail_msg("no race found in %d: %s", (int)pairs[i].wrong, output);
        if (race_status(pairs[i].right, output) != 0) fail_msg("%s", output);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_indices),
        TEST(test_shuffles),
        TEST(test_kernels_that_are_right),
        TEST(test_missing_order_shows_as_poison),
        TEST(test_shared_memory),
        TEST(test_global_memory),
        TEST(test_barriers),
        TEST(test_warps),
        TEST(test_ldmatrix_addresses),
        TEST(test_asynchronous_copies),
        TEST(test_races),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
