/* test_install.c - make install and uninstall, and external programs that use the installation
 *
 * Installs twice: into a staging folder (DESTDIR) for /usr, as a packager does, and below its own
 * PREFIX, as a user without root does.
 */
#include "run_command.h"

#include "embed.h"

#include <limits.h>
#include <stdbool.h>

#define TEXT_NOW(x) #x
#define TEXT(x)     TEXT_NOW(x)
#define TINY_WIDTH  "64" /* floats in an embedding of TINY_BERT */
#define MAJOR       TEXT(EMBED_VERSION_MAJOR)
#define VERSION     MAJOR "." TEXT(EMBED_VERSION_MINOR) "." TEXT(EMBED_VERSION_PATCH)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SANITIZED false
#endif

/* Drops the flags of the make that runs this test, and variables that change where an installed
 * program looks. */
#define FRESH                                                                                  \
    "env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u DESTDIR -u LD_LIBRARY_PATH -u "                \
    "PKG_CONFIG_PATH "

static char stage[PATH_MAX + 8], prefix[PATH_MAX + 8];

static void skip_if_sanitized(void)
{
    if (!SANITIZED) return;
    print_message("skipped: a stranger's program is not linked with the sanitizer\n");
    skip();
}

static void make(const char *target, const char *variables)
{
    free(output_of(FRESH "make --no-print-directory BUILD='%s' %s %s", build_folder(),
                   variables, target));
}

static const char *stage_variables(void)
{
    static char variables[sizeof stage + 64];
    snprintf(variables, sizeof variables, "DESTDIR='%s' PREFIX=/usr LIBDIR=/usr/lib64", stage);
    return variables;
}

static const char *prefix_variables(void)
{
    static char variables[sizeof prefix + 64];
    snprintf(variables, sizeof variables, "PREFIX='%s'", prefix);
    return variables;
}

static int install_both(void **state)
{
    char whole[PATH_MAX];
    if (SANITIZED) return 0;
    if (make_scratch(state) != 0 || realpath(scratch_folder, whole) == NULL) return -1;
    snprintf(stage, sizeof stage, "%s/stage", whole);
    snprintf(prefix, sizeof prefix, "%s/prefix", whole);
    make("install", stage_variables());
    make("install", prefix_variables());
    return 0;
}

static int remove_both(void **state)
{
    return SANITIZED ? 0 : remove_scratch(state);
}

/* ---- installed files ----------------------------------------------------------------------- */

/* Exactly these files and links, with their permissions and targets. */
static void test_files(void **state)
{
    (void)state;
    skip_if_sanitized();
    char *found = output_of("cd '%s' && find . -type f -printf '%%p %%m\\n' -o -type l -printf "
                            "'%%p > %%l\\n' | LC_ALL=C sort",
                            stage);
    /* The plug-in, if it is built. */
    char *line = strstr(found, "./usr/lib64/libembed-cuda.so 755\n");
    quietly("test %s -e '%s/libembed-cuda.so'", line == NULL ? "!" : "", build_folder());
    if (line != NULL) {
        char *next = strchr(line, '\n') + 1;
        memmove(line, next, strlen(next) + 1);
    }
    assert_string_equal(found, "./usr/bin/embed 755\n"
                               "./usr/bin/embed-bench 755\n"
                               "./usr/include/embed.h 644\n"
                               "./usr/lib64/libembed.a 644\n"
                               "./usr/lib64/libembed.so > libembed.so." MAJOR "\n"
                               "./usr/lib64/libembed.so." MAJOR " > libembed.so." VERSION "\n"
                               "./usr/lib64/libembed.so." VERSION " 755\n"
                               "./usr/lib64/pkgconfig/embed.pc 644\n"
                               "./usr/share/man/man1/embed.1 644\n"
                               "./usr/share/man/man3/embed.3 644\n");
    free(found);
    quietly("cmp include/embed.h '%s/usr/include/embed.h'", stage);
}

