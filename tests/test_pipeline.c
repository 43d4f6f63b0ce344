/* test_pipeline.c - sentence-transformers' steps around the transformer: rows of folders with all
 * kinds of its files, the facts reported about them, and rejections */
#include "pipelines_test.h"

/* ---- results ------------------------------------------------------------------------------- */

static void test_rows(void **state)
{
    (void)state;
    tested.device = EMBED_DEVICE_CPU;
    tested.dtype = EMBED_DTYPE_F32;
    FOR_EACH_ISA(check_pipelines(0.9999999, 1e-6));
}

static void test_info(void **state)
{
    (void)state;
    for (size_t i = 0; i < PIPELINE_CASES; i++) {
        const struct pipeline_case *c = &pipeline_cases[i];
        const char *folder = pipeline_folder(c->name);
        struct opened opened = open_model(folder, 2, 0);
        embed_model_info info = EMBED_MODEL_INFO_INIT;
        assert_int_equal(embed_model_get_info(opened.model, &info), EMBED_OK);
        assert_int_equal(info.width, c->width);
        assert_int_equal(info.max_tokens, c->max_tokens);
        assert_int_equal(info.pooling, c->pooling);
        assert_int_equal(info.normalizes, c->normalizes);
        close_model(&opened);
        test_remove_folder(folder);
    }
}

/* The facts, and which file each comes from. */
static void test_facts(void **state)
{
    (void)state;
    static const struct {
        const char *folder, *name, *value, *file;
    } expected[] = {
        {"new-files", "tokenizer", "WordPiece", "tokenizer.json"},
        {"new-files", "max_tokens", "30", "tokenizer_config.json"},
        {"new-files", "default prompt query", "represent this for the query: ",
         "config_sentence_transformers.json"},
        {"new-files", "prompt nothing", "", "config_sentence_transformers.json"},
        {"new-files", "pooling", "last_token, cls", "1_Pooling/config.json"},
        {"new-files", "pools_prompt", "no", "1_Pooling/config.json"},
        {"new-files", "dense", "128 to 40, bias, relu", "2_Dense/config.json"},
        {"new-files", "dimensions", "24", "config_sentence_transformers.json"},
        {"new-files", "weights", "F32", "2_Dense/model.safetensors"},
        {"dense-twice", "dense", "128 to 150, no bias, gelu", "3_Dense/config.json"},
        {"dense-twice", "normalization", "yes", "modules.json"},
        {"dense-twice", "weights", "F16", "3_Dense/model.safetensors"},
        {"dense-twice", "weights", "BF16", "5_Dense/model.safetensors"},
        {"lowercase", "max_tokens", "20", "sentence_roberta_config.json"},
        {"lowercase", "lower_case", "yes", "sentence_roberta_config.json"},
        {"no-mode", "max_tokens", "64", "tokenizer_config.json"},
        {"no-mode", "normalization", "no", "modules.json"},
        {"no-mode", "weights", "F32", "model.safetensors"},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const char *folder = pipeline_folder(expected[i].folder);
        struct opened opened = open_model(folder, 1, 0);
        embed_fact facts[32];
        size_t count = 0;
        bool found = false;
        assert_int_equal(embed_model_get_facts(opened.model, facts, 32, &count), EMBED_OK);
        assert_true(count <= 32);
        for (size_t k = 0; k < count; k++)
            found |= strcmp(facts[k].name, expected[i].name) == 0 &&
                     strcmp(facts[k].value, expected[i].value) == 0 && facts[k].file != NULL &&
                     strcmp(facts[k].file, expected[i].file) == 0;
        if (!found)
            fail_msg("%s: no fact %s %s (%s)", expected[i].folder, expected[i].name,
                     expected[i].value, expected[i].file);
        close_model(&opened);
        test_remove_folder(folder);
    }
}

/* The same bits in any batch, with any number of threads, in any order, and from a pool, which
 * holds the texts as ids. */
