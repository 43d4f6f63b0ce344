/* test_real_mpnet_cuda.c - all-mpnet-base-v2 on the CUDA backend, on the emulated device; `make
 * check-full` fetches it
 *
 * Covers what the tiny MPNet, with heads of width 12, does not: the relative bias on tensor cores.
 */
#include "test_models.h"

#include "emulated_test.h"

static void check_rows_of_card(void)
{
    const struct closeness close = {0.9999, 2e-3};
    check_first_rows(8, real_mpnet(), VECTORS "mpnet-lines.txt", VECTORS "mpnet.f32", NULL, close);
}

static void test_rows(void **state)
{
    (void)state;
    check_rows_of_card();
}

/* Two-level FP16 sums, of up to 3,072 products each. */
static void test_rows_two_level(void **state)
{
    (void)state;
    emulator_set_card("NVIDIA GeForce RTX 5060 Ti", 36, 32 << 20);
    check_rows_of_card();
}

int main(void)
{
    setenv("EMBED_CUDA_PLUGIN", EMULATED_PLUGIN, 1);
    tested.device = EMBED_DEVICE_CUDA;
    const struct CMUnitTest tests[] = {TEST_EMULATED(test_rows), TEST_EMULATED(test_rows_two_level)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