/* Installed files contain no path of the build or the staging folder. */
static void test_no_trace_of_the_build(void **state)
{
    (void)state;
    skip_if_sanitized();
    static const char *const programs[] = {"embed", "embed-bench"};
    for (size_t i = 0; i < 2; i++) {
        char *dynamic = output_of("readelf -d '%s/usr/bin/%s'", stage, programs[i]);
        assert_null(strstr(dynamic, "RPATH"));
        assert_null(strstr(dynamic, "RUNPATH"));
        assert_non_null(strstr(dynamic, "[libembed.so." MAJOR "]"));
        free(dynamic);
    }
    char *dynamic = output_of("readelf -d '%s/usr/lib64/libembed.so'", stage);
    assert_null(strstr(dynamic, "RPATH"));
    assert_null(strstr(dynamic, "RUNPATH"));
    assert_non_null(strstr(dynamic, "soname: [libembed.so." MAJOR "]"));
    free(dynamic);
    quietly("! grep -n '%s' '%s/usr/lib64/pkgconfig/embed.pc'", scratch_folder, stage);
}

/* The names that an archive exports to the linker, sorted. */
#define GLOBAL_NAMES                                                                           \
    "nm --defined-only --extern-only --format=posix '%s/%s' | "                                \
    "sed -n 's/^\\([a-z][a-z_0-9]*\\) [A-Z] .*/\\1/p' | LC_ALL=C sort"

/* Only the API is global in the static library. */
static void test_static_library(void **state)
{
    (void)state;
    skip_if_sanitized();
    char *exported = output_of(GLOBAL_NAMES, stage, "usr/lib64/libembed.a");
    char *declared = output_of("sed -n 's/^EMBED_API .*[ *]\\(embed_[a-z_0-9]*\\)(.*/\\1/p' "
                               "include/embed.h | LC_ALL=C sort");
    assert_string_equal(exported, declared);
    free(declared);
    free(exported);
}

/* ---- external programs --------------------------------------------------------------------- */

typedef struct linkage {
    const char *name, *compiler_flags, *pkg_config_flags;
} linkage;

static const linkage linkages[] = {{"shared", "", ""}, {"static", "-static", "--static"}};

/* Builds `source` as README.md and embed(3) say, with the installation below `prefix`. */
static void build(const char *compiler_name, const char *standard, const char *source,
                  const char *program, const linkage *how)
{
    quietly(FRESH "PKG_CONFIG_PATH='%s/lib/pkgconfig' sh -c 'exec %s -std=%s -Wall -Wextra "
                  "-pedantic -Werror -o %s %s %s $(pkg-config %s --cflags --libs embed)'",
            prefix, compiler_name, standard, program, how->compiler_flags, source,
            how->pkg_config_flags);
}

/* Runs the program with the small model; it must print one number, a cosine. */
static void run_stranger(const char *program, const linkage *how)
{
    char *out = output_of(FRESH "LD_LIBRARY_PATH='%s/lib' '%s' " TINY_BERT, prefix, program);
    char *end;
    double cosine = strtod(out, &end);
    assert_true(end > out && strcmp(end, "\n") == 0);
    assert_true(cosine > -1.001 && cosine < 1.001);
    free(out);
    char *needed = output_of("readelf -d '%s'", program);
    bool is_shared = strstr(needed, "[libembed.so." MAJOR "]") != NULL;
    assert_int_equal(is_shared, how == &linkages[0]);
    assert_true(is_shared || strstr(needed, "NEEDED") == NULL);
    free(needed);
}

/* Returns tools/example.c, adapted to the width of the small model. */
static const char *example_source(void)
{
    quietly("sed 's/384/" TINY_WIDTH "/g' tools/example.c >'%s'", scratch("example.c"));
    return scratch("example.c");
}

static void write_source(const char *path, const char *const *parts)
{
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    for (; *parts != NULL; parts++) fputs(*parts, out);
    assert_int_equal(fclose(out), 0);
}

static void build_and_run(const char *name, const char *standard, const char *source)
{
    bool cxx = strncmp(standard, "c++", 3) == 0;
    for (size_t i = 0; i < sizeof linkages / sizeof *linkages; i++) {
        char program[128];
        snprintf(program, sizeof program, "%s-%s", name, linkages[i].name);
        build(cxx ? compiler("CXX", "c++") : compiler("CC", "cc"), standard, source,
              scratch(program), &linkages[i]);
        run_stranger(scratch(program), &linkages[i]);
    }
}

