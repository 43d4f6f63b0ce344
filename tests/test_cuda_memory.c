/* test_cuda_memory.c - the memory that a model and its instances take on the emulated device
 *
 * Compares planned with allocated memory by category, with the device's adjustable costs; tests how
 * many instances fit on GPUs of four sizes; and runs the checks for real GPUs
 * (tests/gpu/memory_check.c) on a tiny model.
 */
#include "emulated_test.h"
#include "gpu/memory_checks.h"

#include <unistd.h>

#define TINY "tests/vectors/tiny-bert"
#define KIB ((uint64_t)1 << 10)
#define GIB ((uint64_t)1 << 30)

static struct emulator_account account(void)
{
    struct emulator_account account;
    emulator_get_account(0, &account);
    return account;
}

static embed_model *open_model(const char *folder, embed_dtype dtype)
{
    embed_model *model = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CUDA;
    options.dtype = dtype;
    check(embed_model_open(&model, folder, &options));
    return model;
}

static embed_memory plan(const char *folder, size_t batch_tokens)
{
    embed_memory memory = EMBED_MEMORY_INIT;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    embed_instance_options instance_options = EMBED_INSTANCE_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CUDA;
    instance_options.batch_tokens = batch_tokens;
    check(embed_plan(folder, &options, &instance_options, &memory));
    return memory;
}

/* Encodes this many shapes, which here differ in their dimensions, often enough for a graph of
 * each. */
static void make_graphs(embed_instance *instance, size_t shapes)
{
    static const int32_t ids[4] = {2, 7, 8, 3};
    const embed_text text = {NULL, ids, 4};
    float row[768];
    for (size_t i = 0; i < 2 * shapes; i++) {
        embed_encode_options options = EMBED_ENCODE_OPTIONS_INIT;
        options.dimensions = 1 + i / 2 % 64;
        options.normalize = i / 2 < 64 ? EMBED_ON : EMBED_OFF;
        check(embed_instance_encode(instance, &text, 1, &options, row, 768, NULL));
    }
}

/* ---- categories ---------------------------------------------------------------------------- */

/* With one model, one instance and all its graphs, a plan made while the device is in use equals
 * the device's accounts. */
static void check_categories(size_t batch_tokens, uint64_t context, uint64_t library,
                             uint64_t stream, uint64_t graph)
{
    emulator_set_costs(context, library, stream);
    emulator_set_graph_cost(graph);
    emulator_set_latency(0.001, 0);

    embed_memory before = plan(TINY, batch_tokens), actual = EMBED_MEMORY_INIT;
    embed_model *model = open_model(TINY, EMBED_DTYPE_AUTO);
    embed_memory planned = plan(TINY, batch_tokens);
    assert_false(before.measured);
    assert_true(planned.measured);
    assert_int_equal(before.weights, planned.weights);
    assert_int_equal(before.activations, planned.activations);
    assert_int_equal(before.graphs, planned.graphs);
    assert_int_equal(before.pinned, planned.pinned);

    struct emulator_account opened = account();
    assert_int_equal(planned.context, opened.context);
    assert_int_equal(planned.library, opened.handles);
    assert_int_equal(planned.weights, opened.allocations);

    embed_instance *instance = NULL;
    embed_instance_options options = EMBED_INSTANCE_OPTIONS_INIT;
    options.batch_tokens = batch_tokens;
    check(embed_instance_create(&instance, model, &options));
    make_graphs(instance, 128);
    check(embed_instance_get_memory(instance, &actual));
    assert_memory_equal(&planned, &actual, sizeof planned);

    struct emulator_account taken = account();
    struct emulator_usage used;
    emulator_get_usage(&used);
    assert_int_equal(planned.activations + planned.workspace,
                     taken.allocations - opened.allocations + taken.streams);
    assert_int_equal(taken.streams, stream);
    assert_int_equal(planned.pinned, used.pinned_bytes);
    assert_int_equal(planned.graphs / graph * graph, taken.graphs);
    assert_int_equal(planned.own, planned.activations + planned.workspace + planned.graphs);
    assert_int_equal(planned.total, planned.weights + planned.own);
    if (planned.graphs % graph == 0)
        assert_int_equal(planned.context + planned.library + planned.total,
                         taken.context + taken.handles + taken.streams + taken.graphs +
                             taken.allocations);
    embed_instance_destroy(instance);
    embed_model_close(model);
    emulator_reset();
}

static void test_categories(void **state)
{
    (void)state;
    check_categories(0, 256 * MIB, 8 * MIB, 0, 64 * KIB);
    check_categories(10000, 300 * MIB, 5 * MIB, 1 * MIB, 256 * KIB);
    check_categories(48, 1024 * MIB, 0, 2 * MIB, 4 * MIB);
    check_categories(1, 0, 128 * MIB, 512 * KIB, 300 * KIB);
    check_categories(0, 256 * MIB, 8 * MIB, 0, 9 * MIB); /* graphs are too large: there are none */
}

/* The chunk depends on the card, before and after the device's first use; without a card it is the
 * default. */
