/* test_fingerprint.c - what changes a model's fingerprint, and what does not */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/hash.h"
#include "embed.h"
#include "formats/safetensors.h"
#include "test_folder.h"

#include <pthread.h>
#include <stdbool.h>

#define TINY "tests/vectors/tiny-bert"
#define BART "tests/vectors/tiny-bart"

typedef struct fingerprints {
    char all[EMBED_FINGERPRINT_SIZE];
    char weights[EMBED_FINGERPRINT_SIZE];
    char tokenizer[EMBED_FINGERPRINT_SIZE];
    char pipeline[EMBED_FINGERPRINT_SIZE];
} fingerprints;

static embed_model *open_on_cpu(const char *folder, embed_dtype dtype)
{
    embed_model *model = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CPU;
    options.dtype = dtype;
    if (embed_model_open(&model, folder, &options) != EMBED_OK)
        fail_msg("%s: %s", folder, embed_error_message());
    return model;
}

static void get(embed_model *model, embed_fingerprint_part part,
                char out[EMBED_FINGERPRINT_SIZE])
{
    if (embed_model_get_fingerprint(model, part, out) != EMBED_OK)
        fail_msg("%s", embed_error_message());
    assert_int_equal(strlen(out), EMBED_FINGERPRINT_SIZE - 1);
    assert_int_equal(strspn(out, "0123456789abcdef"), EMBED_FINGERPRINT_SIZE - 1);
}

static fingerprints fingerprints_of(const char *folder)
{
    fingerprints all;
    embed_model *model = open_on_cpu(folder, EMBED_DTYPE_F32);
    get(model, EMBED_FINGERPRINT_ALL, all.all);
    get(model, EMBED_FINGERPRINT_WEIGHTS, all.weights);
    get(model, EMBED_FINGERPRINT_TOKENIZER, all.tokenizer);
    get(model, EMBED_FINGERPRINT_PIPELINE, all.pipeline);
    embed_model_close(model);
    return all;
}

static void assert_same(const fingerprints *a, const fingerprints *b)
{
    assert_string_equal(a->all, b->all);
    assert_string_equal(a->weights, b->weights);
    assert_string_equal(a->tokenizer, b->tokenizer);
    assert_string_equal(a->pipeline, b->pipeline);
}

/* ---- the hash ------------------------------------------------------------------------------ */

static bool same_hash(struct hash a, struct hash b)
{
    return a.words[0] == b.words[0] || a.words[1] == b.words[1]; /* neither half may be equal */
}

/* Every bit of every length around the ends of lanes. */
static void test_every_bit_is_hashed(void **state)
{
    (void)state;
    unsigned char bytes[100] = {0};
    for (size_t length = 1; length <= sizeof bytes; length++) {
        struct hash before = hash_bytes(0, bytes, length);
        assert_false(same_hash(before, hash_bytes(0, bytes, length - 1)));
        assert_false(same_hash(before, hash_bytes(1, bytes, length)));
        for (size_t bit = 0; bit < 8 * length; bit++) {
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
            assert_false(same_hash(before, hash_bytes(0, bytes, length)));
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
    }
}

/* ---- what does not matter ------------------------------------------------------------------ */

/* Fingerprints are stored with vectors for years. A change here changes them: see NUMERICS_VERSION
 * in fingerprint.h. */
static void test_is_what_it_was(void **state)
{
    (void)state;
    fingerprints tiny = fingerprints_of(TINY), bart = fingerprints_of(BART);
    assert_string_equal(tiny.all, "0ea2fc3c88e9389962f1a8ea837c6edf");
    assert_string_equal(tiny.weights, "7c02a64b55ab877198cdb56b367c9627");
    assert_string_equal(tiny.tokenizer, "b6cd9e94c80ec303eb5be7a4eb36c198");
    assert_string_equal(tiny.pipeline, "7e97f304329fe6dd4700c531b37b3e06");
    assert_string_equal(bart.all, "db7bd349fc9b35aa6a89866d65e82636");
}

static void test_the_place_does_not_count(void **state)
{
    (void)state;
    fingerprints here = fingerprints_of(TINY);
    const char *folder = test_copy_folder(TINY);
    fingerprints there = fingerprints_of(folder);
    assert_same(&here, &there);

    /* Opened by a relative path, after which the process changes its folder. */
    char before[1024], fingerprint[EMBED_FINGERPRINT_SIZE];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(folder), 0);
    embed_model *model = open_on_cpu(".", EMBED_DTYPE_F32);
    assert_int_equal(chdir(before), 0);
    get(model, EMBED_FINGERPRINT_ALL, fingerprint);
    assert_string_equal(fingerprint, here.all);
    embed_model_close(model);
    test_remove_folder(folder);
}

