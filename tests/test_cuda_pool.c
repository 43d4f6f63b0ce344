/* test_cuda_pool.c - pools on emulated GPUs: sizing by memory, and behaviour when a GPU fails */
#include "pool_test.h"

#include "emulated_fault_test.h"
#include "test_folder.h"

#include <cuda_runtime_api.h>
#include <pthread.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

enum { TEXTS = 24, MIB = 1 << 20 };

/* The other instance may have checked just before the loss, or before the first one notes it. It then
 * selects the device, asks for the thread's context, gets the error and leaves the device: a few
 * calls, where a batch would be 40. */
enum { A_FEW_CALLS = 12 };

static embed_model *open_on(int device)
{
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CUDA;
    options.device_index = device;
    options.threads = 1;
    if (embed_model_open(&model, TINY, &options) != EMBED_OK) fail_msg("%s", embed_error_message());
    return model;
}

static void assert_like_reference(const float *rows, size_t first, size_t n)
{
    struct vector_lines these = lines;
    these.text += first;
    these.length += first;
    assert_rows_close("tiny-bert.f32", rows, expected + first * WIDTH, n, WIDTH, 0.9999, 4e-3,
                      &these);
}

static embed_status plan(embed_memory *memory)
{
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CUDA;
    options.threads = 1;
    return embed_plan(TINY, &options, NULL, memory);
}

/* ---- sizes --------------------------------------------------------------------------------- */

static void check_sizes(size_t device_bytes, unsigned most)
{
    emulator_reset();
    emulator_set_memory(0, device_bytes);
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.max_instances = most;
    options.reserve_bytes = (uint64_t)512 * MIB;
    options.warm_up = EMBED_OFF;
    model = open_on(0);
    embed_memory planned = EMBED_MEMORY_INIT, taken = EMBED_MEMORY_INIT;
    size_t fit = 0;
    assert_int_equal(plan(&planned), EMBED_OK);
    assert_int_equal(embed_instances_that_fit(model, NULL, options.reserve_bytes, &fit), EMBED_OK);
    embed_pool *pool = create(&options);
    embed_metrics metrics = metrics_of(pool);
    assert_int_equal(embed_pool_get_memory(pool, &taken), EMBED_OK);
    print_message("%6zu MiB: %zu instances fit, %u made, of %llu bytes, weights %llu\n",
                  device_bytes / MIB, fit, metrics.instances, (unsigned long long)planned.own,
                  (unsigned long long)planned.weights);
    /* At least as many as planned, and more if they take less. The reserve stays free, and so does
     * what their graphs may still take; there is no room for one more. */
    uint64_t kept = options.reserve_bytes + metrics.instances * planned.graphs;
    assert_in_range(metrics.instances, fit < most ? fit : most, most);
    assert_true(metrics.device_free_bytes >= kept);
    if (metrics.instances < most) assert_true(metrics.device_free_bytes < kept + planned.own);
    assert_int_equal(taken.weights, planned.weights);
    assert_int_equal(taken.own, metrics.instances * planned.own);
    assert_int_equal(metrics.instance_bytes, taken.own);
    assert_int_equal(metrics.weight_bytes, planned.weights);
    assert_int_equal(metrics.device_bytes, device_bytes);
    assert_true(metrics.device_free_bytes > 0 && metrics.device_free_bytes < device_bytes);
    embed_pool_destroy(pool);
    embed_model_close(model);
    model = NULL;
}

static void test_sizes(void **state)
{
    (void)state;
    check_sizes((size_t)8 << 30, 12);
    check_sizes((size_t)10 << 30, 12);
    check_sizes((size_t)16 << 30, 12);
    check_sizes((size_t)24 << 30, 12);
    check_sizes((size_t)900 * MIB, 64); /* fewer fit than allowed */
}

static void test_two_devices(void **state)
{
    (void)state;
    emulator_set_devices(2);
    embed_model *models[] = {open_on(0), open_on(1)};
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.instances = 1;
    options.batch_texts = 1;
    options.warm_up_passes = 1;
    embed_pool *pool = create_pool(models, 2, &options);
    float *rows = calloc(TEXTS * WIDTH, sizeof *rows);
    embed_item items[TEXTS];
    size_t on[2] = {0, 0};
    for (int round = 0; round < 4; round++) {
        assert_int_equal(embed_pool_encode(pool, texts, TEXTS, NULL, rows, TEXTS * WIDTH, items),
                         EMBED_OK);
        assert_like_reference(rows, 0, TEXTS);
        for (size_t i = 0; i < TEXTS; i++) on[items[i].device_index]++;
    }
    assert_true(on[0] > 0 && on[1] > 0);
    embed_memory memory = EMBED_MEMORY_INIT, one = EMBED_MEMORY_INIT;
    assert_int_equal(plan(&one), EMBED_OK);
    assert_int_equal(embed_pool_get_memory(pool, &memory), EMBED_OK);
    assert_int_equal(memory.weights, 2 * one.weights); /* on each device once */
    assert_int_equal(memory.own, 2 * one.own);
    free(rows);
    embed_pool_destroy(pool);
    embed_model_close(models[0]);
    embed_model_close(models[1]);
}

