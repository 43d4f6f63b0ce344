/* test_out_of_memory.c - makes each allocation fail in turn, once and from then on
 *
 * The method of SQLite's and curl's "torture" tests: a piece of work is repeated with its n-th
 * allocation failing, n = 1, 2, ..., until it finishes without a fault. Each time it must return
 * EMBED_OUT_OF_MEMORY and hold no memory afterwards. This file replaces lib/base/memory.c: the
 * linker takes these functions instead of the library's.
 */
#include "base/memory.h"
#include "base/status.h"
#include "description/tokenizer.h"
#include "formats/checkpoint.h"
#include "formats/folder.h"
#include "service/batch_profile.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the allocator ----------------------------------------------------------------------- */

static struct {
    pthread_mutex_t lock;
    size_t left;  /* allocations that still succeed */
    bool forever; /* all later ones fail, not only the next */
    bool failed;  /* one has */
    long live;    /* blocks not released yet */
} faults = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Returns whether an allocation succeeds, and counts a new block. */
static bool grant(const char *what, bool new_block)
{
    pthread_mutex_lock(&faults.lock);
    bool now = faults.left == 0 && (faults.forever || !faults.failed);
    if (now)
        faults.failed = true;
    else if (faults.left > 0)
        faults.left--;
    if (!now && new_block) faults.live++;
    pthread_mutex_unlock(&faults.lock);
    /* In parentheses, because cmocka defines a macro of that name. */
    if (now) (fail)(EMBED_OUT_OF_MEMORY, "out of memory: %s", what);
    return !now;
}

void *memory_allocate(size_t count, size_t size, const char *what)
{
    return grant(what, true) ? calloc(count > 0 ? count : 1, size > 0 ? size : 1) : NULL;
}

void *memory_resize(void *old, size_t count, size_t size, const char *what)
{
    size_t bytes;
    if (!size_multiply(count, size, &bytes) || !grant(what, old == NULL)) return NULL;
    return realloc(old, bytes > 0 ? bytes : 1);
}

void *memory_allocate_aligned(size_t bytes, const char *what)
{
    void *block = NULL;
    return grant(what, true) && posix_memalign(&block, 64, bytes + 1) == 0 ? block : NULL;
}

char *memory_copy_text(const char *text, size_t length, const char *what)
{
    char *copy = memory_allocate(length + 1, 1, what);
    if (copy != NULL) memcpy(copy, text, length);
    return copy;
}

void memory_free(void *block)
{
    if (block == NULL) return;
    pthread_mutex_lock(&faults.lock);
    faults.live--;
    pthread_mutex_unlock(&faults.lock);
    free(block);
}

/* Repeats `work`, which returns its status after releasing everything, until none of its
 * allocations fail. Work that recovers may succeed despite a failure. */
static void torture(embed_status (*work)(void), bool recovers)
{
    unsigned points = 0;
    for (unsigned forever = 0; forever < 2; forever++) {
        for (size_t n = 0;; n++) {
            faults.left = n;
            faults.forever = forever != 0;
            faults.failed = false;
            faults.live = 0;
            embed_status status = work();
            if (faults.live != 0)
                fail_msg("%ld blocks lost when allocation %zu failed", faults.live, n + 1);
            bool may_succeed = !faults.failed || recovers;
            if (!(status == EMBED_OK && may_succeed) &&
                !(status == EMBED_OUT_OF_MEMORY && faults.failed))
                fail_msg("allocation %zu: status %d, %s", n + 1, (int)status, error_message());
            if (!faults.failed) break;
            points++;
            assert_true(n < 100000);
        }
    }
    print_message("%u injection points\n", points);
}

/* ---- the work ---------------------------------------------------------------------------- */

#define TINY "tests/vectors/tiny-bert"

enum { WIDTH = 64 };

static embed_status read_checkpoint(void)
{
    struct checkpoint *checkpoint;
    TRY(checkpoint_open(&checkpoint, TINY));
    checkpoint_close(checkpoint);
    return EMBED_OK;
}

static embed_status read_file(void)
{
    char *text;
    size_t length;
    char *path = folder_path(TINY, "config.json");
    if (path == NULL) return EMBED_OUT_OF_MEMORY;
    embed_status status = file_read(&text, &length, path, 1 << 20);
    memory_free(path);
    if (status == EMBED_OK) memory_free(text);
    return status;
}

