/* config_file.c - small JSON files of a model folder, read strictly; the only user of jansson */
#include "description/config_file.h"

#include "base/memory.h"
#include "base/status.h"
#include "formats/folder.h"

#include <jansson.h>
#include <string.h>

/* The largest seen, with 10^5 class labels in it, has 4 MiB. */
#define MAX_BYTES ((size_t)8 << 20)

struct config_file {
    char *path;
    json_t *root;
};

/* A struct config_object * is a json_t *, seen by those who need not know jansson. */
static const struct config_object *object_of(const json_t *json)
{
    return (const struct config_object *)json;
}

static const json_t *json_of(const struct config_object *object)
{
    return (const json_t *)object;
}

static embed_status parse(struct config_file *file)
{
    char *text;
    size_t length;
    TRY(file_read(&text, &length, file->path, MAX_BYTES));
    json_error_t error = {0};
    file->root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    /* tokenizer_config.json writes "no limit" as an integer of 31 digits. And jansson may tell
     * lack of memory as a wrong token: what fails a second time, memory being there, is wrong. */
    void *probe = NULL;
    if (file->root == NULL && (probe = memory_allocate(length, 2, file->path)) == NULL) {
        memory_free(text);
        return EMBED_OUT_OF_MEMORY;
    }
    memory_free(probe);
    size_t flags = JSON_REJECT_DUPLICATES;
    if (file->root == NULL && json_error_code(&error) == json_error_numeric_overflow)
        flags |= JSON_DECODE_INT_AS_REAL;
    if (file->root == NULL) file->root = json_loadb(text, length, flags, &error);
    memory_free(text);
    if (file->root == NULL && *error.text == '\0')
        return fail(EMBED_OUT_OF_MEMORY, "out of memory: %s", file->path);
    if (file->root == NULL)
        return fail(EMBED_BAD_FILE, "%s: line %d, column %d: %s", file->path, error.line,
                    error.column, error.text);
    return EMBED_OK;
}

embed_status config_file_open(struct config_file **out, const char *folder, const char *name,
                              bool required)
{
    bool has = required;
    if (!required) TRY(folder_has(&has, folder, name));
    if (!has) {
        *out = NULL;
        return EMBED_OK;
    }
    struct config_file *file = memory_allocate(1, sizeof *file, name);
    if (file == NULL) return EMBED_OUT_OF_MEMORY;
    file->path = folder_path(folder, name);
    embed_status status = file->path != NULL ? parse(file) : EMBED_OUT_OF_MEMORY;
    if (status != EMBED_OK) {
        config_file_close(file);
        return status;
    }
    *out = file;
    return EMBED_OK;
}

void config_file_close(struct config_file *file)
{
    if (file == NULL) return;
    json_decref(file->root);
    memory_free(file->path);
    memory_free(file);
}

const char *config_file_path(const struct config_file *file)
{
    return file->path;
}

embed_status config_file_object(const struct config_file *file, const struct config_object **out)
{
    if (!json_is_object(file->root))
        return fail(EMBED_BAD_FILE, "%s: must be a JSON object", file->path);
    *out = object_of(file->root);
    return EMBED_OK;
}

embed_status config_file_array(const struct config_file *file, size_t *count)
{
    if (!json_is_array(file->root))
        return fail(EMBED_BAD_FILE, "%s: must be a JSON array", file->path);
    *count = json_array_size(file->root);
    return EMBED_OK;
}

embed_status config_file_element(const struct config_file *file, size_t i,
                                 const struct config_object **out)
{
    const json_t *element = json_array_get(file->root, i);
    if (!json_is_object(element))
        return fail(EMBED_BAD_FILE, "%s: element %zu must be a JSON object", file->path, i);
    *out = object_of(element);
    return EMBED_OK;
}

bool config_has(const struct config_object *object, const char *key)
{
    return json_object_get(json_of(object), key) != NULL;
}

