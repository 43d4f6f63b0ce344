/* test_model_folder.c - faulty folders: the right status, one line that names the file and the
 * cause, and nothing left behind */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "embed.h"
#include "test_folder.h"

#define TINY      "tests/vectors/tiny-bert"
#define TINY_BART "tests/vectors/tiny-bart"

static void assert_open_fails(const char *folder, embed_status status, const char *file,
                              const char *cause)
{
    embed_model *model = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.threads = 2;
    embed_status got = embed_model_open(&model, folder, &options);
    const char *message = embed_error_message();
    if (got != status || strstr(message, file) == NULL || strstr(message, cause) == NULL)
        fail_msg("expected status %d, \"%s\" and \"%s\"; got %d, \"%s\"", (int)status, file, cause,
                 (int)got, message);
    assert_null(model);
    assert_null(strchr(message, '\n'));
}

struct edit {
    const char *name, *before, *after;
    embed_status status;
    const char *file, *cause;
};

static void check_edits(const struct edit *edits, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct edit *e = &edits[i];
        const char *folder = test_copy_folder(TINY);
        test_edit_file(folder, e->name, e->before, e->after);
        assert_open_fails(folder, e->status, e->file != NULL ? e->file : e->name, e->cause);
        test_remove_folder(folder);
    }
}

static void test_config(void **state)
{
    (void)state;
    static const struct edit edits[] = {
#define CONFIG(before, after, cause) {"config.json", before, after, EMBED_BAD_FILE, NULL, cause}
        CONFIG("\"hidden_size\": 64", "\"hidden_size\": -64", "from 1 to 16384"),
        CONFIG("\"hidden_size\": 64", "\"hidden_size\": 64.0", "\"hidden_size\" is 64.0"),
        CONFIG("\"hidden_size\": 64", "\"hidden_size\": \"64\"", "\"hidden_size\""),
        CONFIG("\"hidden_size\": 64", "\"hidden_size\": 0", "\"hidden_size\" is 0"),
        CONFIG("\"hidden_size\": 64", "\"hidden_size\": 9223372036854775807", "\"hidden_size\""),
        CONFIG("\"hidden_size\": 64", "\"hidden_size\": 1e999", "a number too large"),
        CONFIG("\"hidden_size\": 64", "\"hidden_size\": null", "\"hidden_size\" is missing"),
        CONFIG("\"hidden_size\": 64", "\"hidden_size\": 63", "multiple"),
        CONFIG("\"hidden_size\": 64", "\"hidden_size\": 64, \"hidden_size\": 64", "duplicate"),
        CONFIG("\"hidden_size\": 64", "\"no_size\": 64", "\"hidden_size\" is missing"),
        CONFIG("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 1000000", "from 1 to 512"),
        CONFIG("\"layer_norm_eps\": ", "\"layer_norm_eps\": -", "\"layer_norm_eps\""),
        CONFIG("\"vocab_size\": ", "\"vocab_size\": 1000000000", "\"vocab_size\""),
        CONFIG("{", "", "byte"),
        CONFIG("{", "[", "byte"),
        CONFIG("\"model_type\": \"bert\"", "\"model_type\": 7", "\"model_type\" is 7"),
        {"config.json", "\"model_type\": \"bert\"", "\"model_type\": \"gpt2\"", EMBED_UNSUPPORTED,
         NULL, "\"gpt2\""},
        {"config.json", "\"hidden_act\": \"gelu\"", "\"hidden_act\": \"swish\"", EMBED_UNSUPPORTED,
         NULL, "\"swish\""},
        {"config.json", "{", "{\"position_embedding_type\": \"relative_key\",", EMBED_UNSUPPORTED,
         NULL, "relative_key"},
        /* Sizes that are possible, but do not fit the weights. */
        {"config.json", "\"intermediate_size\": 112", "\"intermediate_size\": 113", EMBED_BAD_FILE,
         "model.safetensors", "has the shape (112, 64), but config.json implies 113 x 64"},
        {"config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4", EMBED_BAD_FILE,
         "model.safetensors", "encoder.layer.3.attention.self.query.weight\" is missing"},
    };
    check_edits(edits, sizeof edits / sizeof *edits);
}

