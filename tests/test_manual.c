/* test_manual.c - the manual pages agree with the program and the header */
#include "run_command.h"

#include <ctype.h>
#include <stdbool.h>

static char *page(const char *path)
{
    size_t length;
    return read_file(path, &length);
}

static size_t count_text(const char *text, const char *part)
{
    size_t n = 0;
    for (; (text = strstr(text, part)) != NULL; text++) n++;
    return n;
}

static void test_lint(void **state)
{
    (void)state;
    quietly("mandoc -T lint -W warning man/embed.1 man/embed.3");
}

/* ---- embed(1) ------------------------------------------------------------------------------
 */

/* Returns the line of embed.1 that explains an option such as "-m" or "--format", or NULL. */
static const char *find_option(const char *manual, const char *name, size_t length)
{
    char item[96];
    snprintf(item, sizeof item, "\n.It Fl %.*s", (int)length - 1, name + 1);
    for (const char *at = manual; (at = strstr(at, item)) != NULL; at++) {
        const char *end = at + strlen(item);
        if (*end == ' ' || *end == '\n') return at + 1;
    }
    return NULL;
}

/* Like strstr, for a whole word before the end of the line. */
static bool line_has_word(const char *line, const char *word, size_t length)
{
    const char *end = strchr(line, '\n');
    for (; line + length <= end; line++) {
        if (memcmp(line, word, length) == 0 && line[-1] == ' ' &&
            !isalnum((unsigned char)line[length]))
            return true;
    }
    return false;
}

/* Checks the option and its words in a line of help, such as
 * "  --format npy|text|jsonl|f32|f16       how they are written". */
static void check_option(const char *manual, const char *command, const char *line)
{
    const char *name = line + 2, *value = name + strcspn(name, " ");
    const char *item = find_option(manual, name, (size_t)(value - name));
    if (item == NULL) fail_msg("embed.1 lacks %.*s of %s", (int)(value - name), name, command);
    while (*value == ' ') value++;
    size_t length = strcspn(value, " \n");
    if (memchr(value, '|', length) == NULL) return;
    for (const char *word = value; word < value + length;) {
        size_t n = strcspn(word, "|[ \n");
        if (!line_has_word(item, word, n))
            fail_msg("embed.1 lacks %.*s of %.*s", (int)n, word, (int)(value - name), name);
        word += strcspn(word, "| \n") + 1;
    }
}

/* Checks the options in one command's help, and appends it to *all. */
static void check_command(const char *manual, const char *command, char **all)
{
    char item[96];
    snprintf(item, sizeof item, "\n.It Cm %s\n", command);
    if (strstr(manual, item) == NULL) fail_msg("embed.1 lacks the command %s", command);
    program_result help = run_well(WORDS("embed", "help", command), NULL, 0);
    for (const char *line = help.out; (line = strstr(line, "\n  -")) != NULL; line++)
        check_option(manual, command, line + 1);
    *all = realloc(*all, strlen(*all) + help.out_length + 1);
    assert_non_null(*all);
    strcat(*all, help.out);
    free_result(&help);
}

/* Every option that the manual explains belongs to some command. */
static void check_no_others(const char *manual, const char *help)
{
    static const char item[] = "\n.It Fl ";
    for (const char *at = manual; (at = strstr(at, item)) != NULL; at++) {
        char line[96];
        const char *name = at + strlen(item);
        snprintf(line, sizeof line, "\n  -%.*s ", (int)strcspn(name, " \n"), name);
        if (strstr(help, line) == NULL) fail_msg("embed.1 has%s, no command does", line);
    }
}

static void test_options(void **state)
{
    (void)state;
    char *manual = page("man/embed.1");
    program_result help = run_well(WORDS("embed", "help"), NULL, 0);
    char *all = strdup(help.out);
    assert_non_null(all);
    size_t commands = 0;
    for (const char *line = help.out; (line = strstr(line, "\n  ")) != NULL; line++) {
        char command[32];
        if (sscanf(line, "%31s", command) != 1 || command[0] == '-' ||
            strcmp(command, "help") == 0)
            continue;
        check_command(manual, command, &all);
        commands++;
    }
    assert_true(commands >= 5);
    check_no_others(manual, all);
    free(all);
    free_result(&help);
    free(manual);
}

