/* test_cuda_steady.c - after its warm-up an instance takes no more memory, whatever the requests
 *
 * 100,000 mixed requests on the emulated device, which does not compute meanwhile. Device, pinned
 * and host memory stay constant, except for graphs, which stay within their plan. STEADY_REQUESTS
 * sets another number.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "emu/emulator.h"
#include "embed.h"
#include "model/warm_up.h"

#include <stdatomic.h>
#include <stdio.h>

enum { TEXTS = 64, TOKENS = 48, WIDTH = 64 };

/* ---- the library's allocations, counted; replaces base/memory.c ---------------------------- */

static atomic_ulong allocations;

void *memory_allocate(size_t count, size_t size, const char *what)
{
    (void)what;
    atomic_fetch_add(&allocations, 1);
    return calloc(count > 0 ? count : 1, size > 0 ? size : 1);
}

void *memory_resize(void *old, size_t count, size_t size, const char *what)
{
    (void)what;
    atomic_fetch_add(&allocations, 1);
    return realloc(old, count * size > 0 ? count * size : 1);
}

void *memory_allocate_aligned(size_t bytes, const char *what)
{
    void *block = NULL;
    (void)what;
    atomic_fetch_add(&allocations, 1);
    return posix_memalign(&block, 64, bytes + 1) == 0 ? block : NULL;
}

char *memory_copy_text(const char *text, size_t length, const char *what)
{
    char *copy = memory_allocate(length + 1, 1, what);
    return copy != NULL ? memcpy(copy, text, length) : NULL;
}

void memory_free(void *block)
{
    free(block);
}

/* ---- requests ------------------------------------------------------------------------------ */

static uint32_t next_random(uint32_t below)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u; /* Numerical Recipes */
    return (state >> 8) % below;
}

static int32_t ids[TOKENS];
static char words[2 * TOKENS + 1];
static float rows[TEXTS * WIDTH];

/* Makes 1 to 64 texts of 1 to 48 tokens, half of them as ids. Few texts are more likely than many,
 * and most requests have the same options. */
static void make_request(embed_instance *instance)
{
    embed_text texts[TEXTS];
    embed_encode_options options = EMBED_ENCODE_OPTIONS_INIT;
    size_t n = 1 + next_random(1u << next_random(7));
    for (size_t i = 0; i < n; i++) {
        size_t tokens = 1 + next_random(TOKENS);
        if (next_random(2) == 0) texts[i] = (embed_text){NULL, ids, tokens};
        else texts[i] = (embed_text){words, NULL, 2 * (tokens - 1)}; /* and two special tokens */
    }
    if (next_random(4) == 0) options.dimensions = 1 + next_random(WIDTH);
    if (next_random(4) == 0) options.normalize = (embed_switch)next_random(3);
    if (embed_instance_encode(instance, texts, n, &options, rows, TEXTS * WIDTH, NULL) != EMBED_OK)
        fail_msg("%s", embed_error_message());
}

/* Makes the largest possible request, so that the tokenizer's list reaches its maximum size. */
static void make_largest_request(embed_instance *instance)
{
    embed_text texts[TEXTS];
    for (size_t i = 0; i < TEXTS; i++) texts[i] = (embed_text){words, NULL, 2 * TOKENS};
    if (embed_instance_encode(instance, texts, TEXTS, NULL, rows, TEXTS * WIDTH, NULL) != EMBED_OK)
        fail_msg("%s", embed_error_message());
}

static long resident_kib(void)
{
    char line[128];
    long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL) {
        if (sscanf(line, "VmRSS: %ld", &kib) == 1) break;
    }
    if (status != NULL) fclose(status);
    return kib;
}

/* ---- the test ------------------------------------------------------------------------------ */

static void test_steady(void **state)
{
    (void)state;
    const char *wanted = getenv("STEADY_REQUESTS");
    unsigned long requests = wanted != NULL ? strtoul(wanted, NULL, 10) : 100000;
    embed_model *model = NULL;
    embed_instance *instance = NULL;
    embed_memory planned = EMBED_MEMORY_INIT;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CUDA;
    options.threads = 1;
    emulator_set_latency(0.001, 0);
    assert_int_equal(embed_model_open(&model, "tests/vectors/tiny-bert", &options), EMBED_OK);
    assert_int_equal(embed_instance_create(&instance, model, NULL), EMBED_OK);
    assert_int_equal(embed_instance_get_memory(instance, &planned), EMBED_OK);
    for (int t = 0; t < TOKENS; t++) {
        ids[t] = 5 + t;
        memcpy(words + 2 * t, "a ", 2);
    }
    assert_int_equal(instance_warm_up(instance, 10), EMBED_OK);
    make_largest_request(instance);

    struct emulator_account before, after;
    struct emulator_usage used_before, used_after;
    emulator_get_account(0, &before);
    emulator_get_usage(&used_before);
    unsigned long allocated = atomic_load(&allocations);
    long resident = 0;
    for (unsigned long i = 0; i < requests; i++) {
        if (i == requests / 2) resident = resident_kib();
        make_request(instance);
    }
    emulator_get_account(0, &after);
    emulator_get_usage(&used_after);
    print_message("%lu requests: graphs from %zu to %zu KiB of %llu planned; resident in the second "
                  "half: %+ld KiB\n",
                  requests, before.graphs / 1024, after.graphs / 1024,
                  (unsigned long long)planned.graphs / 1024, resident_kib() - resident);

    assert_int_equal(atomic_load(&allocations), allocated);
    assert_int_equal(used_after.device_allocations, used_before.device_allocations);
    assert_int_equal(used_after.device_bytes, used_before.device_bytes);
    assert_int_equal(used_after.pinned_allocations, used_before.pinned_allocations);
    assert_int_equal(used_after.pinned_bytes, used_before.pinned_bytes);
    assert_int_equal(used_after.streams + used_after.events + used_after.handles,
                     used_before.streams + used_before.events + used_before.handles);
    assert_int_equal(used_after.descriptors, used_before.descriptors);
    assert_true(before.graphs > 0 && after.graphs <= planned.graphs);
    assert_true(emulator_peak(0) <= planned.context + planned.library + planned.total + (2 << 20));
    assert_null(emulator_report());
    embed_instance_destroy(instance);
    embed_model_close(model);
}

int main(void)
{
    setenv("EMBED_CUDA_PLUGIN", EMULATED_PLUGIN, 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_steady)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
