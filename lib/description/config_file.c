/* config_file.c - small JSON files, read strictly into a tree
 *
 * Does not use another library's reader: if an allocation fails, jansson 2.14 drops characters of a
 * string and then reads past its buffer.
 */
#include "description/config_file.h"

#include "base/memory.h"
#include "base/status.h"
#include "formats/folder.h"
#include "formats/json_reader.h"
#include "formats/unicode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The largest file seen has 4 MiB, with 10^5 class labels in it. */
#define MAX_BYTES ((size_t)8 << 20)
#define MAX_DEPTH 64

/* A value: 48 bytes, for as few as two in the file. Its strings point into the file's text. */
struct config_object {
    enum json_kind kind;
    bool boolean;
    bool whole;            /* a number without sign, fraction or exponent */
    double number;
    const char *key;       /* of a member of an object */
    const char *text;      /* of a string; of a number, as written */
    uint32_t length;       /* of the text */
    uint32_t count;        /* of values directly in an array or object */
    uint32_t first, after; /* indices of the first of these and of the next sibling; 0: none */
};

struct config_file {
    char *path, *text;
    struct config_object *values; /* values[0] is the root */
    size_t count, capacity;
};

/* ---- reading ------------------------------------------------------------------------------- */

/* Allocates room for as many values as the text can hold, so that the array never grows. Every
 * value but the first follows one of the signs counted here and, unless it is left unclosed, has at
 * least one byte of its own. The values therefore take at most 24 times the file's size, plus those
 * that MAX_DEPTH allows to be unclosed. */
static embed_status make_room(struct config_file *file, size_t length)
{
    size_t signs = 0;
    for (size_t i = 0; i < length; i++)
        signs += file->text[i] == ',' || file->text[i] == '[' || file->text[i] == '{';
    size_t most = length / 2 + MAX_DEPTH;
    file->capacity = 1 + (signs < most ? signs : most);
    file->values = memory_allocate(file->capacity, sizeof *file->values, file->path);
    return file->values != NULL ? EMBED_OK : EMBED_OUT_OF_MEMORY;
}

static embed_status new_value(struct config_file *file, const struct json_reader *json,
                              size_t *index)
{
    if (file->count == file->capacity)
        return json_fail(json, "more values than the size of the file allows");
    *index = file->count++;
    return EMBED_OK;
}

static embed_status read_text(struct config_object *value, struct json_reader *json)
{
    struct json_string string;
    TRY(json_read_string(json, &string));
    value->length = (uint32_t)string.length;
    value->text = json_string_terminate(json, string);
    return value->text != NULL ? EMBED_OK : json_fail(json, "a NUL in a string");
}

