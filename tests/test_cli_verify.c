/* test_cli_verify.c - embed verify: agrees with a correct model, and names the stage that
 * differs */
#include "run_command.h"

#include "embed.h"
#include "formats/safetensors.h"
#include "pipelines_test.h"

#include <jansson.h>
#include <stdbool.h>

#define TINY   "tests/vectors/tiny-bert"
#define GOLDEN "tests/vectors/tiny-bert-golden.json"

static const char *reference = GOLDEN;

static program_result verify(const char *folder, const char *device, const char *dtype)
{
    return run(WORDS("embed", "verify", "-m", folder, "--reference", reference, "--device", device,
                     "--dtype", dtype),
               NULL, 0);
}

static void check_agrees(const char *device, const char *dtype)
{
    program_result r = verify(TINY, device, dtype);
    if (r.status != 0 || strstr(r.out, "\nall stages agree\n") == NULL)
        fail_msg("%s: status %d: %s%s", dtype, r.status, r.out, r.err);
    free_result(&r);
}

static void test_agrees(void **state)
{
    (void)state;
    static const char *const dtypes[] = {"f32", "bf16", "int8"};
    for (size_t i = 0; i < 3; i++) {
        embed_model *model = NULL;
        embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
        options.device = EMBED_DEVICE_CPU;
        options.dtype = i == 0 ? EMBED_DTYPE_F32 : i == 1 ? EMBED_DTYPE_BF16 : EMBED_DTYPE_INT8;
        if (embed_model_open(&model, TINY, &options) == EMBED_OK)
            check_agrees("cpu", dtypes[i]);
        embed_model_close(model);
    }
}

static void test_agrees_in_plain_c(void **state)
{
    (void)state;
    setenv("EMBED_CPU_ISA", "scalar", 1);
    check_agrees("cpu", "f32");
    unsetenv("EMBED_CPU_ISA");
}

static void test_agrees_on_the_emulated_device(void **state)
{
    (void)state;
    char plugin[600];
    snprintf(plugin, sizeof plugin, "%s/emulated/sm_80/libembed-cuda.so", build_folder());
    setenv("EMBED_CUDA_PLUGIN", plugin, 1);
    check_agrees("cuda", "f16");
    check_agrees("cuda", "f32");
    unsetenv("EMBED_CUDA_PLUGIN");
}

/* Checks the stage that is named first, in both forms; exit status 1. */
static void check_names(const char *folder, const char *stage, const char *what)
{
    char said[64];
    snprintf(said, sizeof said, "at \"%s\": ", stage);
    program_result r = verify(folder, "cpu", "f32");
    if (r.status != 1 || strstr(r.err, said) == NULL || strstr(r.err, folder) == NULL ||
        count_lines(r.err) != 1)
        fail_msg("%s: status %d, not %s: %s%s", what, r.status, stage, r.err, r.out);
    free_result(&r);
}

/* ---- weights ------------------------------------------------------------------------------- */

/* Changes the number at `at`: its sign, and its size by a factor of 4 or 1/4. */
static void change_number(const char *folder, const char *name, uint64_t at)
{
    char path[1024];
    size_t length;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    char *bytes = test_read_file(path, &length);
    assert_true(at + 4 <= length);
    bytes[at + 3] = (char)(bytes[at + 3] ^ 0x81);
    test_write_file(folder, name, bytes, length);
    free(bytes);
}

/* Returns the stage at which a change first shows. NULL: none, since it is unused or, for a key's
 * bias, adds the same to all scores. */
static const char *stage_of(char out[32], const char *name)
{
    unsigned layer;
    if (strstr(name, "pooler") != NULL || strstr(name, "key.bias") != NULL) return NULL;
    if (sscanf(name, "encoder.layer.%u.", &layer) != 1) return "embeddings";
    snprintf(out, 32, "layer %u", layer);
    return out;
}