/* ---- faults -------------------------------------------------------------------------------- */

struct client {
    embed_pool *pool;
    size_t first;
    embed_status status;
    float rows[3 * WIDTH];
    embed_item items[3];
    atomic_uint ended;
};

static void note_end(void *user, embed_status status, const char *message)
{
    struct client *client = user;
    (void)message;
    client->status = status;
    atomic_fetch_add(&client->ended, 1);
}

enum { CLIENTS = 6 };

/* Submits requests of three texts each, all queued before the first can complete. */
static void submit_all(struct client *clients, embed_pool *pool, embed_ticket **tickets)
{
    for (size_t i = 0; i < CLIENTS; i++) {
        memset(&clients[i], 0, sizeof clients[i]);
        clients[i].first = 3 * i;
        embed_request request = EMBED_REQUEST_INIT;
        request.texts = texts + clients[i].first;
        request.n = 3;
        request.out = clients[i].rows;
        request.capacity = 3 * WIDTH;
        request.items = clients[i].items;
        request.done = note_end;
        request.user = &clients[i];
        tickets[i] = NULL;
        embed_status status = embed_pool_submit(pool, &request, &tickets[i]);
        if (status != EMBED_OK) clients[i].status = status; /* otherwise note_end may have set it */
    }
}

/* Returns what a process found wrong after a failing call, for the process that started it. */
static const char *check_client(struct client *client, bool has_ticket, bool may_fail,
                                struct finding *finding)
{
    if (atomic_load(&client->ended) != has_ticket) return "not ended once";
    if (client->status != EMBED_OK) return may_fail ? NULL : "failed";
    for (int t = 0; t < 3; t++) {
        const float *wanted = expected + (client->first + (size_t)t) * WIDTH;
        if (!(row_cosine(client->rows + t * WIDTH, wanted, WIDTH) > 0.9999))
            return "wrong rows";
        finding->on_cpu += client->items[t].device == EMBED_DEVICE_CPU;
    }
    return NULL;
}

/* Makes the n-th call after the first request fail: each request must complete once, with correct
 * rows. */
static void work_with_fault(const struct fault *fault, embed_fallback fallback,
                            struct finding *finding)
{
    static struct client clients[CLIENTS];
    embed_ticket *tickets[CLIENTS];
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.instances = 2;
    options.batch_texts = 6;
    options.batch_tokens = 300;
    options.warm_up = EMBED_OFF;
    options.fallback = fallback;
    embed_pool *pool = NULL;
    embed_model_options model_options = EMBED_MODEL_OPTIONS_INIT;
    model_options.device = EMBED_DEVICE_CUDA;
    model_options.threads = 1;
    if (embed_model_open(&model, TINY, &model_options) != EMBED_OK ||
        embed_pool_create(&pool, &model, 1, &options) != EMBED_OK) {
        snprintf(finding->wrong, sizeof finding->wrong, "%s", embed_error_message());
        return;
    }
    emulator_fail(NULL, fault->n, fault->code, fault->forever);
    submit_all(clients, pool, tickets);
    for (size_t i = 0; i < CLIENTS; i++) {
        if (tickets[i] != NULL) embed_ticket_wait(tickets[i], EMBED_WAIT_FOREVER);
        const char *wrong = check_client(&clients[i], tickets[i] != NULL,
                                         fallback == EMBED_FALLBACK_NONE, finding);
        if (wrong != NULL)
            snprintf(finding->wrong, sizeof finding->wrong, "request %zu: %s: %s", i, wrong,
                     embed_status_string(clients[i].status));
        embed_ticket_free(tickets[i]);
    }
    if (emulator_failed_call() != NULL)
        snprintf(finding->call, sizeof finding->call, "%s", emulator_failed_call());
    embed_pool_destroy(pool);
    embed_model_close(model);
    model = NULL;
    if (emulator_calls_after_loss() > A_FEW_CALLS)
        snprintf(finding->wrong, sizeof finding->wrong, "%lu calls of a lost device",
                 emulator_calls_after_loss());
    if (emulator_report() != NULL)
        snprintf(finding->wrong, sizeof finding->wrong, "%s", emulator_report());
}