static embed_status read_number(struct config_object *value, struct json_reader *json)
{
    value->text = json->text + json->position;
    TRY(json_read_number(json, &value->number));
    value->length = (uint32_t)(json->text + json->position - value->text);
    value->whole = true;
    for (size_t i = 0; i < value->length; i++)
        if (value->text[i] < '0' || value->text[i] > '9') value->whole = false;
    return EMBED_OK;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static embed_status check_keys(const struct config_file *file, const struct config_object *object,
                               const struct json_reader *json)
{
    const char **keys = memory_allocate(object->count, sizeof *keys, file->path);
    if (keys == NULL) return EMBED_OUT_OF_MEMORY;
    size_t n = 0;
    for (size_t i = object->first; i != 0; i = file->values[i].after)
        keys[n++] = file->values[i].key;
    qsort(keys, n, sizeof *keys, compare_keys);
    embed_status status = EMBED_OK;
    for (size_t i = 1; i < n && status == EMBED_OK; i++)
        if (strcmp(keys[i - 1], keys[i]) == 0)
            status = json_fail(json, "a duplicate of \"%.*s\"",
                               utf8_shown(keys[i], strlen(keys[i])), keys[i]);
    memory_free(keys);
    return status;
}

static embed_status read_value(struct config_file *file, struct json_reader *json, size_t index);

/* Reads the values of an array or object. */
static embed_status read_children(struct config_file *file, struct json_reader *json, size_t index)
{
    bool is_object = file->values[index].kind == JSON_OBJECT;
    TRY(is_object ? json_enter_object(json) : json_enter_array(json));
    for (size_t last = 0, child = 0;; last = child) {
        bool more;
        struct json_string key = {0};
        TRY(is_object ? json_next_key(json, &more, &key) : json_next_element(json, &more));
        if (!more) break;
        TRY(new_value(file, json, &child));
        if (is_object) {
            file->values[child].key = json_string_terminate(json, key);
            if (file->values[child].key == NULL) return json_fail(json, "a NUL in a key");
        }
        *(last == 0 ? &file->values[index].first : &file->values[last].after) = (uint32_t)child;
        file->values[index].count++;
        TRY(read_value(file, json, child));
    }
    return is_object ? check_keys(file, &file->values[index], json) : EMBED_OK;
}

/* Reads a value into file->values[index]. */
static embed_status read_value(struct config_file *file, struct json_reader *json, size_t index)
{
    struct config_object *value = &file->values[index];
    TRY(json_peek(json, &value->kind));
    switch (value->kind) {
    case JSON_NULL: return json_read_null(json);
    case JSON_BOOLEAN: return json_read_boolean(json, &value->boolean);
    case JSON_NUMBER: return read_number(value, json);
    case JSON_STRING: return read_text(value, json);
    case JSON_ARRAY:
    case JSON_OBJECT: break;
    }
    return read_children(file, json, index);
}

static embed_status parse(struct config_file *file)
{
    struct json_reader json;
    size_t length, root = 0;
    TRY(file_read(&file->text, &length, file->path, MAX_BYTES));
    json_reader_init(&json, file->path, file->text, length, MAX_DEPTH);
    TRY(make_room(file, length));
    TRY(new_value(file, &json, &root));
    TRY(read_value(file, &json, root));
    return json_finish(&json);
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
    char *path = folder_path(folder, name);
    if (path == NULL) return EMBED_OUT_OF_MEMORY;
    embed_status status = config_file_open_path(out, path);
    memory_free(path);
    return status;
}

embed_status config_file_open_path(struct config_file **out, const char *path)
{
    struct config_file *file = memory_allocate(1, sizeof *file, path);
    if (file == NULL) return EMBED_OUT_OF_MEMORY;
    file->path = memory_copy_text(path, strlen(path), path);
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
    memory_free(file->values);
    memory_free(file->text);
    memory_free(file->path);
    memory_free(file);
}

/* ---- getters ------------------------------------------------------------------------------- */

const char *config_file_path(const struct config_file *file)
{
    return file->path;
}

embed_status config_file_object(const struct config_file *file, const struct config_object **out)
{
    if (file->values->kind != JSON_OBJECT)
        return fail(EMBED_BAD_FILE, "%s: must be a JSON object", file->path);
    *out = file->values;
    return EMBED_OK;
}

embed_status config_file_array(const struct config_file *file, size_t *count)
{
    if (file->values->kind != JSON_ARRAY)
        return fail(EMBED_BAD_FILE, "%s: must be a JSON array", file->path);
    *count = file->values->count;
    return EMBED_OK;
}

embed_status config_file_element(const struct config_file *file, size_t i,
                                 const struct config_object **out)
{
    size_t index = file->values->first;
    for (size_t k = 0; k < i; k++) index = file->values[index].after;
    if (file->values[index].kind != JSON_OBJECT)
        return fail(EMBED_BAD_FILE, "%s: element %zu must be a JSON object", file->path, i);
    *out = &file->values[index];
    return EMBED_OK;
}

static const struct config_object *value_of(const struct config_file *file,
                                            const struct config_object *object, const char *key)
{
    for (size_t i = object->first; i != 0; i = file->values[i].after)
        if (strcmp(file->values[i].key, key) == 0) return &file->values[i];
    return NULL;
}

bool config_has(const struct config_file *file, const struct config_object *object,
                const char *key)
{
    return value_of(file, object, key) != NULL;
}

/* Sets *out to NULL if the key is absent or null; fails with EMBED_BAD_FILE if it is `required`. */
static embed_status find(const struct config_file *file, const struct config_object *object,
                         const char *key, bool required, const struct config_object **out)
{
    const struct config_object *value = value_of(file, object, key);
    if (value != NULL && value->kind == JSON_NULL) value = NULL;
    if (value == NULL && required)
        return fail(EMBED_BAD_FILE, "%s: \"%s\" is missing", file->path, key);
    *out = value;
    return EMBED_OK;
}

/* Fails with `FILE: "KEY" is VALUE, OBJECTION`; a long value is cut. */
static embed_status object_to(embed_status status, const struct config_file *file, const char *key,
                              const struct config_object *value, const char *objection)
{
    const char *text = value->text != NULL ? value->text : "", *quote = "", *more = "";
    size_t length = value->length;
    switch (value->kind) {
    case JSON_NULL: text = "null", length = 4; break;
    case JSON_BOOLEAN: text = value->boolean ? "true" : "false", length = strlen(text); break;
    case JSON_ARRAY: text = "an array", length = strlen(text); break;
    case JSON_OBJECT: text = "an object", length = strlen(text); break;
    case JSON_STRING: quote = "\""; break;
    case JSON_NUMBER: break;
    }
    int shown = utf8_shown(text, length);
    if ((size_t)shown < length) more = "...";
    return fail(status, "%s: \"%.*s\" is %s%.*s%s%s, %s", file->path,
                utf8_shown(key, strlen(key)), key, quote, shown, text, more, quote, objection);
}

static embed_status wrong(const struct config_file *file, const char *key,
                          const struct config_object *value, const char *objection)
{
    return object_to(EMBED_BAD_FILE, file, key, value, objection);
}

/* Finds a value, or the only element of an array; sets *out to NULL if there is none. */
static embed_status find_sole(const struct config_file *file, const struct config_object *object,
                              const char *key, const struct config_object **out)
{
    const struct config_object *value = NULL;
    TRY(find(file, object, key, false, &value));
    if (value != NULL && value->kind == JSON_ARRAY) {
        if (value->count > 1)
            return fail(EMBED_UNSUPPORTED, "%s: \"%s\" has %u values; this version supports one",
                        file->path, key, (unsigned)value->count);
        value = value->count == 0 ? NULL : &file->values[value->first];
    }
    *out = value;
    return EMBED_OK;
}

/* Returns a whole number's value, or UINT64_MAX if it is larger than that. */
static uint64_t integer_of(const struct config_object *value)
{
    uint64_t integer = 0;
    for (size_t i = 0; i < value->length; i++) {
        unsigned digit = (unsigned)(value->text[i] - '0');
        bool fits = integer <= (UINT64_MAX - digit) / 10;
        integer = fits ? integer * 10 + digit : UINT64_MAX;
    }
    return integer;
}

static embed_status get_size(const struct config_file *file, const struct config_object *value,
                             const char *key, size_t least, size_t most, size_t *out)
{
    if (value == NULL) return EMBED_OK;
    bool is_whole = value->kind == JSON_NUMBER && value->whole;
    if (!is_whole || integer_of(value) < least || integer_of(value) > most) {
        char objection[96];
        snprintf(objection, sizeof objection, "must be a whole number from %zu to %zu", least,
                 most);
        return wrong(file, key, value, objection);
    }
    *out = (size_t)integer_of(value);
    return EMBED_OK;
}

static embed_status get_text(const struct config_file *file, const struct config_object *value,
                             const char *key, const char **out)
{
    if (value == NULL) return EMBED_OK;
    if (value->kind != JSON_STRING) return wrong(file, key, value, "must be a string");
    *out = value->text;
    return EMBED_OK;
}

embed_status config_size(const struct config_file *file, const struct config_object *object,
                         const char *key, size_t least, size_t most, bool required, size_t *out)
{
    const struct config_object *value = NULL;
    TRY(find(file, object, key, required, &value));
    return get_size(file, value, key, least, most, out);
}

embed_status config_sole_size(const struct config_file *file, const struct config_object *object,
                              const char *key, size_t least, size_t most, size_t *out)
{
    const struct config_object *value = NULL;
    TRY(find_sole(file, object, key, &value));
    return get_size(file, value, key, least, most, out);
}

embed_status config_number(const struct config_file *file, const struct config_object *object,
                           const char *key, double above, double below, bool required, double *out)
{
    const struct config_object *value = NULL;
    TRY(find(file, object, key, required, &value));
    if (value == NULL) return EMBED_OK;
    if (value->kind != JSON_NUMBER || !(value->number > above && value->number < below)) {
        char objection[96];
        snprintf(objection, sizeof objection, "must be a number above %g and below %g", above,
                 below);
        return wrong(file, key, value, objection);
    }
    *out = value->number;
    return EMBED_OK;
}

embed_status config_boolean(const struct config_file *file, const struct config_object *object,
                            const char *key, bool required, bool *out)
{
    const struct config_object *value = NULL;
    TRY(find(file, object, key, required, &value));
    if (value == NULL) return EMBED_OK;
    if (value->kind != JSON_BOOLEAN) return wrong(file, key, value, "must be true or false");
    *out = value->boolean;
    return EMBED_OK;
}

embed_status config_text(const struct config_file *file, const struct config_object *object,
                         const char *key, bool required, const char **out)
{
    const struct config_object *value = NULL;
    TRY(find(file, object, key, required, &value));
    return get_text(file, value, key, out);
}

embed_status config_sole_text(const struct config_file *file, const struct config_object *object,
                              const char *key, const char **out)
{
    const struct config_object *value = NULL;
    TRY(find_sole(file, object, key, &value));
    return get_text(file, value, key, out);
}

bool config_is_text(const struct config_file *file, const struct config_object *object,
                    const char *key)
{
    const struct config_object *value = value_of(file, object, key);
    return value != NULL && value->kind == JSON_STRING;
}

static bool is_off(const struct config_object *value, double off)
{
    switch (value->kind) {
    case JSON_NULL: return true;
    case JSON_BOOLEAN: return !value->boolean;
    case JSON_NUMBER: return value->number == off;
    case JSON_STRING: return value->length == 0;
    case JSON_ARRAY:
    case JSON_OBJECT: break;
    }
    return value->count == 0;
}

embed_status config_must_be_off(const struct config_file *file, const struct config_object *object,
                                const char *key, double off)
{
    const struct config_object *value = value_of(file, object, key);
    if (value == NULL || is_off(value, off)) return EMBED_OK;
    return object_to(EMBED_UNSUPPORTED, file, key, value, "which this version does not support");
}

embed_status config_must_be(const struct config_file *file, const struct config_object *object,
                            const char *key, const char *text)
{
    const struct config_object *value = value_of(file, object, key);
    if (value == NULL || value->kind == JSON_NULL) return EMBED_OK;
    if (value->kind == JSON_STRING && strcmp(value->text, text) == 0) return EMBED_OK;
    return object_to(EMBED_UNSUPPORTED, file, key, value, "which this version does not support");
}

embed_status config_known_keys(const struct config_file *file, const struct config_object *object,
                               const char *const *keys)
{
    for (size_t i = object->first; i != 0; i = file->values[i].after) {
        const struct config_object *value = &file->values[i];
        size_t k = 0;
        while (keys[k] != NULL && strcmp(keys[k], value->key) != 0) k++;
        if (keys[k] == NULL)
            return object_to(EMBED_UNSUPPORTED, file, value->key, value,
                             "a setting unknown to this version");
    }
    return EMBED_OK;
}

embed_status config_texts(const struct config_file *file, const struct config_object *object,
                          const char *key, embed_status (*each)(void *context, const char *text),
                          void *context)
{
    const struct config_object *value = NULL;
    TRY(find(file, object, key, false, &value));
    if (value == NULL) return EMBED_OK;
    bool is_array = value->kind == JSON_ARRAY;
    size_t first = is_array ? value->first : (size_t)(value - file->values);
    for (size_t i = first; i != 0; i = is_array ? file->values[i].after : 0) {
        if (file->values[i].kind != JSON_STRING)
            return wrong(file, key, &file->values[i], "must be a string or an array of strings");
        TRY(each(context, file->values[i].text));
    }
    return EMBED_OK;
}

embed_status config_contents(const struct config_file *file, const struct config_object *object,
                             const char *key,
                             embed_status (*each)(void *context, const char *text), void *context)
{
    const struct config_object *value = NULL;
    TRY(find(file, object, key, false, &value));
    if (value == NULL) return EMBED_OK;
    if (value->kind != JSON_ARRAY && value->kind != JSON_OBJECT)
        return wrong(file, key, value, "must be an array or an object");
    for (size_t i = value->first; i != 0; i = file->values[i].after) {
        const struct config_object *item = &file->values[i];
        const char *text = item->text;
        if (item->kind == JSON_OBJECT)
            TRY(config_text(file, item, "content", true, &text));
        else if (item->kind != JSON_STRING)
            return wrong(file, key, item, "must be a string or an object with \"content\"");
        TRY(each(context, text));
    }
    return EMBED_OK;
}

embed_status config_child(const struct config_file *file, const struct config_object *object,
                          const char *key, const struct config_object **out)
{
    const struct config_object *value = NULL;
    TRY(find(file, object, key, false, &value));
    if (value != NULL && value->kind != JSON_OBJECT)
        return wrong(file, key, value, "must be an object");
    *out = value;
    return EMBED_OK;
}

embed_status config_each_text(const struct config_file *file, const struct config_object *object,
                              embed_status (*each)(void *context, const char *key,
                                                   const char *text),
                              void *context)
{
    for (size_t i = object->first; i != 0; i = file->values[i].after) {
        const struct config_object *value = &file->values[i];
        bool none = value->kind == JSON_NULL;
        if (!none && value->kind != JSON_STRING)
            return wrong(file, value->key, value, "must be a string");
        TRY(each(context, value->key, none ? "" : value->text));
    }
    return EMBED_OK;
}
