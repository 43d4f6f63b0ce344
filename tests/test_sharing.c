/* test_sharing.c - models of the same files share their weights, and plans give the bytes */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "embed.h"
#include "model/model.h"
#include "pipelines_test.h"

#include <pthread.h>

#define TINY "tests/vectors/tiny-bert"

static embed_model *open_with(const char *folder, unsigned threads)
{
    embed_model *model = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.threads = threads;
    if (embed_model_open(&model, folder, &options) != EMBED_OK)
        fail_msg("%s: %s", folder, embed_error_message());
    return model;
}

static void encode_some(embed_model *model, float *row, size_t width)
{
    embed_instance *instance = NULL;
    embed_text text = EMBED_TEXT("a text");
    assert_int_equal(embed_instance_create(&instance, model, NULL), EMBED_OK);
    assert_int_equal(embed_instance_encode(instance, &text, 1, NULL, row, width, NULL), EMBED_OK);
    embed_instance_destroy(instance);
}

static void encode_one(embed_model *model, float row[64])
{
    encode_some(model, row, 64);
}

static void test_same_folder_is_shared(void **state)
{
    (void)state;
    float first[64], second[64];
    embed_model *a = open_with(TINY, 1), *b = open_with(TINY, 3);
    assert_ptr_equal(a->weights, b->weights);
    encode_one(a, first);
    embed_model_close(a); /* the one that loaded them; the other stays valid */
    encode_one(b, second);
    assert_memory_equal(first, second, sizeof first);
    embed_model_close(b);
}

static void test_other_files_are_not_shared(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(TINY);
    char path[1024];
    size_t length;
    float before[64], after[64];
    embed_model *original = open_with(TINY, 1), *copy = open_with(folder, 1);
    assert_ptr_not_equal(original->weights, copy->weights);

    /* The file is replaced while a model of it is open, as in an update of the model. */
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    char *bytes = test_read_file(path, &length);
    /* Changes the signs of some floats: tensors begin at multiples of 8. */
    for (size_t i = length / 2; i < length * 3 / 4; i++) bytes[i] ^= (char)(i % 4 == 3 ? 0x80 : 0);
    assert_int_equal(remove(path), 0);
    test_write_file(folder, "model.safetensors", bytes, length);
    embed_model *updated = open_with(folder, 1);
    assert_ptr_not_equal(updated->weights, copy->weights);
    encode_one(copy, before);
    encode_one(updated, after);
    assert_memory_not_equal(before, after, sizeof before);

    embed_model_close(original);
    embed_model_close(copy);
    embed_model_close(updated);
    free(bytes);
    test_remove_folder(folder);
}

/* The module's settings are in a file beside its weights, and may change without them: the same
 * weights may also be in two folders, by symlinks. */
static void test_other_dense_modules_are_not_shared(void **state)
{
    (void)state;
    static const char config[] = "2_Dense/config.json";
    float with[49], without[49], alone[49];
    embed_model *other = NULL;
    const char *folder = pipeline_folder("dense-tanh");
    embed_model *tanh = open_with(folder, 1);
    test_edit_file(folder, config, "Tanh", "Identity");
    embed_model *identity = open_with(folder, 1);
    encode_some(tanh, with, 49);
    encode_some(identity, without, 49);
    embed_model_close(identity);

    test_edit_file(folder, config, "49", "7");
    assert_int_equal(embed_model_open(&other, folder, NULL), EMBED_BAD_FILE);
    test_edit_file(folder, config, "7", "49");
    test_edit_file(folder, config, "\"bias\": true", "\"bias\": false");
    assert_int_equal(embed_model_open(&other, folder, NULL), EMBED_BAD_FILE);
    test_edit_file(folder, config, "\"bias\": false", "\"bias\": true");
    embed_model_close(tanh);

    identity = open_with(folder, 1);
    encode_some(identity, alone, 49);
    assert_memory_equal(without, alone, sizeof alone);
    assert_memory_not_equal(without, with, sizeof with);
    embed_model_close(identity);
    test_remove_folder(folder);
}

/* A model that is opened again, because rows are not finite or a GPU is lost, gets texts that were
 * checked and tokenized by the first one: its folder must still say the same. */
