/* test_cli_faults.c - makes each system call and each allocation of `embed` fail in turn
 *
 * Like test_faults.c, but for the whole program with everything that it links: build/embed runs
 * with tests/fault_preload.c loaded before the C library, and its n-th call fails, n = 1, 2, ....
 * Each time it must either exit with 1 and one line on stderr that begins with "embed: ", leaving
 * the output file as it was before; or exit with 0 and no message, with output that is right to the
 * last byte. Nothing else may be left in the folder.
 *
 * If a run makes many calls, only some of them fail: the last ones, which write the output, and a
 * sample of the others. With EMBED_FAULTS=all each one fails.
 */
#include "fault_run.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>

#define FILES                                                                                    \
    (FAULT_OPEN | FAULT_CREATE | FAULT_CLOSE | FAULT_READ | FAULT_WRITE | FAULT_STAT |           \
     FAULT_SEEK | FAULT_SYNC | FAULT_RENAME | FAULT_TRUNCATE | FAULT_PIPE)
#define ALWAYS 0xFFFFFFFFu
#define LAST   25 /* the last calls, which all fail */
#define SAMPLE 20 /* at least this many of the others */

static const struct fault {
    const char *name;
    int error;
    unsigned calls, times;
    bool retried; /* the program must succeed */
} faults[] = {
    {"EIO once", EIO, FILES, 1, false},
    {"EIO from then on", EIO, FILES, ALWAYS, false},
    {"ENOSPC once", ENOSPC, FAULT_CREATE | FAULT_WRITE | FAULT_SYNC | FAULT_RENAME, 1, false},
    {"ENOSPC from then on", ENOSPC, FAULT_CREATE | FAULT_WRITE | FAULT_SYNC | FAULT_RENAME,
     ALWAYS, false},
    {"ENOMEM once", ENOMEM, FAULT_OPEN | FAULT_STAT, 1, false},
    {"EINTR once", EINTR, FAULT_READ | FAULT_WRITE | FAULT_SYNC | FAULT_POLL, 1, true},
    {"EINTR three times", EINTR, FAULT_READ | FAULT_WRITE | FAULT_SYNC | FAULT_POLL, 3, true},
    {"EAGAIN three times", EAGAIN, FAULT_WRITE, 3, true},
    {"a short count once", FAULT_SHORT, FAULT_READ | FAULT_WRITE, 1, true},
    {"short counts from then on", FAULT_SHORT, FAULT_READ | FAULT_WRITE, ALWAYS, true},
    {"no thread, once", EAGAIN, FAULT_THREAD, 1, false},
    {"no thread from then on", EAGAIN, FAULT_THREAD, ALWAYS, false},
    {"no memory, once", ENOMEM, FAULT_MEMORY, 1, false},
    {"no memory from then on", ENOMEM, FAULT_MEMORY, ALWAYS, false},
};
#define COUNT (sizeof faults / sizeof *faults)

static size_t files_in_scratch(void)
{
    DIR *folder = opendir(scratch_folder);
    assert_non_null(folder);
    size_t n = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) n += entry->d_name[0] != '.';
    closedir(folder);
    return n;
}

static program_result run_with_plan(const char *const *words, const char *text)
{
    start_faults();
    program_result r = run(words, text, strlen(text));
    end_faults();
    return r;
}

/* What a run must leave. */
struct expectation {
    const char *const *words;
    const char *text;
    const char *path; /* NULL: standard output */
    char *rows;
    size_t length;
};

static void check(const struct expectation *e, const struct fault *fault, unsigned n,
                  const program_result *r)
{
    size_t length = r->out_length;
    char *rows = e->path != NULL ? read_file(e->path, &length) : r->out;
    bool whole = length == e->length && memcmp(rows, e->rows, length) == 0;
    bool old = e->path == NULL || (length == 3 && memcmp(rows, "old", 3) == 0);
    bool one_line = count_lines(r->err) == 1 && strncmp(r->err, "embed: ", 7) == 0 &&
                    r->err_length > 12;
    bool right = r->status == 0   ? whole && r->err_length == 0
                 : r->status == 1 ? !fault->retried && old && one_line
                                  : false;
    if (r->status == 0 && plan->failed > 0 && plan->call == FAULT_RENAME) right = false;
    if (!right || files_in_scratch() != (size_t)(e->path != NULL))
        fail_msg("%s, call %u (kind %u): status %d, %s%zu files, \"%s\"", fault->name, n,
                 plan->call, r->status, whole ? "output whole, " : old ? "output old, " : "",
                 files_in_scratch(), r->err);
    if (e->path != NULL) free(rows);
}

/* Runs once with the n-th call failing. Returns false if there were fewer calls. */
static bool one_point(const struct expectation *e, const struct fault *fault, unsigned n)
{
    if (e->path != NULL) {
        FILE *file = fopen(e->path, "w");
        assert_non_null(file);
        fputs("old", file);
        assert_int_equal(fclose(file), 0);
    }
    *plan = (struct fault_plan){
        .calls = fault->calls, .nth = n, .times = fault->times, .error = fault->error};
    program_result r = run_with_plan(e->words, e->text);
    bool failed = plan->failed > 0;
    check(e, fault, n, &r);
    free_result(&r);
    return failed;
}

