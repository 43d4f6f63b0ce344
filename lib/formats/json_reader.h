/* json_reader.h - a strict streaming JSON reader (RFC 8259) for large or untrusted files
 *
 * It allocates nothing and builds no tree: the caller walks the document in order. Strings are
 * unescaped in place, so that every string handed out points into the caller's buffer and stays
 * valid as long as that does. Refused: bytes that are not UTF-8, a BOM, comments, trailing commas,
 * NaN, leading zeros, raw control characters and lone surrogates in strings, nesting deeper than
 * asked for, anything after the document but white space.
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
 * Every failure is EMBED_BAD_FILE with "FILE: byte N: cause", N counting from 0. Where the document
 * does not start at the beginning of its text, set `position` after json_reader_init.
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
    const char *data; /* may hold NUL bytes; no NUL is put behind it */
    size_t length;
};

/* Callers treat it as opaque, except that `position` (the next byte to be read) may be shown. */
struct json_reader {
    const char *file; /* for messages */
    char *text;
    size_t length;
    size_t position;
    unsigned depth, max_depth;
    bool first[JSON_MAX_DEPTH]; /* no element has been read yet at this depth */
};

/* text[0..length) is changed while it is read. max_depth <= JSON_MAX_DEPTH counts arrays and
 * objects that may be open at a time. */
void json_reader_init(struct json_reader *json, const char *file, char *text, size_t length,
                      unsigned max_depth);

/* What comes next, without reading it. */
embed_status json_peek(struct json_reader *json, enum json_kind *kind);

embed_status json_enter_object(struct json_reader *json);
/* The next key (the reader then stands before its value), or more = false past the last one. */
embed_status json_next_key(struct json_reader *json, bool *more, struct json_string *key);

embed_status json_enter_array(struct json_reader *json);
/* more: the reader stands before the next element; else it stands behind the array. */
embed_status json_next_element(struct json_reader *json, bool *more);

embed_status json_read_string(struct json_reader *json, struct json_string *out);
/* An integer without fraction, exponent or sign that fits. */
embed_status json_read_unsigned(struct json_reader *json, uint64_t *out);
/* Any number, finite; not dependent on the locale. */
embed_status json_read_number(struct json_reader *json, double *out);
embed_status json_read_boolean(struct json_reader *json, bool *out);
embed_status json_read_null(struct json_reader *json);

/* Reads one value of any kind, checks its grammar, drops it. */
embed_status json_skip(struct json_reader *json);

/* Nothing but white space may be left. */
embed_status json_finish(const struct json_reader *json);

/* EMBED_BAD_FILE, "FILE: byte N: CAUSE", for what a caller finds wrong where the reader stands. */
embed_status json_fail(const struct json_reader *json, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

bool json_string_is(struct json_string string, const char *literal);

/* The string, just read, as a C string: puts a NUL behind it, over its closing quote. NULL where
 * it holds a NUL itself. */
const char *json_string_terminate(struct json_reader *json, struct json_string string);

#endif
