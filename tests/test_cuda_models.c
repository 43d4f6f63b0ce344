/* test_cuda_models.c - whole models on the CUDA backend, on the emulated device
 *
 * The library opens the emulated plug-in as it would open the real one; tests/emu/emulator.h has
 * the other functions used here. Built once for each architecture with kernel code of its own.
 */
#include "pipelines_test.h"

#include "emulated_test.h"
#include "families_test.h"

#include "model/model.h"

#include <cuda_runtime_api.h>

#define TINY VECTORS "tiny-bert"
#define TINY_WIDTH 64

static int begin(void **state)
{
    tested = (embed_model_options)EMBED_MODEL_OPTIONS_INIT;
    tested.device = EMBED_DEVICE_CUDA;
    return begin_emulated(state);
}

/* ---- results ------------------------------------------------------------------------------- */

static void test_tiny_models_f16(void **state)
{
    (void)state;
    check_tiny_models(0.9999, 4e-3);
}

static void test_tiny_models_f32(void **state)
{
    (void)state;
    tested.dtype = EMBED_DTYPE_F32;
    check_tiny_models(0.999999, 1e-5);
}

static void test_pipelines_f16(void **state)
{
    (void)state;
    check_pipelines(0.9999, 4e-3);
}

/* RoBERTa, DistilBERT, and the BERTs of recent embedders. */
static void test_families_f16(void **state)
{
    (void)state;
    check_families(SIZE_MAX, 0.9999, 4e-3);
    check_invariance(ROBERTA, PADDED, 6);
}

static void test_families_f32(void **state)
{
    (void)state;
    tested.dtype = EMBED_DTYPE_F32;
    check_families(20, 0.999999, 1e-5);
}

static void test_real_model(void **state)
{
    (void)state;
    const struct closeness close = {0.9999, 2e-3};
    check_first_rows(24, real_minilm(), VECTORS "lines.txt", VECTORS "minilm.f32", NULL, close);
}

/* The same with two-level FP16 sums, of up to 1,536 products each. */
static void test_real_model_two_level(void **state)
{
    (void)state;
    const struct closeness close = {0.9999, 2e-3};
    emulator_set_card("NVIDIA GeForce RTX 5060 Ti", 36, 32 << 20);
    check_first_rows(24, real_minilm(), VECTORS "lines.txt", VECTORS "minilm.f32", NULL, close);
}

/* Our own linear layers, with both kinds of sums, instead of cuBLASLt's. */
static void test_own_linear_layers(void **state)
{
    (void)state;
    static const char *const paths[] = {"own", "two-level"};
    const struct closeness close = {0.9999, 4e-3};
    for (int i = 0; i < 2; i++) {
        setenv("EMBED_CUDA_LINEAR", paths[i], 1);
        check_rows(TINY, VECTORS "tiny-lines.txt", VECTORS "tiny-bert.f32", NULL, close);
        check_rows(VECTORS "tiny-mpnet", VECTORS "tiny-lines.txt", VECTORS "tiny-mpnet.f32", NULL,
                   close);
        check_invariance(TINY, VECTORS "tiny-lines.txt", 24);
    }
    setenv("EMBED_CUDA_LINEAR", "other", 1);
    embed_model *model = NULL;
    assert_int_equal(embed_model_open(&model, TINY, &tested), EMBED_INVALID_ARGUMENT);
    unsetenv("EMBED_CUDA_LINEAR");
}

/* Encodes a text with tiny-bert on a card of that name, with EMBED_CUDA_LINEAR set to `word` (NULL:
 * not set). */
static float *row_on_card(const char *card, const char *word)
{
    const embed_text text = EMBED_TEXT("a text of a few words");
    emulator_set_card(card, 36, 32 << 20);
    if (word != NULL) setenv("EMBED_CUDA_LINEAR", word, 1);
    struct opened opened = open_model(TINY, 0, 0);
    if (word != NULL) unsetenv("EMBED_CUDA_LINEAR");
    float *row = encode(&opened, &text, 1, NULL);
    assert_int_equal(opened.width, TINY_WIDTH);
    close_model(&opened);
    return row;
}

/* A card's linear layers have the bits of the kind that the table chooses for it, unless
 * overridden. */