/* Changes one number of every tensor in turn; in tables, one that all texts use. */
static void test_every_tensor_is_named(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(TINY);
    struct safetensors *file;
    assert_int_equal(safetensors_open(&file, TINY "/model.safetensors"), EMBED_OK);
    for (size_t i = 0; i < safetensors_count(file); i++) {
        char name[32];
        const struct safetensors_tensor *tensor = safetensors_at(file, i);
        const char *stage = stage_of(name, tensor->name);
        bool words = strstr(tensor->name, "word_embeddings") != NULL; /* [CLS] is 2 */
        uint64_t at = tensor->offset + (words ? 2 * 64 * 4 : 0) + 4 * 7;
        if (stage == NULL) continue;
        change_number(folder, "model.safetensors", at);
        check_names(folder, stage, tensor->name);
        change_number(folder, "model.safetensors", at);
    }
    safetensors_close(file);
    test_remove_folder(folder);
}

/* Normalize, Dense, Dense, Normalize: the second Dense is module 2. */
static void test_modules_are_named(void **state)
{
    (void)state;
    const char *folder = pipeline_folder("dense-twice");
    static const struct {
        const char *file, *stage;
    } cases[] = {{"3_Dense/model.safetensors", "module 1"},
                 {"5_Dense/model.safetensors", "module 2"}};
    reference = "tests/vectors/dense-twice-golden.json";
    program_result r = verify(folder, "cpu", "f32");
    if (r.status != 0) fail_msg("%s%s", r.err, r.out);
    for (int i = 0; i < 3; i++) {
        char line[32];
        snprintf(line, sizeof line, "\nmodule %d ", i);
        assert_non_null(strstr(r.out, line));
    }
    free_result(&r);
    for (size_t i = 0; i < 2; i++) {
        char path[1024];
        struct safetensors *file;
        snprintf(path, sizeof path, "%s/%s", folder, cases[i].file);
        assert_int_equal(safetensors_open(&file, path), EMBED_OK);
        uint64_t at = safetensors_find(file, "linear.weight")->offset + 20;
        safetensors_close(file);
        change_number(folder, cases[i].file, at);
        check_names(folder, cases[i].stage, cases[i].file);
        change_number(folder, cases[i].file, at);
    }
    reference = GOLDEN;
    test_remove_folder(folder);
}

/* ---- settings ------------------------------------------------------------------------------ */

static void test_settings_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *file, *before, *after, *stage;
    } cases[] = {
        {"tokenizer.json", "\"lowercase\":true", "\"lowercase\":false", "tokens"},
        {"sentence_bert_config.json", "48", "40", "tokens"},
        {"config.json", "1e-12", "1e-2", "embeddings"},
        {"config.json", "\"num_attention_heads\": 2", "\"num_attention_heads\": 4", "layer 0"},
        {"1_Pooling/config.json", "mean_tokens\": true",
         "mean_tokens\": false,\n"
         "  \"pooling_mode_lasttoken\": true",
         "pooling"},
        {"modules.json",
         ",\n  {\n    \"idx\": 2,\n    \"name\": \"2\",\n    \"path\": \"2_Normalize\",\n"
         "    \"type\": \"sentence_transformers.models.Normalize\"\n  }",
         "", "row"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *folder = test_copy_folder(TINY);
        /* BertTokenizer would override what tokenizer.json says, with a warning. */
        static const char fast[] = "{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}";
        test_write_file(folder, "tokenizer_config.json", fast, strlen(fast));
        test_edit_file(folder, cases[i].file, cases[i].before, cases[i].after);
        check_names(folder, cases[i].stage, cases[i].after);
        test_remove_folder(folder);
    }
}