static void test_pipeline(void **state)
{
    (void)state;
    static const struct edit edits[] = {
        {"modules.json", "models.Pooling\"", "models.WeightedLayerPooling\"", EMBED_UNSUPPORTED, NULL,
         "WeightedLayerPooling"},
        {"modules.json", "models.Normalize\"", "models.Dense\"", EMBED_IO,
         "2_Normalize/config.json", "No such file"},
        {"modules.json", "\"1_Pooling\"", "\"../1_Pooling\"", EMBED_BAD_FILE, NULL,
         "must be the name of a folder"},
        {"modules.json", "\"1_Pooling\"", "\"9_Pooling\"", EMBED_IO, "9_Pooling/config.json",
         "No such file"},
        {"modules.json", "[", "{\"a\":", EMBED_BAD_FILE, NULL, "byte"},
        {"sentence_bert_config.json", "\"max_seq_length\": ", "\"max_seq_length\": 9",
         EMBED_BAD_FILE, "tiny", "max_position_embeddings"},
        {"sentence_bert_config.json", "\"max_seq_length\": ", "\"max_seq_length\": -",
         EMBED_BAD_FILE, NULL, "\"max_seq_length\""},
        {"sentence_bert_config.json", "{", "{\"do_lower_case\": 3,", EMBED_BAD_FILE, NULL,
         "\"do_lower_case\""},
        {"config_sentence_transformers.json", "{", "{\"default_prompt_name\": \"nobody\",",
         EMBED_BAD_FILE, NULL, "nobody"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        struct edit edit = edits[i];
        /* If no file is at fault, the message has the path of the copy. */
        if (edit.file != NULL && strcmp(edit.file, "tiny") == 0) edit.file = "/tmp/libembed-test-";
        check_edits(&edit, 1);
    }
}

static void test_missing_files(void **state)
{
    (void)state;
    static const struct {
        const char *name, *cause;
    } files[] = {
        {"config.json", "No such file"},
        {"model.safetensors", "model.safetensors"},
        {"1_Pooling/config.json", "No such file"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const char *folder = test_copy_folder(TINY);
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, files[i].name);
        assert_int_equal(remove(path), 0);
        assert_open_fails(folder, EMBED_IO, files[i].name, files[i].cause);
        /* A folder in place of a file is rejected, too. */
        assert_int_equal(mkdir(path, 0700), 0);
        assert_open_fails(folder, EMBED_IO, files[i].name, "");
        test_remove_folder(folder);
    }
    assert_open_fails("/nonexistent/model", EMBED_IO, "/nonexistent/model", "");
}

static void test_no_tokenizer(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(TINY);
    char path[1024];
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    assert_int_equal(remove(path), 0);
    embed_model *model = NULL; /* vocab.txt is enough */
    assert_int_equal(embed_model_open(&model, folder, NULL), EMBED_OK);
    embed_model_close(model);
    snprintf(path, sizeof path, "%s/vocab.txt", folder);
    assert_int_equal(remove(path), 0);
    assert_open_fails(folder, EMBED_IO, "tokenizer.json", "vocab.txt");
    test_remove_folder(folder);
}

static void test_no_folder(void **state)
{
    (void)state;
    embed_memory plan = EMBED_MEMORY_INIT;
    assert_open_fails("", EMBED_INVALID_ARGUMENT, "model folder", "empty");
    assert_int_equal(embed_plan("", NULL, NULL, &plan), EMBED_INVALID_ARGUMENT);
    assert_non_null(strstr(embed_error_message(), "empty"));
    assert_open_fails(TINY "/config.json", EMBED_IO, TINY "/config.json: ", "Not a directory");

    static const char wanted[] = "expected a local model folder; models are not downloaded";
    assert_open_fails("sentence-transformers/none", EMBED_IO, "sentence-transformers/none: ", wanted);
    static const char *const paths[] = {"none", "/none/none", "./none", "none/", "a/b/none"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        assert_open_fails(paths[i], EMBED_IO, paths[i], "No such file");
        if (strstr(embed_error_message(), wanted) != NULL)
            fail_msg("%s: %s", paths[i], embed_error_message());
    }
}

/* A vocabulary with one id more than the embedding table has rows. */
static void test_vocabulary_past_the_table(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(TINY);
    test_edit_file(folder, "tokenizer.json", "\"added_tokens\":[",
                   "\"added_tokens\":[{\"id\": 999999, \"content\": \"[EXTRA]\", \"single_word\": "
                   "false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, "
                   "\"special\": true},");
    assert_open_fails(folder, EMBED_BAD_FILE, folder, "vocab_size");
    test_remove_folder(folder);
}

/* model.safetensors, truncated at many places or with bytes changed, is rejected or read, and never
 * causes a crash. */
static void test_spoiled_weights(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(TINY);
    size_t length;
    char *bytes = test_read_file(TINY "/model.safetensors", &length);
    for (size_t cut = 0; cut < length; cut = cut < 64 ? cut + 1 : cut * 2) {
        test_write_file(folder, "model.safetensors", bytes, cut);
        assert_open_fails(folder, EMBED_BAD_FILE, "model.safetensors", "");
    }
    for (size_t at = 0; at < 4096 && at < length; at += 7) {
        embed_model *model = NULL;
        char before = bytes[at];
        bytes[at] ^= 0x15;
        test_write_file(folder, "model.safetensors", bytes, length);
        embed_status status = embed_model_open(&model, folder, NULL);
        if (status != EMBED_OK) assert_non_null(strstr(embed_error_message(), "model.safetensors"));
        embed_model_close(model);
        bytes[at] = before;
    }
    free(bytes);
    test_remove_folder(folder);
}

/* What a clone without git-lfs has instead of large files. */
static void test_lfs_pointers(void **state)
{
    (void)state;
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\n"
                                  "oid sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cac"
                                  "b4fab128d9db\nsize 90868376\n";
    static const char *const names[] = {"model.safetensors", "tokenizer.json", "config.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *folder = test_copy_folder(TINY);
        test_write_file(folder, names[i], pointer, sizeof pointer - 1);
        assert_open_fails(folder, EMBED_BAD_FILE, names[i], "is a Git LFS pointer");
        test_remove_folder(folder);
    }
}

static void test_cut_weights(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(TINY);
    size_t length;
    char cause[64], *bytes = test_read_file(TINY "/model.safetensors", &length);
    test_write_file(folder, "model.safetensors", bytes, length / 2);
    snprintf(cause, sizeof cause, "truncated: %zu of %zu bytes", length / 2, length);
    assert_open_fails(folder, EMBED_BAD_FILE, "model.safetensors", cause);
    free(bytes);
    test_remove_folder(folder);
}

/* However long a quoted value, the cause after it is not cut off. */
static void test_long_values(void **state)
{
    (void)state;
    static const struct {
        const char *name, *before, *after, *cause; /* %s: 5,000 characters */
    } cases[] = {
        {"config.json", "\"hidden_act\": \"gelu\"", "\"hidden_act\": \"%s\"",
         "this version supports only \"gelu\""},
        {"config.json", "\"model_type\": \"bert\"", "\"model_type\": \"%s\"",
         "this version supports \"bert\""},
        {"modules.json", "models.Pooling\"", "models.%s\"", "Dense and Normalize"},
        {"modules.json", "\"1_Pooling\"", "\"../%s\"", "must be the name of a folder"},
        {"config_sentence_transformers.json", "{", "{\"default_prompt_name\": \"%s\",",
         "not one of \"prompts\""},
        {"sentence_bert_config.json", "{", "{\"%s\": 1,", "a setting unknown to this version"},
        {"1_Pooling/config.json", "{", "{\"pooling_mode\": \"%s\",",
         "which this version does not support"},
        {"special_tokens_map.json", "\"unk_token\": \"[UNK]\"", "\"unk_token\": \"%s\"",
         "not in the vocabulary"},
    };
    char value[5001], after[5100];
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *rest = strstr(cases[i].after, "%s");
        snprintf(after, sizeof after, "%.*s%s%s", (int)(rest - cases[i].after), cases[i].after,
                 value, rest + 2);
        const char *folder = test_copy_folder(TINY);
        embed_model *model = NULL;
        test_edit_file(folder, cases[i].name, cases[i].before, after);
        assert_int_not_equal(embed_model_open(&model, folder, NULL), EMBED_OK);
        if (strstr(embed_error_message(), cases[i].cause) == NULL)
            fail_msg("%s: no \"%s\" in \"%s\"", cases[i].name, cases[i].cause,
                     embed_error_message());
        test_remove_folder(folder);
    }
}

