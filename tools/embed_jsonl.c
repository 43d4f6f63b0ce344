/* embed_jsonl.c - texts in a field of JSON lines */
#include "embed_tool.h"

#include <jansson.h>
#include <stdlib.h>

/* If an allocation fails, jansson 2.14 may drop characters of a string and read past its end; this
 * allocator exits instead. */
static void *allocate(size_t bytes)
{
    return tool_resize(NULL, bytes, 1);
}

static bool extract(json_t **string, embed_text *text, const char *field, const char *file,
                    uint64_t line)
{
    json_error_t error = {0};
    /* Other fields may have integers that do not fit in 64 bits, which are JSON too. */
    json_t *object = json_loadb(text->data, text->length,
                                JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    if (object == NULL)
        return tool_error("%s: line %ju: not JSON: %s", file, (uintmax_t)line,
                          *error.text != '\0' ? error.text : "out of memory");

    *string = json_incref(json_object_get(object, field));
    json_decref(object);
    if (!json_is_string(*string)) {
        const char *what = *string == NULL ? "missing" : "not a string";
        json_decref(*string);
        return tool_error("%s: line %ju: the field \"%s\" is %s", file, (uintmax_t)line, field,
                          what);
    }
    text->data = json_string_value(*string);
    text->length = json_string_length(*string);
    return true;
}

bool jsonl_extract(jsonl_values *values, line_block *block, const char *field, const char *file)
{
    json_set_alloc_funcs(allocate, free);
    for (size_t i = 0; i < block->count; i++) {
        if (!extract(&values->strings[i], &block->texts[i], field, file, block->first + i + 1))
            return false;
        values->count = i + 1;
    }
    return true;
}

void jsonl_release(jsonl_values *values)
{
    for (size_t i = 0; i < values->count; i++) json_decref(values->strings[i]);
    values->count = 0;
}
