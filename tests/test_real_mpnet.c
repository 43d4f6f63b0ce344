/* test_real_mpnet.c - all-mpnet-base-v2 against the reference; `make check-full` fetches it
 *
 * On the best instruction set of this machine; test_encoder.c has all, with a tiny MPNet.
 */
#include "test_models.h"

#include <unistd.h>

#define LINES VECTORS "mpnet-lines.txt"

/* The model's folder, or a skip that says why: a skip is counted. */
static const char *real_model(void)
{
    const char *folder = getenv("MPNET");
    char path[1024];
    snprintf(path, sizeof path, "%s/model.safetensors", folder != NULL ? folder : "");
    if (access(path, R_OK) != 0) {
        print_message("skipped: MPNET is not the folder of all-mpnet-base-v2\n");
        skip();
    }
    return folder;
}

static void test_ids(void **state)
{
    (void)state;
    check_ids(real_model(), LINES, VECTORS "mpnet.ids", 384);
}

/* Long lines of one word or two are furthest from the reference, with 5e-6 on AVX2. */
static void test_rows(void **state)
{
    (void)state;
    check_rows(real_model(), LINES, VECTORS "mpnet.f32", NULL, 2e-5);
}

/* The last lines are the long ones. */
static void test_same_bits_in_any_batch(void **state)
{
    (void)state;
    const char *folder = real_model();
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
