/* test_cli_output.c - where embed encode writes: nothing incomplete ever looks complete */
#include "run_program.h"
#include "test_folder.h"

#include <dirent.h>
#include <stdbool.h>
#include <time.h>

#define ENCODE    "embed", "encode", "-m", TINY_BERT
#define SUMMARIZE "embed", "summarize", "-m", "tests/vectors/tiny-bart"

static const char text[] = "the cat\nthe dog\n";
#define TEXT text, sizeof text - 1

static int remove_scratch(void **state)
{
    (void)state;
    return rmdir(scratch_folder); /* fails if a test or the program left a file */
}

static void write_file(const char *path, const char *content)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(content, file);
    assert_int_equal(fclose(file), 0);
}

static void check_content(const char *path, const char *content, size_t length)
{
    size_t n;
    char *bytes = read_file(path, &n);
    assert_int_equal(n, length);
    assert_memory_equal(bytes, content, length);
    free(bytes);
}

/* Counts the files in the scratch folder whose names contain `part`. */
static size_t count_files(const char *part)
{
    DIR *folder = opendir(scratch_folder);
    assert_non_null(folder);
    size_t n = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        n += entry->d_name[0] != '.' && strstr(entry->d_name, part) != NULL;
    closedir(folder);
    return n;
}

static void test_replaces_a_file(void **state)
{
    (void)state;
    const char *path = scratch("rows"), *link = scratch("link");
    program_result rows = run_well(WORDS(ENCODE), TEXT);
    write_file(path, "old and longer than nothing");
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(symlink("rows", link), 0);

    program_result r = run_well(WORDS(ENCODE, "-o", link), TEXT);
    assert_int_equal(r.out_length, 0);
    check_content(path, rows.out, rows.out_length);
    struct stat facts;
    assert_int_equal(stat(path, &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0640);
    assert_int_equal(lstat(link, &facts), 0);
    assert_true(S_ISLNK(facts.st_mode));
    assert_int_equal(count_files(""), 2);
    free_result(&r);

    /* A link to a file that does not exist yet, through another link. */
    const char *first = scratch("first");
    assert_int_equal(symlink("./link", first), 0);
    unlink(path);
    r = run_well(WORDS(ENCODE, "-o", first), TEXT);
    check_content(path, rows.out, rows.out_length);
    assert_int_equal(count_files(""), 3);
    free_result(&r);
    unlink(path);
    unlink(first);
    unlink(link);
    free_result(&rows);
}

/* One file under different names: links of both kinds, and a file that does not exist yet. */
static void test_one_file_for_two(void **state)
{
    (void)state;
    char input[600], same[600], there[600], around[600];
    snprintf(input, sizeof input, "%s", scratch("lines"));
    snprintf(same, sizeof same, "%s", scratch("same"));
    snprintf(there, sizeof there, "%s", scratch("new"));
    snprintf(around, sizeof around, "%s/./new", scratch_folder);
    write_file(input, text);
    for (int hard = 0; hard < 2; hard++) {
        assert_int_equal(hard ? link(input, same) : symlink("lines", same), 0);
        check_failure(WORDS(ENCODE, "-o", same, input), "lines: is the input");
        check_failure(WORDS(ENCODE, "-o", input, same), "same: is the input");
        check_failure(WORDS(ENCODE, "--metadata", same, input), "lines: is the input");
        check_failure(WORDS(ENCODE, "-o", there, "--metadata", input, same), "same: is the input");
        check_failure(WORDS(ENCODE, "--resume", "-o", same, input), "lines: is the input");
        check_failure(WORDS(SUMMARIZE, "-o", same, input), "lines: is the input");
        unlink(same);
    }
    check_failure(WORDS(ENCODE, "-o", there, "--metadata", there, input), "new: is the output");
    check_failure(WORDS(ENCODE, "-o", around, "--metadata", there, input), "new: is the output");
    /* A link to a file that does not exist yet. */
    assert_int_equal(symlink("new", same), 0);
    check_failure(WORDS(ENCODE, "-o", there, "--metadata", same, input), "same: is the output");
    check_failure(WORDS(ENCODE, "-o", same, "--metadata", there, input), "new: is the output");
    unlink(same);
    static const char *const beside[] = {"new.partial", "new.journal"};
    for (size_t i = 0; i < 2; i++)
        check_failure(
            WORDS(ENCODE, "--resume", "-o", there, "--metadata", scratch(beside[i]), input),
            "is the output");
    check_content(input, TEXT);
    assert_int_equal(count_files(""), 1);

    /* Rows appended to the input would be read as lines, without end. */
    program_result r = run_streams(WORDS(ENCODE), NULL, 0,
                                   (program_streams){.in = input, .out = input});
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(r.err, "standard input: is the input and cannot also be the output"));
    check_content(input, TEXT);
    free_result(&r);
    unlink(input);

    /* A file that is not regular may be used several times. */
    r = run_well(WORDS(ENCODE, "-o", "/dev/null", "--metadata", "/dev/null", "/dev/null"), NULL, 0);
    free_result(&r);
}

