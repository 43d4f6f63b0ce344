/* test_bart_weights.c - the checkpoint of a BART: alternative names of tensors, tied and separate,
 * missing, of wrong shapes */
#include "base/status.h" /* before cmocka, which has a macro fail() */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "embed.h"
#include "formats/checkpoint.h"
#include "model/model.h"
#include "test_folder.h"

#define EVEN   "tests/vectors/tiny-bart"
#define UNEVEN "tests/vectors/tiny-bart-uneven"
#define WORDS  "model.shared.weight"

/* ---- modified checkpoints ------------------------------------------------------------------ */

/* Writes model.safetensors with this header, followed by data[0..length). */
static void write_checkpoint(const char *folder, const char *header, const char *data,
                             size_t length)
{
    size_t header_length = strlen(header);
    uint64_t written = header_length;
    char *bytes = malloc(8 + header_length + length);
    assert_non_null(bytes);
    memcpy(bytes, &written, 8);
    memcpy(bytes + 8, header, header_length);
    memcpy(bytes + 8 + header_length, data, length);
    test_write_file(folder, "model.safetensors", bytes, 8 + header_length + length);
    free(bytes);
}

/* Replaces the first `before`, or all, in the header, which must contain it, and appends `more`
 * bytes to the file. */
static void edit_checkpoint(const char *folder, const char *before, const char *after, bool all,
                            const char *more, size_t more_length)
{
    char path[1024];
    size_t length;
    uint64_t header_length;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    char *bytes = test_read_file(path, &length);
    memcpy(&header_length, bytes, 8);
    char *header = strndup(bytes + 8, (size_t)header_length);
    char *edited = malloc(2 * (size_t)header_length + 1024);
    size_t data_length = length - 8 - (size_t)header_length;
    char *data = malloc(data_length + more_length), *out = edited;
    assert_true(header != NULL && edited != NULL && data != NULL);
    const char *from = header, *at = strstr(header, before);
    if (at == NULL) fail_msg("%s does not hold %s", path, before);
    for (; at != NULL; at = all ? strstr(from, before) : NULL) {
        out += sprintf(out, "%.*s%s", (int)(at - from), from, after);
        from = at + strlen(before);
    }
    strcpy(out, from);
    memcpy(data, bytes + 8 + header_length, data_length);
    if (more_length > 0) memcpy(data + data_length, more, more_length);
    write_checkpoint(folder, edited, data, data_length + more_length);
    free(data);
    free(edited);
    free(header);
    free(bytes);
}

/* Returns a tensor's bytes; the caller frees them. */
static char *tensor_bytes(const char *folder, const char *name, size_t *length)
{
    struct checkpoint *checkpoint;
    struct checkpoint_tensor tensor;
    assert_int_equal(checkpoint_open(&checkpoint, folder), EMBED_OK);
    assert_true(checkpoint_find(checkpoint, name, &tensor));
    char *bytes = malloc((size_t)tensor.tensor->bytes);
    assert_non_null(bytes);
    *length = (size_t)tensor.tensor->bytes;
    assert_int_equal(safetensors_read(tensor.file, tensor.tensor, 0, bytes, *length), EMBED_OK);
    checkpoint_close(checkpoint);
    return bytes;
}

/* Adds a tensor in the dtype of the word table, which is F16 in EVEN. */
static void add_tensor(const char *folder, const char *name, size_t rows, const char *bytes,
                       size_t length)
{
    char path[1024], entry[512];
    size_t file_length;
    uint64_t header_length;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    char *file = test_read_file(path, &file_length);
    memcpy(&header_length, file, 8);
    size_t end = file_length - 8 - (size_t)header_length;
    free(file);
    snprintf(entry, sizeof entry,
             "{\"%s\":{\"dtype\":\"F16\",\"shape\":[%zu,%zu],\"data_offsets\":[%zu,%zu]},", name,
             rows, length / 2 / rows, end, end + length);
    edit_checkpoint(folder, "{", entry, false, bytes, length);
}