static void test_opened_again_on_the_cpu(void **state)
{
    (void)state;
    static const struct {
        const char *file, *before, *after;
    } edits[] = {
        {"config_sentence_transformers.json", "\"query\"", "\"question\""},
        {"sentence_bert_config.json", "64", "16"},
        {"tokenizer_config.json", "\"do_lower_case\": true", "\"do_lower_case\": false"},
        {"modules.json", "models.Normalize", "models.Dropout"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        const char *folder = test_copy_folder(VECTORS "tiny-e5");
        embed_model *model = open_with(folder, 2), *again = NULL;
        assert_int_equal(model_open_on_cpu(&again, model, EMBED_DTYPE_F32), EMBED_OK);
        embed_model_close(again);
        again = NULL;
        test_edit_file(folder, edits[i].file, edits[i].before, edits[i].after);
        assert_int_equal(model_open_on_cpu(&again, model, EMBED_DTYPE_F32), EMBED_BAD_FILE);
        assert_null(again);
        embed_model_close(model);
        test_remove_folder(folder);
    }
}

static void *open_and_close(void *argument)
{
    const struct weights **seen = argument;
    embed_model *model = NULL;
    if (embed_model_open(&model, TINY, NULL) != EMBED_OK) return NULL;
    *seen = model->weights;
    return model;
}

static void test_opened_at_the_same_time(void **state)
{
    (void)state;
    pthread_t threads[8];
    const struct weights *seen[8];
    void *models[8];
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, &seen[i]), 0);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], &models[i]);
    for (int i = 0; i < 8; i++) {
        assert_non_null(models[i]);
        assert_ptr_equal(seen[i], seen[0]);
    }
    for (int i = 0; i < 8; i++) embed_model_close(models[i]);
}

/* What a plan says is what is used. */
static void test_plan_is_what_is_used(void **state)
{
    (void)state;
    static const size_t batch_tokens[] = {0, 1, 64, 10000};
    static const char *const folders[] = {TINY, "tests/vectors/tiny-bert-cls"};
    for (size_t f = 0; f < 2; f++) {
        for (size_t b = 0; b < 4; b++) {
            embed_model *model = open_with(folders[f], 2);
            embed_instance *instance = NULL;
            embed_model_options model_options = EMBED_MODEL_OPTIONS_INIT;
            embed_instance_options options = EMBED_INSTANCE_OPTIONS_INIT;
            embed_memory plan = EMBED_MEMORY_INIT, actual = EMBED_MEMORY_INIT;
            model_options.threads = 2;
            options.batch_tokens = batch_tokens[b];
            assert_int_equal(embed_plan(folders[f], &model_options, &options, &plan), EMBED_OK);
            assert_int_equal(embed_instance_create(&instance, model, &options), EMBED_OK);
            assert_int_equal(embed_instance_get_memory(instance, &actual), EMBED_OK);
            assert_memory_equal(&plan, &actual, sizeof plan);
            assert_int_equal(plan.own, plan.activations + plan.workspace + plan.batch);
            assert_int_equal(plan.total, plan.own + plan.weights);
            embed_instance_destroy(instance);
            embed_model_close(model);
        }
    }
    size_t count = 0, less = 0;
    embed_model *model = open_with(TINY, 2);
    assert_int_equal(embed_instances_that_fit(model, NULL, 0, &count), EMBED_OK);
    assert_int_equal(embed_instances_that_fit(model, NULL, 100 << 20, &less), EMBED_OK);
    assert_true(count > less && less > 0);
    assert_int_equal(embed_instances_that_fit(model, NULL, SIZE_MAX / 2, &count), EMBED_OK);
    assert_int_equal(count, 0);
    embed_model_close(model);

    embed_memory plan = EMBED_MEMORY_INIT;
    assert_int_equal(embed_plan("/nonexistent", NULL, NULL, &plan), EMBED_IO);
    assert_int_equal(embed_plan(NULL, NULL, NULL, &plan), EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_plan(TINY, NULL, NULL, NULL), EMBED_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_folder_is_shared),
        cmocka_unit_test(test_other_files_are_not_shared),
        cmocka_unit_test(test_other_dense_modules_are_not_shared),
        cmocka_unit_test(test_opened_again_on_the_cpu),
        cmocka_unit_test(test_opened_at_the_same_time),
        cmocka_unit_test(test_plan_is_what_is_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
