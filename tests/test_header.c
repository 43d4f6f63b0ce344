/* test_header.c - compiles embed.h alone with strict compilers for C and C++ */
#include "run_command.h"

#include <ctype.h>

#define WARNINGS "-Wall -Wextra -pedantic -Werror"

/* Writes a program that includes embed.h first, twice, and uses each EMBED_..._INIT. */
static void write_program(const char *path)
{
    size_t length, count = 0;
    char *header = read_file("include/embed.h", &length);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs("#include <embed.h>\n#include <embed.h>\n\nint main(void)\n{\n    size_t sum = 0;\n",
          out);
    for (char *at = header; (at = strstr(at, "\n#define EMBED_")) != NULL;) {
        char *name = at + strlen("\n#define ");
        size_t n = strcspn(name, " \n(");
        at = name + n;
        if (n < 6 || memcmp(name + n - 5, "_INIT", 5) != 0) continue;
        fputs("    { ", out);
        for (size_t i = 0; i < n - 5; i++) fputc(tolower((unsigned char)name[i]), out);
        fprintf(out, " all = %.*s; sum += all.size; }\n", (int)n, name);
        count++;
    }
    fputs("    embed_text texts[] = {EMBED_TEXT(\"one\"), EMBED_TEXT(\"\")};\n"
          "    embed_log_callback callback = NULL;\n"
          "    embed_log_set(callback, NULL, EMBED_LOG_ERROR);\n"
          "    return sum + texts[0].length > 1 ? 0 : 1;\n}\n",
          out);
    assert_int_equal(fclose(out), 0);
    assert_true(count >= 8);
    free(header);
}

static void test_compiles(void **state)
{
    (void)state;
    const char *c = compiler("CC", "cc"), *cxx = compiler("CXX", "c++");
    write_program(scratch("alone.c"));
    quietly("cp '%s' '%s'", scratch("alone.c"), scratch("alone.cc"));
    quietly("%s -std=c11 " WARNINGS " -Wstrict-prototypes -Iinclude -fsyntax-only '%s'", c,
            scratch("alone.c"));
    static const char *const standards[] = {"c++11", "c++14", "c++17", "c++20"};
    for (size_t i = 0; i < sizeof standards / sizeof *standards; i++)
        quietly("%s -std=%s " WARNINGS " -Iinclude -fsyntax-only '%s'", cxx, standards[i],
                scratch("alone.cc"));
}

/* Each struct that begins with its size has an EMBED_..._INIT that sets it. */
static void test_every_size_is_set(void **state)
{
    (void)state;
    static const char begin[] = "typedef struct ", size[] = " {\n    size_t size;";
    size_t length, count = 0;
    char *header = read_file("include/embed.h", &length);
    for (char *at = header; (at = strstr(at, begin)) != NULL;) {
        char wanted[128], *name = at + strlen(begin);
        int n = (int)strcspn(name, " ;");
        at = name + n;
        if (strncmp(at, size, strlen(size)) != 0) continue;
        snprintf(wanted, sizeof wanted, "#define %.*s_INIT ", n, name);
        for (char *c = wanted + strlen("#define "); *c != '\0'; c++)
            *c = (char)toupper((unsigned char)*c);
        if (strstr(header, wanted) == NULL) fail_msg("embed.h lacks: %s", wanted);
        count++;
    }
    assert_true(count >= 8);
    free(header);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compiles),
        cmocka_unit_test(test_every_size_is_set),
    };
    return cmocka_run_group_tests_name("embed.h", tests, make_scratch, remove_scratch);
}