/* Of no existing model: rejected only after it has been read completely. */
static embed_status read_batch_profile(void)
{
    struct batch_profile profile;
    const embed_model_info info = EMBED_MODEL_INFO_INIT;
    embed_status status = batch_profile_read(&profile, "tests/batch-profile.json", &info);
    return status == EMBED_UNSUPPORTED ? EMBED_OK : status;
}

/* Byte-level BPE: opens, encodes with a long word that is not all UTF-8, and decodes. */
static embed_status use_byte_bpe(const char *folder)
{
    struct tokenizer *tokenizer;
    struct token_list list = {0};
    struct word_cache cache = {0};
    struct text_buffer text = {0};
    char bytes[600] = "a <mask> and words, the other words, and one that is long: ";
    memset(bytes + strlen(bytes), 'w', sizeof bytes - strlen(bytes));
    bytes[sizeof bytes - 1] = (char)0xFF;
    TRY(tokenizer_open(&tokenizer, folder));
    embed_status status =
        tokenizer_encode(tokenizer, &cache, bytes, sizeof bytes, 0, &list, NULL);
    if (status == EMBED_OK)
        status = tokenizer_decode(tokenizer, list.ids, list.count, true, &text);
    text_buffer_free(&text);
    word_cache_free(&cache);
    token_list_free(&list);
    tokenizer_close(tokenizer);
    return status;
}

static embed_status use_tokenizer_json(void)
{
    return use_byte_bpe("tests/vectors/tokenizer/bpe-added");
}

static embed_status use_vocab_json(void)
{
    return use_byte_bpe("tests/vectors/tokenizer/roberta");
}

static embed_status open_on_cpu(const char *folder)
{
    embed_model *model;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CPU;
    options.threads = 2;
    TRY(embed_model_open(&model, folder, &options));
    embed_model_close(model);
    return EMBED_OK;
}

static embed_status open_model(void)
{
    return open_on_cpu(TINY);
}

static embed_status open_bart(void)
{
    return open_on_cpu("tests/vectors/tiny-bart");
}

/* Opens a model, tokenizes, and encodes, the last text often enough for a GPU graph. */
static embed_status encode_on(embed_device device)
{
    static const embed_text texts[] = {
        EMBED_TEXT("a first text"), EMBED_TEXT(""),
        EMBED_TEXT("and another, which is longer than the first")};
    embed_model *model;
    embed_instance *instance = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    embed_tokens tokens = EMBED_TOKENS_INIT;
    float *rows = NULL;
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    options.device = device;
    TRY(embed_model_open(&model, TINY, &options));
    embed_status status = embed_model_get_info(model, &info);
    if (status == EMBED_OK) status = embed_tokenize(model, texts, 3, NULL, &tokens);
    if (status == EMBED_OK) status = embed_instance_create(&instance, model, NULL);
    if (status == EMBED_OK) {
        rows = malloc(3 * info.width * sizeof *rows);
        assert_non_null(rows);
        status = embed_instance_encode(instance, texts, 3, NULL, rows, 3 * info.width, NULL);
    }
    for (int i = 0; i < 3 && status == EMBED_OK; i++)
        status = embed_instance_encode(instance, &texts[2], 1, NULL, rows, info.width, NULL);
    free(rows);
    embed_tokens_free(&tokens);
    embed_instance_destroy(instance);
    embed_model_close(model);
    return status;
}

static embed_status encode(void)
{
    return encode_on(EMBED_DEVICE_CPU);
}

static embed_status encode_on_gpu(void)
{
    return encode_on(EMBED_DEVICE_CUDA);
}

static void ignore_stage(void *user, const embed_traced *stage)
{
    (void)user;
    (void)stage;
}

/* Opens a model, gets its fingerprint, and traces a text through it. */
static embed_status look_into(embed_device device)
{
    static const embed_text text = EMBED_TEXT("a text");
    char fingerprint[EMBED_FINGERPRINT_SIZE];
    embed_model *model;
    embed_instance *instance = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = device;
    options.threads = 2;
    embed_status status = embed_model_open(&model, TINY, &options);
    if (status != EMBED_OK) return status;
    status = embed_model_get_fingerprint(model, EMBED_FINGERPRINT_ALL, fingerprint);
    if (status == EMBED_OK) status = embed_instance_create(&instance, model, NULL);
    if (status == EMBED_OK)
        status = embed_instance_trace(instance, &text, NULL, ignore_stage, NULL);
    embed_instance_destroy(instance);
    embed_model_close(model);
    return status;
}