static void test_invariance(void **state)
{
    (void)state;
    enum { MOST = 64 };
    struct vector_lines lines = vector_lines_load(PIPELINES "lines.txt");
    embed_text *texts = texts_of(&lines);
    static const char *const names[] = {"dense-twice", "no-prompt"};
    for (size_t k = 0; k < 2; k++) {
        const char *folder = pipeline_folder(names[k]), *prompt = k == 0 ? "" : "query";
        struct opened one = open_model(folder, 1, 0), three = open_model(folder, 3, 64);
        size_t width = one.width, n = lines.count;
        float *expected = encode(&one, texts, n, prompt), *rows = encode(&three, texts, n, prompt);
        assert_memory_equal(rows, expected, n * width * sizeof *rows);
        for (size_t i = 0; i < n; i++) {
            float *row = encode(&three, &texts[i], 1, prompt);
            assert_memory_equal(row, expected + i * width, width * sizeof *row);
            free(row);
        }
        embed_pool *pool = NULL;
        embed_encode_options options = EMBED_ENCODE_OPTIONS_INIT;
        options.prompt_name = prompt;
        assert_int_equal(embed_pool_create(&pool, &one.model, 1, NULL), EMBED_OK);
        assert_int_equal(
            embed_pool_encode(pool, texts, n, &options, rows, n * width, NULL), EMBED_OK);
        assert_memory_equal(rows, expected, n * width * sizeof *rows);
        embed_pool_destroy(pool);
        free(rows);
        free(expected);
        close_model(&one);
        close_model(&three);
        test_remove_folder(folder);
    }
    free(texts);
    vector_lines_free(&lines);
}

/* Rows are truncated after all modules; texts given as ids get no prompt. */
static void test_dimensions_and_ids(void **state)
{
    (void)state;
    const char *folder = pipeline_folder("dense-tanh");
    struct opened opened = open_model(folder, 2, 0);
    embed_encode_options options = EMBED_ENCODE_OPTIONS_INIT;
    embed_text text = EMBED_TEXT("a text");
    float whole[49], part[10], row[49];
    options.normalize = EMBED_OFF;
    assert_int_equal(
        embed_instance_encode(opened.instance, &text, 1, &options, whole, 49, NULL), EMBED_OK);
    options.dimensions = 10;
    assert_int_equal(
        embed_instance_encode(opened.instance, &text, 1, &options, part, 10, NULL), EMBED_OK);
    assert_memory_equal(part, whole, sizeof part);
    for (size_t i = 0; i < 49; i++) assert_true(fabsf(whole[i]) <= 1); /* a tanh */
    options.dimensions = 50;
    assert_int_equal(
        embed_instance_encode(opened.instance, &text, 1, &options, row, 49, NULL),
        EMBED_INVALID_ARGUMENT);
    close_model(&opened);
    test_remove_folder(folder);

    folder = pipeline_folder("no-prompt");
    opened = open_model(folder, 2, 0);
    float from_text[256], from_ids[256];
    embed_tokens tokens = EMBED_TOKENS_INIT;
    assert_int_equal(embed_tokenize(opened.model, &text, 1, NULL, &tokens), EMBED_OK);
    embed_text ids = {NULL, tokens.ids, tokens.offsets[1]};
    options = (embed_encode_options)EMBED_ENCODE_OPTIONS_INIT;
    assert_int_equal(
        embed_instance_encode(opened.instance, &text, 1, &options, from_text, 256, NULL), EMBED_OK);
    options.prompt_name = "query";
    assert_int_equal(
        embed_instance_encode(opened.instance, &ids, 1, &options, from_ids, 256, NULL), EMBED_OK);
    assert_memory_equal(from_ids, from_text, sizeof from_ids);
    embed_tokens_free(&tokens);
    close_model(&opened);
    test_remove_folder(folder);
}

/* An instance has what the plan promises, and both include the weights of the Dense modules. */
static void test_plan(void **state)
{
    (void)state;
    const char *folder = pipeline_folder("dense-twice");
    struct opened opened = open_model(folder, 2, 0), plain = open_model(VECTORS "tiny-bert", 2, 0);
    embed_memory planned = EMBED_MEMORY_INIT, has = EMBED_MEMORY_INIT, less = EMBED_MEMORY_INIT;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CPU;
    options.dtype = EMBED_DTYPE_F32;
    options.threads = 2;
    assert_int_equal(embed_plan(folder, &options, NULL, &planned), EMBED_OK);
    assert_int_equal(embed_instance_get_memory(opened.instance, &has), EMBED_OK);
    assert_int_equal(embed_instance_get_memory(plain.instance, &less), EMBED_OK);
    assert_int_equal(planned.weights, has.weights);
    assert_int_equal(planned.own, has.own);
    size_t dense = (128 * 150 + 150 * 33 + 33) * sizeof(float);
    assert_true(has.weights >= less.weights + dense && has.weights < less.weights + dense + 1024);
    close_model(&opened);
    close_model(&plain);
    test_remove_folder(folder);
}

/* ---- rejections ---------------------------------------------------------------------------- */

