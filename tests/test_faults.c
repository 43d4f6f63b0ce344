/* test_faults.c - makes each system call of the library fail in turn, once and from then on
 *
 * Like test_out_of_memory.c, for files and threads: a piece of work is repeated with its n-th call
 * failing, n = 1, 2, ..., until no call fails. Each time it must either fail with the right status
 * and a message, or succeed with exactly the same result; leave no file open; and succeed when
 * repeated without a fault. Under AddressSanitizer it must not leak memory either.
 */
#define FAULTS_IN_PROCESS
#include "fault_preload.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "embed.h"
#include "test_folder.h"

#define FILES                                                                                    \
    (FAULT_OPEN | FAULT_CREATE | FAULT_CLOSE | FAULT_READ | FAULT_WRITE | FAULT_STAT |           \
     FAULT_SEEK | FAULT_SYNC | FAULT_RENAME)

static const struct fault {
    const char *name;
    int error;
    unsigned calls, times;
    bool retried; /* the library must succeed */
} faults[] = {
    {"EIO once", EIO, FILES, 1, false},
    {"EIO from then on", EIO, FILES, UINT32_MAX, false},
    {"ENOMEM once", ENOMEM, FAULT_OPEN | FAULT_STAT, 1, false},
    {"ENOMEM from then on", ENOMEM, FAULT_OPEN | FAULT_STAT, UINT32_MAX, false},
    {"EMFILE once", EMFILE, FAULT_OPEN, 1, false},
    {"EACCES from then on", EACCES, FAULT_OPEN | FAULT_STAT, UINT32_MAX, false},
    {"EINTR once", EINTR, FAULT_READ | FAULT_CLOSE, 1, true},
    {"EINTR three times", EINTR, FAULT_READ | FAULT_CLOSE, 3, true},
    {"EINTR on opening", EINTR, FAULT_OPEN, 1, false},
    {"a short count once", FAULT_SHORT, FAULT_READ, 1, true},
    {"short counts from then on", FAULT_SHORT, FAULT_READ, UINT32_MAX, true},
};
#define COUNT (sizeof faults / sizeof *faults)

/* ---- the work ---------------------------------------------------------------------------- */

enum { TEXTS = 3, WIDTH_MAX = 64 };

static const embed_text texts[TEXTS] = {
    EMBED_TEXT("a first text"), EMBED_TEXT(""),
    EMBED_TEXT("and another, which is longer than the first")};

struct result {
    size_t ids;
    int32_t first_ids[64];
    float rows[TEXTS * WIDTH_MAX];
};

static embed_status use(embed_model *model, struct result *result)
{
    embed_tokens tokens = EMBED_TOKENS_INIT;
    embed_instance *instance = NULL;
    embed_status status = embed_tokenize(model, texts, TEXTS, NULL, &tokens);
    if (status == EMBED_OK) {
        result->ids = tokens.offsets[TEXTS];
        assert_true(result->ids <= 64);
        memcpy(result->first_ids, tokens.ids, result->ids * sizeof *tokens.ids);
        embed_tokens_free(&tokens);
        status = embed_instance_create(&instance, model, NULL);
    }
    if (status == EMBED_OK)
        status = embed_instance_encode(instance, texts, TEXTS, NULL, result->rows,
                                       TEXTS * WIDTH_MAX, NULL);
    embed_instance_destroy(instance);
    return status;
}

static embed_status work(const char *folder, unsigned threads, struct result *result)
{
    embed_model *model = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CPU;
    options.threads = threads;
    memset(result, 0, sizeof *result);
    embed_status status = embed_model_open(&model, folder, &options);
    if (status != EMBED_OK) {
        assert_null(model);
        return status;
    }
    status = use(model, result);
    embed_model_close(model);
    return status;
}

/* ---- the test harness ---------------------------------------------------------------------- */

