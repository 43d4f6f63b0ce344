/* embed_info.c - embed info, embed devices: what a model is and where models can compute */
#include "embed_tool.h"

#include <jansson.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *pooling_word(embed_pooling pooling)
{
    switch (pooling) {
    case EMBED_POOLING_MEAN: return "mean";
    case EMBED_POOLING_CLS: return "cls";
    case EMBED_POOLING_MAX: return "max";
    case EMBED_POOLING_MEAN_SQRT_LENGTH: return "mean_sqrt_length";
    case EMBED_POOLING_LAST_TOKEN: return "last_token";
    case EMBED_POOLING_WEIGHTED_MEAN: return "weighted_mean";
    case EMBED_POOLING_SEVERAL: return "several";
    }
    return "?";
}

static const char *stopping_word(embed_early_stopping stopping)
{
    switch (stopping) {
    case EMBED_STOP_BY_HEURISTIC: return "false";
    case EMBED_STOP_EARLY: return "true";
    case EMBED_STOP_NEVER: return "never";
    }
    return "?";
}

#define DEVICE_WORD 32

/* Writes the device as --device takes it. */
static void put_device(char out[DEVICE_WORD], embed_device device, int index)
{
    if (device == EMBED_DEVICE_CUDA)
        snprintf(out, DEVICE_WORD, "cuda:%d", index);
    else
        snprintf(out, DEVICE_WORD, "cpu");
}

/* Describes what an embedder does with the last hidden states, or how a generator decodes. Returns
 * NULL on failure or if memory is short. */
static json_t *describe_output(const embed_model *model, const embed_model_info *info)
{
    if (!info->generates)
        return json_pack("{s:s, s:b}", "pooling", pooling_word(info->pooling), "normalizes",
                         info->normalizes != 0);
    embed_generate_options options = EMBED_GENERATE_OPTIONS_INIT;
    if (embed_model_get_generation(model, &options) != EMBED_OK) {
        tool_library_error();
        return NULL;
    }
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:s}", "decoder_layers",
                     (json_int_t)info->decoder_layers, "decoder_heads",
                     (json_int_t)info->decoder_heads, "decoder_feed_forward",
                     (json_int_t)info->decoder_feed_forward, "num_beams",
                     (json_int_t)options.num_beams, "min_length", (json_int_t)options.min_length,
                     "max_length", (json_int_t)options.max_length, "length_penalty",
                     options.length_penalty, "no_repeat_ngram_size",
                     (json_int_t)options.no_repeat_ngram_size, "early_stopping",
                     stopping_word(options.early_stopping));
}

/* Adds the fingerprint and those of its parts, which show where two models differ. Returns false
 * after a message. */
static bool add_fingerprints(json_t *facts, embed_model *model)
{
    static const char *const keys[] = {"fingerprint", "weights_fingerprint", "tokenizer_fingerprint",
                                       "pipeline_fingerprint"};
    for (int part = EMBED_FINGERPRINT_ALL; part <= EMBED_FINGERPRINT_PIPELINE; part++) {
        char digits[EMBED_FINGERPRINT_SIZE];
        if (embed_model_get_fingerprint(model, (embed_fingerprint_part)part, digits) != EMBED_OK)
            return tool_library_error();
        json_object_set_new(facts, keys[part], json_string(digits));
    }
    return true;
}

/* Describes the model, in the order of printing. Returns NULL on failure or if memory is short. */
static json_t *describe(embed_model *model, const embed_model_info *info)
{
    char device[DEVICE_WORD];
    put_device(device, info->device, info->device_index);
    json_t *facts = json_pack(
        "{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I}", "family", info->family, "generates",
        info->generates != 0, "layers", (json_int_t)info->layers, "width",
        (json_int_t)info->width, "heads", (json_int_t)info->heads, "feed_forward",
        (json_int_t)info->feed_forward, "vocabulary", (json_int_t)info->vocabulary, "max_tokens",
        (json_int_t)info->max_tokens);
    json_t *output = describe_output(model, info);
    json_t *computed = json_pack("{s:I, s:I, s:s, s:s, s:s}", "parameters",
                                 (json_int_t)info->parameters, "weight_bytes",
                                 (json_int_t)info->weight_bytes, "dtype", dtype_word(info->dtype),
                                 "device", device, "device_name", info->device_name);
    if (json_object_update(facts, output) != 0 || json_object_update(facts, computed) != 0) {
        json_decref(facts);
        facts = NULL;
    }
    json_decref(output);
    json_decref(computed);
    if (facts != NULL && info->device == EMBED_DEVICE_CPU) {
        json_object_set_new(facts, "instruction_set", json_string(info->instruction_set));
        json_object_set_new(facts, "threads", json_integer(info->threads));
    }
    if (facts != NULL)
        json_object_set_new(facts, "load_seconds", json_real(info->load_seconds));
    if (facts != NULL && !add_fingerprints(facts, model)) {
        json_decref(facts);
        facts = NULL;
    }
    return facts;
}