static void work_with_fallback(const struct fault *fault, struct finding *finding)
{
    work_with_fault(fault, EMBED_FALLBACK_LAZY, finding);
}

static void work_without_fallback(const struct fault *fault, struct finding *finding)
{
    work_with_fault(fault, EMBED_FALLBACK_NONE, finding);
}

/* Makes each call, or every twelfth, fail: the calls of two instances come in a different order
 * each time. */
static void fail_each(int code, bool forever)
{
    const char *wanted = getenv("EMBED_FAULTS");
    unsigned long step = wanted != NULL && strcmp(wanted, "all") == 0 ? 1 : 12, points = 0;
    struct fault fault = {1, code, forever};
    uint64_t on_cpu = 0;
    for (; run_with_fault(&fault, 60, work_with_fallback, &on_cpu); fault.n += step) points++;
    assert_true(fault.n > 150);
    print_message("%lu of %lu calls failed with code %d%s: %llu texts were computed on the CPU\n",
                  points, fault.n, code, forever ? " and all after them" : "",
                  (unsigned long long)on_cpu);
    if (forever) assert_true(on_cpu > 0);
}

static void test_out_of_memory_once(void **state)
{
    (void)state;
    fail_each(cudaErrorMemoryAllocation, false);
}

static void test_out_of_memory_from_then_on(void **state)
{
    (void)state;
    fail_each(cudaErrorMemoryAllocation, true);
}

static void test_other_error_once(void **state)
{
    (void)state;
    fail_each(cudaErrorLaunchOutOfResources, false);
}

static void test_other_error_from_then_on(void **state)
{
    (void)state;
    fail_each(cudaErrorLaunchOutOfResources, true);
}

static void test_launch_failure(void **state)
{
    (void)state;
    fail_each(cudaErrorLaunchFailure, true);
}

static void test_illegal_address(void **state)
{
    (void)state;
    fail_each(cudaErrorIllegalAddress, true);
}

static void test_device_lost(void **state)
{
    (void)state;
    fail_each(cudaErrorDevicesUnavailable, true);
}

/* Without a fallback, requests complete with the reason, and new ones are rejected with it. */
static void test_no_fallback(void **state)
{
    (void)state;
    uint64_t on_cpu = 0;
    for (struct fault fault = {1, cudaErrorIllegalAddress, true}; fault.n < 60; fault.n += 7)
        run_with_fault(&fault, 60, work_without_fallback, &on_cpu);
    assert_int_equal(on_cpu, 0);
}

/* The fallback must not use files that have changed in the folder. */
static void test_folder_changes(void **state)
{
    (void)state;
    char copy[600], file[640];
    snprintf(copy, sizeof copy, "%s", test_copy_folder(TINY));
    snprintf(file, sizeof file, "%s/model.safetensors", copy);
    embed_pool *pool = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    embed_pool_options pool_options = EMBED_POOL_OPTIONS_INIT;
    float row[WIDTH];
    options.device = EMBED_DEVICE_CUDA;
    options.threads = 1;
    pool_options.instances = 1;
    pool_options.warm_up = EMBED_OFF;
    assert_int_equal(embed_model_open(&model, copy, &options), EMBED_OK);
    assert_int_equal(embed_pool_create(&pool, &model, 1, &pool_options), EMBED_OK);
    assert_int_equal(utimensat(AT_FDCWD, file, NULL, 0), 0); /* as if it were another file */
    emulator_fail(NULL, 1, cudaErrorMemoryAllocation, true);
    assert_int_equal(embed_pool_encode(pool, texts, 1, NULL, row, WIDTH, NULL), EMBED_BAD_FILE);
    assert_non_null(strstr(embed_error_message(), "the weight files have changed"));
    embed_pool_destroy(pool);
    embed_model_close(model);
    model = NULL;
    test_remove_folder(copy);
}