/* Instruction sets change the last bits of rows, and threads change nothing. */
static void test_who_computes_does_not_count(void **state)
{
    (void)state;
    fingerprints best = fingerprints_of(TINY);
    setenv("EMBED_CPU_ISA", "scalar", 1);
    fingerprints scalar = fingerprints_of(TINY);
    unsetenv("EMBED_CPU_ISA");
    assert_same(&best, &scalar);
}

/* The same ids, whichever file they come from and however it is written. */
static void test_the_tokenizers_file_does_not_count(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(TINY);
    fingerprints before = fingerprints_of(TINY);
    test_edit_file(folder, "tokenizer.json", "{", "{  ");
    fingerprints spaced = fingerprints_of(folder);
    assert_same(&before, &spaced);
    test_remove_folder(folder);
}

/* ---- what matters -------------------------------------------------------------------------- */

static void change_byte(const char *folder, const char *name, size_t at, unsigned char by)
{
    char path[1024];
    size_t length;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    char *bytes = test_read_file(path, &length);
    assert_true(at < length);
    bytes[at] = (char)((unsigned char)bytes[at] ^ by);
    test_write_file(folder, name, bytes, length);
    free(bytes);
}

/* One bit in the first and the last number of each tensor; the pooler is unused. */
static void test_every_weight_counts(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(TINY);
    fingerprints before = fingerprints_of(TINY);
    struct safetensors *file;
    assert_int_equal(safetensors_open(&file, TINY "/model.safetensors"), EMBED_OK);
    for (size_t i = 0; i < 2 * safetensors_count(file); i++) {
        const struct safetensors_tensor *tensor = safetensors_at(file, i / 2);
        size_t at = (size_t)(tensor->offset + (i % 2 == 0 ? 0 : tensor->bytes - 4));
        change_byte(folder, "model.safetensors", at, 1);
        fingerprints after = fingerprints_of(folder);
        change_byte(folder, "model.safetensors", at, 1);
        if (strstr(tensor->name, "pooler") != NULL) {
            assert_same(&before, &after);
            continue;
        }
        if (strcmp(before.all, after.all) == 0 || strcmp(before.weights, after.weights) == 0)
            fail_msg("%s does not count", tensor->name);
        assert_string_equal(before.tokenizer, after.tokenizer);
        assert_string_equal(before.pipeline, after.pipeline);
    }
    safetensors_close(file);
    fingerprints again = fingerprints_of(folder);
    assert_same(&before, &again);
    test_remove_folder(folder);
}

typedef struct edit {
    const char *file, *before, *after;
} edit;

static void test_every_token_counts(void **state)
{
    (void)state;
    static const edit edits[] = {
        {"tokenizer.json", "\"the\":", "\"thE\":"},
        {"tokenizer.json", "\"lowercase\":true", "\"lowercase\":false"},
        {"tokenizer.json", "\"single_word\":false", "\"single_word\":true"},
    };
    fingerprints before = fingerprints_of(TINY);
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        const char *folder = test_copy_folder(TINY);
        test_edit_file(folder, edits[i].file, edits[i].before, edits[i].after);
        static const char all_there[] = "{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}";
        test_write_file(folder, "tokenizer_config.json", all_there, strlen(all_there));
        fingerprints after = fingerprints_of(folder);
        if (strcmp(before.tokenizer, after.tokenizer) == 0 ||
            strcmp(before.all, after.all) == 0)
            fail_msg("%s for %s does not count", edits[i].after, edits[i].before);
        assert_string_equal(before.weights, after.weights);
        assert_string_equal(before.pipeline, after.pipeline);
        test_remove_folder(folder);
    }
}

static void test_every_setting_counts(void **state)
{
    (void)state;
    static const edit edits[] = {
        {"config.json", "1e-12", "1e-11"},
        {"config.json", "\"num_attention_heads\": 2", "\"num_attention_heads\": 4"},
        {"sentence_bert_config.json", "48", "47"},
        {"1_Pooling/config.json", "cls_token\": false", "cls_token\": true"},
        {"1_Pooling/config.json", "mean_sqrt_len_tokens\": false",
         "mean_sqrt_len_tokens\": true"},
        {"modules.json",
         ",\n  {\n    \"idx\": 2,\n    \"name\": \"2\",\n    \"path\": \"2_Normalize\",\n"
         "    \"type\": \"sentence_transformers.models.Normalize\"\n  }",
         ""},
        {"config_sentence_transformers.json", "{", "{\"prompts\": {\"query\": \"q: \"},"},
        {"config_sentence_transformers.json", "{", "{\"prompts\": {\"query\": \"q:\"},"},
        {"config_sentence_transformers.json", "{",
         "{\"prompts\": {\"query\": \"q:\"}, \"default_prompt_name\": \"query\","},
    };
    char seen[sizeof edits / sizeof *edits][EMBED_FINGERPRINT_SIZE];
    fingerprints before = fingerprints_of(TINY);
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        const char *folder = test_copy_folder(TINY);
        test_edit_file(folder, edits[i].file, edits[i].before, edits[i].after);
        fingerprints after = fingerprints_of(folder);
        if (strcmp(before.pipeline, after.pipeline) == 0 || strcmp(before.all, after.all) == 0)
            fail_msg("%s for %s does not count", edits[i].after, edits[i].before);
        snprintf(seen[i], sizeof seen[i], "%s", after.all);
        for (size_t k = 0; k < i; k++) assert_string_not_equal(seen[k], seen[i]);
        assert_string_equal(before.weights, after.weights);
        assert_string_equal(before.tokenizer, after.tokenizer);
        test_remove_folder(folder);
    }
}