/* "86.6 MiB" */
static void put_bytes(char *out, size_t capacity, uint64_t bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit < 4; unit++) value /= 1024;
    snprintf(out, capacity, unit > 0 ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

/* Prompts are printed as JSON strings, because they may contain line ends. */
static void print_folder(const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *fact = json_array_get(list, i), *value = json_object_get(fact, "value");
        const char *name = json_string_value(json_object_get(fact, "name"));
        const char *file = json_string_value(json_object_get(fact, "file"));
        bool is_prompt = strstr(name, "prompt ") != NULL;
        char *quoted = is_prompt ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
        char *label = strcpy(tool_resize(NULL, strlen(name) + 1, 1), name);
        for (char *c = label; !is_prompt && *c != '\0'; c++)
            if (*c == '_') *c = ' ';
        printf("  ");
        tool_print_safely(label);
        printf("%*s", strlen(label) < 24 ? 24 - (int)strlen(label) : 1, "");
        tool_print_safely(quoted != NULL ? quoted : json_string_value(value));
        printf(" (%s)\n", file != NULL ? file : "no file says so");
        free(quoted);
        free(label);
    }
}

static void print_fact(const char *key, const json_t *value)
{
    char label[32], bytes[32];
    snprintf(label, sizeof label, "%s", key);
    for (char *c = label; *c != '\0'; c++) {
        if (*c == '_') *c = ' ';
    }
    if (json_is_array(value)) {
        printf("%s\n", label);
        print_folder(value);
        return;
    }
    printf("%-22s", label);
    if (strstr(key, "_bytes") != NULL || strcmp(key, "gpu_memory") == 0) {
        put_bytes(bytes, sizeof bytes, (uint64_t)json_integer_value(value));
        printf("%" JSON_INTEGER_FORMAT " (%s)\n", json_integer_value(value), bytes);
    } else if (json_is_integer(value)) {
        printf("%" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
    } else if (json_is_real(value)) {
        printf("%.3f\n", json_real_value(value));
    } else if (json_is_boolean(value)) {
        printf("%s\n", json_is_true(value) ? "yes" : "no");
    } else {
        printf("%s\n", json_string_value(value));
    }
}

/* Adds what an instance takes, and how many more fit. Returns false after a message. */
static bool add_instances(json_t *facts, const embed_model *model, const tool_settings *settings)
{
    embed_memory memory = EMBED_MEMORY_INIT;
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    size_t count;
    if (embed_model_get_info(model, &info) != EMBED_OK ||
        embed_instances_that_fit(model, NULL, 0, &count) != EMBED_OK)
        return tool_library_error();
    options.device = info.device;
    options.device_index = info.device_index;
    options.dtype = info.dtype;
    options.threads = info.threads;
    if (embed_plan(settings->model, &options, NULL, &memory) != EMBED_OK)
        return tool_library_error();
    json_object_set_new(facts, "instance_bytes", json_integer((json_int_t)memory.own));
    json_object_set_new(facts, "kv_bytes", json_integer((json_int_t)memory.kv));
    json_object_set_new(facts, "instances_that_fit", json_integer((json_int_t)count));
    return true;
}

/* CUDA takes a block of this size for small allocations, which embed_plan does not count. */
#define CUDA_BLOCK ((uint64_t)2 << 20)

/* As above for a GPU with --device-memory, which need not exist. Returns false after a message. */
static bool add_gpu(json_t *facts, const tool_settings *settings)
{
    embed_memory memory = EMBED_MEMORY_INIT;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CUDA;
    options.dtype = (embed_dtype)settings->dtype;
    if (embed_plan(settings->model, &options, NULL, &memory) != EMBED_OK)
        return tool_library_error();
    uint64_t shared = memory.context + memory.library + memory.weights + CUDA_BLOCK;
    uint64_t all = settings->device_memory;
    const struct {
        const char *key;
        uint64_t value;
    } told[] = {{"gpu_memory", all},
                {"gpu_context_bytes", memory.context},
                {"gpu_library_bytes", memory.library},
                {"gpu_weight_bytes", memory.weights},
                {"gpu_activation_bytes", memory.activations},
                {"gpu_workspace_bytes", memory.workspace},
                {"gpu_graph_bytes", memory.graphs},
                {"gpu_kv_bytes", memory.kv},
                {"gpu_instance_bytes", memory.own},
                {"gpu_pinned_bytes", memory.pinned},
                {"gpu_instances", all > shared ? (all - shared) / memory.own : 0}};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        json_object_set_new(facts, told[i].key, json_integer((json_int_t)told[i].value));
    json_object_set_new(facts, "gpu_is_measured", json_boolean(memory.measured));
    return true;
}

/* Adds what was read from the folder, and from which file. Returns false after a message. */
static bool add_folder(json_t *facts, const embed_model *model)
{
    size_t count = 0;
    if (embed_model_get_facts(model, NULL, 0, &count) != EMBED_OK)
        return tool_library_error();
    embed_fact *told = tool_resize(NULL, count, sizeof *told);
    json_t *list = json_array();
    if (embed_model_get_facts(model, told, count, &count) != EMBED_OK) count = 0;
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s?}", "name", told[i].name, "value",
                                              told[i].value, "file", told[i].file));
    free(told);
    return json_object_set_new(facts, "folder", list) == 0 || tool_error("out of memory");
}

