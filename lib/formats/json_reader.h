/* json_reader.h - a strict streaming JSON reader (RFC 8259) for large or untrusted files
 *
 * It allocates nothing and builds no tree: the caller walks the document in order. Strings are
 * unescaped in place, so every returned string points into the caller's buffer and stays valid as
 * long as that does. Rejected: bytes that are not UTF-8, a BOM, comments, trailing commas, NaN,
 * leading zeros, raw control characters and lone surrogates in strings, nesting deeper than
 * max_depth, anything but white space after the document.
 *
 *     struct json_reader json;
 *     json_reader_init(&json, "config.json", text, length, 8);
 *     TRY(json_enter_object(&json));
 *     struct json_string key;
 *     bool more;
 *     for (;;) {
 *         TRY(json_next_key(&json, &more, &key));
 *         if (!more) break;
 *         if (json_string_is(key, "version")) TRY(json_read_unsigned(&json, &version));
 *         else TRY(json_skip(&json));
 *     }
 *     TRY(json_finish(&json));
 *
 * Every error in the document is EMBED_BAD_FILE with "FILE: byte N: cause", N counting from 0. If
 * the document does not start at the beginning of its text, set `position` after json_reader_init.
 */
#ifndef LIB_FORMATS_JSON_READER_H
#define LIB_FORMATS_JSON_READER_H

#include "embed.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_MAX_DEPTH 128

enum json_kind { JSON_NULL, JSON_BOOLEAN, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_string {
    const char *data; /* may contain NUL bytes; not NUL-terminated */
    size_t length;
};

/* Opaque to callers, except that `position` (the next byte to be read) may be shown and set. */
struct json_reader {
    const char *file; /* for messages */
    char *text;
    size_t length;
    size_t position;
    unsigned depth, max_depth;
    bool first[JSON_MAX_DEPTH]; /* no element has been read yet at this depth */
};

/* Modifies text[0..length) while reading it. max_depth <= JSON_MAX_DEPTH limits how many arrays and
 * objects may be open at a time. */
void json_reader_init(struct json_reader *json, const char *file, char *text, size_t length,
                      unsigned max_depth);

/* Gets the kind of the next value, without reading it. */
embed_status json_peek(struct json_reader *json, enum json_kind *kind);

embed_status json_enter_object(struct json_reader *json);
/* Reads the next key, so that its value comes next; past the last key, sets *more to false. */
embed_status json_next_key(struct json_reader *json, bool *more, struct json_string *key);

embed_status json_enter_array(struct json_reader *json);
/* Moves to the next element; past the last one, leaves the array and sets *more to false. */
embed_status json_next_element(struct json_reader *json, bool *more);

embed_status json_read_string(struct json_reader *json, struct json_string *out);
/* Reads an integer that fits, without sign, fraction or exponent. */
embed_status json_read_unsigned(struct json_reader *json, uint64_t *out);
/* Reads any finite number, regardless of the locale. */
embed_status json_read_number(struct json_reader *json, double *out);
embed_status json_read_boolean(struct json_reader *json, bool *out);
embed_status json_read_null(struct json_reader *json);

/* Reads one value of any kind, checks its grammar, and discards it. */
embed_status json_skip(struct json_reader *json);

/* Fails unless only white space is left. */
embed_status json_finish(const struct json_reader *json);

/* Fails with EMBED_BAD_FILE and "FILE: byte N: CAUSE", for an error that a caller finds at the
 * current position. */
embed_status json_fail(const struct json_reader *json, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

bool json_string_is(struct json_string string, const char *literal);

/* Returns the string, which must be the last one read, as a C string: writes a NUL after it, over
 * its closing quote. Returns NULL if the string contains a NUL. */
const char *json_string_terminate(struct json_reader *json, struct json_string string);

#endif
