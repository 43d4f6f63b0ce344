/* test_cli_hostile.c - embed under conditions that the system or the user should not create
 *
 * In any case, a failure means exit status 1 and one line without control characters on stderr; no
 * half-written file has the output's name; nothing hangs.
 */
#include "run_program.h"
#include "test_folder.h"

#include <stdbool.h>
#include <sys/prctl.h>
#include <time.h>

#define ENCODE    "embed", "encode", "--threads", "2", "-m"
#define SUMMARIZE "embed", "summarize", "--threads", "2", "-m", "tests/vectors/tiny-bart"

static const char text[] = "the cat\nthe dog\n\nthe last line\n";
#define TEXT text, sizeof text - 1
#define ROWS ((size_t)4)

/* ---- a child that a function prepares ------------------------------------------------------ */

typedef void preparation(void);

static preparation *prepare;

static pid_t start_prepared(const char *const *words, int in, int out, int err)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGPIPE, SIG_DFL);
        alarm(60); /* ends a hang */
        if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(127);
        if (prepare != NULL) prepare();
        become_program(words);
    }
    return child;
}

static program_result run_prepared(const char *const *words, preparation *how)
{
    program_result r = {0};
    FILE *in = tmpfile(), *out = tmpfile(), *err = tmpfile();
    assert_true(in != NULL && out != NULL && err != NULL);
    assert_int_equal(fwrite(text, 1, sizeof text - 1, in), sizeof text - 1);
    rewind(in);
    prepare = how;
    pid_t child = start_prepared(words, fileno(in), fileno(out), fileno(err));
    prepare = NULL;
    r.status = wait_program(child, &r.peak_kib);
    r.out = read_back(out, &r.out_length);
    r.err = read_back(err, &r.err_length);
    fclose(in);
    fclose(out);
    fclose(err);
    return r;
}

static void check_one_line(const program_result *r, const char *what)
{
    bool clean = r->err_length > 0 && r->err[r->err_length - 1] == '\n';
    for (size_t i = 0; i + 1 < r->err_length; i++)
        clean = clean && (unsigned char)r->err[i] >= 0x20 && r->err[i] != 0x7F;
    if (!clean || strncmp(r->err, "embed: ", 7) != 0)
        fail_msg("not one line: \"%s\" (%s)", r->err, what);
    if (strstr(r->err, what) == NULL) fail_msg("\"%s\" does not say %s", r->err, what);
}

static void fails_prepared(const char *const *words, preparation *how, const char *what)
{
    program_result r = run_prepared(words, how);
    if (r.status != 1) fail_msg("status %d, not 1: %s (%s)", r.status, r.err, what);
    check_one_line(&r, what);
    free_result(&r);
}

static void fails(const char *const *words, const char *what)
{
    fails_prepared(words, NULL, what);
}

static void write_text(const char *path, const char *content)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(content, file);
    assert_int_equal(fclose(file), 0);
}

/* Checks that the file holds exactly the rows of `text`. */
static void check_rows(const char *path)
{
    program_result rows = run_well(WORDS(ENCODE, TINY_BERT), TEXT);
    size_t length;
    char *found = read_file(path, &length);
    assert_int_equal(length, rows.out_length);
    assert_memory_equal(found, rows.out, length);
    free(found);
    free_result(&rows);
    unlink(path);
}

/* ---- users and permissions ----------------------------------------------------------------- */

/* Root may ignore file permissions through two capabilities, CAP_DAC_OVERRIDE and
 * CAP_DAC_READ_SEARCH (linux/capability.h). Removes them from the bounding set, so that execve does
 * not grant them. */
static void obey_permissions(void)
{
    if (geteuid() != 0) return;
    if (prctl(PR_CAPBSET_DROP, 1, 0, 0, 0) != 0 || prctl(PR_CAPBSET_DROP, 2, 0, 0, 0) != 0)
        _exit(126);
}

