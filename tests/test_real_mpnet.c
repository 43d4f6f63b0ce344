/* test_real_mpnet.c - all-mpnet-base-v2 compared with the reference; `make check-full` fetches it
 *
 * Uses the best instruction set of this machine; test_encoder.c tests all of them with a tiny
 * MPNet.
 */
#include "test_models.h"

#define LINES VECTORS "mpnet-lines.txt"

static void test_ids(void **state)
{
    (void)state;
    check_ids(real_mpnet(), LINES, VECTORS "mpnet.ids", 384);
}

/* Long lines of one or two words are furthest from the reference, by 5e-6 on AVX2. */
static void test_rows(void **state)
{
    (void)state;
    const struct closeness close = {0.999999, 2e-5};
    tested.dtype = EMBED_DTYPE_F32;
    check_rows(real_mpnet(), LINES, VECTORS "mpnet.f32", NULL, close);
    tested.dtype = EMBED_DTYPE_AUTO;
}

/* The last lines repeat one word a hundred times and more: their tokens are alike, and so are the
 * rounding errors, which do not cancel in the mean. Rounding only the weights costs 2e-4. */
static void test_rows_bf16(void **state)
{
    (void)state;
    const struct cpu_kernels *kernels;
    if (cpu_kernels_choose(&kernels, EMBED_DTYPE_BF16) != EMBED_OK) skip();
    const struct closeness real = {0.9999, 3e-3}, any = {0.9995, 6e-3};
    tested.dtype = EMBED_DTYPE_BF16;
    check_first_rows(278, real_mpnet(), LINES, VECTORS "mpnet.f32", NULL, real);
    check_rows(real_mpnet(), LINES, VECTORS "mpnet.f32", NULL, any);
    tested.dtype = EMBED_DTYPE_AUTO;
}

static void test_rows_int8(void **state)
{
    (void)state;
    const struct cpu_kernels *kernels;
    if (cpu_kernels_choose(&kernels, EMBED_DTYPE_INT8) != EMBED_OK) skip();
    const struct closeness real = {0.997, 2e-2}, any = {0.97, 6e-2};
    tested.dtype = EMBED_DTYPE_INT8;
    check_first_rows(278, real_mpnet(), LINES, VECTORS "mpnet.f32", NULL, real);
    check_rows(real_mpnet(), LINES, VECTORS "mpnet.f32", NULL, any);
    tested.dtype = EMBED_DTYPE_AUTO;
}

/* The last lines are the long ones. */
static void test_same_bits_in_any_batch(void **state)
{
    (void)state;
    const char *folder = real_mpnet();
    struct vector_lines lines = vector_lines_load(LINES);
    embed_text *texts = texts_of(&lines);
    size_t n = 12, first = lines.count - n;
    struct opened opened = open_model(folder, 1, 0);
    float *expected = encode(&opened, texts + first, n, NULL);
    close_model(&opened);
    check_same_bits(folder, texts + first, n, expected, 2, 0, 1);
    check_same_bits(folder, texts + first, n, expected, 3, 500, 5);
    free(expected);
    free(texts);
    vector_lines_free(&lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_rows_bf16),
        cmocka_unit_test(test_rows_int8),
        cmocka_unit_test(test_same_bits_in_any_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