static embed_status look_into_on_cpu(void)
{
    return look_into(EMBED_DEVICE_CPU);
}

static embed_status look_into_on_gpu(void)
{
    return look_into(EMBED_DEVICE_CUDA);
}

/* Uses a pool of two instances: a call that waits, and a request that does not. */
static embed_status use_pool(embed_pool *pool)
{
    static const embed_text texts[] = {EMBED_TEXT("a first text"), EMBED_TEXT("a second text"),
                                       EMBED_TEXT("and another, which is longer than the first")};
    float rows[3 * WIDTH], again[3 * WIDTH];
    embed_item items[3];
    embed_ticket *ticket = NULL;
    embed_request request = EMBED_REQUEST_INIT;
    request.texts = texts;
    request.n = 3;
    request.out = again;
    request.capacity = 3 * WIDTH;
    embed_status status = embed_pool_submit(pool, &request, &ticket);
    if (status == EMBED_OK) status = embed_ticket_wait(ticket, EMBED_WAIT_FOREVER);
    embed_ticket_free(ticket);
    embed_status second = embed_pool_encode(pool, texts, 3, NULL, rows, 3 * WIDTH, items);
    if (!faults.forever && faults.failed && status != EMBED_OK && second != EMBED_OK)
        fail_msg("after one failure: status %d, %s", (int)second, error_message());
    return status != EMBED_OK ? status : second;
}

static embed_status pool_on(embed_device device)
{
    embed_model *model;
    embed_pool *pool = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    embed_pool_options pool_options = EMBED_POOL_OPTIONS_INIT;
    options.device = device;
    options.threads = 1;
    pool_options.instances = 2;
    pool_options.batch_tokens = 64;
    pool_options.warm_up_passes = 1;
    if (device == EMBED_DEVICE_CUDA) pool_options.warm_up = EMBED_OFF; /* slow when emulated */
    pool_options.fallback = EMBED_FALLBACK_READY;
    TRY(embed_model_open(&model, TINY, &options));
    embed_status status = embed_pool_create(&pool, &model, 1, &pool_options);
    if (status == EMBED_OK) status = use_pool(pool);
    embed_pool_destroy(pool);
    embed_model_close(model);
    return status;
}

static embed_status pool_on_cpu(void)
{
    return pool_on(EMBED_DEVICE_CPU);
}

static embed_status pool_on_gpu(void)
{
    return pool_on(EMBED_DEVICE_CUDA);
}

/* A request that does not wait, with a text in pieces, and a call that waits. */
static embed_status generate_in(embed_pool *pool)
{
    static const embed_text texts[] = {
        EMBED_TEXT("A storm reached the town on Monday, and many people came to watch the old bridge. "
                   "The council voted to close it."),
        EMBED_TEXT("a second text")};
    embed_strings first = EMBED_STRINGS_INIT, second = EMBED_STRINGS_INIT;
    embed_ticket *ticket = NULL;
    embed_request request = EMBED_REQUEST_INIT;
    embed_generate_options options = EMBED_GENERATE_OPTIONS_INIT;
    TRY(embed_model_get_generation(embed_pool_model(pool), &options));
    options.max_tokens = 16;
    options.min_length = 0;
    options.max_length = 6;
    options.long_texts = EMBED_LONG_SPLIT;
    request.texts = texts;
    request.n = 2;
    request.generate = &options;
    request.strings = &first;
    embed_status status = embed_pool_submit(pool, &request, &ticket);
    if (status == EMBED_OK) status = embed_ticket_wait(ticket, EMBED_WAIT_FOREVER);
    embed_ticket_free(ticket);
    embed_status again = embed_pool_generate(pool, texts, 2, &options, &second);
    if (!faults.forever && faults.failed && status != EMBED_OK && again != EMBED_OK)
        fail_msg("after one failure: status %d, %s", (int)again, error_message());
    embed_strings_free(&first);
    embed_strings_free(&second);
    return status != EMBED_OK ? status : again;
}

