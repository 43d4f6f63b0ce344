/* test_fuzz_corpus.c - runs every input of tests/fuzz/corpus through its fuzz target, without
 * libFuzzer
 *
 * The Makefile passes the targets' names as FUZZ_TARGETS, X(NAME) for each, and compiles each with
 * its function named fuzz_NAME. FUZZ_CORPUS in the environment names another folder: `make
 * fuzz-coverage` includes the inputs found by fuzzing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test_folder.h"

#include <dirent.h>

#define X(name) int fuzz_##name(const uint8_t *input, size_t length);
FUZZ_TARGETS
#undef X

static char input_path[1024]; /* to report after a crash */

static void replay(const char *name, int (*target)(const uint8_t *, size_t))
{
    const char *corpus = getenv("FUZZ_CORPUS");
    char folder[512];
    size_t count = 0;
    snprintf(folder, sizeof folder, "%s/%s", corpus != NULL ? corpus : "tests/fuzz/corpus", name);
    DIR *entries = opendir(folder);
    if (entries == NULL) fail_msg("%s cannot be opened", folder);
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        size_t length;
        if (entry->d_name[0] == '.') continue;
        snprintf(input_path, sizeof input_path, "%s/%s", folder, entry->d_name);
        char *bytes = test_read_file(input_path, &length);
        uint8_t *input = malloc(length + (length == 0)); /* of the exact size, for the sanitizers */
        assert_non_null(input);
        memcpy(input, bytes, length);
        assert_int_equal(target(input, length), 0);
        free(input);
        free(bytes);
        count++;
    }
    closedir(entries);
    *input_path = '\0';
    assert_true(count > 0);
    print_message("%zu inputs\n", count);
}

/* Reports the input after a crash, which cmocka has caught. */
static int tell_input(void **state)
{
    (void)state;
    if (*input_path != '\0') print_message("the input is %s\n", input_path);
    *input_path = '\0';
    return 0;
}

#define X(name)                                                                                  \
    static void test_##name(void **state)                                                        \
    {                                                                                            \
        (void)state;                                                                             \
        replay(#name, fuzz_##name);                                                              \
    }
FUZZ_TARGETS
#undef X

int main(void)
{
#define X(name) cmocka_unit_test_teardown(test_##name, tell_input),
    const struct CMUnitTest tests[] = {FUZZ_TARGETS};
#undef X
    return cmocka_run_group_tests(tests, NULL, NULL);
}