static void test_c(void **state)
{
    (void)state;
    skip_if_sanitized();
    build_and_run("example", "c11", example_source());
}

/* The program in embed(3), as printed. Its last line is indented like its first. */
static void test_manual(void **state)
{
    (void)state;
    skip_if_sanitized();
    quietly(
        "mandoc -T ascii -O width=120 '%s/share/man/man3/embed.3' | sed 's/.\b//g; "
        "s/384/" TINY_WIDTH "/g' | "
        "sed -n '/^EXAMPLES/,/^ERRORS/ { /^ *#include <embed.h>$/,/^ \\{11\\}}$/ p }' >'%s'",
        prefix, scratch("manual.c"));
    build_and_run("manual", "c11", scratch("manual.c"));
}

static const char cxx_source[] =
    "#include <embed.h>\n"
    "#include <cstdio>\n"
    "#include <string>\n"
    "#include <vector>\n"
    "\n"
    "int main(int, char **argv)\n"
    "{\n"
    "    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;\n"
    "    embed_model_info info = EMBED_MODEL_INFO_INIT;\n"
    "    embed_model *model = nullptr;\n"
    "    embed_instance *instance = nullptr;\n"
    "    std::string other = \"a kitten\";\n"
    "    embed_text texts[] = {EMBED_TEXT(\"a cat\"), {other.data(), nullptr, other.size()}};\n"
    "    std::vector<float> rows;\n"
    "    options.threads = 1;\n"
    "    if (embed_model_open(&model, argv[1], &options) == EMBED_OK &&\n"
    "        embed_model_get_info(model, &info) == EMBED_OK &&\n"
    "        embed_instance_create(&instance, model, nullptr) == EMBED_OK) {\n"
    "        rows.resize(2 * info.width);\n"
    "        if (embed_instance_encode(instance, texts, 2, nullptr, rows.data(), rows.size(),\n"
    "                                  nullptr) != EMBED_OK)\n"
    "            rows.clear();\n"
    "    }\n"
    "    embed_instance_destroy(instance);\n"
    "    embed_model_close(model);\n"
    "    if (rows.empty()) {\n"
    "        std::puts(embed_error_message());\n"
    "        return 1;\n"
    "    }\n"
    "    double cosine = 0;\n"
    "    for (size_t i = 0; i < info.width; i++) cosine += rows[i] * rows[info.width + i];\n"
    "    std::printf(\"%.4f\\n\", cosine);\n"
    "    return 0;\n"
    "}\n";

static void test_cxx(void **state)
{
    (void)state;
    skip_if_sanitized();
    write_source(scratch("stranger.cc"), (const char *const[]){cxx_source, NULL});
    build_and_run("stranger-11", "c++11", scratch("stranger.cc"));
    build_and_run("stranger-20", "c++20", scratch("stranger.cc"));
}

/* A program may use any name that is not in embed.h: here each of the library's own names, as a
 * function that the library must not call. */
static void test_names_of_its_own(void **state)
{
    (void)state;
    skip_if_sanitized();
    char *names = output_of(GLOBAL_NAMES " | grep -v '^embed_[a-z_]*$'",
                            build_folder(), "internal.a");
    char *example = output_of("cat '%s'", example_source());
    char *source = malloc(strlen(example) + 64 * strlen(names) + 256);
    assert_non_null(source);
    char *out = source + sprintf(source, "#include <stdlib.h>\n");
    size_t count = 0;
    for (char *name = strtok(names, "\n"); name != NULL; name = strtok(NULL, "\n"), count++) {
        out += sprintf(out, "void %s(void);\nvoid %s(void) { abort(); }\n", name, name);
    }
    strcpy(out, example);
    assert_true(count > 100);
    assert_non_null(strstr(source, "void fail(void)"));
    assert_non_null(strstr(source, "void tokenizer_open(void)"));
    assert_non_null(strstr(source, "void memory_free(void)"));
    write_source(scratch("names.c"), (const char *const[]){source, NULL});
    build_and_run("names", "c11", scratch("names.c"));
    free(source);
    free(example);
    free(names);
}