static bool permissions_count(void)
{
    program_result r = run_prepared(WORDS(ENCODE, TINY_BERT), obey_permissions);
    bool can = r.status == 0;
    free_result(&r);
    if (!can) print_message("skipped: root cannot give up its capabilities here\n");
    return can;
}

static void test_no_permission(void **state)
{
    (void)state;
    if (!permissions_count()) skip();
    const char *folder = test_copy_folder(TINY_BERT), *denied = "Permission denied";
    char path[700];

    /* The folder of the output. */
    assert_int_equal(chmod(folder, 0555), 0);
    snprintf(path, sizeof path, "%s/rows", folder);
    fails_prepared(WORDS(ENCODE, folder, "-o", path), obey_permissions, denied);
    /* A required file of the model, and an optional one. */
    static const char *const names[] = {"config.json", "model.safetensors", "modules.json",
                                        "config_sentence_transformers.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (access(path, F_OK) != 0) continue;
        assert_int_equal(chmod(path, 0), 0);
        fails_prepared(WORDS(ENCODE, folder), obey_permissions, names[i]);
        assert_int_equal(chmod(path, 0644), 0);
    }
    /* The input. */
    snprintf(path, sizeof path, "%s/vocab.txt", folder);
    assert_int_equal(chmod(path, 0), 0);
    fails_prepared(WORDS(ENCODE, TINY_BERT, path), obey_permissions, denied);
    /* The folder of the model. */
    assert_int_equal(chmod(folder, 0), 0);
    fails_prepared(WORDS(ENCODE, folder), obey_permissions, denied);
    assert_int_equal(chmod(folder, 0700), 0);
    test_remove_folder(folder);
}

/* ---- names --------------------------------------------------------------------------------- */

static void test_output_names(void **state)
{
    (void)state;
    const char *file = scratch("file");
    char below[700];
    write_text(file, "old");
    snprintf(below, sizeof below, "%s/rows", file);
    fails(WORDS(ENCODE, TINY_BERT, "-o", below), "Not a directory");
    fails(WORDS(ENCODE, TINY_BERT, "-o", scratch_folder), "Is a directory");
    fails(WORDS(ENCODE, TINY_BERT, "-o", "/dev/full"), "No space left on device");
    fails(WORDS(ENCODE, TINY_BERT, "-o", scratch("no/such/folder")), "No such file");
    fails(WORDS(ENCODE, TINY_BERT, scratch_folder), "Is a directory");
    fails(WORDS(ENCODE, TINY_BERT, below), "Not a directory");
    fails(WORDS(ENCODE, file), "Not a directory");
    fails(WORDS(SUMMARIZE, "-o", below), "Not a directory");
    fails(WORDS(SUMMARIZE, "-o", "/dev/full"), "No space left on device");
    fails(WORDS(SUMMARIZE, "--document", scratch_folder), "Is a directory");
    unlink(file);
}

static void test_link_loops(void **state)
{
    (void)state;
    const char *loop = scratch("loop"), *loops = "Too many levels of symbolic links";
    struct stat facts;
    assert_int_equal(symlink("loop", loop), 0);
    fails(WORDS(ENCODE, loop), loops);
    fails(WORDS(ENCODE, TINY_BERT, loop), loops);
    fails(WORDS(ENCODE, TINY_BERT, "-o", loop), loops);
    assert_int_equal(lstat(loop, &facts), 0);
    assert_true(S_ISLNK(facts.st_mode));
    unlink(loop);

    /* In a model's folder: a damaged copy is not taken for a folder without the file. */
    const char *folder = test_copy_folder(TINY_BERT);
    static const char *const names[] = {"modules.json", "tokenizer.json"};
    for (size_t i = 0; i < 2; i++) {
        char path[700];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
        assert_int_equal(symlink(names[i], path), 0);
        fails(WORDS(ENCODE, folder), loops);
        unlink(path);
        assert_int_equal(symlink("../gone", path), 0);
        fails(WORDS(ENCODE, folder), names[i]);
        test_remove_folder(folder);
        folder = test_copy_folder(TINY_BERT);
    }
    test_remove_folder(folder);
}