static void test_failure_leaves_the_old_file(void **state)
{
    (void)state;
    const char *path = scratch("rows.npy");
    write_file(path, "old");
    program_result r = run(WORDS(ENCODE, "-o", path, "--jsonl", "text"), TEXT);
    assert_int_equal(r.status, 1);
    free_result(&r);
    r = run(WORDS("embed", "encode", "-m", "/no/such/folder", "-o", path), TEXT);
    assert_int_equal(r.status, 1);
    free_result(&r);
    check_content(path, "old", 3);
    assert_int_equal(count_files(""), 1);
    unlink(path);
}

/* If the name suggests another format than is written, a warning is printed and the rows are
 * written anyway. */
static void test_names_of_formats(void **state)
{
    (void)state;
    static const struct {
        const char *name, *format;
        const char *written; /* NULL: what the name suggests */
    } cases[] = {{"rows.npy", "npy", NULL},    {"rows.npy", "f32", "f32"},
                 {"rows.jsonl", "jsonl", NULL}, {"rows.jsonl", "npy", "npy"},
                 {"rows.jsonl", NULL, "text"},  {"rows.f16", "f32", "f32"},
                 {"rows.txt", "jsonl", NULL},   {"npy", "text", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = scratch(cases[i].name), *format = cases[i].format;
        program_result r = run(format != NULL ? WORDS(ENCODE, "-o", path, "--format", format)
                                              : WORDS(ENCODE, "-o", path),
                               TEXT);
        char warning[1024] = "";
        if (cases[i].written != NULL)
            snprintf(warning, sizeof warning,
                     "embed: warning: %s: rows are written as %s despite ", path, cases[i].written);
        assert_int_equal(r.status, 0);
        assert_int_equal(count_lines(r.err), cases[i].written != NULL);
        assert_memory_equal(r.err, warning, strlen(warning));
        free_result(&r);
        assert_int_equal(unlink(path), 0);
    }
}

/* Devices and pipes are written in place. */
static void test_no_regular_file(void **state)
{
    (void)state;
    program_result rows = run_well(WORDS(ENCODE), TEXT);
    program_result r = run_well(WORDS(ENCODE, "-o", "/dev/null"), TEXT);
    free_result(&r);
    r = run_well(WORDS(ENCODE, "-o", "/dev/null", "--format", "npy"), TEXT);
    free_result(&r);
    struct stat facts;
    assert_int_equal(stat("/dev/null", &facts), 0);
    assert_true(S_ISCHR(facts.st_mode));

    r = run_well(WORDS(ENCODE, "-o", "/dev/stdout"), TEXT);
    assert_string_equal(r.out, rows.out);
    free_result(&r);
    r = run_well(WORDS(ENCODE, "-o", "-"), TEXT);
    assert_string_equal(r.out, rows.out);
    free_result(&r);

    /* As with ">>": existing content stays. */
    const char *path = scratch("log");
    write_file(path, "before\n");
    r = run_streams(WORDS(ENCODE, "-o", "/dev/stdout"), TEXT, (program_streams){.out = path});
    assert_int_equal(r.status, 0);
    assert_memory_equal(r.out, "before\n", 7);
    assert_string_equal(r.out + 7, rows.out);
    free_result(&r);
    r = run_streams(WORDS(ENCODE, "--format", "npy"), TEXT, (program_streams){.out = path});
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(r.err, "embed: standard output: npy "));
    free_result(&r);
    unlink(path);
    free_result(&rows);
}

static void test_npy_needs_a_file(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    program_result r = run_streams(WORDS(ENCODE, "--format", "npy"), TEXT,
                                   (program_streams){.out_fd = ends[1]});
    assert_int_equal(r.status, 1);
    assert_int_equal(count_lines(r.err), 1);
    assert_non_null(strstr(r.err, "embed: standard output: npy "));
    free_result(&r);
    close(ends[0]);
    close(ends[1]);
}

static void test_full_disk(void **state)
{
    (void)state;
    static const char *const formats[] = {"npy", "text", "jsonl", "f32", "f16"};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        program_result r = run(WORDS(ENCODE, "-o", "/dev/full", "--format", formats[i]), TEXT);
        assert_int_equal(r.status, 1);
        assert_string_equal(r.err, "embed: /dev/full: No space left on device\n");
        free_result(&r);
    }
}

