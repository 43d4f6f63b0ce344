/* test_cuda_pool_generate.c - pools that generate on an emulated GPU: sizing by memory, and
 * behaviour when the GPU fails
 *
 * EMBED_FAULTS=all makes each GPU call fail in turn, instead of a sample.
 */
#include "emulated_fault_test.h"
#include "pool_generate_test.h"

#include <cuda_runtime_api.h>
#include <stdatomic.h>

enum { CLIENTS = 5, MIB = 1 << 20 };

static embed_model *open_on_gpu(void)
{
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    embed_model *opened = NULL;
    options.device = EMBED_DEVICE_CUDA;
    options.threads = 1;
    if (embed_model_open(&opened, BART, &options) != EMBED_OK)
        fail_msg("%s", embed_error_message());
    return opened;
}

/* ---- faults -------------------------------------------------------------------------------- */

struct client {
    embed_ticket *ticket;
    embed_strings out;
    atomic_uint ended;
};

static void note_end(void *user, embed_status status, const char *message)
{
    (void)status;
    (void)message;
    atomic_fetch_add(&((struct client *)user)->ended, 1);
}

/* One client uses two beams; the others want short summaries with one. */
static int kind_of(size_t client)
{
    return client == 2 ? 1 : 2;
}

static embed_status submit(struct client *client, embed_pool *pool, size_t i)
{
    memset(client, 0, sizeof *client);
    client->out = (embed_strings)EMBED_STRINGS_INIT;
    embed_request request = EMBED_REQUEST_INIT;
    request.texts = texts + 10 + i;
    request.n = 1;
    request.generate = &kinds[kind_of(i)];
    request.strings = &client->out;
    request.done = note_end;
    request.user = client;
    return embed_pool_submit(pool, &request, &client->ticket);
}

/* Returns what a process found wrong after a failing call, for the process that started it. */
static const char *check_client(struct client *client, size_t i)
{
    if (embed_ticket_wait(client->ticket, EMBED_WAIT_FOREVER) != EMBED_OK)
        return embed_error_message();
    embed_ticket_free(client->ticket);
    if (atomic_load(&client->ended) != 1) return "not ended once";
    const embed_generated *got = client->out.items, *wanted = &summaries[kind_of(i)].items[10 + i];
    if (client->out.count != 1 || got->status != EMBED_OK) return "no summary";
    if (strcmp(got->text, wanted->text) != 0) return "another text";
    embed_strings_free(&client->out);
    return NULL;
}

static void work_with_fault(const struct fault *fault, struct finding *finding)
{
    static struct client clients[CLIENTS];
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.instances = 1;
    options.documents = 4;
    options.warm_up = EMBED_OFF;
    embed_model *gpu = open_on_gpu();
    embed_pool *pool = create_pool(&gpu, 1, &options);
    emulator_fail(NULL, fault->n, fault->code, fault->forever);
    for (size_t i = 0; i < CLIENTS; i++)
        if (submit(&clients[i], pool, i) != EMBED_OK) fail_msg("%s", embed_error_message());
    for (size_t i = 0; i < CLIENTS; i++) {
        const char *wrong = check_client(&clients[i], i);
        if (wrong != NULL)
            snprintf(finding->wrong, sizeof finding->wrong, "request %zu: %s", i, wrong);
    }
    if (emulator_failed_call() != NULL)
        snprintf(finding->call, sizeof finding->call, "%s", emulator_failed_call());
    finding->on_cpu = metrics_of(pool).texts_on_cpu;
    embed_pool_destroy(pool);
    embed_model_close(gpu);
    if (emulator_calls_after_loss() > 0)
        snprintf(finding->wrong, sizeof finding->wrong, "%lu calls of a lost device",
                 emulator_calls_after_loss());
    if (emulator_report() != NULL)
        snprintf(finding->wrong, sizeof finding->wrong, "%s", emulator_report());
}