static void test_linear_layers_by_card(void **state)
{
    (void)state;
    static const struct {
        const char *card, *told, *path;
    } cases[] = {{"NVIDIA GeForce RTX 5060 Ti", NULL, "two-level"},
                 {"GeForce RTX 2080 Ti", NULL, "two-level"},
                 {"NVIDIA GeForce RTX 5060 Ti", "cublaslt", "cublaslt"},
                 {"NVIDIA GeForce RTX 5060 Ti", "own", "own"},
                 {"NVIDIA GeForce GTX 1650", NULL, "cublaslt"}, /* has no tensor cores */
                 {"NVIDIA RTX 6000 Ada Generation", NULL, "cublaslt"},
                 {"NVIDIA H200", NULL, "cublaslt"},
                 {"NVIDIA H200", "two-level", "two-level"},
                 {"Tesla T4", NULL, "cublaslt"}};
    static const char *const paths[] = {"cublaslt", "own", "two-level"};
    float *rows[3];
    for (int p = 0; p < 3; p++) rows[p] = row_on_card("a card", paths[p]);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float *row = row_on_card(cases[i].card, cases[i].told);
        for (int p = 0; p < 3; p++)
            assert_int_equal(memcmp(row, rows[p], TINY_WIDTH * sizeof *row) == 0,
                             strcmp(paths[p], cases[i].path) == 0);
        free(row);
        if (cases[i].told != NULL) continue;
        embed_device_info devices[2] = {EMBED_DEVICE_INFO_INIT, EMBED_DEVICE_INFO_INIT};
        size_t count = 0;
        assert_int_equal(embed_device_list(devices, 2, &count), EMBED_OK);
        assert_string_equal(devices[1].name, cases[i].card);
        assert_non_null(strstr(devices[1].details, "linear layers: "));
        assert_string_equal(strstr(devices[1].details, ": ") + 2, cases[i].path);
    }
    for (int p = 0; p < 3; p++) free(rows[p]);
}

static void test_same_bits_in_any_batch(void **state)
{
    (void)state;
    check_invariance(TINY, VECTORS "tiny-lines.txt", 64);
    check_invariance(VECTORS "tiny-mpnet", VECTORS "tiny-mpnet-padded.txt", 12);
    tested.dtype = EMBED_DTYPE_F32;
    check_invariance(VECTORS "tiny-bert-cls", VECTORS "tiny-lines.txt", 24);
}

/* A small chunk of a repeated shape is launched as a graph and gives the same bits. */
static void test_graphs(void **state)
{
    (void)state;
    const embed_text text = EMBED_TEXT("a text of a few words");
    struct opened opened = open_model(TINY, 0, 0);
    float *first = encode(&opened, &text, 1, NULL);
    for (int i = 0; i < 4; i++) {
        struct emulator_usage used;
        emulator_get_usage(&used);
        assert_int_equal(used.graphs, i < 1 ? 0 : 1);
        float *again = encode(&opened, &text, 1, NULL);
        assert_memory_equal(again, first, opened.width * sizeof *first);
        free(again);
    }
    free(first);
    close_model(&opened);
}

/* Without memory for a graph, chunks are computed without one. */
static void test_no_memory_for_graphs(void **state)
{
    (void)state;
    const embed_text text = EMBED_TEXT("a text of a few words");
    emulator_set_graph_cost((size_t)1 << 40);
    struct opened opened = open_model(TINY, 0, 0);
    float *first = encode(&opened, &text, 1, NULL);
    for (int i = 0; i < 3; i++) {
        float *again = encode(&opened, &text, 1, NULL);
        assert_memory_equal(again, first, opened.width * sizeof *first);
        free(again);
    }
    free(first);
    close_model(&opened);
}

/* Many requests of 1 to 9 texts, repeatedly: once each was seen twice, memory does not grow. */
static void test_nothing_grows(void **state)
{
    (void)state;
    enum { REQUESTS = 60, ROUNDS = 5, WARM = 2 };
    struct vector_lines lines = vector_lines_load(VECTORS "tiny-lines.txt");
    embed_text *texts = texts_of(&lines);
    struct opened opened = open_model(TINY, 0, 0);
    struct emulator_usage warm, now;
    size_t taken = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0, random = 1; i < REQUESTS; i++) {
            random = random * 1664525 + 1013904223; /* Numerical Recipes */
            size_t n = 1 + (random >> 8) % 9, first = (random >> 16) % (lines.count - n);
            free(encode(&opened, texts + first, n, NULL));
        }
        emulator_get_usage(&now);
        if (round == WARM - 1) {
            warm = now;
            taken = emulator_taken(0);
        }
        if (round >= WARM) {
            assert_memory_equal(&now, &warm, sizeof now);
            assert_int_equal(emulator_taken(0), taken);
        }
    }
    assert_true(now.graphs > 10);
    free(texts);
    vector_lines_free(&lines);
    close_model(&opened);
}