/* Names and texts of prompts are printed too. */
static void test_control_characters_of_a_folder(void **state)
{
    (void)state;
    const char *folder = test_copy_folder("tests/vectors/tiny-bert-cls");
    test_edit_file(folder, "config_sentence_transformers.json", "\"title\": \"title | \"",
                   "\"a\\u001b[2J\\n_\\u009b1m\": \"b\\u007f\\u0080\"");
    program_result r = run_well(WORDS("embed", "info", "-m", folder), NULL, 0);
    assert_non_null(strstr(r.out, "\n  prompt a?[2J?_??1m      \"b???\" (config_sentence"));
    free_result(&r);
    test_remove_folder(folder);
}

static void test_control_characters(void **state)
{
    (void)state;
    static const char wild[] = "a\nb\r\x1b[2J\x07\t\x7f\xc2\x9b";
    fails(WORDS(ENCODE, wild), "a?b??[2J?????");
    fails(WORDS(ENCODE, TINY_BERT, wild), "a?b??[2J?????");
    char path[700];
    snprintf(path, sizeof path, "%s/%s/rows", scratch_folder, wild);
    fails(WORDS(ENCODE, TINY_BERT, "-o", path), "a?b??[2J?????");
    fails(WORDS(ENCODE, TINY_BERT, "--prompt", wild), "a?b??[2J?????");
    fails(WORDS(ENCODE, TINY_BERT, "--jsonl", wild), "line 1");

    /* Wrong calls print the message and the usage line. */
    program_result r = run(WORDS("embed", wild), NULL, 0);
    assert_int_equal(r.status, 2);
    assert_int_equal(count_lines(r.err), 2);
    assert_null(strchr(r.err, '\x1b'));
    free_result(&r);
    r = run(WORDS(ENCODE, TINY_BERT, "--format", wild), NULL, 0);
    assert_int_equal(r.status, 2);
    assert_int_equal(count_lines(r.err), 2);
    assert_null(strchr(r.err, '\x1b'));
    free_result(&r);

    /* Such a name works like any other. */
    snprintf(path, sizeof path, "%s/%s", scratch_folder, wild);
    r = run_well(WORDS(ENCODE, TINY_BERT, "-o", path), TEXT);
    free_result(&r);
    check_rows(path);
}

static void test_long_names(void **state)
{
    (void)state;
    char *name = malloc(9001);
    assert_non_null(name);
    memset(name, 'n', 9000);
    name[9000] = '\0';
    fails(WORDS(ENCODE, name), "nnnn");
    fails(WORDS(ENCODE, TINY_BERT, name), "nnnn");
    fails(WORDS(ENCODE, TINY_BERT, "-o", name), "nnnn");
    fails(WORDS(ENCODE, TINY_BERT, "--prompt", name), "nnnn");
    for (size_t i = 5; i < 9000; i += 6) name[i] = '/';
    fails(WORDS(ENCODE, name), "nnnn");
    fails(WORDS(ENCODE, TINY_BERT, "-o", name), "nnnn");
    free(name);
}

/* ---- streams ------------------------------------------------------------------------------- */

static void close_in(void)
{
    close(0);
}

static void close_out(void)
{
    close(1);
}

static void close_err(void)
{
    close(2);
}

static void close_all(void)
{
    close(0);
    close(1);
    close(2);
}

