/* dense_config.c - N_Dense/config.json and N_Normalize/config.json: the modules after pooling */
#include "description/config_file.h"
#include "description/embedding_pipeline.h"

#include "base/memory.h"
#include "base/status.h"
#include "formats/folder.h"
#include "formats/unicode.h"

#include <string.h>

/* Either module can be configured to work on tokens, or on rows of another name. Rejects both. */
static embed_status check_names(const struct config_file *file, const struct config_object *object)
{
    TRY(config_must_be(file, object, "module_input_name", "sentence_embedding"));
    return config_must_be(file, object, "module_output_name", "sentence_embedding");
}

/* Reads a class of torch.nn by its full name: torch.nn.modules.activation.Tanh or torch.nn.Tanh. */
static embed_status read_activation(enum activation *activation, const struct config_file *file,
                                    const struct config_object *object)
{
    static const struct {
        const char *class;
        enum activation activation;
    } known[] = {{"Identity", ACTIVATION_NONE}, {"Tanh", ACTIVATION_TANH},
                 {"ReLU", ACTIVATION_RELU},     {"GELU", ACTIVATION_GELU},
                 {"Sigmoid", ACTIVATION_SIGMOID}};
    const char *name = "torch.nn.modules.activation.Tanh";
    bool has = config_has(file, object, "activation_function");
    TRY(config_text(file, object, "activation_function", has, &name)); /* so that null fails */
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strncmp(name, "torch.nn.", 9) != 0 || strcmp(dot + 1, known[i].class) != 0) continue;
        *activation = known[i].activation;
        return EMBED_OK;
    }
    return fail(
        EMBED_UNSUPPORTED,
        "%s: \"activation_function\" is \"%.*s\"; this version supports torch.nn's Identity, "
        "Tanh, ReLU, GELU and Sigmoid",
        config_file_path(file), utf8_shown(name, strlen(name)), name);
}

static embed_status read_dense(struct dense_config *dense, const struct config_file *file)
{
    const struct config_object *object;
    dense->has_bias = true;
    TRY(config_file_object(file, &object));
    TRY(config_size(file, object, "in_features", 1, MOST_IN_A_FILE, true, &dense->I));
    TRY(config_size(file, object, "out_features", 1, MOST_IN_A_FILE, true, &dense->O));
    TRY(config_boolean(file, object, "bias", false, &dense->has_bias));
    TRY(read_activation(&dense->activation, file, object));
    TRY(config_must_be_off(file, object, "use_residual", 0));
    return check_names(file, object);
}

embed_status dense_config_read(struct embedding_pipeline *pipeline, const char *folder,
                               const char *path)
{
    struct config_file *file;
    struct dense_config *dense = &pipeline->dense[pipeline->dense_count];
    dense->folder = folder_path(folder, path);
    if (dense->folder == NULL) return EMBED_OUT_OF_MEMORY;
    pipeline->dense_count++;
    TRY(config_file_open(&file, dense->folder, "config.json", true));
    embed_status status = read_dense(dense, file);
    config_file_close(file);
    return status;
}

embed_status normalize_config_read(const char *folder, const char *path)
{
    /* Before sentence-transformers 5.4 there is no such file and so, in a git clone, no folder. */
    struct config_file *file;
    const struct config_object *object;
    char *name = folder_path(path, "config.json");
    if (name == NULL) return EMBED_OUT_OF_MEMORY;
    embed_status status = config_file_open(&file, folder, name, false);
    memory_free(name);
    if (status != EMBED_OK || file == NULL) return status;
    status = config_file_object(file, &object);
    if (status == EMBED_OK) status = check_names(file, object);
    config_file_close(file);
    return status;
}
