/* test_api.c - correct and incorrect use of the public functions, on a tiny random BERT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "embed.h"
#include "test_folder.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TINY  "tests/vectors/tiny-bert"
#define WIDTH 64

static embed_model *model;
static embed_instance *instance;

static int open_tiny(void **state)
{
    (void)state;
    if (embed_model_open(&model, TINY, NULL) != EMBED_OK ||
        embed_instance_create(&instance, model, NULL) != EMBED_OK) {
        print_error("%s\n", embed_error_message());
        return 1;
    }
    return 0;
}

static int close_tiny(void **state)
{
    (void)state;
    embed_instance_destroy(instance);
    embed_model_close(model);
    return 0;
}

static void assert_fails(embed_status got, embed_status expected, const char *part)
{
    if (got != expected || strstr(embed_error_message(), part) == NULL)
        fail_msg("status %d, \"%s\"; expected %d and \"%s\"", (int)got, embed_error_message(),
                 (int)expected, part);
}

static void test_version(void **state)
{
    (void)state;
    char expected[32];
    snprintf(expected, sizeof expected, "%d.%d.%d", EMBED_VERSION_MAJOR, EMBED_VERSION_MINOR,
             EMBED_VERSION_PATCH);
    assert_string_equal(embed_version(), expected);
    for (int s = EMBED_OK; s <= EMBED_SYSTEM; s++)
        assert_string_not_equal(embed_status_string((embed_status)s), "unknown status");
    assert_string_equal(embed_status_string((embed_status)12345), "unknown status");
}

static void test_null_arguments(void **state)
{
    (void)state;
    embed_model *m = NULL;
    embed_instance *i = NULL;
    embed_text text = EMBED_TEXT("a"), nothing = {NULL, NULL, 3};
    embed_tokens tokens = EMBED_TOKENS_INIT;
    float row[WIDTH];
    assert_fails(embed_model_open(NULL, TINY, NULL), EMBED_INVALID_ARGUMENT, "model is NULL");
    assert_fails(embed_model_open(&m, NULL, NULL), EMBED_INVALID_ARGUMENT, "folder is NULL");
    assert_fails(embed_model_get_info(NULL, NULL), EMBED_INVALID_ARGUMENT, "model is NULL");
    assert_fails(embed_model_get_info(model, NULL), EMBED_INVALID_ARGUMENT,
                 "embed_model_get_info: info is NULL");
    assert_fails(embed_instance_create(NULL, model, NULL), EMBED_INVALID_ARGUMENT, "instance");
    assert_fails(embed_instance_create(&i, NULL, NULL), EMBED_INVALID_ARGUMENT, "model is NULL");
    assert_fails(embed_instance_encode(NULL, &text, 1, NULL, row, WIDTH, NULL),
                 EMBED_INVALID_ARGUMENT, "instance is NULL");
    assert_fails(embed_instance_encode(instance, NULL, 1, NULL, row, WIDTH, NULL),
                 EMBED_INVALID_ARGUMENT, "texts is NULL");
    assert_fails(embed_instance_encode(instance, &nothing, 1, NULL, row, WIDTH, NULL),
                 EMBED_INVALID_ARGUMENT, "text 0");
    assert_fails(embed_instance_encode(instance, &text, 1, NULL, NULL, WIDTH, NULL),
                 EMBED_INVALID_ARGUMENT, "out is NULL");
    assert_fails(embed_tokenize(NULL, &text, 1, NULL, &tokens), EMBED_INVALID_ARGUMENT, "model");
    assert_fails(embed_tokenize(model, &text, 1, NULL, NULL), EMBED_INVALID_ARGUMENT,
                 "embed_tokenize: out is NULL");
    assert_fails(embed_device_list(NULL, 0, NULL), EMBED_INVALID_ARGUMENT, "count is NULL");
    assert_fails(embed_instance_get_memory(instance, NULL), EMBED_INVALID_ARGUMENT,
                 "embed_instance_get_memory: memory is NULL");
    embed_model_close(NULL);
    embed_instance_destroy(NULL);
    embed_tokens_free(NULL);
}

static void test_struct_sizes(void **state)
{
    (void)state;
    embed_model *m = NULL;
    embed_model_options zero = {0};
    assert_fails(embed_model_open(&m, TINY, &zero), EMBED_INVALID_ARGUMENT, "EMBED_..._INIT");

    struct { /* a program built against a later header */
        embed_model_options known;
        size_t unknown;
    } later = {EMBED_MODEL_OPTIONS_INIT, 0};
    later.known.size = sizeof later;
    assert_int_equal(embed_model_open(&m, TINY, &later.known), EMBED_OK);
    embed_model_close(m);
    m = NULL;
    later.unknown = 1;
    assert_fails(embed_model_open(&m, TINY, &later.known), EMBED_INVALID_ARGUMENT, "does not know");
    assert_null(m);

    embed_model_info unset = {0};
    assert_fails(embed_model_get_info(model, &unset), EMBED_INVALID_ARGUMENT,
                 "embed_model_get_info: the size of info is 0");

    embed_model_info info = EMBED_MODEL_INFO_INIT; /* an earlier one, which has only the family */
    info.size = offsetof(embed_model_info, device);
    info.width = 12345;
    assert_int_equal(embed_model_get_info(model, &info), EMBED_OK);
    assert_string_equal(info.family, "bert");
    assert_int_equal(info.width, 12345);
    assert_int_equal(info.size, offsetof(embed_model_info, device));
}