static embed_status generating_pool(void)
{
    embed_model *model;
    embed_pool *pool = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    embed_pool_options pool_options = EMBED_POOL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CPU;
    options.threads = 1;
    pool_options.instances = 2;
    pool_options.documents = 2;
    pool_options.warm_up_passes = 1;
    TRY(embed_model_open(&model, "tests/vectors/tiny-bart", &options));
    embed_status status = embed_pool_create(&pool, &model, 1, &pool_options);
    if (status == EMBED_OK) status = generate_in(pool);
    embed_pool_destroy(pool);
    embed_model_close(model);
    return status;
}

/* Acquires and uses a model, and then one that takes its room. */
static embed_status acquire_two(embed_cache *cache)
{
    static const embed_text text = EMBED_TEXT("a text");
    float row[WIDTH];
    embed_pool *pool = NULL;
    TRY(embed_cache_acquire(cache, TINY, &pool));
    embed_status status = embed_pool_encode(pool, &text, 1, NULL, row, WIDTH, NULL);
    embed_cache_release(cache, pool);
    if (status == EMBED_OK) status = embed_cache_pin(cache, "tests/vectors/tiny-bert-cls");
    embed_cache_unpin(cache, "tests/vectors/tiny-bert-cls");
    return status;
}

static embed_status cache_on_cpu(void)
{
    embed_cache *cache;
    embed_cache_options options = EMBED_CACHE_OPTIONS_INIT;
    embed_model_options model = EMBED_MODEL_OPTIONS_INIT;
    embed_pool_options pool = EMBED_POOL_OPTIONS_INIT;
    model.device = EMBED_DEVICE_CPU;
    model.threads = 1;
    pool.warm_up_passes = 1;
    options.max_models = 1;
    options.model = &model;
    options.pool = &pool;
    TRY(embed_cache_create(&cache, &options));
    embed_status status = acquire_two(cache);
    if (status != EMBED_OK && !faults.forever && acquire_two(cache) != EMBED_OK)
        fail_msg("after one failure: %s", error_message());
    embed_cache_destroy(cache);
    return status;
}

/* Copies options, including the profile's path. */
static embed_status create_cache(void)
{
    embed_cache *cache;
    embed_cache_options options = EMBED_CACHE_OPTIONS_INIT;
    embed_pool_options pool = EMBED_POOL_OPTIONS_INIT;
    pool.profile = "a profile";
    options.pool = &pool;
    TRY(embed_cache_create(&cache, &options));
    embed_cache_destroy(cache);
    return EMBED_OK;
}

static void test_cache(void **state)
{
    (void)state;
    torture(create_cache, false);
    torture(cache_on_cpu, true);
}

static void test_pool(void **state)
{
    (void)state;
    torture(pool_on_cpu, true);
    torture(generating_pool, true);
}

static void test_file(void **state)
{
    (void)state;
    torture(read_file, false);
}

static void test_batch_profile(void **state)
{
    (void)state;
    torture(read_batch_profile, false);
}

static void test_checkpoint(void **state)
{
    (void)state;
    torture(read_checkpoint, false);
}

static void test_byte_bpe(void **state)
{
    (void)state;
    torture(use_tokenizer_json, false);
    torture(use_vocab_json, false);
}

static void test_open_model(void **state)
{
    (void)state;
    torture(open_model, false);
    torture(open_bart, false);
}

static void test_encode(void **state)
{
    (void)state;
    torture(encode, false);
    torture(look_into_on_cpu, false);
}

/* Host memory that lib/cuda allocates counts as well: on the emulated device. */
static void test_encode_on_gpu(void **state)
{
    (void)state;
    if (getenv("WRAPPER") != NULL) {
        print_message("skipped: valgrind takes the emulated device's fibers for errors\n");
        skip();
    }
    char plugin[1024];
    snprintf(plugin, sizeof plugin, "%s/emulated/sm_80/libembed-cuda.so", getenv("BUILD"));
    setenv("EMBED_CUDA_PLUGIN", plugin, 1);
    torture(encode_on_gpu, false);
    torture(look_into_on_gpu, false);
    torture(pool_on_gpu, true);
    unsetenv("EMBED_CUDA_PLUGIN");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_batch_profile),
        cmocka_unit_test(test_checkpoint),
        cmocka_unit_test(test_byte_bpe),
        cmocka_unit_test(test_open_model),
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_encode_on_gpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
