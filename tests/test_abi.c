/* test_abi.c - the symbols that libembed.so exports, and those it uses of the C library, by nm */
#include "embed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYMBOLS_MAX 4096

typedef struct symbol {
    char name[128];
    char version[32]; /* "EMBED_0", "GLIBC_2.2.5"; "": none */
    bool defined;
} symbol;

static symbol *symbols;
static size_t symbol_count;

static bool has_symbol(const char *name, bool defined)
{
    for (size_t i = 0; i < symbol_count; i++) {
        if (symbols[i].defined == defined && strcmp(symbols[i].name, name) == 0) return true;
    }
    return false;
}

/* Lines are like "0000000000001234 T name@@EMBED_0" and
 * "                 U name@GLIBC_2.2.5". */
static int read_symbols(void **state)
{
    (void)state;
    const char *build = getenv("BUILD");
    char command[512], line[512];
    snprintf(command, sizeof command, "nm -D '%s/libembed.so'",
             build != NULL ? build : "build");
    FILE *nm = popen(command, "r");
    symbols = calloc(SYMBOLS_MAX, sizeof *symbols);
    if (nm == NULL || symbols == NULL) return -1;
    while (symbol_count < SYMBOLS_MAX && fgets(line, sizeof line, nm) != NULL) {
        symbol *s = &symbols[symbol_count];
        char type;
        s->version[0] = '\0';
        if (sscanf(line, "%*[0-9a-f] %c %127[^@\n]%*[@]%31s", &type, s->name, s->version) < 2 &&
            sscanf(line, " %c %127[^@\n]%*[@]%31s", &type, s->name, s->version) < 2)
            continue;
        if (type == 'A') continue; /* a version's own name */
        s->defined = strchr("UwvW", type) == NULL;
        symbol_count++;
    }
    return pclose(nm) == 0 && symbol_count > 0 ? 0 : -1;
}

static int free_symbols(void **state)
{
    (void)state;
    free(symbols);
    return 0;
}

/* A sanitizer adds its own symbols and calls arbitrary functions. */
static void skip_if_sanitized(void)
{
    static const char *const signs[] = {"__asan_init", "__tsan_init",
                                        "__ubsan_handle_out_of_bounds",
                                        "__ubsan_handle_out_of_bounds_abort"};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        if (has_symbol(signs[i], false)) {
            print_message("skipped: libembed.so is built with a sanitizer\n");
            skip();
        }
    }
}

/* Calls visit(name) for each function that embed.h declares. */
static size_t each_declared(void (*visit)(const char *name))
{
    FILE *header = fopen("include/embed.h", "r");
    if (header == NULL) fail_msg("include/embed.h is missing (run in the repository's root)");
    char line[512];
    size_t n = 0;
    while (fgets(line, sizeof line, header) != NULL) {
        if (strncmp(line, "EMBED_API ", 10) != 0) continue;
        char *end = strchr(line, '('), *name = end;
        if (end == NULL) fail_msg("a declaration without '(' on its first line: %s", line);
        *end = '\0';
        while (isalnum((unsigned char)name[-1]) || name[-1] == '_') name--;
        visit(name);
        n++;
    }
    fclose(header);
    return n;
}

static void check_exported(const char *name)
{
    if (!has_symbol(name, true)) fail_msg("%s is declared in embed.h and not exported", name);
}

static const char *wanted;
static bool is_declared;

static void compare_with_wanted(const char *name)
{
    if (strcmp(name, wanted) == 0) is_declared = true;
}

static void check_declared(const symbol *s, const char *version)
{
    wanted = s->name;
    is_declared = false;
    each_declared(compare_with_wanted);
    if (!is_declared) fail_msg("%s is exported and not declared in embed.h", s->name);
    if (strcmp(s->version, version) != 0)
        fail_msg("%s has the version '%s', not %s", s->name, s->version, version);
}

/* Exactly the functions of embed.h are exported, with a version named like the soname. */
static void test_exports(void **state)
{
    (void)state;
    skip_if_sanitized();
    char version[32];
    snprintf(version, sizeof version, "EMBED_%d", EMBED_VERSION_MAJOR);
    size_t declared = each_declared(check_exported), exported = 0;
    for (size_t i = 0; i < symbol_count; i++) {
        if (!symbols[i].defined) continue;
        check_declared(&symbols[i], version);
        exported++;
    }
    assert_true(declared > 10);
    assert_int_equal(exported, declared);
}

/* The library never ends the program, prints, handles signals or changes the locale. */
static void test_forbidden(void **state)
{
    (void)state;
    skip_if_sanitized();
    static const char *const forbidden[] = {
        "exit",          "_exit",          "_Exit",         "quick_exit",   "abort",
        "__assert_fail", "stdout",         "stderr",        "stdin",        "printf",
        "vprintf",       "puts",           "putchar",       "fprintf",      "vfprintf",
        "fputs",         "fputc",          "putc",          "fwrite",       "dprintf",
        "vdprintf",      "perror",         "psignal",       "__printf_chk", "__fprintf_chk",
        "__vprintf_chk", "__vfprintf_chk", "__dprintf_chk", "err",          "errx",
        "warn",          "warnx",          "error",         "syslog",       "signal",
        "sigaction",     "sigprocmask",    "raise",         "kill",         "setlocale",
        "uselocale",     "setenv",         "putenv",        "unsetenv",     "system",
        "popen",         "fork",           "execve",        "longjmp",      "_longjmp",
        "siglongjmp",    "atexit",         "strtok",        "chdir",        "umask",
        "gets",          "sprintf",        "strcpy",        "strcat",       "atoi",
    };
    for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++) {
        if (has_symbol(forbidden[i], false)) fail_msg("uses %s", forbidden[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exports),
        cmocka_unit_test(test_forbidden),
    };
    return cmocka_run_group_tests_name("libembed.so's symbols", tests, read_symbols,
                                       free_symbols);
}