static void test_closed_streams(void **state)
{
    (void)state;
    const char *input = scratch("input"), *rows = scratch("rows");
    write_text(input, text);
    fails_prepared(WORDS(ENCODE, TINY_BERT), close_in, "standard input: Bad file descriptor");
    fails_prepared(WORDS(ENCODE, TINY_BERT), close_out, "standard output: Bad file descriptor");
    fails_prepared(WORDS("embed", "tokenize", "-m", TINY_BERT), close_out, "standard output");
    fails_prepared(WORDS(SUMMARIZE), close_in, "standard input: Bad file descriptor");
    fails_prepared(WORDS(SUMMARIZE, "--document"), close_in, "standard input: Bad file");
    fails_prepared(WORDS(SUMMARIZE), close_out, "standard output: Bad file descriptor");
    fails_prepared(WORDS("embed", "help"), close_out, "standard output: Bad file descriptor");
    fails_prepared(WORDS("embed", "info", "-m", TINY_BERT), close_out, "standard output");

    /* Opened files never get the closed standard descriptors: no message or progress bar ends up in
     * the rows. */
    static preparation *const closings[] = {close_in, close_out, close_err, close_all};
    for (size_t i = 0; i < 4; i++) {
        program_result r = run_prepared(WORDS(ENCODE, TINY_BERT, "--progress", "always",
                                              "--log-level", "debug", "-o", rows, input),
                                        closings[i]);
        assert_int_equal(r.status, 0);
        free_result(&r);
        check_rows(rows);
    }
    program_result r = run_prepared(WORDS(ENCODE, "no-such-folder"), close_all);
    assert_int_equal(r.status, 1);
    free_result(&r);
    unlink(input);
}

/* Writes the child's input in two parts and calls `between` in between. */
static program_result run_in_two_parts(void (*between)(pid_t child))
{
    program_result r = {0};
    int in[2];
    FILE *out = tmpfile(), *err = tmpfile();
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    pid_t child = start_prepared(WORDS(ENCODE, TINY_BERT), in[0], fileno(out), fileno(err));
    close(in[0]);
    assert_int_equal(write(in[1], text, 11), 11);
    between(child);
    assert_int_equal(write(in[1], text + 11, sizeof text - 12), sizeof text - 12);
    close(in[1]);
    r.status = wait_program(child, NULL);
    r.out = read_back(out, &r.out_length);
    r.err = read_back(err, &r.err_length);
    fclose(out);
    fclose(err);
    return r;
}

static void wait_briefly(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
}

static void stop_and_continue(pid_t child)
{
    for (int i = 0; i < 5; i++) {
        wait_briefly();
        assert_int_equal(kill(child, SIGSTOP), 0);
        wait_briefly();
        assert_int_equal(kill(child, SIGCONT), 0);
    }
}

static void test_stop_and_continue(void **state)
{
    (void)state;
    program_result rows = run_well(WORDS(ENCODE, TINY_BERT), TEXT);
    program_result r = run_in_two_parts(stop_and_continue);
    assert_int_equal(r.status, 0);
    assert_string_equal(r.err, "");
    assert_string_equal(r.out, rows.out);
    free_result(&r);
    free_result(&rows);
}

/* Like `embed encode | head -c 10`. */
static void test_reader_goes_away(void **state)
{
    (void)state;
    int out[2];
    char first[10];
    FILE *err = tmpfile(), *in = tmpfile();
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    for (int i = 0; i < 20000; i++) fputs("many lines\n", in);
    rewind(in);
    pid_t child = start_prepared(WORDS(ENCODE, TINY_BERT), fileno(in), out[1], fileno(err));
    close(out[1]);
    assert_int_equal(read(out[0], first, sizeof first), sizeof first);
    close(out[0]);
    assert_int_equal(wait_program(child, NULL), 128 + SIGPIPE);
    size_t length;
    char *said = read_back(err, &length);
    assert_string_equal(said, "");
    free(said);
    fclose(err);
    fclose(in);
}

/* Lines that are added while the file is read may or may not become rows; there is never half a
 * row. */