/* Every exit status of the program is explained: 0, 1, and those in tools/embed_tool.h. */
static void test_exit_statuses(void **state)
{
    (void)state;
    static const char section[] = "\n.Sh EXIT STATUS\n", define[] = "\n#define EXIT_";
    char *manual = page("man/embed.1"), *header = page("tools/embed_tool.h");
    char *statuses = strstr(manual, section);
    assert_non_null(statuses);
    char *end = strstr(statuses + 1, "\n.Sh ");
    assert_non_null(end);
    *end = '\0';
    size_t count = 2; /* from stdlib.h: EXIT_SUCCESS, EXIT_FAILURE */
    for (const char *at = header; (at = strstr(at, define)) != NULL; at++, count++) {
        int value;
        char item[32];
        assert_int_equal(sscanf(at + strlen(define), "%*s %d", &value), 1);
        snprintf(item, sizeof item, "\n.It %d\n", value);
        if (strstr(statuses, item) == NULL) fail_msg("embed.1 lacks exit status %d", value);
    }
    assert_true(count > 2);
    assert_int_equal(count_text(statuses, "\n.It "), count);
    free(header);
    free(manual);
}

/* ---- embed(3) ------------------------------------------------------------------------------
 */

/* Writes "const char *f(int a, int b)" as mdoc's ".Ft const char *\n.Fn f "int a" "int b"\n". */
static void put_synopsis(char *out, size_t capacity, const char *declaration)
{
    const char *open = strchr(declaration, '('), *name = open;
    while (isalnum((unsigned char)name[-1]) || name[-1] == '_') name--;
    int type = (int)(name - declaration);
    while (type > 0 && declaration[type - 1] == ' ') type--;
    int used = snprintf(out, capacity, ".Ft %.*s\n.Fn %.*s", type, declaration,
                        (int)(open - name), name);
    const char *argument = open + 1, *end = strrchr(declaration, ')');
    while (argument < end) {
        const char *comma = strstr(argument, ", ");
        if (comma == NULL) comma = end;
        int length = (int)(comma - argument);
        const char *quote = memchr(argument, ' ', (size_t)length) != NULL ? "\"" : "";
        used += snprintf(out + used, capacity - (size_t)used, " %s%.*s%s", quote, length,
                         argument, quote);
        argument = comma == end ? end : comma + 2;
    }
    snprintf(out + used, capacity - (size_t)used, "\n");
}

/* Copies the declaration at `from`, up to its semicolon, each run of white space as one space. */
static void put_declaration(char *out, size_t capacity, const char *from)
{
    size_t n = 0;
    for (; *from != ';' && *from != '\0' && n + 1 < capacity; from++) {
        char c = isspace((unsigned char)*from) ? ' ' : *from;
        if (c != ' ' || n == 0 || out[n - 1] != ' ') out[n++] = c;
    }
    out[n] = '\0';
}

/* The synopsis has exactly the header's functions, as declared there. */
static void test_functions(void **state)
{
    (void)state;
    static const char begin[] = "\nEMBED_API ";
    char *manual = page("man/embed.3"), *header = page("include/embed.h");
    size_t count = 0;
    for (const char *at = header; (at = strstr(at, begin)) != NULL; at++, count++) {
        char declaration[1024], synopsis[1024];
        put_declaration(declaration, sizeof declaration, at + strlen(begin));
        put_synopsis(synopsis, sizeof synopsis, declaration);
        if (strstr(manual, synopsis) == NULL) fail_msg("embed.3 lacks this:\n%s", synopsis);
    }
    assert_true(count > 10);
    assert_int_equal(count_text(manual, "\n.Ft "), count);
    free(header);
    free(manual);
}

/* Every status except EMBED_OK is explained. */
static void test_statuses(void **state)
{
    (void)state;
    char *manual = page("man/embed.3"), *header = page("include/embed.h");
    const char *line = strstr(header, "typedef enum embed_status {\n");
    assert_non_null(line);
    size_t count = 0;
    for (line = strchr(line, '\n') + 1; *line != '}'; line = strchr(line, '\n') + 1) {
        char name[64], item[96];
        if (sscanf(line, " %63[A-Z0-9_]", name) != 1 || strcmp(name, "EMBED_OK") == 0) continue;
        snprintf(item, sizeof item, "\n.It Dv %s\n", name);
        if (strstr(manual, item) == NULL) fail_msg("embed.3 lacks %s", name);
        count++;
    }
    assert_true(count >= 8);
    free(header);
    free(manual);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lint),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_exit_statuses),
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_statuses),
    };
    return cmocka_run_group_tests_name("the manual pages", tests, NULL, NULL);
}