/* A model with fewer or more layers than the reference. */
static void test_other_layers(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(TINY);
    test_edit_file(folder, "config.json", "\"num_hidden_layers\": 3",
                   "\"num_hidden_layers\": 2");
    program_result r = verify(folder, "cpu", "f32");
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(r.err, "at \"pooling\": the reference has layer 2 here"));
    free_result(&r);
    test_remove_folder(folder);
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static json_t *verify_json(const char *folder, int status)
{
    json_error_t error;
    program_result r = run(WORDS("embed", "verify", "-m", folder, "--reference", GOLDEN,
                                 "--device", "cpu", "--dtype", "f32", "--json"),
                           NULL, 0);
    assert_int_equal(r.status, status);
    json_t *all = json_loadb(r.out, r.out_length, JSON_REJECT_DUPLICATES, &error);
    if (all == NULL) fail_msg("%s: %s", error.text, r.out);
    free_result(&r);
    return all;
}

static void test_json(void **state)
{
    (void)state;
    json_t *all = verify_json(TINY, 0);
    assert_true(json_is_true(json_object_get(all, "agrees")));
    assert_true(json_is_null(json_object_get(all, "first_difference")));
    assert_int_equal(json_array_size(json_object_get(all, "stages")), 7);
    json_decref(all);

    const char *folder = test_copy_folder(TINY);
    test_edit_file(folder, "config.json", "1e-12", "1e-2");
    all = verify_json(folder, 1);
    assert_true(json_is_false(json_object_get(all, "agrees")));
    assert_string_equal(json_string_value(json_object_get(all, "first_difference")),
                        "embeddings");
    json_t *tokens = json_array_get(json_object_get(all, "stages"), 0);
    json_t *second = json_array_get(json_object_get(all, "stages"), 1);
    assert_true(json_is_true(json_object_get(tokens, "agrees")));
    assert_true(json_is_false(json_object_get(second, "agrees")));
    assert_true(json_real_value(json_object_get(second, "difference")) >
                json_real_value(json_object_get(second, "bound")));
    json_decref(all);
    test_remove_folder(folder);
}

/* ---- references ---------------------------------------------------------------------------- */

static void test_unknown_weights(void **state)
{
    (void)state;
    program_result r = run(WORDS("embed", "verify", "-m", TINY), NULL, 0);
    assert_int_equal(r.status, 3);
    assert_int_equal(r.out_length, 0);
    assert_non_null(strstr(r.err,
                           TINY ": no built-in reference for its weights, "
                                "7c02a64b55ab877198cdb56b367c9627; --reference takes "));
    assert_int_equal(count_lines(r.err), 1);
    free_result(&r);
    /* The name of a known model selects its reference. */
    r = run(WORDS("embed", "verify", "-m", TINY, "--reference", "all-MiniLM-L6-v2"), NULL, 0);
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(r.err, "first differs from the reference at \"tokens\": "));
    free_result(&r);
}