static void test_degraded(void **state)
{
    (void)state;
    struct client clients[CLIENTS];
    embed_ticket *tickets[CLIENTS];
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.instances = 2;
    options.warm_up = EMBED_OFF;
    options.fallback = EMBED_FALLBACK_READY;
    model = open_on(0);
    embed_pool *pool = create(&options);
    assert_int_equal(metrics_of(pool).state, EMBED_POOL_READY);
    emulator_fail("cudaEventSynchronize", 1, cudaErrorECCUncorrectable, false);
    for (int round = 0; round < 2; round++) {
        submit_all(clients, pool, tickets);
        for (size_t i = 0; i < CLIENTS; i++) {
            assert_int_equal(embed_ticket_wait(tickets[i], EMBED_WAIT_FOREVER), EMBED_OK);
            embed_ticket_free(tickets[i]);
        }
    }
    embed_metrics metrics = metrics_of(pool);
    assert_int_equal(metrics.state, EMBED_POOL_DEGRADED);
    assert_non_null(strstr(metrics.reason, "ECC"));
    assert_int_equal(metrics.instances, 0);
    assert_int_equal(metrics.instances_at_first, 2);
    assert_int_equal(metrics.requests[EMBED_OK], 2 * CLIENTS);
    assert_true(metrics.texts_on_cpu >= 3 * CLIENTS);
    assert_int_equal(clients[0].items[0].path & EMBED_PATH_CPU, EMBED_PATH_CPU);
    embed_pool_destroy(pool);
    embed_model_close(model);
    model = NULL;
    assert_true(emulator_calls_after_loss() <= A_FEW_CALLS);
}

/* ---- memory that others take and release --------------------------------------------------- */

static void wait_for(const embed_pool *pool, size_t least, size_t most, const char *what)
{
    for (int i = 0; i < 1000; i++) {
        size_t tokens = metrics_of(pool).instance_batch_tokens;
        if (tokens >= least && tokens <= most) return;
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    fail_msg("%s: batches of %zu tokens", what, metrics_of(pool).instance_batch_tokens);
}

static void test_others_need_memory(void **state)
{
    (void)state;
    emulator_set_memory(0, (size_t)1024 * MIB);
    model = open_on(0);
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.max_instances = 1;
    options.warm_up = EMBED_OFF;
    embed_pool *pool = create(&options);
    float row[WIDTH];
    size_t whole = metrics_of(pool).instance_batch_tokens;
    uint64_t own = metrics_of(pool).instance_bytes;
    void *others = NULL;
    uint64_t free_bytes = metrics_of(pool).device_free_bytes;
    assert_int_equal(cudaMalloc(&others, (size_t)(free_bytes - (uint64_t)250 * MIB)), cudaSuccess);
    wait_for(pool, 1, whole / 2, "others took memory");
    assert_true(metrics_of(pool).instance_bytes < own);
    assert_int_equal(embed_pool_encode(pool, texts, 1, NULL, row, WIDTH, NULL), EMBED_OK);
    assert_like_reference(row, 0, 1);
    assert_int_equal(cudaFree(others), cudaSuccess);
    wait_for(pool, whole, whole, "others gave it back");
    assert_int_equal(metrics_of(pool).instance_bytes, own);
    assert_int_equal(embed_pool_encode(pool, texts, 1, NULL, row, WIDTH, NULL), EMBED_OK);
    assert_like_reference(row, 0, 1);
    embed_pool_destroy(pool);
    embed_model_close(model);
    model = NULL;
}

static void test_memory_limit(void **state)
{
    (void)state;
    model = open_on(0);
    embed_memory one = EMBED_MEMORY_INIT;
    assert_int_equal(plan(&one), EMBED_OK);
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.instances = 4;
    options.warm_up = EMBED_OFF;
    options.memory_limit_bytes = one.weights + 2 * one.own + one.own / 2;
    embed_pool *pool = create(&options);
    assert_int_equal(metrics_of(pool).instances, 2);
    embed_pool_destroy(pool);
    embed_model_close(model);
    model = NULL;
}

/* ---- setup --------------------------------------------------------------------------------- */

static int prepare(void **state)
{
    setenv("EMBED_CUDA_PLUGIN", EMULATED_PLUGIN, 1);
    read_texts(state);
    expected = vector_rows_load(VECTORS "tiny-bert.f32", lines.count, WIDTH); /* the reference's */
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_EMULATED(test_sizes),
        TEST_EMULATED(test_two_devices),
        TEST_EMULATED(test_memory_limit),
        TEST_EMULATED(test_others_need_memory),
        TEST_EMULATED(test_out_of_memory_once),
        TEST_EMULATED(test_out_of_memory_from_then_on),
        TEST_EMULATED(test_other_error_once),
        TEST_EMULATED(test_other_error_from_then_on),
        TEST_EMULATED(test_launch_failure),
        TEST_EMULATED(test_illegal_address),
        TEST_EMULATED(test_device_lost),
        TEST_EMULATED(test_no_fallback),
        TEST_EMULATED(test_folder_changes),
        /* Last, because it loses cuda:0, on which nothing can be released then. */
        cmocka_unit_test_setup_teardown(test_degraded, begin_emulated, end_without_fault),
    };
    return cmocka_run_group_tests(tests, prepare, close_tiny);
}