static unsigned open_files(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 1024; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Does the work with the n-th call failing. Returns false if there were fewer calls. */
static bool one_point(const char *folder, unsigned threads, const struct fault *fault,
                      unsigned n, const struct result *expected)
{
    struct result result;
    unsigned open_before = open_files();
    *fault_plan =
        (struct fault_plan){.calls = fault->calls, .times = fault->times, .error = fault->error};
    alarm(30); /* ends a hang */
    fault_plan->nth = n;
    embed_status status = work(folder, threads, &result);
    fault_plan->nth = 0;
    bool failed = atomic_load(&fault_plan->failed) > 0;
    unsigned call = fault_plan->call;
    const char *message = embed_error_message();

    if (open_files() != open_before)
        fail_msg("%s, call %u (kind %u): a file stays open", fault->name, n, call);
    if (status == EMBED_OK) {
        /* With a fault or without, only one result is right. */
        if (memcmp(&result, expected, sizeof result) != 0)
            fail_msg("%s, call %u (kind %u): another result", fault->name, n, call);
    } else {
        bool right = call == FAULT_THREAD ? status == EMBED_SYSTEM
                     : fault->error == ENOMEM
                         ? status == EMBED_IO || status == EMBED_OUT_OF_MEMORY
                         : status == EMBED_IO;
        if (!failed || !right || fault->retried)
            fail_msg("%s, call %u (kind %u): status %d, %s", fault->name, n, call, (int)status,
                     message);
        if (*message == '\0' || strchr(message, '\n') != NULL ||
            strstr(message, strerror(fault->error)) == NULL)
            fail_msg("%s, call %u: the message is \"%s\"", fault->name, n, message);
        /* The next attempt succeeds. */
        if (n % 8 == 1) {
            assert_int_equal(work(folder, threads, &result), EMBED_OK);
            assert_memory_equal(&result, expected, sizeof result);
        }
    }
    alarm(0);
    return failed;
}

static unsigned torture(const char *folder, unsigned threads, const struct fault *fault,
                        const struct result *expected)
{
    unsigned n = 1;
    while (one_point(folder, threads, fault, n, expected)) n++;
    return n - 1;
}

static void torture_files(const char *folder)
{
    struct result expected;
    unsigned points = 0;
    assert_int_equal(work(folder, 1, &expected), EMBED_OK);
    for (size_t i = 0; i < COUNT; i++) {
        unsigned n = torture(folder, 1, &faults[i], &expected);
        if (n == 0) fail_msg("%s: no call was seen", faults[i].name);
        points += n;
    }
    print_message("%s: %u injection points\n", folder, points);
}

static void test_files(void **state)
{
    (void)state;
    torture_files("tests/vectors/tiny-bert");
}

static void test_files_of_a_sentence_transformer(void **state)
{
    (void)state;
    torture_files("tests/vectors/tiny-bert-cls");
}

/* The vocabulary from vocab.txt: the library looks for other files. */
static void test_files_without_tokenizer_json(void **state)
{
    (void)state;
    const char *folder = test_copy_folder("tests/vectors/tiny-bert");
    char path[600];
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    struct result expected;
    assert_int_equal(unlink(path), 0);
    if (work(folder, 1, &expected) == EMBED_OK)
        torture_files(folder);
    else
        print_message("skipped: %s\n", embed_error_message());
    test_remove_folder(folder);
}

static void test_threads(void **state)
{
    (void)state;
    static const struct fault refused[] = {
        {"no thread, once", EAGAIN, FAULT_THREAD, 1, false},
        {"no thread from then on", EAGAIN, FAULT_THREAD, UINT32_MAX, false},
    };
    struct result expected;
    unsigned points = 0;
    assert_int_equal(work("tests/vectors/tiny-bert", 1, &expected), EMBED_OK);
    for (size_t i = 0; i < 2; i++) {
        unsigned n = torture("tests/vectors/tiny-bert", 6, &refused[i], &expected);
        assert_int_equal(n, 5); /* the caller is the sixth */
        points += n;
    }
    print_message("threads: %u injection points\n", points);
}

/* A status alone does not show it: a failed stat must never be taken for a missing file. */
static void test_never_as_if_absent(void **state)
{
    (void)state;
    static const struct fault fault = {"EIO", EIO, FAULT_STAT, 1, false};
    struct result result;
    for (unsigned n = 1;; n++) {
        *fault_plan = (struct fault_plan){.calls = fault.calls, .times = 1, .error = EIO};
        fault_plan->nth = n;
        embed_status status = work("tests/vectors/tiny-bert-cls", 1, &result);
        fault_plan->nth = 0;
        if (atomic_load(&fault_plan->failed) == 0) {
            assert_true(n > 10);
            break;
        }
        if (status != EMBED_IO) fail_msg("stat %u: status %d", n, (int)status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_files_of_a_sentence_transformer),
        cmocka_unit_test(test_files_without_tokenizer_json),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_never_as_if_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
