/* run_command.h - runs shell commands, for the tests of what is built, installed and documented */
#ifndef TESTS_RUN_COMMAND_H
#define TESTS_RUN_COMMAND_H

#include "run_program.h"

#define COMMAND_MAX 8192

/* Runs the command and returns its output, stderr included; sets *status to pclose's (0: exit
 * status 0). The caller frees the output. */
static inline char *run_command_list(int *status, const char *format, va_list values)
{
    static const char before[] = "exec 2>&1; ";
    char command[COMMAND_MAX];
    memcpy(command, before, sizeof before);
    size_t room = sizeof command - (sizeof before - 1);
    int length = vsnprintf(command + sizeof before - 1, room, format, values);
    assert_true(length > 0 && (size_t)length < room);
    fflush(NULL);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    char *out = NULL;
    size_t used = 0, n;
    do {
        out = realloc(out, used + 4097);
        assert_non_null(out);
        n = fread(out + used, 1, 4096, pipe);
        used += n;
    } while (n > 0);
    out[used] = '\0';
    *status = pclose(pipe);
    return out;
}

/* Runs a command that must exit 0 and returns its output. The caller frees it. */
static inline char *output_of(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline char *output_of(const char *format, ...)
{
    int status;
    va_list values;
    va_start(values, format);
    char *out = run_command_list(&status, format, values);
    va_end(values);
    if (status != 0) fail_msg("%s: status %d: %s", format, status, out);
    return out;
}

/* Runs a command that must exit 0 and print nothing. */
static inline void quietly(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline void quietly(const char *format, ...)
{
    int status;
    va_list values;
    va_start(values, format);
    char *out = run_command_list(&status, format, values);
    va_end(values);
    if (status != 0 || out[0] != '\0') fail_msg("%s: status %d: %s", format, status, out);
    free(out);
}

static inline int remove_scratch(void **state)
{
    (void)state;
    quietly("rm -rf '%s'", scratch_folder);
    return 0;
}

/* Returns the compiler for C (CC) or C++ (CXX). */
static inline const char *compiler(const char *variable, const char *otherwise)
{
    const char *name = getenv(variable);
    return name != NULL && *name != '\0' ? name : otherwise;
}

#endif