/* pkg-config uses a staging folder as a sysroot, as in cross builds. */
static void test_sysroot(void **state)
{
    (void)state;
    skip_if_sanitized();
    char *version = output_of(FRESH "PKG_CONFIG_SYSROOT_DIR='%s' "
                                    "PKG_CONFIG_LIBDIR='%s/usr/lib64/pkgconfig' "
                                    "pkg-config --modversion embed",
                              stage, stage);
    assert_string_equal(version, VERSION "\n");
    free(version);
    quietly(FRESH "PKG_CONFIG_SYSROOT_DIR='%s' PKG_CONFIG_PATH='%s/usr/lib64/pkgconfig' sh -c "
                  "'exec %s -o %s %s $(pkg-config --cflags --libs embed)'",
            stage, stage, compiler("CC", "cc"), scratch("staged"), example_source());
    free(output_of(FRESH "LD_LIBRARY_PATH='%s/usr/lib64' '%s' " TINY_BERT, stage,
                   scratch("staged")));
}

/* The libraries for static linking, including dlopen's if it is not in libc. */
static void test_private_libraries(void **state)
{
    (void)state;
    skip_if_sanitized();
    char *flags = output_of(FRESH "PKG_CONFIG_PATH='%s/lib/pkgconfig' pkg-config --static --libs embed",
                            prefix);
    static const char *const libraries[] = {"-lembed", "-lutf8proc", "-lm", "-ldl", "-pthread"};
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++)
        assert_non_null(strstr(flags, libraries[i]));
    free(flags);
}

/* Below a PREFIX where the loader does not look, embed still finds its library. */
static void test_command(void **state)
{
    (void)state;
    skip_if_sanitized();
    char *version = output_of(FRESH "'%s/bin/embed' --version", prefix);
    assert_string_equal(version, "embed " VERSION "\n");
    free(version);
    char *ids =
        output_of("echo 'the cat' | " FRESH "'%s/bin/embed' tokenize -m " TINY_BERT, prefix);
    char *same =
        output_of("echo 'the cat' | '%s/embed' tokenize -m " TINY_BERT, build_folder());
    assert_string_equal(ids, same);
    free(same);
    free(ids);
    free(output_of(FRESH "'%s/bin/embed-bench' --help", prefix));
}

/* README.md's first command builds the program that its second one calls, as does the demo's last
 * line. */
static void test_demo_builds_the_command(void **state)
{
    (void)state;
    char *commands = output_of(FRESH "make --no-print-directory -n BUILD='%s' demo",
                               scratch("nothing-built"));
    char embed[sizeof prefix + 64];
    snprintf(embed, sizeof embed, "ld  %s/nothing-built/embed\"\n", scratch_folder);
    assert_non_null(strstr(commands, embed));
    free(commands);
}

/* ---- uninstall ----------------------------------------------------------------------------- */

/* Removes everything that was installed, may run twice, and leaves other files. */
static void test_uninstall(void **state)
{
    (void)state;
    skip_if_sanitized();
    quietly("touch '%s/usr/lib64/libembedded.so' '%s/usr/lib64/pkgconfig/other.pc'", stage,
            stage);
    make("uninstall", stage_variables());
    make("uninstall", stage_variables());
    make("uninstall", prefix_variables());
    char *left = output_of("cd '%s' && find . ! -type d | LC_ALL=C sort", stage);
    assert_string_equal(left, "./usr/lib64/libembedded.so\n./usr/lib64/pkgconfig/other.pc\n");
    free(left);
    quietly("find '%s' ! -type d", prefix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_no_trace_of_the_build),
        cmocka_unit_test(test_static_library),
        cmocka_unit_test(test_c),
        cmocka_unit_test(test_manual),
        cmocka_unit_test(test_cxx),
        cmocka_unit_test(test_names_of_its_own),
        cmocka_unit_test(test_sysroot),
        cmocka_unit_test(test_private_libraries),
        cmocka_unit_test(test_command),
        cmocka_unit_test(test_demo_builds_the_command),
        cmocka_unit_test(test_uninstall),
    };
    return cmocka_run_group_tests_name("make install", tests, install_both, remove_both);
}