static void test_bad_references(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } files[] = {
        {"", "line"},
        {"{\"embed golden\":1", "line"},
        {"[]", "not a file from make_golden.py"},
        {"{\"embed golden\":2,\"model\":\"a\",\"weights_fingerprint\":null,\"made_by\":\"b\","
         "\"max_tokens\":4,\"texts\":[{\"text\":\"\",\"ids\":[],\"stages\":[]}]}",
         "not a file from"},
        {"{\"embed golden\":1,\"model\":\"a\",\"weights_fingerprint\":null,\"made_by\":\"b\","
         "\"max_tokens\":4,\"texts\":[]}",
         "not a file from"},
        {"{\"embed golden\":1,\"model\":\"a\",\"weights_fingerprint\":null,\"made_by\":\"b\","
         "\"max_tokens\":4,\"texts\":[{\"text\":\"\",\"ids\":[\"x\"],\"stages\":[]}]}",
         "not a file from"},
        {"{\"embed golden\":1,\"model\":\"a\",\"weights_fingerprint\":null,\"made_by\":\"b\","
         "\"max_tokens\":4,\"texts\":[{\"text\":\"\",\"ids\":[],\"stages\":[[\"row\",0,1,1,1,1,"
         "1,1,"
         "1,1]]}]}",
         "not a file from"},
        {"{\"embed golden\":1,\"model\":\"a\",\"weights_fingerprint\":null,\"made_by\":\"b\","
         "\"max_tokens\":4,\"texts\":[{\"text\":\"\",\"ids\":[4294967396],"
         "\"stages\":[]}]}", /* 2^32 + 100 */
         "not a file from"},
        {"{\"embed golden\":1,\"model\":\"a\",\"weights_fingerprint\":null,\"made_by\":\"b\","
         "\"max_tokens\":4,\"texts\":[{\"text\":\"\",\"ids\":[],\"stages\":[[\"\\u009b1m\","
         "1,1,1,1,1,1,1,1,1]]}]}",
         "not a file from"},
    };
    char path[600];
    snprintf(path, sizeof path, "%s", scratch("reference.json"));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        FILE *out = fopen(path, "w");
        assert_non_null(out);
        fputs(files[i].text, out);
        fclose(out);
        check_failure(WORDS("embed", "verify", "-m", TINY, "--reference", path), files[i].says);
    }
    FILE *out = fopen(path, "w");
    fputs("{\"embed golden\":1,\"model\":\"a\\u001b\",\"weights_fingerprint\":null,\"made_by\":"
          "\"\\n\\u0080\",\"max_tokens\":4,\"texts\":[{\"text\":\"\",\"ids\":[],\"stages\":[]}]}",
          out);
    fclose(out);
    program_result r = run(WORDS("embed", "verify", "-m", TINY, "--reference", path), NULL, 0);
    assert_int_equal(r.status, 1);
    assert_int_equal(strncmp(r.out, "a? by ???, here in ", 19), 0);
    free_result(&r);
    check_failure(WORDS("embed", "verify", "-m", TINY, "--reference", "/nowhere/at.all"),
                  "/nowhere/at.all: No such file");
    check_failure(
        WORDS("embed", "verify", "-m", "tests/vectors/tiny-bart", "--reference", GOLDEN),
        "gives no embeddings");
}

static void test_wrong_calls(void **state)
{
    (void)state;
    const char *const *const calls[] = {
        WORDS("embed", "verify"),
        WORDS("embed", "verify", "-m", TINY, "more"),
        WORDS("embed", "verify", "-m", TINY, "--reference"),
        WORDS("embed", "verify", "-m", TINY, "--prompt", "query"),
    };
    check_wrong_calls(calls, sizeof calls / sizeof *calls);
}

/* ---- the real model ------------------------------------------------------------------------ */

/* Found by its weights, whatever the name of its folder. */
static void test_real_model(void **state)
{
    (void)state;
    const char *model = getenv("MODEL");
    if (model == NULL || *model == '\0') skip();
    char path[700], target[4096];
    assert_non_null(realpath(model, target));
    snprintf(path, sizeof path, "%s", scratch("another-name"));
    assert_int_equal(symlink(target, path), 0);
    static const char *const dtypes[] = {"auto", "f32"};
    for (size_t i = 0; i < 2; i++) {
        program_result r = run_well(
            WORDS("embed", "verify", "-m", path, "--device", "cpu", "--dtype", dtypes[i]), NULL,
            0);
        assert_memory_equal(r.out, "all-MiniLM-L6-v2 by sentence-transformers", 41);
        assert_non_null(strstr(r.out, "\nlayer 5 "));
        assert_non_null(strstr(r.out, "\nall stages agree\n"));
        free_result(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agrees),
        cmocka_unit_test(test_agrees_in_plain_c),
        cmocka_unit_test(test_agrees_on_the_emulated_device),
        cmocka_unit_test(test_every_tensor_is_named),
        cmocka_unit_test(test_modules_are_named),
        cmocka_unit_test(test_settings_are_named),
        cmocka_unit_test(test_other_layers),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_unknown_weights),
        cmocka_unit_test(test_bad_references),
        cmocka_unit_test(test_wrong_calls),
        cmocka_unit_test(test_real_model),
    };
    return cmocka_run_group_tests_name("embed verify", tests, make_scratch, remove_scratch);
}
