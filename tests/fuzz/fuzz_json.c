/* fuzz_json.c - the JSON reader, against jansson: the two must accept the same documents
 *
 * They may differ if ours has a limit that jansson does not have (nesting, digits of a number), if
 * a number fits the types of only one of them, if a key contains a NUL, and if there are NUL bytes
 * between values, which jansson skips.
 */
/* Both define an enumeration of the kinds of JSON values; theirs is not needed. */
#define JSON_OBJECT JANSSON_OBJECT
#define JSON_ARRAY  JANSSON_ARRAY
#define JSON_STRING JANSSON_STRING
#define JSON_NULL   JANSSON_NULL
#include <jansson.h>
#undef JSON_OBJECT
#undef JSON_ARRAY
#undef JSON_STRING
#undef JSON_NULL

#include "formats/json_reader.h"

#include "base/status.h"
#include "fuzz.h"

static const char name[] = "fuzz.json";

/* Reads the next value, whatever its kind. */
static embed_status read_any(struct json_reader *json)
{
    enum json_kind kind;
    struct json_string string;
    bool boolean, more;
    double number;
    TRY(json_peek(json, &kind));
    switch (kind) {
    case JSON_NULL: return json_read_null(json);
    case JSON_BOOLEAN: return json_read_boolean(json, &boolean);
    case JSON_NUMBER: return json_read_number(json, &number);
    case JSON_STRING: return json_read_string(json, &string);
    case JSON_ARRAY:
        TRY(json_enter_array(json));
        for (;;) {
            TRY(json_next_element(json, &more));
            if (!more) return EMBED_OK;
            TRY(read_any(json));
        }
    case JSON_OBJECT: break;
    }
    TRY(json_enter_object(json));
    for (;;) {
        TRY(json_next_key(json, &more, &string));
        if (!more) return EMBED_OK;
        TRY(read_any(json));
    }
}

static embed_status skip_any(struct json_reader *json)
{
    return json_skip(json);
}

static bool accepts(const uint8_t *input, size_t length,
                    embed_status (*read)(struct json_reader *))
{
    struct json_reader json;
    char *text = malloc(length + 1); /* AddressSanitizer finds reads past this */
    fuzz_claim(text != NULL);
    memcpy(text, input, length);
    json_reader_init(&json, name, text, length, JSON_MAX_DEPTH);
    embed_status status = read(&json);
    if (status == EMBED_OK) status = json_finish(&json);
    fuzz_claim(json.position <= length);
    if (status != EMBED_OK) {
        fuzz_claim(status == EMBED_BAD_FILE);
        fuzz_claim_message(error_message(), name);
    }
    free(text);
    return status == EMBED_OK;
}

static bool says(const char *part)
{
    return strstr(error_message(), part) != NULL;
}

static void fuzz_input(const uint8_t *input, size_t length)
{
    if (length == 0) return;
    bool skipped = accepts(input, length, skip_any);
    bool read = accepts(input, length, read_any);
    if (skipped != read) { /* a number that is only skipped may be of any size */
        fuzz_claim(skipped);
        fuzz_claim(says("a number of more than") || says("a number too large"));
    }

    if (memchr(input, '\0', length) != NULL) return;
    json_error_t error = {0};
    json_t *theirs =
        json_loadb((const char *)input, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    bool differs = (theirs != NULL) != read;
    json_decref(theirs);
    if (!differs) return;
    const char *cause = error.text;
    if (read)
        fuzz_claim(strstr(cause, "too big") != NULL || strstr(cause, "too small") != NULL ||
                   strstr(cause, "overflow") != NULL || strstr(cause, "NUL") != NULL);
    else
        fuzz_claim(says("nested deeper") || says("a number of more than"));
}
