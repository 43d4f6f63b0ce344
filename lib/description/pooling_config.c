/* pooling_config.c - N_Pooling/config.json: how the last hidden states become one row
 *
 * Before sentence-transformers 5.4, each mode has its own boolean key; since then, one key lists
 * the names of the modes. The rows of several modes are concatenated, in the order of the table
 * below or in that of the list.
 */
#include "description/config_file.h"
#include "description/embedding_pipeline.h"

#include "base/memory.h"
#include "base/status.h"
#include "formats/folder.h"
#include "formats/unicode.h"

#include <string.h>

static const struct {
    const char *mode, *key;
    enum pooling pooling;
} modes[] = {
    {"cls", "pooling_mode_cls_token", POOLING_CLS},
    {"max", "pooling_mode_max_tokens", POOLING_MAX},
    {"mean", "pooling_mode_mean_tokens", POOLING_MEAN},
    {"mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", POOLING_MEAN_SQRT_LENGTH},
    {"weightedmean", "pooling_mode_weightedmean_tokens", POOLING_WEIGHTED_MEAN},
    {"lasttoken", "pooling_mode_lasttoken", POOLING_LAST},
};

#define MODES (sizeof modes / sizeof *modes)

/* sentence-transformers rejects any other key, as an unknown setting. */
static const char *const keys[] = {
    "word_embedding_dimension",         "embedding_dimension",
    "pooling_mode",                     "include_prompt",
    "pooling_mode_cls_token",           "pooling_mode_max_tokens",
    "pooling_mode_mean_tokens",         "pooling_mode_mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken",
    NULL,
};

struct reading {
    struct embedding_pipeline *pipeline;
    const struct config_file *file;
};

static embed_status add_mode(void *context, const char *mode)
{
    const struct reading *reading = context;
    struct embedding_pipeline *pipeline = reading->pipeline;
    for (size_t i = 0; i < MODES; i++) {
        if (strcmp(mode, modes[i].mode) != 0) continue;
        if (pipeline->pooling_modes == MOST_POOLING_MODES)
            return fail(EMBED_UNSUPPORTED, "%s: \"pooling_mode\" has more than %d modes",
                        config_file_path(reading->file), MOST_POOLING_MODES);
        pipeline->pooling[pipeline->pooling_modes++] = modes[i].pooling;
        return EMBED_OK;
    }
    return fail(EMBED_UNSUPPORTED,
                "%s: \"pooling_mode\" is \"%.*s\", which this version does not support",
                config_file_path(reading->file), utf8_shown(mode, strlen(mode)), mode);
}

static embed_status add_flags(struct embedding_pipeline *pipeline, const struct config_file *file,
                              const struct config_object *object)
{
    for (size_t i = 0; i < MODES; i++) {
        bool on = false;
        TRY(config_boolean(file, object, modes[i].key, false, &on));
        if (on) pipeline->pooling[pipeline->pooling_modes++] = modes[i].pooling;
    }
    if (pipeline->pooling_modes == 0) pipeline->pooling[pipeline->pooling_modes++] = POOLING_MEAN;
    return EMBED_OK;
}

static embed_status read_file(struct embedding_pipeline *pipeline, const struct config_file *file)
{
    const struct config_object *object;
    struct reading reading = {pipeline, file};
    pipeline->pooling_modes = 0;
    TRY(config_file_object(file, &object));
    TRY(config_known_keys(file, object, keys));
    if (config_has(file, object, "pooling_mode")) {
        TRY(config_texts(file, object, "pooling_mode", add_mode, &reading));
        if (pipeline->pooling_modes == 0)
            return fail(EMBED_BAD_FILE, "%s: \"pooling_mode\" names no mode",
                        config_file_path(file));
    } else {
        TRY(add_flags(pipeline, file, object));
    }
    size_t *width = &pipeline->pooling_width;
    TRY(config_size(file, object, "word_embedding_dimension", 1, MOST_IN_A_FILE, false, width));
    TRY(config_size(file, object, "embedding_dimension", 1, MOST_IN_A_FILE, false, width));
    return config_boolean(file, object, "include_prompt", false, &pipeline->include_prompt);
}

embed_status pooling_config_read(struct embedding_pipeline *pipeline, const char *folder,
                                 const char *path)
{
    struct config_file *file;
    pipeline->pooling_file = folder_path(path, "config.json");
    if (pipeline->pooling_file == NULL) return EMBED_OUT_OF_MEMORY;
    TRY(config_file_open(&file, folder, pipeline->pooling_file, true));
    embed_status status = read_file(pipeline, file);
    config_file_close(file);
    return status;
}