static void test_chunks_of_cards(void **state)
{
    (void)state;
    static const struct {
        int multiprocessors, l2_bytes;
    } cards[] = {{108, 40 << 20}, {40, 4 << 20}, {58, 48 << 20}};
    uint64_t others = plan(TINY, 8192).activations;
    for (size_t i = 0; i < sizeof cards / sizeof *cards; i++) {
        emulator_set_card(NULL, cards[i].multiprocessors, cards[i].l2_bytes);
        uint64_t activations = plan(TINY, 0).activations;
        assert_true(activations != others);
        others = activations;
        check_categories(0, 256 * MIB, 8 * MIB, 0, 64 * KIB);
    }
    emulator_set_devices(0);
    assert_int_equal(plan(TINY, 0).batch_tokens, 8192);
}

/* A generating model also has keys and values, and its generator's part of the staging memory. */
static void test_generating_model(void **state)
{
    (void)state;
    const char *folder = "tests/vectors/tiny-bart";
    embed_model *model = open_model(folder, EMBED_DTYPE_AUTO);
    struct emulator_account opened = account();
    embed_memory planned = plan(folder, 0), actual = EMBED_MEMORY_INIT;
    embed_instance *instance = NULL;
    check(embed_instance_create(&instance, model, NULL));
    check(embed_instance_get_memory(instance, &actual));
    assert_memory_equal(&planned, &actual, sizeof planned);

    struct emulator_account taken = account();
    struct emulator_usage used;
    emulator_get_usage(&used);
    assert_true(planned.kv > 0);
    assert_int_equal(planned.activations + planned.workspace + planned.kv,
                     taken.allocations - opened.allocations + taken.streams);
    assert_int_equal(planned.pinned, used.pinned_bytes);
    embed_instance_destroy(instance);
    embed_model_close(model);
}

/* The context and cuBLASLt are counted once, however many models are opened. */
static void test_once_a_process(void **state)
{
    (void)state;
    embed_model *first = open_model(TINY, EMBED_DTYPE_F16);
    struct emulator_account one = account();
    embed_model *second = open_model("tests/vectors/tiny-mpnet", EMBED_DTYPE_F16);
    embed_model *third = open_model(TINY, EMBED_DTYPE_F32);
    struct emulator_account three = account();
    assert_int_equal(one.context, three.context);
    assert_int_equal(one.handles, three.handles);
    embed_model_close(first);
    embed_model_close(third);
    assert_true(plan(TINY, 0).measured);
    assert_int_equal(account().handles, one.handles);
    embed_model_close(second);
    assert_int_equal(account().handles, 0);
    assert_false(plan(TINY, 0).measured);
}

/* Memory that others use on the GPU counts as context, up to twice the allowance; if they use more,
 * the allowance applies. */
static void test_others_on_the_device(void **state)
{
    (void)state;
    uint64_t allowance = plan(TINY, 0).context;
    void *others = device_memory(200 * MIB), *more = NULL;
    embed_model *model = open_model(TINY, EMBED_DTYPE_AUTO);
    assert_int_equal(plan(TINY, 0).context, 456 * MIB);
    embed_model_close(model);
    more = device_memory(2048 * MIB);
    model = open_model(TINY, EMBED_DTYPE_AUTO);
    assert_int_equal(plan(TINY, 0).context, allowance);
    embed_model_close(model);
    CHECK(cudaFree(others));
    CHECK(cudaFree(more));
}

/* Each of two devices has its own figures. */
static void test_second_device(void **state)
{
    (void)state;
    emulator_set_devices(2);
    embed_model *model = open_model(TINY, EMBED_DTYPE_AUTO);
    embed_memory memory = EMBED_MEMORY_INIT;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CUDA;
    options.device_index = 1;
    check(embed_plan(TINY, &options, NULL, &memory));
    assert_false(memory.measured);
    assert_true(plan(TINY, 0).measured);
    embed_model_close(model);
}

/* Counts the CUDA calls for a request of one text: few if there is a graph for it. */
static unsigned long calls_of_request(embed_instance *instance, size_t tokens)
{
    static const int32_t ids[48] = {0};
    const embed_text text = {NULL, ids, tokens};
    float row[64];
    unsigned long before = emulator_calls();
    check(embed_instance_encode(instance, &text, 1, NULL, row, 64, NULL));
    return emulator_calls() - before;
}

/* When an instance has all the graphs it may have, a new shape runs without one until some graph
 * has not been used for long. */
static void test_graphs_give_way(void **state)
{
    (void)state;
    emulator_set_latency(0.001, 0);
    embed_model *model = open_model(TINY, EMBED_DTYPE_AUTO);
    embed_instance *instance = NULL;
    check(embed_instance_create(&instance, model, NULL));
    for (int i = 0; i < 2; i++) calls_of_request(instance, 16);
    unsigned long few = calls_of_request(instance, 16);
    make_graphs(instance, 128); /* that shape is among them */
    size_t graphs = account().graphs;
    assert_int_equal(graphs, plan(TINY, 0).graphs);
    for (int i = 0; i < 100; i++) assert_true(calls_of_request(instance, 48) > 2 * few);
    assert_int_equal(calls_of_request(instance, 16), few);
    for (int i = 0; i < 4200; i++) calls_of_request(instance, 48);
    assert_int_equal(calls_of_request(instance, 48), few);
    assert_int_equal(calls_of_request(instance, 16), few); /* its graph was not replaced yet */
    assert_int_equal(account().graphs, graphs);
    embed_instance_destroy(instance);
    embed_model_close(model);
}

