/* test_cuda_memory.c - the memory that a model and its instances take of the emulated device
 *
 * The same checks as on a real GPU (tests/gpu/memory_check.c), on a tiny model.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "emu/emulator.h"
#include "gpu/memory_checks.h"

static void test_memory(void **state)
{
    (void)state;
    emulator_set_costs(256 << 20, 1 << 20, 0);
    emulator_set_memory(0, 700 << 20);
    struct memory_check c = {.folder = "tests/vectors/tiny-bert",
                             .options = EMBED_MODEL_OPTIONS_INIT,
                             .instance_options = EMBED_INSTANCE_OPTIONS_INIT,
                             .requests = 24,
                             .kinds = 12,
                             .most_texts = 2};
    c.options.device = EMBED_DEVICE_CUDA;
    c.instance_options.batch_tokens = 10000; /* 8 MB: large beside what CUDA rounds up to */
    assert_true(memory_check_run(&c));
    assert_null(emulator_report());
}

int main(void)
{
    setenv("EMBED_CUDA_PLUGIN", EMULATED_PLUGIN, 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