/* ---- what the library reports of the device ------------------------------------------------ */

static void test_device_is_listed(void **state)
{
    (void)state;
    embed_device_info devices[4];
    size_t count = 0;
    for (int i = 0; i < 4; i++) devices[i] = (embed_device_info)EMBED_DEVICE_INFO_INIT;
    emulator_set_devices(2);
    emulator_set_memory(1, 3000000000);
    assert_int_equal(embed_device_list(devices, 4, &count), EMBED_OK);
    assert_int_equal(count, 3);
    assert_int_equal(devices[0].device, EMBED_DEVICE_CPU);
    assert_int_equal(devices[2].device, EMBED_DEVICE_CUDA);
    assert_int_equal(devices[2].index, 1);
    assert_int_equal(devices[2].memory_bytes, 3000000000);
    assert_string_equal(devices[2].details, EMULATED_ARCH == 750
                                                 ? "compute capability 7.5, linear layers: cublaslt"
                                                 : "compute capability 8.0, linear layers: cublaslt");
}

static void test_info(void **state)
{
    (void)state;
    struct opened opened = open_model(TINY, 0, 0);
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    assert_int_equal(embed_model_get_info(opened.model, &info), EMBED_OK);
    assert_int_equal(info.device, EMBED_DEVICE_CUDA);
    assert_int_equal(info.dtype, EMBED_DTYPE_F16);
    assert_string_equal(info.instruction_set, EMULATED_ARCH == 750 ? "sm_75" : "sm_80");
    close_model(&opened);
}

/* Two models of the same files have their weights once for each device and dtype. */
static void test_weights_are_shared(void **state)
{
    (void)state;
    emulator_set_devices(2);
    struct opened a = open_model(TINY, 0, 0), b = open_model(TINY, 0, 0);
    tested.device_index = 1;
    struct opened other_device = open_model(TINY, 0, 0);
    tested.device_index = 0;
    tested.dtype = EMBED_DTYPE_F32;
    struct opened other_dtype = open_model(TINY, 0, 0);
    assert_ptr_equal(a.model->weights, b.model->weights);
    assert_ptr_not_equal(a.model->weights, other_device.model->weights);
    assert_ptr_not_equal(a.model->weights, other_dtype.model->weights);
    close_model(&a);
    const embed_text text = EMBED_TEXT("a text");
    free(encode(&b, &text, 1, NULL)); /* the model that loaded the weights is closed */
    close_model(&b);
    close_model(&other_device);
    close_model(&other_dtype);
}

/* Both devices compute the same bits, and the program's current device does not change. */
static void test_second_device(void **state)
{
    (void)state;
    const embed_text text = EMBED_TEXT("a text");
    emulator_set_devices(2);
    struct opened first = open_model(TINY, 0, 0);
    tested.device_index = 1;
    struct opened second = open_model(TINY, 0, 0);
    float *a = encode(&first, &text, 1, NULL), *b = encode(&second, &text, 1, NULL);
    assert_memory_equal(a, b, first.width * sizeof *a);
    int current = -1;
    assert_int_equal(cudaGetDevice(&current), cudaSuccess);
    assert_int_equal(current, 0);
    free(a);
    free(b);
    close_model(&first);
    close_model(&second);
}

/* A thread that has not used CUDA has device 0 as its current device, but no context. If it uses
 * another device, none is made on device 0: it takes hundreds of megabytes. */
static void test_second_device_alone(void **state)
{
    (void)state;
    const embed_text text = EMBED_TEXT("a text");
    emulator_set_devices(2);
    tested.device_index = 1;
    struct opened second = open_model(TINY, 0, 0);
    free(encode(&second, &text, 1, NULL));
    close_model(&second);
    struct emulator_account first;
    int current = -1;
    assert_int_equal(cudaGetDevice(&current), cudaSuccess);
    assert_int_equal(current, 0);
    emulator_get_account(0, &first);
    assert_int_equal(first.context, 0);
    assert_int_equal(cudaDeviceSynchronize(), cudaSuccess); /* now it is used */
    emulator_get_account(0, &first);
    assert_true(first.context > 0);
}

