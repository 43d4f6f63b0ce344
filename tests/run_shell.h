/* run_shell.h - runs shell scripts in a folder made for the test: $D; $R is the root of the tree */
#ifndef TESTS_RUN_SHELL_H
#define TESTS_RUN_SHELL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/embed-test-XXXXXX";
static char output[65536]; /* of the last shell(), as far as the script redirects it */

/* Runs `script`, with $D the folder and $R the root of the tree. Returns its exit status. */
static inline int shell(const char *script)
{
    FILE *from = popen(script, "r");
    assert_non_null(from);
    size_t length = fread(output, 1, sizeof output - 1, from);
    output[length] = '\0';
    int status = pclose(from);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline void check(const char *script, int expected)
{
    int status = shell(script);
    if (status != expected)
        fail_msg("status %d, not %d, of: %s\n%s", status, expected, script, output);
}

static inline void check_says(const char *text)
{
    if (strstr(output, text) == NULL) fail_msg("does not say \"%s\", but: %s", text, output);
}

static inline int make_folder(void **state)
{
    char root[512];
    (void)state;
    memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);
    return mkdtemp(folder) != NULL && getcwd(root, sizeof root) != NULL &&
                   setenv("D", folder, 1) == 0 && setenv("R", root, 1) == 0
               ? 0
               : -1;
}

static inline int remove_folder(void **state)
{
    (void)state;
    return shell("rm -rf \"$D\"");
}

#endif