/* *out = NULL where the key is absent or null. */
static embed_status find(const struct config_file *file, const struct config_object *object,
                         const char *key, bool required, const json_t **out)
{
    const json_t *value = json_object_get(json_of(object), key);
    if (value != NULL && json_is_null(value)) value = NULL;
    if (value == NULL && required)
        return fail(EMBED_BAD_FILE, "%s: \"%s\" is missing", file->path, key);
    *out = value;
    return EMBED_OK;
}

/* EMBED_BAD_FILE, "FILE: "KEY" is VALUE, must be MUST"; the value is cut where it is long. */
static embed_status wrong(const struct config_file *file, const char *key, const json_t *value,
                          const char *must)
{
    char shown[64] = "";
    size_t length =
        json_dumpb(value, shown, sizeof shown, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
    const char *more = length > sizeof shown ? "..." : "";
    if (length > sizeof shown) length = sizeof shown;
    return fail(EMBED_BAD_FILE, "%s: \"%s\" is %.*s%s, must be %s", file->path, key, (int)length,
                shown, more, must);
}

embed_status config_size(const struct config_file *file, const struct config_object *object,
                         const char *key, size_t least, size_t most, bool required, size_t *out)
{
    const json_t *value = NULL;
    TRY(find(file, object, key, required, &value));
    if (value == NULL) return EMBED_OK;
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || (uint64_t)number < least ||
        (uint64_t)number > most) {
        char must[96];
        snprintf(must, sizeof must, "a whole number from %zu to %zu", least, most);
        return wrong(file, key, value, must);
    }
    *out = (size_t)number;
    return EMBED_OK;
}

embed_status config_number(const struct config_file *file, const struct config_object *object,
                           const char *key, double above, double below, bool required, double *out)
{
    const json_t *value = NULL;
    TRY(find(file, object, key, required, &value));
    if (value == NULL) return EMBED_OK;
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number > above && number < below)) {
        char must[96];
        snprintf(must, sizeof must, "a number above %g and below %g", above, below);
        return wrong(file, key, value, must);
    }
    *out = number;
    return EMBED_OK;
}

embed_status config_boolean(const struct config_file *file, const struct config_object *object,
                            const char *key, bool required, bool *out)
{
    const json_t *value = NULL;
    TRY(find(file, object, key, required, &value));
    if (value == NULL) return EMBED_OK;
    if (!json_is_boolean(value)) return wrong(file, key, value, "true or false");
    *out = json_is_true(value);
    return EMBED_OK;
}

embed_status config_text(const struct config_file *file, const struct config_object *object,
                         const char *key, bool required, const char **out)
{
    const json_t *value = NULL;
    TRY(find(file, object, key, required, &value));
    if (value == NULL) return EMBED_OK;
    if (!json_is_string(value)) return wrong(file, key, value, "a text");
    *out = json_string_value(value);
    return EMBED_OK;
}

embed_status config_child(const struct config_file *file, const struct config_object *object,
                          const char *key, const struct config_object **out)
{
    const json_t *value = NULL;
    TRY(find(file, object, key, false, &value));
    if (value != NULL && !json_is_object(value)) return wrong(file, key, value, "an object");
    *out = object_of(value);
    return EMBED_OK;
}

embed_status config_each_text(const struct config_file *file, const struct config_object *object,
                              embed_status (*each)(void *context, const char *key,
                                                   const char *text),
                              void *context)
{
    /* jansson's iterators take a json_t * that is not const, and change nothing. */
    json_t *json = (json_t *)json_of(object);
    for (void *i = json_object_iter(json); i != NULL; i = json_object_iter_next(json, i)) {
        const json_t *value = json_object_iter_value(i);
        if (!json_is_string(value)) return wrong(file, json_object_iter_key(i), value, "a text");
        TRY(each(context, json_object_iter_key(i), json_string_value(value)));
    }
    return EMBED_OK;
}
