/* test_threads.c - many threads with one model and an instance each; mainly for ThreadSanitizer
 *
 * Each thread encodes, tokenizes, queries, opens and closes in its own order; every result must
 * have the bits that a single thread gets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "embed.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define TINY "tests/vectors/tiny-bert"

enum { THREADS = 16, STEPS = 24, TEXTS = 4, WIDTH = 64, IDS = 256 };

static const embed_text texts[TEXTS] = {
    EMBED_TEXT("one model"), EMBED_TEXT(""), EMBED_TEXT("and sixteen threads that share it"),
    EMBED_TEXT("caf\xc3\xa9 \xe4\xb8\xad\xe6\x96\x87 \xff")};

static embed_model *model;
static float expected_rows[TEXTS * WIDTH];
static int32_t expected_ids[IDS];
static size_t expected_count;
static atomic_uint messages;

/* Each function returns what went wrong, or NULL, since cmocka's assertions work only on the main
 * thread. */

static const char *encode(embed_instance *instance, unsigned step)
{
    float rows[TEXTS * WIDTH];
    embed_item items[TEXTS];
    size_t first = step % TEXTS, n = TEXTS - first;
    if (embed_instance_encode(instance, texts + first, n, NULL, rows, n * WIDTH, items) != EMBED_OK)
        return "encode";
    for (size_t i = 0; i < n; i++)
        if (items[i].status != EMBED_OK) return "an item";
    if (memcmp(rows, expected_rows + first * WIDTH, n * WIDTH * sizeof *rows) != 0)
        return "rows of other bits";
    return NULL;
}

static const char *tokenize(const embed_model *from)
{
    embed_tokens tokens = EMBED_TOKENS_INIT;
    if (embed_tokenize(from, texts, TEXTS, NULL, &tokens) != EMBED_OK) return "tokenize";
    const char *wrong = NULL;
    if (tokens.offsets[TEXTS] != expected_count ||
        memcmp(tokens.ids, expected_ids, expected_count * sizeof *expected_ids) != 0)
        wrong = "other tokens";
    embed_tokens_free(&tokens);
    return wrong;
}

static const char *ask(const embed_instance *instance)
{
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    embed_device_info device = EMBED_DEVICE_INFO_INIT;
    embed_memory memory = EMBED_MEMORY_INIT;
    size_t devices;
    if (embed_model_get_info(model, &info) != EMBED_OK || info.width != WIDTH) return "info";
    if (embed_instance_get_memory(instance, &memory) != EMBED_OK || memory.own == 0)
        return "memory";
    if (embed_device_list(&device, 1, &devices) != EMBED_OK || devices < 1) return "devices";
    return NULL;
}

static const char *fail_on_purpose(const embed_instance *instance)
{
    embed_model *none = NULL;
    (void)instance;
    if (embed_model_open(&none, "tests/vectors/no-such-folder", NULL) != EMBED_IO || none != NULL)
        return "a folder that is not there";
    return strstr(embed_error_message(), "no-such-folder") != NULL ? NULL : "another's message";
}

static const char *open_again(unsigned step)
{
    embed_model *own = NULL;
    embed_instance *instance = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.threads = 1 + step % 3;
    if (embed_model_open(&own, TINY, &options) != EMBED_OK) return "open";
    const char *wrong = tokenize(own);
    if (embed_instance_create(&instance, own, NULL) != EMBED_OK) wrong = "create";
    embed_model_close(own); /* the instance keeps it alive */
    if (wrong == NULL) wrong = encode(instance, step);
    embed_instance_destroy(instance);
    return wrong;
}

static void *run(void *argument)
{
    unsigned rank = (unsigned)(uintptr_t)argument;
    embed_instance *instance = NULL;
    if (embed_instance_create(&instance, model, NULL) != EMBED_OK) return "create";
    const char *wrong = NULL;
    for (unsigned step = 0; step < STEPS && wrong == NULL; step++) {
        switch ((rank + step * 5) % 8) {
        case 0: wrong = open_again(rank + step); break;
        case 1: wrong = ask(instance); break;
        case 2: wrong = fail_on_purpose(instance); break;
        case 3:
        case 4: wrong = tokenize(model); break;
        default: wrong = encode(instance, step + rank); break;
        }
    }
    embed_instance_destroy(instance);
    return (void *)wrong;
}

static void count_message(void *user, embed_log_level level, const char *message)
{
    (void)user;
    (void)level;
    (void)message;
    atomic_fetch_add(&messages, 1);
}

static void test_sixteen_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    embed_log_set(count_message, NULL, EMBED_LOG_DEBUG);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run, (void *)i), 0);
    const char *wrong = NULL;
    for (int i = 0; i < THREADS; i++) {
        void *failure = NULL;
        pthread_join(threads[i], &failure);
        if (failure != NULL) wrong = failure;
    }
    embed_log_set(NULL, NULL, EMBED_LOG_ERROR);
    if (wrong != NULL) fail_msg("%s", wrong);
    assert_true(atomic_load(&messages) >= THREADS); /* each opened the folder at least once */
}

/* The last instance frees the model, on whichever thread. */
static void *destroy(void *instance)
{
    const char *wrong = encode(instance, 0);
    embed_instance_destroy(instance);
    return (void *)wrong;
}

static void test_last_instance_ends_the_model(void **state)
{
    (void)state;
    for (int round = 0; round < 4; round++) {
        embed_model *own = NULL;
        embed_instance *instances[THREADS];
        pthread_t threads[THREADS];
        assert_int_equal(embed_model_open(&own, TINY, NULL), EMBED_OK);
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(embed_instance_create(&instances[i], own, NULL), EMBED_OK);
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, destroy, instances[i]), 0);
        embed_model_close(own);
        for (int i = 0; i < THREADS; i++) {
            void *wrong = NULL;
            pthread_join(threads[i], &wrong);
            if (wrong != NULL) fail_msg("%s", (const char *)wrong);
        }
    }
}

static int prepare(void **state)
{
    (void)state;
    embed_instance *instance = NULL;
    embed_tokens tokens = EMBED_TOKENS_INIT;
    if (embed_model_open(&model, TINY, NULL) != EMBED_OK ||
        embed_instance_create(&instance, model, NULL) != EMBED_OK ||
        embed_instance_encode(instance, texts, TEXTS, NULL, expected_rows, TEXTS * WIDTH, NULL) !=
            EMBED_OK ||
        embed_tokenize(model, texts, TEXTS, NULL, &tokens) != EMBED_OK) {
        print_error("%s\n", embed_error_message());
        return -1;
    }
    expected_count = tokens.offsets[TEXTS];
    if (expected_count > IDS) return -1;
    memcpy(expected_ids, tokens.ids, expected_count * sizeof *expected_ids);
    embed_tokens_free(&tokens);
    embed_instance_destroy(instance);
    return 0;
}

static int release(void **state)
{
    (void)state;
    embed_model_close(model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sixteen_threads),
        cmocka_unit_test(test_last_instance_ends_the_model),
    };
    return cmocka_run_group_tests(tests, prepare, release);
}