/* With a model in which one token, "the", is NaN: its lines are reported, and all rows are
 * written. */
static void test_not_finite(void **state)
{
    (void)state;
    enum { THE = 422, WORD_EMBEDDINGS = 17408, WIDTH = 64 }; /* in the file's data */
    const char *folder = test_copy_folder(TINY_BERT), *path = scratch("rows");
    char weights[1024];
    snprintf(weights, sizeof weights, "%s/model.safetensors", folder);
    FILE *file = fopen(weights, "r+");
    assert_non_null(file);
    uint64_t header;
    uint32_t nan = 0x7FC00000;
    assert_int_equal(fread(&header, sizeof header, 1, file), 1);
    fseek(file, (long)(8 + header + WORD_EMBEDDINGS + THE * WIDTH * sizeof(float)), SEEK_SET);
    assert_int_equal(fwrite(&nan, sizeof nan, 1, file), 1);
    assert_int_equal(fclose(file), 0);

    static const char lines[] = "a\nthe\na\nthe end\n";
    program_result r =
        run(WORDS("embed", "encode", "-m", folder, "--dtype", "f32", "-o", path), lines,
            sizeof lines - 1);
    assert_int_equal(r.status, 1);
    assert_string_equal(r.err,
                        "embed: warning: standard input: line 2: the embedding is not finite\n"
                        "embed: warning: standard input: line 4: the embedding is not finite\n"
                        "embed: standard input: 2 of 4 embeddings are not finite\n");
    size_t length;
    char *rows = read_file(path, &length);
    assert_int_equal(count_lines(rows), 4);
    free(rows);
    free_result(&r);
    unlink(path);

    /* In BF16 the rows are recomputed in FP32, which the log reports. */
    r = run(WORDS("embed", "encode", "-m", folder, "--format", "jsonl"), lines,
            sizeof lines - 1);
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(r.err, "embed: standard input: 2 of 4 embeddings are not finite\n"));
    assert_non_null(strstr(r.out, "\n{\"index\":1,\"embedding\":null,\"tokens\":3,"));
    assert_non_null(strstr(r.out, "\n{\"index\":2,\"embedding\":["));
    free_result(&r);
    test_remove_folder(folder);
}

/* If the reader has gone, nothing is printed about it. */
static void test_broken_pipe(void **state)
{
    (void)state;
    for (int ignored = 0; ignored < 2; ignored++) {
        int ends[2];
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        close(ends[0]);
        program_result r = run_streams(
            WORDS(ENCODE), TEXT, (program_streams){.out_fd = ends[1], .ignore_pipe = ignored});
        assert_int_equal(r.status, ignored ? 1 : 128 + SIGPIPE);
        assert_string_equal(r.err, "");
        free_result(&r);
        r = run_streams(WORDS("embed", "help"), NULL, 0,
                        (program_streams){.out_fd = ends[1], .ignore_pipe = ignored});
        assert_int_equal(r.status, ignored ? 1 : 128 + SIGPIPE);
        assert_string_equal(r.err, "");
        free_result(&r);
        close(ends[1]);
    }
}

/* If the output goes away while the program waits for input, it stops waiting. */
static void test_broken_pipe_while_reading(void **state)
{
    (void)state;
    for (int ignored = 0; ignored < 2; ignored++) {
        int in[2], out[2], null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        assert_int_equal(pipe2(in, O_CLOEXEC), 0);
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        close(out[0]);
        pid_t child = start_program(WORDS(ENCODE), in[0], out[1], null, ignored);
        close(in[0]);
        close(null);
        assert_int_equal(write(in[1], "the cat\n", 8), 8);
        alarm(60); /* a program that waits for more input would hang the test */
        assert_int_equal(wait_program(child, NULL), ignored ? 1 : 128 + SIGPIPE);
        alarm(0);
        close(in[1]);
        close(out[1]);
    }
}