struct edit {
    const char *name, *before, *after;
    embed_status status;
    const char *file, *cause;
};

static void assert_open_fails(const char *folder, const struct edit *e)
{
    embed_model *model = NULL;
    embed_status got = embed_model_open(&model, folder, NULL);
    const char *message = embed_error_message(), *file = e->file != NULL ? e->file : e->name;
    if (got != e->status || strstr(message, file) == NULL || strstr(message, e->cause) == NULL)
        fail_msg("expected status %d, \"%s\" and \"%s\"; got %d, \"%s\"", (int)e->status, file,
                 e->cause, (int)got, got == EMBED_OK ? "" : message);
    assert_null(model);
}

static void check_edits(const char *name, const struct edit *edits, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *folder = pipeline_folder(name);
        test_edit_file(folder, edits[i].name, edits[i].before, edits[i].after);
        assert_open_fails(folder, &edits[i]);
        embed_memory memory = EMBED_MEMORY_INIT; /* a plan reads no tokenizer */
        assert_int_equal(embed_plan(folder, NULL, NULL, &memory), edits[i].status);
        test_remove_folder(folder);
    }
}

#define REFUSED(name, before, after, cause) {name, before, after, EMBED_UNSUPPORTED, NULL, cause}
#define BAD(name, before, after, cause)     {name, before, after, EMBED_BAD_FILE, NULL, cause}

static void test_settings_that_are_not_honoured(void **state)
{
    (void)state;
    static const struct edit edits[] = {
#define SETTING(text, cause) REFUSED("sentence_bert_config.json", "{", "{" text ",", cause)
        SETTING("\"processing_kwargs\": {\"text\": {\"max_length\": 9}}", "\"processing_kwargs\""),
        SETTING("\"query_length\": 32", "\"query_length\" is 32"),
        SETTING("\"document_length\": 32", "\"document_length\" is 32"),
        SETTING("\"query_expansion\": {\"length\": 32}", "\"query_expansion\""),
        SETTING("\"model_args\": {\"torch_dtype\": \"float16\"}", "\"model_args\""),
        SETTING("\"tokenizer_args\": {\"truncation_side\": \"left\"}", "\"tokenizer_args\""),
        SETTING("\"something_new\": 1", "\"something_new\" is 1"),
        REFUSED("sentence_bert_config.json", "feature-extraction", "fill-mask", "\"fill-mask\""),
        REFUSED("sentence_bert_config.json", "\"token_embeddings\"", "\"scores\"", "\"scores\""),
        REFUSED("sentence_bert_config.json", "last_hidden_state", "pooler_output", "pooler_output"),
        REFUSED("sentence_bert_config.json", "\"forward\"", "\"get_text_features\"",
                "get_text_features"),
        REFUSED("sentence_bert_config.json", "\"text\":", "\"message\":", "\"message\""),
        REFUSED("tokenizer_config.json", "{", "{\"truncation_side\": \"left\",",
                "\"truncation_side\" is \"left\""),
        REFUSED("config_sentence_transformers.json", "\"SentenceTransformer\"",
                "\"SparseEncoder\"", "SparseEncoder"),
        BAD("config_sentence_transformers.json", "\"truncate_dim\": 24", "\"truncate_dim\": -1",
            "\"truncate_dim\""),
        REFUSED("1_Pooling/config.json", "\"cls\"", "\"attention\"", "\"attention\""),
        BAD("1_Pooling/config.json", "\"cls\"", "7", "\"pooling_mode\" is 7"),
        {"1_Pooling/config.json", "\"lasttoken\",", "", EMBED_BAD_FILE, "2_Dense/config.json",
         "\"in_features\" is 128"},
        BAD("1_Pooling/config.json", "64", "65", "65"),
        REFUSED("1_Pooling/config.json", "{", "{\"pooling_mode_attention\": true,",
                "\"pooling_mode_attention\""),
        REFUSED("2_Dense/config.json", "{", "{\"use_residual\": true,", "\"use_residual\""),
        REFUSED("2_Dense/config.json", "\"sentence_embedding\"", "\"token_embeddings\"",
                "\"module_input_name\""),
        REFUSED("2_Dense/config.json", "activation.ReLU", "activation.SiLU", "activation.SiLU"),
        REFUSED("2_Dense/config.json", "torch.nn.modules.activation.ReLU", "mine.ReLU",
                "\"mine.ReLU\""),
        BAD("2_Dense/config.json", "\"in_features\": 128", "\"in_features\": 127", "has 128"),
        BAD("2_Dense/config.json", "\"out_features\": 40", "\"out_features\": 0", "out_features"),
        {"2_Dense/config.json", "\"out_features\": 40", "\"out_features\": 41", EMBED_BAD_FILE,
         "2_Dense/model.safetensors", "implies 41 x 128"},
        {"2_Dense/config.json", "\"bias\": true", "\"bias\": false", EMBED_BAD_FILE,
         "2_Dense/model.safetensors", "\"linear.bias\""},
        REFUSED("3_Normalize/config.json", "\"sentence_embedding\"", "\"token_embeddings\"",
                "\"module_input_name\""),
        REFUSED("modules.json", "normalize.Normalize", "layer_norm.LayerNorm", "LayerNorm"),
        REFUSED("modules.json", "dense.Dense", "router.Router", "Router"),
    };
    check_edits("new-files", edits, sizeof edits / sizeof *edits);
}