static void test_wrong_options(void **state)
{
    (void)state;
    embed_model *m = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CUDA;
    assert_fails(embed_model_open(&m, TINY, &options), EMBED_NO_DEVICE, "cuda");
    options.device = (embed_device)77;
    assert_fails(embed_model_open(&m, TINY, &options), EMBED_INVALID_ARGUMENT, "77");
    options.device = EMBED_DEVICE_CPU;
    options.device_index = 3;
    assert_fails(embed_model_open(&m, TINY, &options), EMBED_NO_DEVICE, "cpu:3");
    options.device_index = 0;
    options.dtype = EMBED_DTYPE_F16;
    assert_fails(embed_model_open(&m, TINY, &options), EMBED_UNSUPPORTED, "not in f16");
    options.dtype = EMBED_DTYPE_F32;
    options.threads = 100000;
    assert_fails(embed_model_open(&m, TINY, &options), EMBED_INVALID_ARGUMENT, "threads");
    assert_null(m);

    embed_text text = EMBED_TEXT("a text");
    float row[WIDTH];
    embed_encode_options encode = EMBED_ENCODE_OPTIONS_INIT;
    encode.max_tokens = 1;
    assert_fails(embed_instance_encode(instance, &text, 1, &encode, row, WIDTH, NULL),
                 EMBED_INVALID_ARGUMENT, "max_tokens is 1");
    encode.max_tokens = 100000;
    assert_fails(embed_instance_encode(instance, &text, 1, &encode, row, WIDTH, NULL),
                 EMBED_INVALID_ARGUMENT, "max_tokens is 100000");
    encode.max_tokens = 0;
    encode.dimensions = WIDTH + 1;
    assert_fails(embed_instance_encode(instance, &text, 1, &encode, row, WIDTH, NULL),
                 EMBED_INVALID_ARGUMENT, "dimensions is 65");
    encode.dimensions = 0;
    encode.prompt_name = "nobody";
    assert_fails(embed_instance_encode(instance, NULL, 0, &encode, NULL, 0, NULL),
                 EMBED_INVALID_ARGUMENT, "nobody");
    encode.prompt_name = NULL;
    assert_fails(embed_instance_encode(instance, &text, 1, &encode, row, WIDTH - 1, NULL),
                 EMBED_INVALID_ARGUMENT, "capacity");
    assert_fails(embed_instance_encode(instance, &text, SIZE_MAX / 4, &encode, row, WIDTH, NULL),
                 EMBED_INVALID_ARGUMENT, "");
}

static void test_info_and_memory(void **state)
{
    (void)state;
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    assert_int_equal(embed_model_get_info(model, &info), EMBED_OK);
    assert_int_equal(info.width, WIDTH);
    assert_int_equal(info.layers, 3);
    assert_int_equal(info.heads, 2);
    assert_int_equal(info.feed_forward, 112);
    assert_int_equal(info.pooling, EMBED_POOLING_MEAN);
    assert_int_equal(info.normalizes, 1);
    assert_int_equal(info.device, EMBED_DEVICE_CPU);
    assert_true(info.load_seconds > 0 && info.threads >= 1);
    bool bf16 = strcmp(info.instruction_set, "avx512_bf16") == 0; /* what AUTO chose */
    assert_int_equal(info.dtype, bf16 ? EMBED_DTYPE_BF16 : EMBED_DTYPE_F32);
    assert_true(info.weight_bytes >= (bf16 ? 2 : 4) * (info.parameters - WIDTH));
    if (bf16) assert_true(info.weight_bytes < 4 * info.parameters);

    embed_memory memory = EMBED_MEMORY_INIT;
    assert_int_equal(embed_instance_get_memory(instance, &memory), EMBED_OK);
    assert_int_equal(memory.weights, info.weight_bytes);
    assert_int_equal(memory.total, memory.weights + memory.own);
    assert_true(memory.activations > 0 && memory.own > memory.activations);

    size_t count = 0;
    embed_device_info device = EMBED_DEVICE_INFO_INIT;
    assert_int_equal(embed_device_list(&device, 1, &count), EMBED_OK);
    assert_int_equal(count, 1);
    assert_int_equal(device.device, EMBED_DEVICE_CPU);
    assert_true(device.threads >= 1 && device.memory_bytes > 0 && device.name[0] != '\0');
}