static unsigned torture(const struct expectation *e, const struct fault *fault)
{
    const char *wish = getenv("EMBED_FAULTS");
    bool all = wish != NULL && strcmp(wish, "all") == 0;
    one_point(e, fault, ALWAYS); /* counts the calls; none fails */
    unsigned calls = plan->count, points = 0;
    unsigned last = calls > LAST ? calls - LAST : 0;
    unsigned step = all || last < SAMPLE ? 1 : last / SAMPLE;
    for (unsigned n = 1; n <= calls; n += n + step <= last || all ? step : 1) {
        /* Threads may make a few calls more or fewer. */
        if (!one_point(e, fault, n) && n + 8 < calls)
            fail_msg("%s: call %u of %u was not made", fault->name, n, calls);
        points++;
    }
    return points;
}

static void torture_command(const char *what, const char *const *words, const char *text,
                            const char *path)
{
    program_result r = run_well(words, text, strlen(text));
    struct expectation e = {words, text, path, r.out, r.out_length};
    if (path != NULL) e.rows = read_file(path, &e.length);
    unsigned points = 0, most = 0;
    for (size_t i = 0; i < COUNT; i++) {
        unsigned n = torture(&e, &faults[i]);
        points += n;
        if (plan->count > most) most = plan->count;
    }
    print_message("%s: %u injection points; up to %u calls a run\n", what, points, most);
    if (points < 100) fail_msg("only %u calls were seen", points);
    if (path != NULL) {
        unlink(path);
        free(e.rows);
    }
    free_result(&r);
}

static const char text[] = "the cat\n\nthe dog is a longer text than the others\n";

#define ENCODE "embed", "encode", "--threads", "3", "-m"

static void torture_encode(const char *format)
{
    const char *path = scratch("rows");
    torture_command(format,
                    WORDS(ENCODE, TINY_BERT, "--format", format, "-o", path), text, path);
}

static void test_encode_npy(void **state)
{
    (void)state;
    torture_encode("npy");
}

static void test_encode_text(void **state)
{
    (void)state;
    torture_encode("text");
}

static void test_encode_jsonl(void **state)
{
    (void)state;
    torture_encode("jsonl");
}

static void test_encode_f32(void **state)
{
    (void)state;
    torture_encode("f32");
}

static void test_encode_f16(void **state)
{
    (void)state;
    torture_encode("f16");
}

static void test_encode_json_lines(void **state)
{
    (void)state;
    torture_command("encode --jsonl",
                    WORDS(ENCODE, "tests/vectors/tiny-bert-cls", "--jsonl", "text"),
                    "{\"text\": \"the cat\"}\n{\"n\": 1, \"text\": \"the dog\"}\n", NULL);
}

#define SUMMARIZE "embed", "summarize", "--threads", "1", "-m", "tests/vectors/tiny-bart"

static void test_summarize(void **state)
{
    (void)state;
    const char *path = scratch("summaries");
    torture_command("summarize",
                    WORDS(SUMMARIZE, "--documents", "2", "--max-length", "20", "-o", path),
                    "Storm\n\nMayor Harris said the work would cost 50.1 million\n", path);
}

static void test_summarize_json_lines(void **state)
{
    (void)state;
    torture_command("summarize --jsonl",
                    WORDS(SUMMARIZE, "--jsonl", "text", "--num-beams", "1", "--max-length", "20"),
                    "{\"text\": \"Storm\"}\n{\"text\": \"\"}\n", NULL);
}

static void test_summarize_document(void **state)
{
    (void)state;
    torture_command("summarize --document",
                    WORDS(SUMMARIZE, "--document", "--long", "split", "--max-tokens", "16",
                          "--max-length", "20"),
                    "Mayor Harris said\nthe work would cost 50.1 million\n", NULL);
}

static void test_tokenize(void **state)
{
    (void)state;
    torture_command("tokenize", WORDS("embed", "tokenize", "-m", TINY_BERT), text, NULL);
}

static void test_other_commands(void **state)
{
    (void)state;
    torture_command("similarity",
                    WORDS("embed", "similarity", "-m", TINY_BERT, "a cat", "a dog"), "", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode_npy),        cmocka_unit_test(test_encode_text),
        cmocka_unit_test(test_encode_jsonl),      cmocka_unit_test(test_encode_f32),
        cmocka_unit_test(test_encode_f16),        cmocka_unit_test(test_encode_json_lines),
        cmocka_unit_test(test_summarize),         cmocka_unit_test(test_summarize_json_lines),
        cmocka_unit_test(test_summarize_document), cmocka_unit_test(test_tokenize),
        cmocka_unit_test(test_other_commands),
    };
    return cmocka_run_group_tests(tests, make_plan, remove_plan);
}
