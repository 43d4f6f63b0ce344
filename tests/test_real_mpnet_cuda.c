/* test_real_mpnet_cuda.c - all-mpnet-base-v2 through the CUDA backend, on the emulated device;
 * `make check-full` fetches it
 *
 * What the tiny MPNet, with its heads of 12, does not reach: the relative bias on tensor cores.
 */
#include "test_models.h"

static void test_rows(void **state)
{
    (void)state;
    const struct closeness close = {0.9999, 2e-3};
    check_first_rows(8, real_mpnet(), VECTORS "mpnet-lines.txt", VECTORS "mpnet.f32", NULL, close);
}

int main(void)
{
    setenv("EMBED_CUDA_PLUGIN", EMULATED_PLUGIN, 1);
    tested.device = EMBED_DEVICE_CUDA;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
