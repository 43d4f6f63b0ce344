/* test_malformed.c - checks that each file made by tests/malformed/cases.py is read or rejected
 *
 *   test_malformed           a sample of the cases, as a test: `make check`
 *   test_malformed -         the cases from standard input, and a summary: `make malformed`
 *
 * Each case must give its verdict, if it has one; a rejection that names the file in one line; in
 * less than a second; with no memory left allocated, and never more of it in use than a small
 * multiple of the file's size.
 */
#include "base/status.h" /* before cmocka, which has a macro fail() */

#include "description/embedding_pipeline.h"
#include "description/generation_config.h"
#include "description/tokenizer.h"
#include "formats/checkpoint.h"
#include "formats/safetensors.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <time.h>

#include <cmocka.h>

#include "test_folder.h"

#define MAKER "python3 -B tests/malformed/cases.py"

#define MOST_SECONDS   1.0
/* Bytes of the tables that have the same size for every tokenizer, and bytes per byte of the
 * file. */
#define FIXED_BYTES    ((size_t)4 << 20)
#define BYTES_PER_BYTE 40

/* ---- memory: the linker redirects calls of malloc here (-Wl,--wrap) ------------------------ */

static size_t held, most_held;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t bytes);
int __real_posix_memalign(void **block, size_t alignment, size_t bytes);
void __real_free(void *block);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t bytes);
int __wrap_posix_memalign(void **block, size_t alignment, size_t bytes);
void __wrap_free(void *block);

static void *count_block(void *block)
{
    if (block != NULL) held += malloc_usable_size(block);
    if (held > most_held) most_held = held;
    return block;
}

void *__wrap_malloc(size_t bytes)
{
    return count_block(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return count_block(__real_calloc(count, size));
}

/* Both blocks exist while one is copied to the other. */
void *__wrap_realloc(void *old, size_t bytes)
{
    size_t before = malloc_usable_size(old); /* 0 for NULL */
    void *block = count_block(__real_realloc(old, bytes));
    if (block != NULL) held -= before;
    return block;
}

int __wrap_posix_memalign(void **block, size_t alignment, size_t bytes)
{
    int error = __real_posix_memalign(block, alignment, bytes);
    if (error == 0) count_block(*block);
    return error;
}

void __wrap_free(void *block)
{
    held -= malloc_usable_size(block);
    __real_free(block);
}

/* ---- readers --------------------------------------------------------------------------------- */

static embed_status read_safetensors(const char *folder)
{
    char path[1024];
    struct safetensors *file = NULL;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    embed_status status = safetensors_open(&file, path);
    safetensors_close(file);
    return status;
}

static embed_status read_index(const char *folder)
{
    struct checkpoint *checkpoint = NULL;
    embed_status status = checkpoint_open(&checkpoint, folder);
    checkpoint_close(checkpoint);
    return status;
}

static embed_status read_config(const char *folder)
{
    struct transformer_config config;
    struct generation_rules rules;
    TRY(transformer_config_read(&config, folder));
    return config.decoder.L > 0 ? generation_config_read(&rules, &config, folder) : EMBED_OK;
}

static embed_status read_pipeline(const char *folder)
{
    struct embedding_pipeline pipeline;
    embed_status status = embedding_pipeline_read(&pipeline, folder);
    embedding_pipeline_release(&pipeline);
    return status;
}

/* Also tokenizes a text, whose ids must be below the limit. */
static embed_status read_tokenizer(const char *folder)
{
    static const char text[] = "A b, \xC3\xA9 [MASK] ab <s>\xFF 12.";
    struct tokenizer *tokenizer = NULL;
    struct token_list ids = {0};
    embed_status status = tokenizer_open(&tokenizer, folder);
    if (status == EMBED_OK) {
        status = tokenizer_encode(tokenizer, NULL, text, sizeof text - 1, 0, &ids, NULL);
        assert_int_equal(status, EMBED_OK);
        for (size_t i = 0; i < ids.count; i++)
            assert_true(ids.ids[i] >= 0 && (size_t)ids.ids[i] < tokenizer_id_limit(tokenizer));
    }
    token_list_free(&ids);
    tokenizer_close(tokenizer);
    return status;
}

static const struct {
    const char *name;
    embed_status (*read)(const char *folder);
} readers[] = {
    {"safetensors", read_safetensors}, {"index", read_index},     {"config", read_config},
    {"pipeline", read_pipeline},       {"tokenizer", read_tokenizer},
};

/* ---- cases ----------------------------------------------------------------------------------- */

struct summary {
    size_t cases, accepted;
    double slowest;
    size_t most_bytes; /* held at any time */
    double most_ratio; /* of these, less the fixed ones, to the file's */
    char slowest_label[128], most_label[128];
};

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now); /* the machine may be busy with other work */
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Checks for one line, "PATH: cause", with a path in the folder. */
static void check_message(const char *label, const char *folder)
{
    const char *message = error_message(), *cause = strstr(message, ": ");
    bool is_line = cause != NULL && strlen(cause) > 4;
    for (const char *c = message; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F) is_line = false;
    if (!is_line || strncmp(message, folder, strlen(folder)) != 0)
        fail_msg("%s: the message \"%s\"", label, message);
}