static void test_the_dtype_counts(void **state)
{
    (void)state;
    embed_model *model = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CPU;
    options.dtype = EMBED_DTYPE_BF16;
    if (embed_model_open(&model, TINY, &options) != EMBED_OK) skip();
    fingerprints f32 = fingerprints_of(TINY);
    char bf16[EMBED_FINGERPRINT_SIZE], weights[EMBED_FINGERPRINT_SIZE];
    get(model, EMBED_FINGERPRINT_ALL, bf16);
    get(model, EMBED_FINGERPRINT_WEIGHTS, weights);
    assert_string_not_equal(f32.all, bf16);
    assert_string_equal(f32.weights, weights);
    embed_model_close(model);
}

/* ---- failures ------------------------------------------------------------------------------ */

static void test_changed_files_are_told(void **state)
{
    (void)state;
    char fingerprint[EMBED_FINGERPRINT_SIZE] = "untouched", kept[EMBED_FINGERPRINT_SIZE];
    const char *folder = test_copy_folder(TINY);
    embed_model *model = open_on_cpu(folder, EMBED_DTYPE_F32);
    embed_model *asked = open_on_cpu(folder, EMBED_DTYPE_F32);
    get(asked, EMBED_FINGERPRINT_ALL, kept);
    change_byte(folder, "model.safetensors", 4000, 1);
    assert_int_equal(embed_model_get_fingerprint(model, EMBED_FINGERPRINT_ALL, fingerprint),
                     EMBED_BAD_FILE);
    assert_non_null(strstr(embed_error_message(), folder));
    assert_non_null(strstr(embed_error_message(), "the weight files have changed"));
    assert_string_equal(fingerprint, "untouched");
    get(model, EMBED_FINGERPRINT_TOKENIZER, fingerprint); /* needs no file */
    get(asked, EMBED_FINGERPRINT_ALL, fingerprint);       /* kept from the first call */
    assert_string_equal(fingerprint, kept);
    embed_model_close(model);
    embed_model_close(asked);
    test_remove_folder(folder);
}

static void test_wrong_calls(void **state)
{
    (void)state;
    char out[EMBED_FINGERPRINT_SIZE];
    embed_model *model = open_on_cpu(TINY, EMBED_DTYPE_F32);
    assert_int_equal(embed_model_get_fingerprint(NULL, EMBED_FINGERPRINT_ALL, out),
                     EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_model_get_fingerprint(model, EMBED_FINGERPRINT_ALL, NULL),
                     EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_model_get_fingerprint(model, (embed_fingerprint_part)4, out),
                     EMBED_INVALID_ARGUMENT);
    embed_model_close(model);
}

/* ---- threads ------------------------------------------------------------------------------- */

static void *ask(void *model)
{
    char *out = malloc(EMBED_FINGERPRINT_SIZE);
    if (out != NULL &&
        embed_model_get_fingerprint(model, EMBED_FINGERPRINT_ALL, out) != EMBED_OK)
        out[0] = '\0';
    return out;
}

static void test_many_may_ask_at_once(void **state)
{
    (void)state;
    fingerprints expected = fingerprints_of(TINY);
    embed_model *model = open_on_cpu(TINY, EMBED_DTYPE_F32);
    pthread_t threads[8];
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask, model), 0);
    for (size_t i = 0; i < 8; i++) {
        void *out;
        pthread_join(threads[i], &out);
        assert_non_null(out);
        assert_string_equal(out, expected.all);
        free(out);
    }
    embed_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_bit_is_hashed),
        cmocka_unit_test(test_is_what_it_was),
        cmocka_unit_test(test_the_place_does_not_count),
        cmocka_unit_test(test_who_computes_does_not_count),
        cmocka_unit_test(test_the_tokenizers_file_does_not_count),
        cmocka_unit_test(test_every_weight_counts),
        cmocka_unit_test(test_every_token_counts),
        cmocka_unit_test(test_every_setting_counts),
        cmocka_unit_test(test_the_dtype_counts),
        cmocka_unit_test(test_changed_files_are_told),
        cmocka_unit_test(test_wrong_calls),
        cmocka_unit_test(test_many_may_ask_at_once),
    };
    return cmocka_run_group_tests_name("fingerprints", tests, NULL, NULL);
}