/* ---- opening ------------------------------------------------------------------------------- */

static embed_status open_on_cpu(embed_model **model, const char *folder)
{
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CPU;
    options.dtype = EMBED_DTYPE_F32;
    options.threads = 2;
    return embed_model_open(model, folder, &options);
}

static void assert_fails(const char *folder, embed_status status, const char *cause)
{
    embed_model *model = NULL;
    embed_status got = open_on_cpu(&model, folder);
    const char *message = got != EMBED_OK ? embed_error_message() : "";
    if (got != status || strstr(message, "model.safetensors") == NULL ||
        strstr(message, cause) == NULL)
        fail_msg("expected status %d, \"%s\"; got %d, \"%s\"", (int)status, cause, (int)got,
                 message);
    assert_null(strchr(message, '\n'));
}

/* Opens the folder, whose weights must all equal EVEN's. */
static void assert_same_weights(const char *folder)
{
    embed_model *original = NULL, *copy = NULL;
    assert_int_equal(open_on_cpu(&original, EVEN), EMBED_OK);
    if (open_on_cpu(&copy, folder) != EMBED_OK) fail_msg("%s", embed_error_message());
    const struct weights *a = original->weights, *b = copy->weights;
    assert_ptr_not_equal(a, b);
    assert_int_equal(a->bytes, b->bytes);
    assert_int_equal(a->parameters, b->parameters);
    size_t V = original->encoder.config.V, C = original->encoder.config.C;
    assert_memory_equal(a->encoder.embeddings.word, b->encoder.embeddings.word,
                        V * C * sizeof(float));
    assert_memory_equal(a->decoder.head.weight, b->decoder.head.weight, V * C * sizeof(float));
    assert_memory_equal(a->decoder.head.bias, b->decoder.head.bias, V * sizeof(float));
    assert_memory_equal(a->decoder.layers[1].feed_forward_norm.bias,
                        b->decoder.layers[1].feed_forward_norm.bias, C * sizeof(float));
    assert_ptr_equal(b->decoder.embeddings.word, b->encoder.embeddings.word);
    assert_ptr_not_equal(b->decoder.embeddings.position, b->encoder.embeddings.position);
    embed_model_close(original);
    embed_model_close(copy);
}

/* ---- tests --------------------------------------------------------------------------------- */

/* Each tensor in turn is missing; only final_logits_bias may be. */
static void test_missing_tensors(void **state)
{
    (void)state;
    struct checkpoint *checkpoint;
    assert_int_equal(checkpoint_open(&checkpoint, EVEN), EMBED_OK);
    const struct safetensors *file = checkpoint_file(checkpoint, 0);
    size_t count = safetensors_count(file);
    assert_int_equal(count, 92);
    for (size_t i = 0; i < count; i++) {
        const char *name = safetensors_at(file, i)->name, *folder = test_copy_folder(EVEN);
        char before[256], after[256];
        snprintf(before, sizeof before, "\"%s\"", name);
        snprintf(after, sizeof after, "\"x%s\"", name);
        edit_checkpoint(folder, before, after, false, NULL, 0);
        if (strcmp(name, "final_logits_bias") == 0) {
            embed_model *model = NULL;
            assert_int_equal(open_on_cpu(&model, folder), EMBED_OK);
            const float *bias = model->decoder.head.bias;
            for (size_t k = 0; k < model->encoder.config.V; k++) assert_true(bias[k] == 0);
            assert_int_equal(model->weights->parameters, 209343 - 639);
            embed_model_close(model);
        } else {
            const char *plain = strncmp(name, "model.", 6) == 0 ? name + 6 : name;
            snprintf(before, sizeof before, "tensor \"%s\" is missing", plain);
            assert_fails(folder, EMBED_BAD_FILE, before);
        }
        test_remove_folder(folder);
    }
    checkpoint_close(checkpoint);
}