/* ---- accepted with a warning --------------------------------------------------------------- */

static char warnings[4096], infos[4096];

static void keep_message(void *user, embed_log_level level, const char *message)
{
    (void)user;
    char *kept = level == EMBED_LOG_INFO ? infos : warnings;
    size_t length = strlen(kept);
    snprintf(kept + length, sizeof warnings - length, "%s\n", message);
}

/* "": no warning. */
static void assert_warns(const char *from, const char *before, const char *after, const char *cause)
{
    const char *folder = test_copy_folder(from);
    test_edit_file(folder, "config.json", before, after);
    embed_model *model = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CPU;
    options.threads = 1;
    warnings[0] = infos[0] = '\0';
    embed_log_set(keep_message, NULL, EMBED_LOG_INFO);
    assert_int_equal(embed_model_open(&model, folder, &options), EMBED_OK);
    embed_log_set(NULL, NULL, EMBED_LOG_ERROR);
    embed_model_close(model);
    if (*cause == '\0' ? *warnings != '\0' : strstr(warnings, cause) == NULL)
        fail_msg("%s: expected \"%s\", got \"%s\"", after, cause, warnings);
    test_remove_folder(folder);
}

static void test_warnings(void **state)
{
    (void)state;
    assert_warns(TINY, "{", "{", "");
    assert_warns(TINY_BART, "{", "{", "");
    assert_warns(TINY, "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 1",
                 "model.safetensors: has 3 encoder layers, but config.json says 1");
    assert_non_null(strstr(infos, ": 1 layer of width 64 on "));
    assert_warns(TINY_BART, "\"encoder_layers\": 2", "\"encoder_layers\": 1",
                 "model.safetensors: has 2 encoder layers, but config.json says 1");
    assert_warns(TINY_BART, "\"decoder_layers\": 2", "\"decoder_layers\": 1",
                 "model.safetensors: has 2 decoder layers, but config.json says 1");
    assert_warns(TINY, "{", "{\"auto_map\": {\"AutoModel\": \"modeling_x.XModel\"},",
                 "config.json: \"auto_map\" names code");
}

/* With or without its base model. */
static void test_adapter(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(TINY);
    char path[1024];
    test_write_file(folder, "adapter_config.json", "{}", 2);
    assert_open_fails(folder, EMBED_UNSUPPORTED, "adapter_config.json", "PEFT");
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_int_equal(remove(path), 0);
    assert_open_fails(folder, EMBED_UNSUPPORTED, "adapter_config.json", "PEFT");
    test_remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_pipeline),
        cmocka_unit_test(test_missing_files),
        cmocka_unit_test(test_no_folder),
        cmocka_unit_test(test_no_tokenizer),
        cmocka_unit_test(test_vocabulary_past_the_table),
        cmocka_unit_test(test_spoiled_weights),
        cmocka_unit_test(test_lfs_pointers),
        cmocka_unit_test(test_cut_weights),
        cmocka_unit_test(test_long_values),
        cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_adapter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
