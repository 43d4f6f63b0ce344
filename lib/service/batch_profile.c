/* batch_profile.c - reads and checks a batch profile */
#include "service/batch_profile.h"

#include "backend/backend.h"
#include "base/status.h"
#include "base/version.h"
#include "description/config_file.h"

#include <string.h>

#define FORMAT         "libembed batch profile"
#define FORMAT_VERSION 1

/* Upper limits: larger than any device or model needs, and small enough for sums and products. */
#define MAX_TOKENS       ((size_t)1 << 24) /* as in embed_instance_options */
#define MAX_INSTANCES    1024
#define MAX_MICROSECONDS 60000000
#define MAX_BYTES        ((size_t)1 << 50)
#define MAX_WHOLE        ((size_t)1 << 53) /* every JSON reader and writer keeps these exactly */
#define MAX_TEXT         127               /* bytes; the most that embed_model_info can hold */

/* The file being read, bundled so that each field takes one line. */
struct source {
    const struct config_file *file;
    const struct config_object *object;
};

static embed_status must_be_text(const struct source *from, const char *key, const char *wanted,
                                 const char *by)
{
    const char *text = NULL, *path = config_file_path(from->file);
    TRY(config_text(from->file, from->object, key, true, &text));
    if (strlen(text) > MAX_TEXT)
        return fail(EMBED_BAD_FILE, "%s: \"%s\" is longer than %d bytes", path, key, MAX_TEXT);
    if (strcmp(text, wanted) != 0)
        return fail(EMBED_UNSUPPORTED, "%s: \"%s\" is \"%s\", %s \"%s\"", path, key, text, by,
                    wanted);
    return EMBED_OK;
}

static embed_status must_be_size(const struct source *from, const char *key, uint64_t wanted,
                                 const char *by)
{
    size_t value = 0;
    TRY(config_size(from->file, from->object, key, 0, MAX_WHOLE, true, &value));
    if (value != wanted)
        return fail(EMBED_UNSUPPORTED, "%s: \"%s\" is %zu, %s %ju",
                    config_file_path(from->file), key, value, by, (uintmax_t)wanted);
    return EMBED_OK;
}

static embed_status check_format(const struct source *from)
{
    TRY(must_be_text(from, "format", FORMAT, "must be"));
    TRY(must_be_size(from, "format_version", FORMAT_VERSION, "this library reads"));
    return must_be_text(from, "library_version", VERSION_TEXT, "this library's is");
}

static embed_status check_model(const struct source *from, const embed_model_info *info)
{
    static const char model[] = "the model's is";
    TRY(must_be_text(from, "device", info->device_name, model));
    TRY(must_be_text(from, "instruction_set", info->instruction_set, model));
    TRY(must_be_text(from, "dtype", dtype_name(info->dtype), model));
    TRY(must_be_text(from, "family", info->family, model));
    TRY(must_be_size(from, "width", info->width, model));
    TRY(must_be_size(from, "layers", info->layers, model));
    TRY(must_be_size(from, "parameters", info->parameters, model));
    TRY(must_be_size(from, "vocabulary", info->vocabulary, model));
    return must_be_size(from, "max_tokens", info->max_tokens, model);
}

static embed_status read_size(const struct source *from, const char *key, size_t least, size_t most,
                              size_t *out)
{
    return config_size(from->file, from->object, key, least, most, true, out);
}

static embed_status read_sizes(struct batch_profile *profile, const struct source *from)
{
    size_t bytes = 0;
    TRY(read_size(from, "chunk_tokens", 1, MAX_TOKENS, &profile->chunk_tokens));
    TRY(read_size(from, "batch_tokens", 1, MAX_TOKENS, &profile->batch_tokens));
    TRY(read_size(from, "batch_texts", 0, MAX_TOKENS, &profile->batch_texts));
    TRY(read_size(from, "instances", 1, MAX_INSTANCES, &profile->instances));
    TRY(read_size(from, "delay_microseconds", 0, MAX_MICROSECONDS, &profile->delay_microseconds));
    TRY(read_size(from, "largest_safe_batch_tokens", 1, MAX_TOKENS,
                  &profile->largest_safe_batch_tokens));
    TRY(read_size(from, "peak_bytes", 1, MAX_BYTES, &bytes));
    profile->peak_bytes = bytes;
    if (profile->largest_safe_batch_tokens < profile->batch_tokens)
        return fail(EMBED_BAD_FILE,
                    "%s: \"largest_safe_batch_tokens\" is %zu, less than \"batch_tokens\", %zu",
                    config_file_path(from->file), profile->largest_safe_batch_tokens,
                    profile->batch_tokens);
    return EMBED_OK;
}

static embed_status read_all(struct batch_profile *profile, const struct config_file *file,
                             const embed_model_info *info)
{
    struct source from = {file, NULL};
    const char *for_people = NULL;
    TRY(config_file_object(file, &from.object));
    TRY(check_format(&from)); /* first: another version may have other fields */
    TRY(check_model(&from, info));
    TRY(config_text(file, from.object, "written", true, &for_people));
    TRY(config_text(file, from.object, "command", true, &for_people));
    return read_sizes(profile, &from);
}

embed_status batch_profile_read(struct batch_profile *out, const char *path,
                                const embed_model_info *info)
{
    struct config_file *file;
    struct batch_profile profile = {0};
    TRY(config_file_open_path(&file, path));
    embed_status status = read_all(&profile, file, info);
    config_file_close(file);
    if (status == EMBED_OK) *out = profile;
    return status;
}