/* A line is answered before the next one is complete. */
static void test_beginning_of_a_line(void **state)
{
    (void)state;
    program_result rows = run_well(WORDS(ENCODE), TEXT);
    int in[2], out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid_t child = start_program(WORDS(ENCODE), in[0], out[1], 2, 0);
    close(in[0]);
    close(out[1]);
    FILE *from = fdopen(out[0], "r");
    char *line = NULL, *expected = rows.out;
    size_t capacity = 0;
    static const char *const pieces[] = {"the cat\nthe", " dog\nthe "};
    alarm(60);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(write(in[1], pieces[i], strlen(pieces[i])), strlen(pieces[i]));
        ssize_t n = getline(&line, &capacity, from);
        assert_true(n > 0);
        assert_memory_equal(line, expected, n);
        expected += n;
    }
    close(in[1]);
    assert_true(getline(&line, &capacity, from) > 0); /* "the " */
    assert_int_equal(getline(&line, &capacity, from), -1);
    alarm(0);
    assert_int_equal(wait_program(child, NULL), 0);
    fclose(from);
    free(line);
    free_result(&rows);
}

/* An error late in the input is reported after the rows before it are written. */
static void test_rows_before_an_error(void **state)
{
    (void)state;
    enum { LINES = 5000 };
    char *input = malloc(LINES * 32), *p = input;
    assert_non_null(input);
    for (int i = 0; i < LINES; i++) p += sprintf(p, "{\"text\": \"the cat %d\"}\n", i);
    p[-3] = 'x';
    program_result r = run(WORDS(ENCODE, "--jsonl", "text"), input, (size_t)(p - input));
    assert_int_equal(r.status, 1);
    assert_int_equal(count_lines(r.err), 1);
    assert_non_null(strstr(r.err, "embed: standard input: line 5000: not JSON: "));
    assert_true(count_lines(r.out) >= LINES - 4096);
    free_result(&r);
    /* Lines 65 to 128 are wrong, which is known by the time that rows 1 to 64 cannot be written.
     * The failed write is what is reported, as in a program of one thread. */
    memset(strchr(input + 2000, '\n') - 5, 'x', 4);
    r = run_streams(WORDS(ENCODE, "--jsonl", "text"), input, (size_t)(p - input),
                    (program_streams){.out = "/dev/full"});
    assert_int_equal(r.status, 1);
    assert_string_equal(r.err, "embed: standard output: No space left on device\n");
    free_result(&r);
    free(input);
}

/* The signal ends the program; the folder has no new file and the old file is unchanged. */
static void check_signal(int signal_number)
{
    const char *path = scratch("rows.npy");
    write_file(path, "old");
    int in[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    pid_t child = start_program(WORDS(ENCODE, "-o", path), in[0], null, 2, 0);
    close(in[0]);
    close(null);
    assert_int_equal(write(in[1], "the cat\nthe", 11), 11);
    struct timespec pause = {.tv_nsec = 10000000};
    for (int i = 0; count_files(".partial") == 0 && i < 6000; i++) nanosleep(&pause, NULL);
    assert_int_equal(count_files(".partial"), 1);
    assert_int_equal(kill(child, signal_number), 0);
    assert_int_equal(wait_program(child, NULL), 128 + signal_number);
    close(in[1]);
    check_content(path, "old", 3);
    assert_int_equal(count_files(""), 1);
    unlink(path);
}

static void test_signals(void **state)
{
    (void)state;
    check_signal(SIGINT);
    check_signal(SIGTERM);
    check_signal(SIGHUP);
}

/* A file left by SIGKILL has another name, is not an npy file, and is not in the way. */
static void test_kill(void **state)
{
    (void)state;
    const char *path = scratch("rows.npy");
    int in[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    pid_t child = start_program(WORDS(ENCODE, "-o", path), in[0], 2, 2, 0);
    close(in[0]);
    struct timespec pause = {.tv_nsec = 10000000};
    for (int i = 0; count_files(".partial") == 0 && i < 6000; i++) nanosleep(&pause, NULL);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(wait_program(child, NULL), 128 + SIGKILL);
    close(in[1]);
    assert_int_equal(access(path, F_OK), -1);

    char partial[1024];
    snprintf(partial, sizeof partial, "%s.partial-%ld.0", path, (long)child);
    program_result r = run_well(WORDS(ENCODE, "-o", path), TEXT);
    assert_int_equal(access(path, F_OK), 0);
    free_result(&r);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(partial), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replaces_a_file),
        cmocka_unit_test(test_one_file_for_two),
        cmocka_unit_test(test_failure_leaves_the_old_file),
        cmocka_unit_test(test_names_of_formats),
        cmocka_unit_test(test_no_regular_file),
        cmocka_unit_test(test_npy_needs_a_file),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_broken_pipe),
        cmocka_unit_test(test_broken_pipe_while_reading),
        cmocka_unit_test(test_beginning_of_a_line),
        cmocka_unit_test(test_rows_before_an_error),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_kill),
    };
    return cmocka_run_group_tests_name("output of embed encode", tests, make_scratch,
                                       remove_scratch);
}