/* Each text's item: tokens, truncation, invalid bytes. Any bytes are a valid text. */
static void test_items(void **state)
{
    (void)state;
    char *long_text = malloc(100000);
    assert_non_null(long_text);
    for (size_t i = 0; i < 100000; i++) long_text[i] = "word "[i % 5];
    embed_text texts[] = {
        {"", NULL, 0}, {NULL, NULL, 0}, {"a\0b", NULL, 3}, {"\xff\xfe caf\xc3", NULL, 8},
        {long_text, NULL, 100000},
    };
    float rows[5 * WIDTH];
    embed_item items[5];
    assert_int_equal(embed_instance_encode(instance, texts, 5, NULL, rows, 5 * WIDTH, items),
                     EMBED_OK);
    assert_int_equal(items[0].tokens, 2);
    assert_memory_equal(rows, rows + WIDTH, WIDTH * sizeof *rows); /* both texts are empty */
    assert_int_equal(items[2].invalid_bytes, 0);
    assert_true(items[3].invalid_bytes == 3 && !items[3].truncated);
    assert_true(items[4].truncated && !items[0].truncated);
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    assert_int_equal(embed_model_get_info(model, &info), EMBED_OK);
    assert_int_equal(items[4].tokens, info.max_tokens);
    for (int i = 0; i < 5; i++) {
        double norm = 0;
        for (int c = 0; c < WIDTH; c++) norm += (double)rows[i * WIDTH + c] * rows[i * WIDTH + c];
        assert_true(fabs(norm - 1) < 1e-6);
        assert_int_equal(items[i].status, EMBED_OK);
    }
    free(long_text);
    assert_int_equal(embed_instance_encode(instance, NULL, 0, NULL, NULL, 0, NULL), EMBED_OK);
}

/* Token ids instead of a text give the text's row; wrong ids are rejected. */
static void test_token_ids(void **state)
{
    (void)state;
    embed_text text = EMBED_TEXT("the quick brown fox");
    embed_tokens tokens = EMBED_TOKENS_INIT;
    assert_int_equal(embed_tokenize(model, &text, 1, NULL, &tokens), EMBED_OK);
    assert_int_equal(tokens.count, 1);
    float from_text[WIDTH], from_ids[WIDTH];
    embed_text ids = {NULL, tokens.ids, tokens.offsets[1]};
    assert_int_equal(embed_instance_encode(instance, &text, 1, NULL, from_text, WIDTH, NULL), 0);
    assert_int_equal(embed_instance_encode(instance, &ids, 1, NULL, from_ids, WIDTH, NULL), 0);
    assert_memory_equal(from_text, from_ids, sizeof from_text);
    embed_tokens_free(&tokens);
    assert_null(tokens.ids);
    tokens.size = sizeof tokens.size; /* nobody could free the ids */
    assert_fails(embed_tokenize(model, &text, 1, NULL, &tokens), EMBED_INVALID_ARGUMENT,
                 "embed_tokenize: the size of out is 8");

    int32_t wrong[] = {1, -1}, large[] = {1, 1000000}, many[1000] = {0};
    embed_text bad[] = {{NULL, wrong, 2}, {NULL, large, 2}, {NULL, many, 1000}, {NULL, many, 0}};
    const char *parts[] = {"token id -1", "token id 1000000", "1000 token ids", "no token ids"};
    for (int i = 0; i < 4; i++)
        assert_fails(embed_instance_encode(instance, &bad[i], 1, NULL, from_ids, WIDTH, NULL),
                     EMBED_INVALID_ARGUMENT, parts[i]);
    int32_t one[] = {3};
    embed_text single[200]; /* one token each */
    float *rows = malloc(sizeof *rows * 200 * WIDTH);
    assert_non_null(rows);
    for (int i = 0; i < 200; i++) single[i] = (embed_text){NULL, one, 1};
    assert_int_equal(embed_instance_encode(instance, single, 200, NULL, rows, 200 * WIDTH, NULL), 0);
    assert_memory_equal(rows, rows + 199 * WIDTH, WIDTH * sizeof *rows);
    free(rows);
}