static void check_case(struct summary *all, embed_status (*read)(const char *), const char *verdict,
                       const char *label, size_t length, const char *folder)
{
    size_t before = most_held = held;
    double start = seconds();
    embed_status status = read(folder);
    double took = seconds() - start;
    size_t bytes = most_held - before;
    if (held != before) fail_msg("%s: %zu bytes were not released", label, held - before);
    if (status != EMBED_OK) check_message(label, folder);
    if (strcmp(verdict, "any") != 0 && (status == EMBED_OK) != (strcmp(verdict, "accept") == 0))
        fail_msg("%s: should be %sed: %s", label, verdict,
                 status == EMBED_OK ? "it is read" : error_message());
    if (took >= MOST_SECONDS) fail_msg("%s: took %.2f s", label, took);
    if (bytes > FIXED_BYTES + BYTES_PER_BYTE * length)
        fail_msg("%s: held %zu bytes, for a file of %zu", label, bytes, length);

    all->cases++;
    all->accepted += status == EMBED_OK;
    if (took > all->slowest) {
        all->slowest = took;
        snprintf(all->slowest_label, sizeof all->slowest_label, "%s", label);
    }
    if (bytes > all->most_bytes) all->most_bytes = bytes;
    double ratio = bytes > FIXED_BYTES ? (double)(bytes - FIXED_BYTES) / (double)length : 0;
    if (ratio > all->most_ratio) {
        all->most_ratio = ratio;
        snprintf(all->most_label, sizeof all->most_label, "%s", label);
    }
}

/* Reads all cases of a stream, each in `folder`. */
static void check_cases(struct summary *all, FILE *stream, const char *folder)
{
    char line[1024], reader[32], file[128], verdict[16], path[1024];
    *all = (struct summary){0};
    while (fgets(line, sizeof line, stream) != NULL) {
        size_t length;
        int label = 0;
        line[strcspn(line, "\n")] = '\0';
        assert_int_equal(
            sscanf(line, "%31s %127s %15s %zu %n", reader, file, verdict, &length, &label), 4);
        char *bytes = malloc(length + 1);
        assert_non_null(bytes);
        assert_int_equal(fread(bytes, 1, length, stream), length);
        test_write_file(folder, file, bytes, length);
        free(bytes);
        for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
            if (strcmp(reader, readers[i].name) == 0)
                check_case(all, readers[i].read, verdict, line + label, length, folder);
        /* Otherwise no index would be read, and tokenizers would be read with this config.json. */
        if (strcmp(reader, "safetensors") == 0 || strcmp(reader, "config") == 0) {
            snprintf(path, sizeof path, "%s/%s", folder, file);
            unlink(path);
        }
    }
}

static void make_folder(char folder[64])
{
    char path[128];
    const char *place = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(folder, 64, "%s/libembed-test-XXXXXX", place);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/1_Pooling", folder);
    assert_int_equal(mkdir(path, 0700), 0);
}

/* ---- the sample, and all cases ------------------------------------------------------------- */

static struct summary found;

static void test_sample(void **state)
{
    char folder[64];
    (void)state;
    if (system("python3 -c '' 2>/dev/null") != 0) {
        print_message("skipped: there is no python3 to make the cases\n");
        skip();
    }
    make_folder(folder);
    FILE *stream = popen(MAKER " --sample 2>/dev/null", "r");
    assert_non_null(stream);
    check_cases(&found, stream, folder);
    assert_int_equal(pclose(stream), 0);
    assert_true(found.cases >= 2500 && found.accepted >= 50);
    test_remove_folder(folder);
}

static void test_standard_input(void **state)
{
    char folder[64];
    (void)state;
    make_folder(folder);
    check_cases(&found, stdin, folder);
    test_remove_folder(folder);
}

int main(int count, char **words)
{
    const struct CMUnitTest sample[] = {cmocka_unit_test(test_sample)};
    const struct CMUnitTest all[] = {cmocka_unit_test(test_standard_input)};
    bool is_all = count == 2 && strcmp(words[1], "-") == 0;
    int failed = is_all ? cmocka_run_group_tests(all, NULL, NULL)
                        : cmocka_run_group_tests(sample, NULL, NULL);
    printf("%zu cases, %zu of them read; the slowest took %.3f s (%s); %.1f MiB at most, %.0f "
           "bytes per byte of a file at most beside %zu MiB (%s)\n",
           found.cases, found.accepted, found.slowest, found.slowest_label,
           (double)found.most_bytes / (1 << 20), found.most_ratio, FIXED_BYTES >> 20,
           found.most_label);
    return failed != 0;
}
