/* test_cuda_cache.c - a cache of models on the emulated device: numbers of instances, and
 * failures */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "embed.h"
#include "emu/emulator.h"

#include <stdbool.h>
#include <string.h>

#define TINY "tests/vectors/tiny-bert"

enum { MEMORY_ALLOCATION = 2, LAUNCH_FAILURE = 719, BATCH_TOKENS = 256 };

/* Creates a cache without warm-up, which is slow on the emulated device. */
static embed_cache *cache_like(const embed_model_options *model, uint64_t max_bytes,
                               unsigned max_instances, embed_fallback fallback)
{
    embed_cache *cache = NULL;
    embed_cache_options options = EMBED_CACHE_OPTIONS_INIT;
    embed_pool_options pool = EMBED_POOL_OPTIONS_INIT;
    pool.batch_tokens = BATCH_TOKENS;
    pool.max_instances = max_instances;
    pool.reserve_bytes = 1;
    pool.fallback = fallback;
    pool.warm_up = EMBED_OFF;
    options.max_bytes = max_bytes;
    options.model = model;
    options.pool = &pool;
    assert_int_equal(embed_cache_create(&cache, &options), EMBED_OK);
    return cache;
}

static embed_cache *cache_with(embed_device device, uint64_t max_bytes, unsigned max_instances)
{
    embed_model_options model = EMBED_MODEL_OPTIONS_INIT;
    model.device = device;
    model.threads = 1;
    return cache_like(&model, max_bytes, max_instances, EMBED_FALLBACK_NONE);
}

static embed_memory plan_for(embed_device device)
{
    embed_memory plan = EMBED_MEMORY_INIT;
    embed_model_options model = EMBED_MODEL_OPTIONS_INIT;
    embed_instance_options instance = EMBED_INSTANCE_OPTIONS_INIT;
    model.device = device;
    model.threads = 1;
    instance.batch_tokens = BATCH_TOKENS;
    assert_int_equal(embed_plan(TINY, &model, &instance, &plan), EMBED_OK);
    return plan;
}

static embed_cache_metrics metrics_of(const embed_cache *cache)
{
    embed_cache_metrics metrics = EMBED_CACHE_METRICS_INIT;
    assert_int_equal(embed_cache_get_metrics(cache, &metrics), EMBED_OK);
    return metrics;
}

/* The pool has the requested number of instances (0: four), or as many as the cache's limit
 * allows. */
static void check_instances(unsigned wished, unsigned room)
{
    embed_memory plan = plan_for(EMBED_DEVICE_CUDA);
    uint64_t limit = plan.weights + room * plan.own + plan.own / 2;
    unsigned most = wished > 0 ? wished : 4;
    embed_cache *cache = cache_with(EMBED_DEVICE_CUDA, limit, wished);
    embed_pool *pool = NULL;
    embed_metrics metrics = EMBED_METRICS_INIT;
    assert_int_equal(embed_cache_acquire(cache, TINY, &pool), EMBED_OK);
    assert_int_equal(embed_pool_get_metrics(pool, &metrics), EMBED_OK);
    assert_int_equal(metrics.instances, room < most ? room : most);
    uint64_t taken = metrics_of(cache).resident_bytes;
    assert_int_equal(taken, metrics.weight_bytes + metrics.instance_bytes);
    assert_true(taken > plan.weights && taken <= limit);
    embed_cache_release(cache, pool);
    embed_cache_destroy(cache);
}

static void test_instances_by_bytes(void **state)
{
    (void)state;
    embed_memory plan = plan_for(EMBED_DEVICE_CUDA);
    for (unsigned room = 1; room <= 5; room++) {
        check_instances(3, room);
        check_instances(0, room);
    }
    embed_pool *none = NULL;
    embed_cache *cache = cache_with(EMBED_DEVICE_CUDA, plan.weights + plan.own / 2, 3);
    assert_int_equal(embed_cache_acquire(cache, TINY, &none), EMBED_OUT_OF_MEMORY);
    assert_null(none);
    embed_cache_destroy(cache);
}

