/* test_real_mpnet.c - all-mpnet-base-v2 against the reference; `make check-full` fetches it
 *
 * On the best instruction set of this machine; test_encoder.c has all, with a tiny MPNet.
 */
#include "test_models.h"

#define LINES VECTORS "mpnet-lines.txt"

static void test_ids(void **state)
{
    (void)state;
    check_ids(real_mpnet(), LINES, VECTORS "mpnet.ids", 384);
}

/* Long lines of one word or two are furthest from the reference, with 5e-6 on AVX2. */
static void test_rows(void **state)
{
    (void)state;
    const struct closeness close = {0.999999, 2e-5};
    check_rows(real_mpnet(), LINES, VECTORS "mpnet.f32", NULL, close);
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
        cmocka_unit_test(test_same_bits_in_any_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
