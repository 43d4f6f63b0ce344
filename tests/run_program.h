/* run_program.h - runs the built programs as children, for the tests of the command line
 *
 * Input and output go through files, not pipes, so that neither side can block the other.
 */
#ifndef TESTS_RUN_PROGRAM_H
#define TESTS_RUN_PROGRAM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TINY_BERT "tests/vectors/tiny-bert"

#define ARGUMENTS_MAX 24

typedef struct program_result {
    int status; /* exit status, or 128 + signal */
    char *out;  /* its stdout, NUL-terminated */
    size_t out_length;
    char *err;
    size_t err_length;
    long peak_kib; /* peak resident memory */
} program_result;

/* Where the child's streams lead; NULL: to files that are read into program_result. */
typedef struct program_streams {
    const char *in;  /* a file to read */
    const char *out; /* a file to append to */
    int out_fd;      /* if not 0, the descriptor for stdout */
    int ignore_pipe; /* start with SIGPIPE ignored, as some parents do */
} program_streams;

static inline const char *build_folder(void)
{
    const char *folder = getenv("BUILD");
    return folder != NULL && *folder != '\0' ? folder : "build";
}

static inline char *read_back(FILE *file, size_t *length)
{
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    assert_true(size >= 0);
    rewind(file);
    char *bytes = malloc((size_t)size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)size, file), size);
    bytes[size] = '\0';
    *length = (size_t)size;
    return bytes;
}

static inline char *read_file(const char *path, size_t *length)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) fail_msg("%s is missing (the tests run in the repository's root)", path);
    char *bytes = read_back(file, length);
    fclose(file);
    return bytes;
}

/* In the child: runs the program and never returns. arguments[0] is its name in the build
 * folder. */
static inline void become_program(const char *const *arguments)
{
    char path[512];
    char *argv[ARGUMENTS_MAX + 1];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/%s", build_folder(), arguments[0]);
    for (; arguments[n] != NULL && n < ARGUMENTS_MAX; n++) argv[n] = (char *)arguments[n];
    argv[0] = path;
    argv[n] = NULL;
    /* Freed memory that AddressSanitizer keeps for its reports would count as the program's. */
    setenv("ASAN_OPTIONS", "quarantine_size_mb=1", 0);
    execv(path, argv);
    _exit(127);
}

static inline pid_t start_program(const char *const *arguments, int in, int out, int err,
                                  int ignore_pipe)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGPIPE, ignore_pipe ? SIG_IGN : SIG_DFL);
        if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(127);
        become_program(arguments);
    }
    return child;
}

static inline int wait_program(pid_t child, long *peak_kib)
{
    int status;
    struct rusage usage;
    assert_int_equal(wait4(child, &status, 0, &usage), child);
    if (peak_kib != NULL) *peak_kib = usage.ru_maxrss;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Runs a program with input[0..length) as its standard input. Release the result with
 * free_result. */
static inline program_result run_streams(const char *const *arguments, const void *input,
                                         size_t length, program_streams streams)
{
    program_result result = {0};
    FILE *in = streams.in != NULL ? fopen(streams.in, "r") : tmpfile();
    FILE *out = streams.out != NULL ? fopen(streams.out, "a+") : tmpfile();
    FILE *err = tmpfile();
    assert_true(in != NULL && out != NULL && err != NULL);
    if (length > 0) assert_int_equal(fwrite(input, 1, length, in), length);
    fflush(in);
    rewind(in);
    lseek(fileno(in), 0, SEEK_SET);

    int out_fd = streams.out_fd != 0 ? streams.out_fd : fileno(out);
    pid_t child =
        start_program(arguments, fileno(in), out_fd, fileno(err), streams.ignore_pipe);
    result.status = wait_program(child, &result.peak_kib);
    if (result.status == 127) fail_msg("%s/%s cannot be run", build_folder(), arguments[0]);
    struct stat facts;
    if (fstat(fileno(out), &facts) == 0 && S_ISREG(facts.st_mode))
        result.out = read_back(out, &result.out_length);
    result.err = read_back(err, &result.err_length);
    fclose(in);
    fclose(out);
    fclose(err);
    return result;
}

static inline program_result run(const char *const *arguments, const void *input, size_t length)
{
    return run_streams(arguments, input, length, (program_streams){0});
}

static inline void free_result(program_result *result)
{
    free(result->out);
    free(result->err);
}

/* A command line as run() takes it. */
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* As run, for a program that must succeed and print nothing on stderr. */
static inline program_result run_well(const char *const *arguments, const void *input,
                                      size_t length)
{
    program_result result = run(arguments, input, length);
    if (result.status != 0 || result.err_length != 0)
        fail_msg("%s %s: status %d: %s", arguments[0], arguments[1], result.status, result.err);
    return result;
}

static inline size_t count_lines(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++) n += *text == '\n';
    return n;
}

/* The program must exit 1 and print nothing on stdout and one line on stderr, which contains
 * `what`. */
static inline void check_failure(const char *const *words, const char *what)
{
    program_result r = run(words, "x\n", 2);
    if (r.status != 1 || r.out_length != 0 || memcmp(r.err, "embed: ", 7) != 0 ||
        count_lines(r.err) != 1 || strstr(r.err, what) == NULL)
        fail_msg("%s: status %d: %s", what, r.status, r.err);
    free_result(&r);
}

/* Each call must exit 2 and print one line that says what is wrong, then the usage line. */
static inline void check_wrong_calls(const char *const *const *calls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        program_result r = run(calls[i], "x\n", 2);
        const char *usage = strstr(r.err, "\nusage: embed ");
        if (r.status != 2 || r.out_length != 0 || memcmp(r.err, "embed: ", 7) != 0 ||
            usage == NULL || count_lines(r.err) != 2 || strchr(r.err, '\033') != NULL)
            fail_msg("call %zu: status %d: %s", i, r.status, r.err);
        free_result(&r);
    }
}

/* Types this line three times and expects an answer to each before typing the next: `expected`, or
 * any answer if it is NULL. */
static inline void check_answers(const char *const *words, const char *line, const char *expected)
{
    int in[2], out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid_t child = start_program(words, in[0], out[1], 2, 0);
    close(in[0]);
    close(out[1]);
    FILE *answers = fdopen(out[0], "r");
    char *answer = NULL;
    size_t capacity = 0;
    alarm(60); /* a program that waits for more input would hang the test */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(write(in[1], line, strlen(line)), strlen(line));
        assert_true(getline(&answer, &capacity, answers) > 0);
        if (expected != NULL) assert_string_equal(answer, expected);
    }
    alarm(0);
    close(in[1]);
    assert_int_equal(getline(&answer, &capacity, answers), -1);
    assert_int_equal(wait_program(child, NULL), 0);
    fclose(answers);
    free(answer);
}

/* This test's own folder, in the build folder. */
static char scratch_folder[512];

static inline int make_scratch(void **state)
{
    (void)state;
    snprintf(scratch_folder, sizeof scratch_folder, "%s/scratch.XXXXXX", build_folder());
    return mkdtemp(scratch_folder) != NULL ? 0 : -1;
}

/* Returns scratch_folder/name; valid until the fourth call after this. */
static inline const char *scratch(const char *name)
{
    static char paths[4][768];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", scratch_folder, name);
    return path;
}

#endif