static void test_options_change_rows_as_they_say(void **state)
{
    (void)state;
    embed_text text = EMBED_TEXT("some dimensions only");
    float whole[WIDTH], raw[WIDTH], part[20];
    embed_encode_options options = EMBED_ENCODE_OPTIONS_INIT;
    options.normalize = EMBED_OFF;
    assert_int_equal(embed_instance_encode(instance, &text, 1, NULL, whole, WIDTH, NULL), 0);
    assert_int_equal(embed_instance_encode(instance, &text, 1, &options, raw, WIDTH, NULL), 0);
    options.dimensions = 20;
    options.normalize = EMBED_AS_MODEL;
    assert_int_equal(embed_instance_encode(instance, &text, 1, &options, part, 20, NULL), 0);

    double norm = 0, norm_part = 0;
    for (int i = 0; i < WIDTH; i++) norm += (double)raw[i] * raw[i];
    for (int i = 0; i < 20; i++) norm_part += (double)raw[i] * raw[i];
    for (int i = 0; i < WIDTH; i++) assert_true(fabs(raw[i] / sqrt(norm) - whole[i]) < 1e-6);
    for (int i = 0; i < 20; i++) assert_true(fabs(raw[i] / sqrt(norm_part) - part[i]) < 1e-6);
}

/* The instance keeps the model alive. */
static void test_close_while_in_use(void **state)
{
    (void)state;
    embed_model *m = NULL;
    embed_instance *i = NULL;
    float row[WIDTH];
    embed_text text = EMBED_TEXT("still here");
    assert_int_equal(embed_model_open(&m, TINY, NULL), EMBED_OK);
    assert_int_equal(embed_instance_create(&i, m, NULL), EMBED_OK);
    embed_model_close(m);
    assert_int_equal(embed_instance_encode(i, &text, 1, NULL, row, WIDTH, NULL), EMBED_OK);
    embed_instance_destroy(i);
}

static void *encode_many(void *argument)
{
    float *expected = argument, row[WIDTH];
    embed_instance *own = NULL;
    embed_text text = EMBED_TEXT("one model, many threads");
    if (embed_instance_create(&own, model, NULL) != EMBED_OK) return "create";
    for (int i = 0; i < 50; i++) {
        if (embed_instance_encode(own, &text, 1, NULL, row, WIDTH, NULL) != EMBED_OK)
            return "encode";
        if (memcmp(row, expected, sizeof row) != 0) return "different bits";
    }
    embed_instance_destroy(own);
    return NULL;
}

static void test_threads_share_a_model(void **state)
{
    (void)state;
    float expected[WIDTH];
    embed_text text = EMBED_TEXT("one model, many threads");
    assert_int_equal(embed_instance_encode(instance, &text, 1, NULL, expected, WIDTH, NULL), 0);
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, encode_many, expected), 0);
    for (int i = 0; i < 8; i++) {
        void *failure = NULL;
        pthread_join(threads[i], &failure);
        if (failure != NULL) fail_msg("thread %d: %s", i, (const char *)failure);
    }
}

static void count_message(void *user, embed_log_level level, const char *message)
{
    assert_true(level >= EMBED_LOG_ERROR && level <= EMBED_LOG_DEBUG);
    assert_non_null(message);
    ++*(int *)user;
}

static void test_log(void **state)
{
    (void)state;
    embed_model *m = NULL;
    int messages = 0;
    embed_log_set(count_message, &messages, EMBED_LOG_DEBUG);
    assert_int_equal(embed_model_open(&m, TINY, NULL), EMBED_OK);
    embed_model_close(m);
    assert_true(messages > 0);
    embed_log_set(NULL, NULL, EMBED_LOG_ERROR);
    int before = messages;
    assert_int_equal(embed_model_open(&m, TINY, NULL), EMBED_OK);
    embed_model_close(m);
    assert_int_equal(messages, before);
}

static void note_line_ends(void *user, embed_log_level level, const char *message)
{
    (void)level;
    if (strpbrk(message, "\n\x1B") != NULL) *(bool *)user = true;
}

/* A folder's name may have any bytes; a message has no line end. */
static void test_log_of_a_name_with_a_line_end(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(TINY);
    char odd[600];
    bool has_line_end = false;
    embed_model *m = NULL;
    snprintf(odd, sizeof odd, "%s\n\x1B", folder);
    assert_int_equal(rename(folder, odd), 0);
    embed_log_set(note_line_ends, &has_line_end, EMBED_LOG_DEBUG);
    assert_int_equal(embed_model_open(&m, odd, NULL), EMBED_OK);
    embed_log_set(NULL, NULL, EMBED_LOG_ERROR);
    embed_model_close(m);
    assert_int_equal(rename(odd, folder), 0);
    test_remove_folder(folder);
    assert_false(has_line_end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_null_arguments),
        cmocka_unit_test(test_struct_sizes),
        cmocka_unit_test(test_wrong_options),
        cmocka_unit_test(test_info_and_memory),
        cmocka_unit_test(test_items),
        cmocka_unit_test(test_token_ids),
        cmocka_unit_test(test_options_change_rows_as_they_say),
        cmocka_unit_test(test_close_while_in_use),
        cmocka_unit_test(test_threads_share_a_model),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_log_of_a_name_with_a_line_end),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