/* ---- instances ----------------------------------------------------------------------------- */

enum { MOST = 2000 };

/* Creates instances, each with all the graphs it may have, until the device has no memory for
 * another. */
static size_t count_instances(embed_model *model)
{
    static embed_instance *instances[MOST];
    size_t count = 0, fit = 0;
    while (count < MOST) {
        embed_status status = embed_instance_create(&instances[count], model, NULL);
        assert_true(status == EMBED_OK || status == EMBED_OUT_OF_MEMORY);
        if (status != EMBED_OK) break;
        size_t graphs = account().graphs;
        make_graphs(instances[count++], 1);
        if (account().graphs == graphs) break; /* except its graphs */
        fit++;
    }
    assert_true(count < MOST);
    while (count > 0) embed_instance_destroy(instances[--count]);
    return fit;
}

/* The rule of systems that hold a model of 1.5 GB in each instance. */
static size_t replaced_rule(uint64_t bytes, uint64_t context)
{
    const double gb = 1e9, left = (double)(bytes - context) - 2.0 * gb;
    return left > 0 ? (size_t)(left / (1.5 * gb)) : 0;
}

static void check_instances(const char *folder, uint64_t bytes)
{
    emulator_reset();
    emulator_set_memory(0, bytes);
    emulator_set_costs(512 * MIB, 64 * MIB, 2 * MIB); /* the allowances in plans */
    emulator_set_graph_cost(8 * MIB);                 /* one, which is the limit of an instance */
    emulator_set_latency(0.001, 0);
    embed_memory planned = plan(folder, 0);
    uint64_t shared = planned.context + planned.library + planned.weights + GRANULE;
    size_t by_plan = (bytes - shared) / planned.own, said, less;

    embed_model *model = open_model(folder, EMBED_DTYPE_AUTO);
    assert_int_equal(plan(folder, 0).total, planned.total);
    check(embed_instances_that_fit(model, NULL, 0, &said));
    check(embed_instances_that_fit(model, NULL, GIB, &less));
    size_t fit = count_instances(model);
    embed_model_close(model);
    print_message("%-30s %3.0f GiB: %7.1f MiB each, %4zu planned, %4zu said, %4zu made; "
                  "(free - 2.0 GB) / 1.5 GB: %zu\n",
                  folder, (double)bytes / (double)GIB, (double)planned.own / (double)MIB, by_plan,
                  said, fit, replaced_rule(bytes, planned.context));
    assert_true(said <= by_plan && by_plan <= fit && fit <= said + 1);
    assert_true(said - less == GIB / planned.own || said - less == GIB / planned.own + 1);
    assert_true(said > replaced_rule(bytes, planned.context));
}

static void test_instances(void **state)
{
    (void)state;
    static const char *const folders[] = {TINY, "weights/all-MiniLM-L6-v2",
                                          "weights/all-mpnet-base-v2"};
    static const uint64_t sizes[] = {8, 10, 16, 24};
    for (size_t f = 0; f < sizeof folders / sizeof *folders; f++) {
        char weights[128];
        snprintf(weights, sizeof weights, "%s/model.safetensors", folders[f]);
        if (access(weights, R_OK) != 0) {
            print_message("%s is not there\n", weights);
            continue;
        }
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            check_instances(folders[f], sizes[i] * GIB);
    }
}

/* ---- as on a real GPU ---------------------------------------------------------------------- */

static void test_memory_check(void **state)
{
    (void)state;
    emulator_set_costs(256 * MIB, 1 * MIB, 0);
    emulator_set_memory(0, 700 * MIB);
    struct memory_check c = {.folder = TINY,
                             .options = EMBED_MODEL_OPTIONS_INIT,
                             .instance_options = EMBED_INSTANCE_OPTIONS_INIT,
                             .requests = 24,
                             .kinds = 12,
                             .most_texts = 2};
    c.options.device = EMBED_DEVICE_CUDA;
    c.instance_options.batch_tokens = 10000; /* 8 MB: much more than CUDA's rounding */
    assert_true(memory_check_run(&c));
}

int main(void)
{
    setenv("EMBED_CUDA_PLUGIN", EMULATED_PLUGIN, 1);
    const struct CMUnitTest tests[] = {
        TEST_EMULATED(test_categories),
        TEST_EMULATED(test_chunks_of_cards),
        TEST_EMULATED(test_generating_model),
        TEST_EMULATED(test_once_a_process),
        TEST_EMULATED(test_others_on_the_device),
        TEST_EMULATED(test_second_device),
        TEST_EMULATED(test_graphs_give_way),
        TEST_EMULATED(test_instances),
        TEST_EMULATED(test_memory_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