/* transformers takes the truncation side from tokenizer.json unless another file sets it. */
static void test_baked_truncation(void **state)
{
    (void)state;
    static const struct edit left = {"tokenizer.json", NULL, NULL, EMBED_UNSUPPORTED, NULL, "Left"};
    const char *folder = pipeline_folder("lowercase");
    test_edit_file(folder, "tokenizer.json", "\"direction\": \"Right\"",
                   "\"direction\": \"Left\"");
    assert_open_fails(folder, &left);
    test_remove_folder(folder);
}

/* Without a length in max_seq_length: the tokenizer's, but no more than the number of positions.
 * null counts as absent. */
static void test_max_tokens(void **state)
{
    (void)state;
    static const struct {
        const char *setting, *tokenizer;
        size_t expected;
    } cases[] = {
        {"null", "33", 33},   {"null", "33.0", 33},
        {"null", "65", 64},   {"null", "1000000000000000019884624838656", 64},
        {"null", "1e30", 64}, {"null", "null", 64},
        {"60", "33", 60},     {"20", "33", 20},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *folder = test_copy_folder(VECTORS "tiny-bert");
        test_edit_file(folder, "sentence_bert_config.json", "48", cases[i].setting);
        test_edit_file(folder, "tokenizer_config.json", "\"model_max_length\": 64", "\"x\": 0");
        char text[128];
        snprintf(text, sizeof text, "{\"model_max_length\": %s,", cases[i].tokenizer);
        test_edit_file(folder, "tokenizer_config.json", "{", text);
        struct opened opened = open_model(folder, 1, 0);
        embed_model_info info = EMBED_MODEL_INFO_INIT;
        assert_int_equal(embed_model_get_info(opened.model, &info), EMBED_OK);
        assert_int_equal(info.max_tokens, cases[i].expected);
        close_model(&opened);
        test_remove_folder(folder);
    }
}

/* Mean pooling without normalization, and no file of sentence-transformers that sets a length. */
static void test_without_modules(void **state)
{
    (void)state;
    const char *folder = pipeline_folder("no-mode");
    char path[1024];
    snprintf(path, sizeof path, "%s/modules.json", folder);
    assert_int_equal(remove(path), 0);
    static const char settings[] = "{\"max_seq_length\": 5}";
    test_write_file(folder, "sentence_bert_config.json", settings, strlen(settings));
    const struct closeness close = {0.9999999, 1e-5};
    check_rows(folder, PIPELINES "lines.txt", PIPELINES "no-mode.f32", "", close);
    test_remove_folder(folder);
}

static void test_dense_without_safetensors(void **state)
{
    (void)state;
    const char *folder = pipeline_folder("dense-tanh");
    char path[1024];
    snprintf(path, sizeof path, "%s/2_Dense/model.safetensors", folder);
    assert_int_equal(remove(path), 0);
    static const struct edit nothing = {"2_Dense", NULL, NULL, EMBED_IO, NULL, "model.safetensors"};
    static const struct edit pickle = {"2_Dense", NULL, NULL, EMBED_IO, NULL, "pytorch_model.bin"};
    assert_open_fails(folder, &nothing);
    test_write_file(folder, "2_Dense/pytorch_model.bin", "PK", 2);
    assert_open_fails(folder, &pickle);
    test_remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_invariance),
        cmocka_unit_test(test_dimensions_and_ids),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_settings_that_are_not_honoured),
        cmocka_unit_test(test_baked_truncation),
        cmocka_unit_test(test_max_tokens),
        cmocka_unit_test(test_without_modules),
        cmocka_unit_test(test_dense_without_safetensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