static void test_wrong_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *before, *after, *cause;
    } edits[] = {
        {"[1,639]", "[639,1]",
         "tensor \"final_logits_bias\" has the shape (639, 1), "
         "but config.json implies 1 x 639"},
        {"[1,639]", "[3,213]", "\"final_logits_bias\""},
        {"[639,64]", "[64,639]",
         "\"model.shared.weight\" has the shape (64, 639), "
         "but config.json implies 639 x 64"},
        {"[130,64]", "[65,128]",
         "embed_positions.weight\" has the shape (65, 128), "
         "but config.json implies 130 x 64"},
        {"[639,64]", "[40896]", "has the shape (40896), but config.json implies 639 x 64"},
        {"[130,64]", "[65,2,64]", "has the shape (65, 2, 64), but config.json implies 130 x 64"},
        {"[96,64]", "[64,96]", "fc1.weight\""},
        {"[64,96]", "[96,64]", "fc2.weight\""},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        const char *folder = test_copy_folder(EVEN);
        edit_checkpoint(folder, edits[i].before, edits[i].after, false, NULL, 0);
        assert_fails(folder, EMBED_BAD_FILE, edits[i].cause);
        test_remove_folder(folder);
    }
    const char *folder = test_copy_folder(EVEN);
    test_edit_file(folder, "config.json", "\"decoder_layers\": 2", "\"decoder_layers\": 3");
    assert_fails(folder, EMBED_BAD_FILE, "decoder.layers.2.self_attn.q_proj.weight\" is missing");
    test_remove_folder(folder);
}

/* The names of BartModel's checkpoints: without "model.", and with the word table under any of its
 * names. */
static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *before, *after;
    } edits[] = {
        {"\"model.", "\""},
        {WORDS, "model.encoder.embed_tokens.weight"},
        {WORDS, "decoder.embed_tokens.weight"},
        {WORDS, "lm_head.weight"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        const char *folder = test_copy_folder(EVEN);
        edit_checkpoint(folder, edits[i].before, edits[i].after, true, NULL, 0);
        assert_same_weights(folder);
        test_remove_folder(folder);
    }
}

/* Tied tensors that are all present, as in conversions of pytorch_model.bin. */
static void test_tied(void **state)
{
    (void)state;
    static const char *const names[] = {"lm_head.weight", "model.encoder.embed_tokens.weight",
                                        "decoder.embed_tokens.weight"};
    size_t length;
    char *words = tensor_bytes(EVEN, WORDS, &length), cause[256];
    for (size_t i = 0; i < 3; i++) {
        const char *folder = test_copy_folder(EVEN);
        add_tensor(folder, names[i], 639, words, length);
        assert_same_weights(folder);
        test_remove_folder(folder);

        words[length - 1] ^= 0x01; /* the last of 40,896 numbers */
        folder = test_copy_folder(EVEN);
        add_tensor(folder, names[i], 639, words, length);
        snprintf(cause, sizeof cause, "tensor \"%s\" differs from \"" WORDS "\"", names[i]);
        assert_fails(folder, EMBED_UNSUPPORTED, cause);
        test_remove_folder(folder);
        words[length - 1] ^= 0x01;

        folder = test_copy_folder(EVEN);
        add_tensor(folder, names[i], 638, words, length - 128);
        assert_fails(folder, EMBED_BAD_FILE, "shape (638, 64)");
        test_remove_folder(folder);
    }
    free(words);
}

/* Words are scaled when they are looked up, not in the head. */
static void test_scaled_words(void **state)
{
    (void)state;
    size_t length;
    char *bytes = tensor_bytes(UNEVEN, WORDS, &length);
    const float *words = (const float *)(void *)bytes;
    embed_model *model = NULL;
    assert_int_equal(open_on_cpu(&model, UNEVEN), EMBED_OK);
    const float *table = model->encoder.embeddings.word, scale = 6.92820323f; /* sqrt(48) */
    for (size_t i = 0; i < length / sizeof(float); i++) assert_true(table[i] == words[i] * scale);
    embed_model_close(model);
    free(bytes);
}