/* Makes calls fail at growing distances, since the first ones are all of different kinds. */
static void fail_each(int code, bool forever)
{
    const char *wanted = getenv("EMBED_FAULTS");
    bool all = wanted != NULL && strcmp(wanted, "all") == 0;
    struct fault fault = {1, code, forever};
    unsigned long points = 0;
    uint64_t on_cpu = 0;
    for (; run_with_fault(&fault, 120, work_with_fault, &on_cpu);
         fault.n += all ? 1 : 3 + fault.n / 4)
        points++;
    assert_true(points > 5);
    print_message("%lu of %lu calls failed with code %d%s: %llu texts were computed on the CPU\n",
                  points, fault.n, code, forever ? " and all after them" : "",
                  (unsigned long long)on_cpu);
    if (forever) assert_true(on_cpu > 0);
    else assert_int_equal(on_cpu, 0);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    fail_each(cudaErrorMemoryAllocation, false);
    fail_each(cudaErrorMemoryAllocation, true);
}

static void test_other_error(void **state)
{
    (void)state;
    fail_each(cudaErrorLaunchOutOfResources, false);
    fail_each(cudaErrorLaunchOutOfResources, true);
}

static void test_device_lost(void **state)
{
    (void)state;
    fail_each(cudaErrorIllegalAddress, true);
}

/* ---- sizes --------------------------------------------------------------------------------- */

/* Whole instances as long as they fit; the first one in any case, with fewer documents if
 * necessary. */
static void test_sizes(void **state)
{
    (void)state;
    embed_model_options model_options = EMBED_MODEL_OPTIONS_INIT;
    embed_instance_options instance_options = EMBED_INSTANCE_OPTIONS_INIT;
    embed_memory planned = EMBED_MEMORY_INIT, taken = EMBED_MEMORY_INIT;
    model_options.device = EMBED_DEVICE_CUDA;
    model_options.threads = 1;
    instance_options.documents = 512;
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    options.max_instances = 8;
    options.documents = 512;
    options.warm_up = EMBED_OFF;
    options.reserve_bytes = 1;
    for (unsigned room = 0; room < 4; room++) {
        embed_model *gpu = open_on_gpu();
        assert_int_equal(embed_plan(BART, &model_options, &instance_options, &planned), EMBED_OK);
        assert_true(planned.kv > planned.activations);
        options.memory_limit_bytes = planned.weights + room * planned.own + planned.own * 3 / 4;
        embed_pool *pool = create_pool(&gpu, 1, &options);
        embed_metrics metrics = metrics_of(pool);
        assert_int_equal(embed_pool_get_memory(pool, &taken), EMBED_OK);
        assert_int_equal(metrics.instances, room == 0 ? 1 : room);
        if (room == 0) assert_in_range(metrics.instance_batch_tokens, 1, 256 * 128);
        else assert_int_equal(metrics.instance_batch_tokens, 512 * 128);
        if (room > 0) assert_int_equal(taken.kv, room * planned.kv);
        if (room > 0) assert_int_equal(taken.own, room * planned.own);
        assert_true(taken.own + taken.weights <= options.memory_limit_bytes);
        embed_pool_destroy(pool);
        embed_model_close(gpu);
    }
}

/* After the warm-up, requests with the instance's number of beams find their graphs made. */
static void test_warm_up(void **state)
{
    (void)state;
    struct emulator_account before, after;
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    embed_strings out = EMBED_STRINGS_INIT;
    options.instances = 1;
    options.documents = 2;
    options.warm_up_passes = 3;
    embed_model *gpu = open_on_gpu();
    embed_pool *pool = create_pool(&gpu, 1, &options);
    emulator_get_account(0, &before);
    assert_true(before.graphs > 0);
    assert_int_equal(embed_pool_generate(pool, texts, 3, NULL, &out), EMBED_OK);
    emulator_get_account(0, &after);
    assert_int_equal(after.graphs, before.graphs);
    embed_strings_free(&out);
    embed_pool_destroy(pool);
    embed_model_close(gpu);
}

/* ---- setup --------------------------------------------------------------------------------- */

/* Leaves no model open, because the tests fork. */
static int prepare(void **state)
{
    setenv("EMBED_CUDA_PLUGIN", EMULATED_PLUGIN, 1);
    open_tiny_bart(state);
    embed_model_close(model);
    model = NULL;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_EMULATED(test_out_of_memory),
        TEST_EMULATED(test_other_error),
        TEST_EMULATED(test_device_lost),
        TEST_EMULATED(test_sizes),
        TEST_EMULATED(test_warm_up),
    };
    return cmocka_run_group_tests(tests, prepare, close_tiny_bart);
}
