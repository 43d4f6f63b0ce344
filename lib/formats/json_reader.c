/* json_reader.c - a strict streaming JSON reader (RFC 8259) */
#include "formats/json_reader.h"

#include "base/status.h"
#include "formats/unicode.h"

#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NUMBER_LENGTH 255 /* characters of a number that is converted */

/* ---- failures ---------------------------------------------------------------------------- */

static embed_status fail_at(const struct json_reader *json, size_t position, const char *cause)
{
    return fail(EMBED_BAD_FILE, "%s: byte %zu: %s", json->file, position, cause);
}

embed_status json_fail(const struct json_reader *json, const char *format, ...)
{
    char cause[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(cause, sizeof cause, format, arguments);
    va_end(arguments);
    return fail_at(json, json->position, cause);
}

/* Fails with "expected `what`, found ..." for the byte at `position`. */
static embed_status fail_expected(const struct json_reader *json, size_t position,
                                  const char *what)
{
    char cause[128];
    unsigned char found = position < json->length ? (unsigned char)json->text[position] : 0;
    if (position >= json->length)
        snprintf(cause, sizeof cause, "expected %s, found the end of the document", what);
    else if (found > 0x20 && found < 0x7F)
        snprintf(cause, sizeof cause, "expected %s, found %c", what, found);
    else
        snprintf(cause, sizeof cause, "expected %s, found byte 0x%02X", what, found);
    return fail_at(json, position, cause);
}

/* ---- bytes ------------------------------------------------------------------------------- */

static size_t skip_space(const struct json_reader *json, size_t position)
{
    while (position < json->length) {
        char c = json->text[position];
        if (c != ' ' && c != '\n' && c != '\t' && c != '\r') break;
        position++;
    }
    return position;
}

/* Returns the byte at `position`, or NUL (which is in no grammar below) past the end. */
static char byte_at(const struct json_reader *json, size_t position)
{
    return position < json->length ? json->text[position] : '\0';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Moves past white space and the one byte `wanted`. */
static embed_status take(struct json_reader *json, char wanted, const char *what)
{
    json->position = skip_space(json, json->position);
    if (byte_at(json, json->position) != wanted)
        return fail_expected(json, json->position, what);
    json->position++;
    return EMBED_OK;
}

/* ---- document ---------------------------------------------------------------------------- */

void json_reader_init(struct json_reader *json, const char *file, char *text, size_t length,
                      unsigned max_depth)
{
    *json = (struct json_reader){
        .file = file,
        .text = text,
        .length = length,
        .max_depth = max_depth < JSON_MAX_DEPTH ? max_depth : JSON_MAX_DEPTH,
    };
}

embed_status json_peek(struct json_reader *json, enum json_kind *kind)
{
    json->position = skip_space(json, json->position);
    char c = byte_at(json, json->position);
    switch (c) {
    case '{': *kind = JSON_OBJECT; return EMBED_OK;
    case '[': *kind = JSON_ARRAY; return EMBED_OK;
    case '"': *kind = JSON_STRING; return EMBED_OK;
    case 't':
    case 'f': *kind = JSON_BOOLEAN; return EMBED_OK;
    case 'n': *kind = JSON_NULL; return EMBED_OK;
    default: break;
    }
    if (c != '-' && !is_digit(c)) return fail_expected(json, json->position, "a value");
    *kind = JSON_NUMBER;
    return EMBED_OK;
}

embed_status json_finish(const struct json_reader *json)
{
    size_t end = skip_space(json, json->position);
    return end == json->length ? EMBED_OK : fail_expected(json, end, "nothing more");
}

/* ---- arrays and objects ------------------------------------------------------------------ */

static embed_status enter(struct json_reader *json, char open, const char *what)
{
    TRY(take(json, open, what));
    if (json->depth == json->max_depth) {
        json->position--;
        return json_fail(json, "nested deeper than %u levels", json->max_depth);
    }
    json->first[json->depth++] = true;
    return EMBED_OK;
}

/* Moves to the next element, past the comma before it, or past `close`. */
static embed_status next(struct json_reader *json, char close, const char *comma_or_close,
                         bool *more)
{
    bool *first = &json->first[json->depth - 1];
    json->position = skip_space(json, json->position);
    if (byte_at(json, json->position) == close) {
        json->position++;
        json->depth--;
        *more = false;
        return EMBED_OK;
    }
    if (!*first) {
        TRY(take(json, ',', comma_or_close));
        json->position = skip_space(json, json->position);
        if (byte_at(json, json->position) == close)
            return json_fail(json, "a comma before the closing %c", close);
    }
    *first = false;
    *more = true;
    return EMBED_OK;
}

embed_status json_enter_object(struct json_reader *json)
{
    return enter(json, '{', "an object");
}

embed_status json_next_key(struct json_reader *json, bool *more, struct json_string *key)
{
    TRY(next(json, '}', "a comma or }", more));
    if (!*more) return EMBED_OK;
    TRY(json_read_string(json, key));
    return take(json, ':', "a colon");
}

embed_status json_enter_array(struct json_reader *json)
{
    return enter(json, '[', "an array");
}

embed_status json_next_element(struct json_reader *json, bool *more)
{
    return next(json, ']', "a comma or ]", more);
}

/* ---- strings ----------------------------------------------------------------------------- */

/* Reads the `u` at `position`, which follows a backslash, and four hexadecimal digits. */
static bool read_hex4(const struct json_reader *json, size_t position, uint32_t *out)
{
    if (byte_at(json, position) != 'u') return false;
    *out = 0;
    for (size_t i = 1; i <= 4; i++) {
        char c = byte_at(json, position + i);
        uint32_t digit;
        if (is_digit(c))
            digit = (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (uint32_t)(c - 'a') + 10;
        else if (c >= 'A' && c <= 'F')
            digit = (uint32_t)(c - 'A') + 10;
        else
            return false;
        *out = *out << 4 | digit;
    }
    return true;
}

/* Reads the escape whose backslash is at *from, writes what it means (never more bytes than the
 * escape itself) to *to, and advances both. */
static embed_status unescape(struct json_reader *json, size_t *from, char **to)
{
    static const char names[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    char c = byte_at(json, *from + 1);
    const char *name = c != '\0' ? strchr(names, c) : NULL;
    if (name != NULL) {
        *(*to)++ = meanings[name - names];
        *from += 2;
        return EMBED_OK;
    }
    uint32_t code, low;
    if (!read_hex4(json, *from + 1, &code)) return fail_at(json, *from, "invalid escape");
    size_t length = 6;
    if (code >= 0xD800 && code <= 0xDFFF) { /* half of a UTF-16 pair */
        if (code >= 0xDC00 || byte_at(json, *from + 6) != '\\' ||
            !read_hex4(json, *from + 7, &low) || low < 0xDC00 || low > 0xDFFF)
            return fail_at(json, *from, "a lone surrogate");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        length = 12;
    }
    *to += utf8_encode(*to, code);
    *from += length;
    return EMBED_OK;
}

embed_status json_read_string(struct json_reader *json, struct json_string *out)
{
    TRY(take(json, '"', "a string"));
    size_t start = json->position, from = start;
    char *to = json->text + start;
    for (;;) {
        if (from >= json->length) return fail_at(json, start - 1, "unterminated string");
        unsigned char c = (unsigned char)json->text[from];
        if (c == '"') break;
        if (c == '\\') {
            TRY(unescape(json, &from, &to));
            continue;
        }
        if (c < 0x20) return fail_at(json, from, "a control character in a string");
        size_t length = 1;
        if (c >= 0x80) {
            struct utf8_character read = utf8_decode(json->text + from, json->length - from);
            if (!read.valid) return fail_at(json, from, "invalid UTF-8");
            length = read.bytes;
        }
        while (length-- > 0) *to++ = json->text[from++];
    }
    out->data = json->text + start;
    out->length = (size_t)(to - out->data);
    json->position = from + 1;
    return EMBED_OK;
}

bool json_string_is(struct json_string string, const char *literal)
{
    return strlen(literal) == string.length && memcmp(literal, string.data, string.length) == 0;
}

const char *json_string_terminate(struct json_reader *json, struct json_string string)
{
    if (memchr(string.data, '\0', string.length) != NULL) return NULL;
    char *start = json->text + (string.data - json->text);
    start[string.length] = '\0';
    return start;
}

/* ---- numbers and the three words --------------------------------------------------------- */

static size_t skip_digits(const struct json_reader *json, size_t position)
{
    while (is_digit(byte_at(json, position))) position++;
    return position;
}

/* Checks the number's grammar: text[json->position..*end). *integer: no fraction, no exponent. */
static embed_status scan_number(struct json_reader *json, size_t *end, bool *integer)
{
    json->position = skip_space(json, json->position);
    size_t p = json->position;
    if (byte_at(json, p) != '-' && !is_digit(byte_at(json, p)))
        return fail_expected(json, p, "a number");
    if (byte_at(json, p) == '-') p++;
    if (byte_at(json, p) == '0' && is_digit(byte_at(json, p + 1)))
        return fail_at(json, p, "a number with a leading zero");

    size_t digits = p;
    p = skip_digits(json, p);
    if (p == digits) return fail_expected(json, p, "a digit");
    *integer = true;
    if (byte_at(json, p) == '.') {
        digits = ++p;
        p = skip_digits(json, p);
        if (p == digits) return fail_expected(json, p, "a digit");
        *integer = false;
    }
    if (byte_at(json, p) == 'e' || byte_at(json, p) == 'E') {
        p++;
        if (byte_at(json, p) == '+' || byte_at(json, p) == '-') p++;
        digits = p;
        p = skip_digits(json, p);
        if (p == digits) return fail_expected(json, p, "a digit");
        *integer = false;
    }
    *end = p;
    return EMBED_OK;
}

embed_status json_read_unsigned(struct json_reader *json, uint64_t *out)
{
    size_t end;
    bool integer;
    TRY(scan_number(json, &end, &integer));
    if (!integer || json->text[json->position] == '-')
        return json_fail(json, "expected an integer that is not negative");

    uint64_t value = 0;
    for (size_t p = json->position; p < end; p++) {
        uint64_t digit = (uint64_t)(json->text[p] - '0');
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return json_fail(json, "integer does not fit in 64 bits");
    }
    json->position = end;
    *out = value;
    return EMBED_OK;
}

embed_status json_read_number(struct json_reader *json, double *out)
{
    size_t end;
    bool integer;
    TRY(scan_number(json, &end, &integer));
    char digits[MAX_NUMBER_LENGTH + 1];
    size_t length = end - json->position;
    if (length > MAX_NUMBER_LENGTH)
        return json_fail(json, "a number of more than %d characters", MAX_NUMBER_LENGTH);
    memcpy(digits, json->text + json->position, length);
    digits[length] = '\0';

    /* strtod would read "0.5" as 0 in a program whose locale has a decimal comma. The "C" locale is
     * a constant of the C library: this neither allocates nor touches the program's locale. */
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c_locale == (locale_t)0) return fail(EMBED_SYSTEM, "%s: no C locale", json->file);
    double value = strtod_l(digits, NULL, c_locale);
    freelocale(c_locale);
    if (!isfinite(value)) return json_fail(json, "a number too large for a double");
    json->position = end;
    *out = value;
    return EMBED_OK;
}

/* Reads `word` if it comes next. */
static bool take_word(struct json_reader *json, const char *word)
{
    size_t length = strlen(word);
    json->position = skip_space(json, json->position);
    if (json->length - json->position < length ||
        memcmp(json->text + json->position, word, length) != 0)
        return false;
    json->position += length;
    return true;
}

embed_status json_read_boolean(struct json_reader *json, bool *out)
{
    bool value = take_word(json, "true");
    if (!value && !take_word(json, "false"))
        return fail_expected(json, json->position, "true or false");
    *out = value;
    return EMBED_OK;
}

embed_status json_read_null(struct json_reader *json)
{
    return take_word(json, "null") ? EMBED_OK : fail_expected(json, json->position, "null");
}

/* ---- skipping values --------------------------------------------------------------------- */

static embed_status skip_number(struct json_reader *json)
{
    size_t end;
    bool integer;
    TRY(scan_number(json, &end, &integer));
    json->position = end;
    return EMBED_OK;
}

static embed_status skip_array(struct json_reader *json)
{
    bool more = true;
    TRY(json_enter_array(json));
    for (;;) {
        TRY(json_next_element(json, &more));
        if (!more) return EMBED_OK;
        TRY(json_skip(json));
    }
}

static embed_status skip_object(struct json_reader *json)
{
    bool more = true;
    struct json_string key;
    TRY(json_enter_object(json));
    for (;;) {
        TRY(json_next_key(json, &more, &key));
        if (!more) return EMBED_OK;
        TRY(json_skip(json));
    }
}

/* Recursive, at most max_depth deep. */
embed_status json_skip(struct json_reader *json)
{
    enum json_kind kind;
    struct json_string string;
    bool boolean;
    TRY(json_peek(json, &kind));
    switch (kind) {
    case JSON_NULL: return json_read_null(json);
    case JSON_BOOLEAN: return json_read_boolean(json, &boolean);
    case JSON_NUMBER: return skip_number(json);
    case JSON_STRING: return json_read_string(json, &string);
    case JSON_ARRAY: return skip_array(json);
    case JSON_OBJECT: return skip_object(json);
    }
    return EMBED_OK;
}