int command_info(const tool_settings *settings)
{
    embed_model *model;
    if (!tool_open_model(&model, settings)) return EXIT_FAILURE;
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    json_t *facts = NULL;
    if (embed_model_get_info(model, &info) != EMBED_OK)
        tool_library_error();
    else if ((facts = describe(model, &info)) == NULL)
        tool_error("info: the model's description is not UTF-8, or out of memory");
    bool told = facts != NULL && add_folder(facts, model) && add_instances(facts, model, settings) &&
                (settings->device_memory == 0 || add_gpu(facts, settings));
    embed_model_close(model);
    if (!told) {
        json_decref(facts);
        return EXIT_FAILURE;
    }

    const char *key;
    json_t *value;
    if (settings->json) {
        json_dumpf(facts, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        printf("\n");
    } else {
        json_object_foreach(facts, key, value) print_fact(key, value);
    }
    json_decref(facts);
    return EXIT_SUCCESS;
}

static void print_device(const embed_device_info *device)
{
    char word[DEVICE_WORD], memory[32];
    put_device(word, device->device, device->index);
    put_bytes(memory, sizeof memory, device->memory_bytes);
    printf("%-8s  %10s  ", word, memory);
    if (device->threads > 0)
        printf("%7u", device->threads);
    else
        printf("%7s", "-");
    printf("  %s (%s)\n", device->name, device->details);
}

int command_devices(const tool_settings *settings)
{
    (void)settings;
    size_t count;
    if (embed_device_list(NULL, 0, &count) != EMBED_OK) {
        tool_library_error();
        return EXIT_FAILURE;
    }
    size_t capacity = count;
    embed_device_info *devices = tool_resize(NULL, capacity, sizeof *devices);
    for (size_t i = 0; i < capacity; i++)
        devices[i] = (embed_device_info)EMBED_DEVICE_INFO_INIT;
    bool listed = embed_device_list(devices, capacity, &count) == EMBED_OK;
    if (listed) {
        printf("%-8s  %10s  %7s  %s\n", "device", "memory", "threads", "name");
        for (size_t i = 0; i < count && i < capacity; i++) print_device(&devices[i]);
    } else {
        tool_library_error();
    }
    free(devices);
    return listed ? EXIT_SUCCESS : EXIT_FAILURE;
}