/* Loads into a backend that may read a matrix as a table. Returns the bytes of all weights; sets
 * *shares to whether the head uses the table of words. */
static size_t load_tables(bool *shares, const char *folder, bool matrices_are_tables)
{
    struct thread_team *team;
    struct backend *backend;
    struct weight_files files = {0};
    struct transformer_config config;
    struct weights weights, measured;
    assert_int_equal(thread_team_create(&team, 2), EMBED_OK);
    assert_int_equal(backend_cpu_open(&backend, team, 2, EMBED_DTYPE_F32), EMBED_OK);
    assert_int_equal(transformer_config_read(&config, folder), EMBED_OK);
    assert_int_equal(checkpoint_open(&files.transformer, folder), EMBED_OK);
    backend->matrices_are_tables = matrices_are_tables;
    assert_int_equal(weights_load(&weights, &config, backend, &files, team), EMBED_OK);
    assert_int_equal(weights_measure(&measured, &config, backend, &files), EMBED_OK);
    size_t bytes = weights.bytes;
    assert_int_equal(measured.bytes, bytes);
    assert_int_equal(measured.parameters, weights.parameters);
    *shares = weights.decoder.head.weight == weights.encoder.embeddings.word;
    weights_release(&weights, backend);
    weight_files_close(&files);
    backend_release(backend);
    thread_team_destroy(team);
    return bytes;
}

/* A head that can read the table of words needs no second copy, unless the table is scaled. */
static void test_words_are_shared(void **state)
{
    (void)state;
    bool shares;
    size_t apart = load_tables(&shares, EVEN, false);
    assert_false(shares);
    size_t shared = load_tables(&shares, EVEN, true);
    assert_true(shares);
    assert_true(shared + 639 * 64 * sizeof(float) <= apart);
    load_tables(&shares, UNEVEN, true);
    assert_false(shares);
}

/* Whether weights of the same file are shared depends on what config.json says of them. */
static void test_sharing(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(EVEN);
    embed_model *first = NULL, *second = NULL, *third = NULL;
    assert_int_equal(open_on_cpu(&first, folder), EMBED_OK);
    assert_int_equal(open_on_cpu(&second, folder), EMBED_OK);
    assert_ptr_equal(first->weights, second->weights);
    test_edit_file(folder, "config.json", "\"scale_embedding\": false",
                   "\"scale_embedding\": true");
    assert_int_equal(open_on_cpu(&third, folder), EMBED_OK);
    assert_ptr_not_equal(first->weights, third->weights);
    embed_model_close(third);
    third = NULL;
    test_edit_file(folder, "config.json", "\"scale_embedding\": true",
                   "\"scale_embedding\": false");
    test_edit_file(folder, "config.json", "\"decoder_layers\": 2", "\"decoder_layers\": 1");
    assert_int_equal(open_on_cpu(&third, folder), EMBED_OK);
    assert_ptr_not_equal(first->weights, third->weights);
    assert_int_equal(third->encoder.config.decoder.L, 1);
    embed_model_close(first);
    embed_model_close(second);
    embed_model_close(third);
    test_remove_folder(folder);
}

/* model.safetensors, truncated at many places, is rejected and never causes a crash. */
static void test_spoiled_weights(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(EVEN);
    size_t length;
    char *bytes = test_read_file(EVEN "/model.safetensors", &length);
    for (size_t cut = 0; cut < length; cut = cut < 16 ? cut + 1 : cut * 2) {
        test_write_file(folder, "model.safetensors", bytes, cut);
        assert_fails(folder, EMBED_BAD_FILE, "");
    }
    free(bytes);
    test_remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing_tensors), cmocka_unit_test(test_wrong_shapes),
        cmocka_unit_test(test_names),           cmocka_unit_test(test_tied),
        cmocka_unit_test(test_scaled_words),    cmocka_unit_test(test_words_are_shared),
        cmocka_unit_test(test_sharing),         cmocka_unit_test(test_spoiled_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