/* A ready fallback counts too, whatever GPU and dtype the model is for. */
static void test_ready_fallback(void **state)
{
    (void)state;
    embed_pool *pool = NULL;
    embed_model_options model = EMBED_MODEL_OPTIONS_INIT;
    emulator_reset();
    emulator_set_devices(2);
    model.device = EMBED_DEVICE_CUDA;
    model.device_index = 1;
    model.dtype = EMBED_DTYPE_F16;
    model.threads = 1;
    uint64_t gpu = plan_for(EMBED_DEVICE_CUDA).total, cpu = plan_for(EMBED_DEVICE_CPU).total;

    uint64_t taken[2];
    for (int ready = 0; ready < 2; ready++) {
        embed_cache *cache = cache_like(&model, ready ? gpu + cpu : gpu, 1,
                                        ready ? EMBED_FALLBACK_READY : EMBED_FALLBACK_LAZY);
        assert_int_equal(embed_cache_acquire(cache, TINY, &pool), EMBED_OK);
        taken[ready] = metrics_of(cache).resident_bytes;
        embed_cache_release(cache, pool);
        embed_cache_destroy(cache);
    }
    assert_int_equal(taken[1], taken[0] + cpu);

    pool = NULL;
    embed_cache *cache = cache_like(&model, gpu + cpu - 1, 1, EMBED_FALLBACK_READY);
    assert_int_equal(embed_cache_acquire(cache, TINY, &pool), EMBED_OUT_OF_MEMORY);
    assert_null(pool);
    embed_cache_destroy(cache);
    emulator_reset();
}

static void assert_nothing_left(void)
{
    struct emulator_usage usage;
    emulator_get_usage(&usage);
    assert_int_equal(usage.device_allocations, 0);
    assert_int_equal(usage.pinned_allocations, 0);
    assert_int_equal(usage.streams + usage.events + usage.graphs, 0);
}

/* Makes one CUDA call of a load fail. Returns whether there was such a call. */
static bool fail_one_call(unsigned long nth, int code)
{
    static const embed_text text = EMBED_TEXT("a text");
    float row[64];
    emulator_reset();
    embed_cache *cache = cache_with(EMBED_DEVICE_CUDA, 0, 1);
    embed_pool *pool = NULL;
    emulator_fail(NULL, nth, code, false);
    embed_status status = embed_cache_acquire(cache, TINY, &pool);
    bool failed = emulator_failed_call() != NULL;
    emulator_fail(NULL, 0, 0, false);
    embed_cache_metrics metrics = metrics_of(cache);
    assert_int_equal(metrics.resident, status == EMBED_OK);
    assert_int_equal(metrics.load_failures, status != EMBED_OK);
    if (status != EMBED_OK) {
        assert_true(strlen(embed_error_message()) > 0);
        assert_nothing_left();
    }
    if (status != EMBED_OK && code == MEMORY_ALLOCATION) /* the next caller finds it working */
        assert_int_equal(embed_cache_acquire(cache, TINY, &pool), EMBED_OK);
    if (pool != NULL && code == MEMORY_ALLOCATION)
        assert_int_equal(embed_pool_encode(pool, &text, 1, NULL, row, 64, NULL), EMBED_OK);
    embed_cache_release(cache, pool);
    embed_cache_destroy(cache);
    assert_nothing_left();
    return failed;
}

static void test_every_call_fails(void **state)
{
    (void)state;
    unsigned long points = 0;
    static const int codes[] = {MEMORY_ALLOCATION, LAUNCH_FAILURE};
    for (int i = 0; i < 2; i++)
        for (unsigned long n = 1; fail_one_call(n, codes[i]); n++) points++;
    print_message("%lu calls failed\n", points);
    assert_true(points > 20);
    emulator_reset();
}

/* Planned for a GPU that turns out to be too full: the model's bytes on the CPU count. */
static void test_on_the_cpu_after_all(void **state)
{
    (void)state;
    embed_pool *pool = NULL;
    uint64_t gpu = plan_for(EMBED_DEVICE_CUDA).total, cpu = plan_for(EMBED_DEVICE_CPU).total;
    emulator_reset();
    emulator_set_costs(1 << 20, 0, 0);
    emulator_set_memory(0, 1 << 20); /* all of it for CUDA itself */
    assert_int_not_equal(gpu, cpu);

    embed_cache *cache = cache_with(EMBED_DEVICE_AUTO, gpu + cpu, 1);
    assert_int_equal(embed_cache_acquire(cache, TINY, &pool), EMBED_OK);
    assert_int_equal(metrics_of(cache).resident_bytes, cpu);
    embed_cache_release(cache, pool);
    embed_cache_destroy(cache);
    emulator_reset();
}

int main(void)
{
    setenv("EMBED_CUDA_PLUGIN", EMULATED_PLUGIN, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_instances_by_bytes),
        cmocka_unit_test(test_ready_fallback),
        cmocka_unit_test(test_every_call_fails),
        cmocka_unit_test(test_on_the_cpu_after_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