static void test_input_grows(void **state)
{
    (void)state;
    enum { BEFORE = 3000, WIDTH = 64 };
    static const char line[] = "one more line\n";
    const char *input = scratch("input"), *rows = scratch("rows");
    FILE *file = fopen(input, "w");
    assert_non_null(file);
    for (int i = 0; i < BEFORE; i++) fputs(line, file);
    assert_int_equal(fclose(file), 0);

    int fd = open(input, O_WRONLY | O_APPEND | O_CLOEXEC), null = open("/dev/null", O_RDONLY);
    pid_t child =
        start_prepared(WORDS(ENCODE, TINY_BERT, "--format", "f32", "-o", rows, input), null, 2, 2);
    close(null);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(write(fd, line, sizeof line - 1), sizeof line - 1);
    close(fd);
    assert_int_equal(wait_program(child, NULL), 0);
    struct stat facts;
    assert_int_equal(stat(rows, &facts), 0);
    assert_int_equal(facts.st_size % (WIDTH * sizeof(float)), 0);
    assert_in_range(facts.st_size / (WIDTH * sizeof(float)), BEFORE, BEFORE + 3000);
    unlink(input);
    unlink(rows);
}

static void test_fifos(void **state)
{
    (void)state;
    const char *fifo = scratch("fifo"), *rows = scratch("rows");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    int null = open("/dev/null", O_RDONLY);

    /* A FIFO as the input. */
    pid_t child = start_prepared(WORDS(ENCODE, TINY_BERT, "-o", rows, fifo), null, 2, 2);
    int fd = open(fifo, O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(fd, TEXT), sizeof text - 1);
    close(fd);
    assert_int_equal(wait_program(child, NULL), 0);
    check_rows(rows);

    /* A FIFO as the output; it stays a FIFO. */
    const char *input = scratch("input");
    write_text(input, text);
    child = start_prepared(WORDS(ENCODE, TINY_BERT, "--format", "f32", "-o", fifo, input), null, 2,
                           2);
    char bytes[2048];
    size_t length = 0;
    ssize_t n;
    fd = open(fifo, O_RDONLY | O_CLOEXEC);
    while ((n = read(fd, bytes, sizeof bytes)) > 0) length += (size_t)n;
    close(fd);
    assert_int_equal(wait_program(child, NULL), 0);
    assert_int_equal(length, ROWS * 64 * sizeof(float));
    struct stat facts;
    assert_int_equal(stat(fifo, &facts), 0);
    assert_true(S_ISFIFO(facts.st_mode));
    unlink(fifo);
    unlink(input);
    close(null);

    /* A FIFO as a file of the model: the program does not wait for a writer. */
    const char *folder = test_copy_folder(TINY_BERT);
    char path[700];
    snprintf(path, sizeof path, "%s/modules.json", folder);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    fails(WORDS(ENCODE, folder), "modules.json: not a regular file");
    test_remove_folder(folder);
}

/* ---- limits -------------------------------------------------------------------------------- */

static void choose_nonsense(void)
{
    setenv("EMBED_CPU_ISA", "nonsense\n", 1);
}

static void small_files(void)
{
    struct rlimit small = {100, 100};
    if (setrlimit(RLIMIT_FSIZE, &small) != 0) _exit(127);
}

static void few_files(void)
{
    struct rlimit few = {4, 4};
    closefrom(3); /* the test's own files */
    if (setrlimit(RLIMIT_NOFILE, &few) != 0) _exit(127);
}

static void test_threads_and_environment(void **state)
{
    (void)state;
    fails_prepared(WORDS(ENCODE, TINY_BERT), choose_nonsense, "EMBED_CPU_ISA=nonsense?");
    fails(WORDS("embed", "encode", "-m", TINY_BERT, "--threads", "1025"), "1024");
    program_result r = run(WORDS("embed", "encode", "-m", TINY_BERT, "--threads",
                                 "99999999999999999999"),
                           NULL, 0);
    assert_int_equal(r.status, 2);
    free_result(&r);
    r = run_well(WORDS("embed", "encode", "-m", TINY_BERT, "--threads", "256"), TEXT);
    program_result rows = run_well(WORDS(ENCODE, TINY_BERT), TEXT);
    assert_string_equal(r.out, rows.out);
    free_result(&r);
    free_result(&rows);
}