/* ---- unusable devices and weights ---------------------------------------------------------- */

static embed_status open_cuda(int index, embed_dtype dtype, const char *words)
{
    embed_model *model = NULL;
    embed_model_options options = tested;
    options.device_index = index;
    options.dtype = dtype;
    embed_status status = embed_model_open(&model, TINY, &options);
    embed_model_close(model);
    if (status != EMBED_OK && strstr(embed_error_message(), words) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", words, embed_error_message());
    return status;
}

static void test_reasons(void **state)
{
    (void)state;
    assert_int_equal(open_cuda(1, EMBED_DTYPE_AUTO, "there is no cuda:1"), EMBED_NO_DEVICE);
    assert_int_equal(open_cuda(-1, EMBED_DTYPE_AUTO, "there is no cuda:-1"), EMBED_NO_DEVICE);
    assert_int_equal(open_cuda(0, EMBED_DTYPE_INT8, "only in f16 and f32"), EMBED_UNSUPPORTED);
    emulator_set_capability(6, 1);
    assert_int_equal(
        open_cuda(0, EMBED_DTYPE_AUTO, "has compute capability 6.1, but 7.5 is needed"),
        EMBED_NO_DEVICE);
    emulator_set_capability(11, 0);
    assert_int_equal(open_cuda(0, EMBED_DTYPE_AUTO,
                               "has compute capability 11.0, and libembed-cuda.so was built without "
                               "kernels for it (CUDA_ARCHS=\"75 80 120\")"),
                     EMBED_NO_DEVICE);
    embed_device_info devices[2] = {EMBED_DEVICE_INFO_INIT, EMBED_DEVICE_INFO_INIT};
    size_t count;
    assert_int_equal(embed_device_list(devices, 2, &count), EMBED_OK);
    assert_int_equal(count, 2);
    assert_string_equal(devices[1].details, "compute capability 11.0, no kernels in this build");
    emulator_set_capability(12, 1);
    assert_int_equal(open_cuda(0, EMBED_DTYPE_AUTO, NULL), EMBED_OK);
    emulator_reset();
    emulator_set_devices(0);
    assert_int_equal(open_cuda(0, EMBED_DTYPE_AUTO, "there is no NVIDIA GPU"), EMBED_NO_DEVICE);
    emulator_reset();
    emulator_set_driver(12080);
    assert_int_equal(open_cuda(0, EMBED_DTYPE_AUTO, "the NVIDIA driver is for CUDA 12.8"),
                     EMBED_NO_DEVICE);
    emulator_reset();
    emulator_set_driver(0);
    assert_int_equal(open_cuda(0, EMBED_DTYPE_AUTO, "no NVIDIA driver is installed"),
                     EMBED_NO_DEVICE);
    emulator_reset();
    emulator_set_costs(256 << 20, 0, 0);
    emulator_set_memory(0, (256 << 20) + 4096);
    assert_int_equal(open_cuda(0, EMBED_DTYPE_AUTO, "bytes are needed"), EMBED_OUT_OF_MEMORY);
}

/* Makes a copy of the tiny model in which the first `count` numbers of a tensor are `value`. */
static const char *folder_with(const char *tensor, size_t count, float value)
{
    const char *folder = test_copy_folder(TINY);
    char path[1024], name[128];
    size_t length;
    uint64_t header;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    snprintf(name, sizeof name, "\"%s\"", tensor);
    char *bytes = test_read_file(path, &length);
    memcpy(&header, bytes, sizeof header);
    const char *entry = strstr(bytes + 8, name);
    assert_non_null(entry);
    size_t offset = strtoul(strstr(entry, "\"data_offsets\":[") + 16, NULL, 10);
    for (size_t i = 0; i < count; i++)
        memcpy(bytes + 8 + header + offset + i * sizeof value, &value, sizeof value);
    test_write_file(folder, "model.safetensors", bytes, length);
    free(bytes);
    return folder;
}

/* A weight that FP16 cannot hold is named; FP32 still works. */
static void test_weight_too_large(void **state)
{
    (void)state;
    const char *folder = folder_with("embeddings.word_embeddings.weight", 1, 65520);
    embed_model *model = NULL;
    assert_int_equal(embed_model_open(&model, folder, &tested), EMBED_UNSUPPORTED);
    assert_non_null(strstr(embed_error_message(),
                           "model.safetensors: tensor \"embeddings.word_embeddings.weight\": "));
    assert_non_null(strstr(embed_error_message(), "65520 is too large for f16; dtype f32"));
    tested.dtype = EMBED_DTYPE_F32;
    assert_int_equal(embed_model_open(&model, folder, &tested), EMBED_OK);
    embed_model_close(model);
    tested = (embed_model_options)EMBED_MODEL_OPTIONS_INIT; /* AUTO: the CPU */
    struct opened opened = open_model(folder, 0, 0);
    assert_int_equal(opened.model->backend->device, EMBED_DEVICE_CPU);
    close_model(&opened);
    test_remove_folder(folder);
}

/* Queries, keys and values are stored together: the one that FP16 cannot hold is named. */
static void test_key_too_large(void **state)
{
    (void)state;
    const char *folder = folder_with("encoder.layer.0.attention.self.key.weight", 1, 65520);
    embed_model *model = NULL;
    assert_int_equal(embed_model_open(&model, folder, &tested), EMBED_UNSUPPORTED);
    assert_non_null(strstr(embed_error_message(),
                           "tensor \"encoder.layer.0.attention.self.key.weight\": 65520 is"));
    test_remove_folder(folder);
}

/* With activations that FP16 cannot hold, the rows are computed in FP32 and equal the CPU's. */
static void test_overflow_is_computed_in_f32(void **state)
{
    (void)state;
    const embed_text texts[] = {EMBED_TEXT("one text"), EMBED_TEXT("and another")};
    embed_encode_options options = EMBED_ENCODE_OPTIONS_INIT;
    embed_item items[2];
    float rows[2 * 64];
    const char *folder = folder_with("embeddings.LayerNorm.weight", 64, 1e5f);
    struct opened opened = open_model(folder, 0, 0);
    assert_int_equal(opened.model->backend->device, EMBED_DEVICE_CUDA);
    assert_int_equal(embed_instance_encode(opened.instance, texts, 2, &options, rows, 2 * 64, items),
                     EMBED_OK);
    assert_int_equal(items[0].status, EMBED_OK);
    assert_int_equal(items[1].status, EMBED_OK);
    assert_true(items[0].tokens > 2);
    close_model(&opened);

    tested.device = EMBED_DEVICE_CPU;
    opened = open_model(folder, 0, 0);
    float *expected = encode(&opened, texts, 2, NULL);
    assert_memory_equal(rows, expected, sizeof rows);
    free(expected);
    close_model(&opened);
    test_remove_folder(folder);
}

static char logged[1024];

static void keep_message(void *user, embed_log_level level, const char *message)
{
    (void)user;
    if (level <= EMBED_LOG_WARNING) snprintf(logged, sizeof logged, "%s", message);
}

/* `auto` reports the reason, and computes on the CPU. */
static void test_auto_falls_back(void **state)
{
    (void)state;
    tested.device = EMBED_DEVICE_AUTO;
    emulator_set_costs(256 << 20, 0, 0);
    emulator_set_memory(0, (256 << 20) + 4096);
    embed_log_set(keep_message, NULL, EMBED_LOG_INFO);
    struct opened opened = open_model(TINY, 0, 0);
    embed_log_set(NULL, NULL, EMBED_LOG_ERROR);
    assert_int_equal(opened.model->backend->device, EMBED_DEVICE_CPU);
    assert_non_null(strstr(logged, "computing on the CPU: cuda:0: the weights:"));
    close_model(&opened);

    emulator_reset();
    opened = open_model(TINY, 0, 0);
    assert_int_equal(opened.model->backend->device, EMBED_DEVICE_CUDA);
    close_model(&opened);
}

int main(void)
{
    setenv("EMBED_CUDA_PLUGIN", EMULATED_PLUGIN, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tiny_models_f16, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_tiny_models_f32, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_pipelines_f16, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_families_f16, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_families_f32, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_real_model, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_real_model_two_level, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_own_linear_layers, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_linear_layers_by_card, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_same_bits_in_any_batch, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_graphs, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_no_memory_for_graphs, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_nothing_grows, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_device_is_listed, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_info, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_weights_are_shared, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_second_device, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_second_device_alone, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_reasons, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_weight_too_large, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_key_too_large, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_overflow_is_computed_in_f32, begin, end_emulated),
        cmocka_unit_test_setup_teardown(test_auto_falls_back, begin, end_emulated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
