/* test_memory_curve.c - the resident memory of `embed encode` over a long run
 *
 * Lines go through a pipe, and the program's VmRSS is read after each tenth of them. 100,000 lines,
 * or EMBED_MEMORY_LINES; tests/memory_curve prints the curve for 1,000,000.
 */
#include "run_program.h"

#include <stdbool.h>

#define SAMPLES          10
#define GROWTH_LIMIT_KIB 2048 /* from half of the lines to the end */

static char *lines[4096];
static size_t line_count;

static void take_lines(char *text)
{
    for (char *next; (next = strchr(text, '\n')) != NULL && line_count < 4096; text = next) {
        *next++ = '\0';
        lines[line_count++] = text;
    }
}

static long resident_kib(pid_t child)
{
    char path[64], line[256];
    long kib = -1;
    snprintf(path, sizeof path, "/proc/%ld/status", (long)child);
    FILE *file = fopen(path, "r");
    if (file == NULL) return -1;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "VmRSS:", 6) == 0) kib = strtol(line + 6, NULL, 10);
    fclose(file);
    return kib;
}

static void test_memory_stays(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skipped: a sanitizer's memory is not the program's\n");
    skip();
#endif
    const char *wish = getenv("EMBED_MEMORY_LINES");
    unsigned long total = wish != NULL ? strtoul(wish, NULL, 10) : 100000;
    size_t length;
    char *text = read_file("tests/vectors/lines.txt", &length);
    take_lines(text);
    assert_true(line_count > 100 && total >= SAMPLES);

    int in[2], null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    pid_t child = start_program(WORDS("embed", "encode", "-m", TINY_BERT, "--threads", "2"), in[0],
                                null, 2, 0);
    close(in[0]);
    close(null);
    FILE *to = fdopen(in[1], "w");
    assert_non_null(to);
    setvbuf(to, NULL, _IOFBF, 4096);

    long kib[SAMPLES + 1] = {0};
    unsigned long sample = 1;
    for (unsigned long i = 1; i <= total; i++) {
        fputs(lines[i % line_count], to);
        fputc('\n', to);
        /* About 1,000 lines in the pipe have not been read yet. */
        if (i == total / SAMPLES * sample && sample <= SAMPLES) {
            fflush(to);
            kib[sample] = resident_kib(child);
            print_message("%lu lines: %ld KiB\n", i, kib[sample]);
            sample++;
        }
    }
    assert_int_equal(fclose(to), 0);
    long peak;
    assert_int_equal(wait_program(child, &peak), 0);
    print_message("peak: %ld KiB\n", peak);
    free(text);
    /* Blocks grow until one takes half a second, which happens later on a busy machine. */
    assert_true(kib[5] > 0);
    for (int i = 6; i <= SAMPLES; i++)
        if (kib[i] - kib[5] >= GROWTH_LIMIT_KIB)
            fail_msg("%d %% of the lines: %ld KiB more than after 50 %%", 10 * i, kib[i] - kib[5]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
