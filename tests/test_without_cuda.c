/* test_without_cuda.c - the reasons why CUDA cannot be used, on a machine without it
 *
 * libembed itself needs no CUDA library. The plug-in that it opens must exist, be one of ours, and
 * be of the same version.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "embed.h"
#include "run_command.h"

static unsigned warnings;

static void count_warning(void *words, embed_log_level level, const char *message)
{
    warnings += level == EMBED_LOG_WARNING && strstr(message, words) != NULL;
}

static void check_reason(const char *plugin, const char *words)
{
    embed_model *model = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    setenv("EMBED_CUDA_PLUGIN", plugin, 1);
    options.device = EMBED_DEVICE_CUDA;
    assert_int_equal(embed_model_open(&model, TINY_BERT, &options), EMBED_NO_DEVICE);
    assert_null(model);
    if (strncmp(embed_error_message(), "device cuda: ", 13) != 0 ||
        strstr(embed_error_message(), words) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", words, embed_error_message());

    /* `auto` computes on the CPU, and there is one device; if the plug-in was named, both report
     * the failure. */
    size_t count = 0;
    warnings = 0;
    embed_log_set(count_warning, (void *)(uintptr_t)words, EMBED_LOG_INFO);
    options.device = EMBED_DEVICE_AUTO;
    assert_int_equal(embed_model_open(&model, TINY_BERT, &options), EMBED_OK);
    embed_model_close(model);
    assert_int_equal(embed_device_list(NULL, 0, &count), EMBED_OK);
    assert_int_equal(count, 1);
    embed_log_set(NULL, NULL, EMBED_LOG_ERROR);
    assert_int_equal(warnings, *plugin != '\0' ? 2 : 0);
    unsetenv("EMBED_CUDA_PLUGIN");
}

static void test_no_plugin(void **state)
{
    (void)state;
    check_reason("", "/libembed-cuda.so: libembed is installed without CUDA");
    check_reason("/nonexistent/libembed-cuda.so", "which EMBED_CUDA_PLUGIN names, cannot be read");
}

/* Not even if a file of that name is in the current folder. */
static void test_name_without_folder(void **state)
{
    (void)state;
    check_reason("libembed-cuda.so", "not a path with a folder");
}

static void test_other_files(void **state)
{
    (void)state;
    char library[1024];
    snprintf(library, sizeof library, "%s/libembed.so", build_folder());
    check_reason("./Makefile", "invalid ELF header");
    check_reason(library, "is not a libembed CUDA plug-in");
}

/* A plug-in of another version, built by the test. */
static void test_other_version(void **state)
{
    (void)state;
    const char *path = scratch("plugin.so");
    quietly("echo '#include \"backend/cuda_plugin.h\"\n"
            "static const struct cuda_plugin plugin = {CUDA_PLUGIN_ABI, sizeof(struct backend), "
            "\"9.8.7\", 0, 0, 0};\n"
            "const struct cuda_plugin *embed_cuda_plugin(const struct cuda_host *host);\n"
            "const struct cuda_plugin *embed_cuda_plugin(const struct cuda_host *host) "
            "{ (void)host; return &plugin; }' | %s -std=c11 -D_GNU_SOURCE -shared -fPIC -Iinclude -Ilib -I. "
            "-x c - -o '%s'",
            compiler("CC", "cc"), path);
    check_reason(path, "was built with libembed 9.8.7");
}

static void test_no_cuda_library_is_needed(void **state)
{
    (void)state;
    char *needed = output_of("readelf -d '%s/libembed.so' | grep NEEDED", build_folder());
    assert_non_null(strstr(needed, "libutf8proc"));
    assert_null(strstr(needed, "cuda"));
    assert_null(strstr(needed, "cublas"));
    free(needed);
}

static void test_command_line(void **state)
{
    (void)state;
    setenv("EMBED_CUDA_PLUGIN", "/nonexistent/libembed-cuda.so", 1);
    char *said = output_of("echo hello | '%s/embed' encode -m " TINY_BERT
                           " --device cuda || echo status $?",
                           build_folder());
    assert_non_null(strstr(said, "\nstatus 1\n"));
    assert_non_null(strstr(said, "embed: device cuda: /nonexistent/libembed-cuda.so, which "
                                 "EMBED_CUDA_PLUGIN names, cannot be read\n"));
    free(said);
    said = output_of("echo hello | '%s/embed' encode -m " TINY_BERT " | wc -l", build_folder());
    assert_non_null(strstr(said, "computing on the CPU: /nonexistent/libembed-cuda.so, "));
    assert_non_null(strstr(said, "\n1\n"));
    free(said);
    said = output_of("'%s/embed' devices 2>/dev/null", build_folder());
    assert_null(strstr(said, "cuda"));
    free(said);
    unsetenv("EMBED_CUDA_PLUGIN");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_plugin),
        cmocka_unit_test(test_name_without_folder),
        cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_other_version),
        cmocka_unit_test(test_no_cuda_library_is_needed),
        cmocka_unit_test(test_command_line),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