static void test_file_limits(void **state)
{
    (void)state;
    const char *rows = scratch("rows");
    fails_prepared(WORDS(ENCODE, TINY_BERT, "-o", rows), small_files, "File too large");
    assert_int_equal(access(rows, F_OK), -1);
#if !defined(__SANITIZE_ADDRESS__)
    fails_prepared(WORDS(ENCODE, TINY_BERT, "-o", rows), few_files, "Too many open files");
#else
    (void)few_files; /* its symbolizer needs more */
#endif
}

static size_t address_space;

static void small_memory(void)
{
    struct rlimit small = {address_space, address_space};
    if (setrlimit(RLIMIT_AS, &small) != 0) _exit(127);
}

/* Tries limits from one in which the loader cannot start up to one that suffices for the command,
 * which writes to `path`. */
static void check_memory_limits(const char *const *words, const char *path)
{
    unsigned told = 0, done = 0;
    size_t length;
    program_result well = run_prepared(words, NULL);
    assert_int_equal(well.status, 0);
    free_result(&well);
    char *whole = read_file(path, &length);
    unlink(path);
    for (address_space = (size_t)2 << 20; done < 3 && address_space < (size_t)1 << 30;
         address_space += (size_t)1 << 20) {
        program_result r = run_prepared(words, small_memory);
        if (r.status == 1) {
            check_one_line(&r, "embed: ");
            assert_int_equal(access(path, F_OK), -1);
            told++;
        } else if (r.status == 0) {
            assert_string_equal(r.err, "");
            char *written = read_file(path, &length);
            assert_string_equal(written, whole);
            free(written);
            unlink(path);
            done++;
        } else if (r.status != 127 && r.status != 128 + SIGKILL && r.status != 128 + SIGSEGV) {
            fail_msg("%zu bytes: status %d, %s", address_space, r.status, r.err);
        } else if (r.status == 128 + SIGSEGV && told > 0) {
            fail_msg("%zu bytes: killed by SIGSEGV", address_space);
        }
        free_result(&r);
    }
    free(whole);
    assert_true(done == 3 && told > 0);
}

static void test_memory_limits(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skipped: sanitizers need terabytes of address space\n");
    skip();
#endif
    const char *path = scratch("out");
    check_memory_limits(WORDS(ENCODE, TINY_BERT, "-o", path), path);
    check_memory_limits(WORDS(SUMMARIZE, "--documents", "2", "--max-length", "20", "-o", path),
                        path);
}

static void test_deep_json(void **state)
{
    (void)state;
    enum { DEPTH = 1000000 };
    char *deep = malloc(DEPTH);
    assert_non_null(deep);
    memset(deep, '[', DEPTH);
    program_result r = run(WORDS(ENCODE, TINY_BERT, "--jsonl", "text"), deep, DEPTH);
    assert_int_equal(r.status, 1);
    check_one_line(&r, "line 1: not JSON");
    free_result(&r);
    free(deep);
}

static int remove_scratch(void **state)
{
    (void)state;
    return rmdir(scratch_folder); /* fails if a test or the program left a file */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_permission),
        cmocka_unit_test(test_output_names),
        cmocka_unit_test(test_link_loops),
        cmocka_unit_test(test_control_characters),
        cmocka_unit_test(test_control_characters_of_a_folder),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_closed_streams),
        cmocka_unit_test(test_stop_and_continue),
        cmocka_unit_test(test_reader_goes_away),
        cmocka_unit_test(test_input_grows),
        cmocka_unit_test(test_fifos),
        cmocka_unit_test(test_threads_and_environment),
        cmocka_unit_test(test_file_limits),
        cmocka_unit_test(test_memory_limits),
        cmocka_unit_test(test_deep_json),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
