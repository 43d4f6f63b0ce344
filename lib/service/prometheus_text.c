/* prometheus_text.c - writes Prometheus' text exposition format */
#include "service/prometheus_text.h"

#include "base/status.h"
#include "formats/unicode.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* ---- the caller's labels ------------------------------------------------------------------- */

#define MAX_LABELS 32

struct label_name {
    const char *start;
    size_t length;
};

static bool is_same(struct label_name a, struct label_name b)
{
    return a.length == b.length && memcmp(a.start, b.start, a.length) == 0;
}

static bool is_our_own(struct label_name name)
{
    static const char *const own[] = {"le", "quantile", "state", "status"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (is_same(name, (struct label_name){own[i], strlen(own[i])})) return true;
    return false;
}

static embed_status wrong_labels(const char *labels, const char *at, const char *why)
{
    return fail(EMBED_INVALID_ARGUMENT, "labels: byte %zu: %s", (size_t)(at - labels), why);
}

static bool may_be_in_name(char c, bool first)
{
    bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    return is_letter || (!first && c >= '0' && c <= '9');
}

/* Reads the label name at *at and advances *at. */
static embed_status read_name(struct label_name *name, const char *labels, const char **at)
{
    name->start = *at;
    while (may_be_in_name(**at, *at == name->start)) ++*at;
    name->length = (size_t)(*at - name->start);
    if (name->length == 0) return wrong_labels(labels, *at, "must be a label's name");
    if (name->length >= 2 && memcmp(name->start, "__", 2) == 0)
        return wrong_labels(labels, name->start, "names that begin with __ are Prometheus' own");
    if (is_our_own(*name))
        return wrong_labels(labels, name->start, "label name reserved by our metrics");
    return EMBED_OK;
}

/* Reads the ="VALUE" at *at and advances *at. */
static embed_status read_value(const char *labels, const char **at)
{
    if (strncmp(*at, "=\"", 2) != 0) return wrong_labels(labels, *at, "must be =\"");
    const char *end = *at + strlen(*at);
    for (*at += 2; **at != '"'; ) {
        if (**at == '\0') return wrong_labels(labels, *at, "missing closing quote");
        if (**at == '\n') return wrong_labels(labels, *at, "a line end must be written \\n");
        if (**at == '\\' && ((*at)[1] == '\0' || strchr("\\\"n", (*at)[1]) == NULL))
            return wrong_labels(labels, *at, "a backslash must be written \\\\");
        if (**at == '\\') ++*at;
        struct utf8_character character = utf8_decode(*at, (size_t)(end - *at));
        if (!character.valid) return wrong_labels(labels, *at, "invalid UTF-8");
        *at += character.bytes;
    }
    ++*at;
    return EMBED_OK;
}

static embed_status check_labels(const char *labels)
{
    struct label_name names[MAX_LABELS];
    const char *at = labels;
    for (size_t n = 0; *labels != '\0'; n++) {
        if (n == MAX_LABELS) return wrong_labels(labels, at, "more than 32 labels");
        TRY(read_name(&names[n], labels, &at));
        for (size_t i = 0; i < n; i++)
            if (is_same(names[i], names[n]))
                return wrong_labels(labels, names[n].start, "the same label twice");
        TRY(read_value(labels, &at));
        if (*at == '\0') break;
        if (*at != ',') return wrong_labels(labels, at, "must be a comma");
        at++;
    }
    return EMBED_OK;
}

/* ---- lines --------------------------------------------------------------------------------- */

embed_status prometheus_text_begin(struct prometheus_text *text, const char *labels, char *out,
                                   size_t capacity)
{
    if (labels == NULL) labels = "";
    TRY(check_labels(labels));
    *text = (struct prometheus_text){labels, out, capacity, 0};
    return EMBED_OK;
}

__attribute__((format(printf, 2, 3)))
static void put(struct prometheus_text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    bool has_room = text->length < text->capacity;
    int written = vsnprintf(has_room ? text->out + text->length : NULL,
                            has_room ? text->capacity - text->length : 0, format, arguments);
    text->length += written > 0 ? (size_t)written : 0;
    va_end(arguments);
}

#define NUMBER_BYTES 64

/* A double preserves any decimal number of 15 digits. */
static const char *number_text(char out[NUMBER_BYTES], double value)
{
    if (isnan(value)) return "NaN";
    if (isinf(value)) return value > 0 ? "+Inf" : "-Inf";
    snprintf(out, NUMBER_BYTES, "%.15g", value);
    /* Anything but a digit, sign or exponent is the locale's decimal point, of one or more
     * bytes. */
    size_t n = 0;
    for (const char *c = out; *c != '\0'; c++) {
        if (strchr("0123456789+-e", *c) != NULL) out[n++] = *c;
        else if (n == 0 || out[n - 1] != '.') out[n++] = '.';
    }
    out[n] = '\0';
    return out;
}

void prometheus_family(struct prometheus_text *text, const char *name, const char *type,
                       const char *help)
{
    put(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Writes NAME SUFFIX {the caller's labels, LABEL="LABEL_VALUE"} VALUE; label NULL: none. */
static void put_sample(struct prometheus_text *text, const char *name, const char *suffix,
                       const char *label, const char *label_value, double value)
{
    char number[NUMBER_BYTES];
    bool has_labels = *text->labels != '\0';
    put(text, "%s%s", name, suffix);
    if (has_labels || label != NULL) put(text, "{%s", text->labels);
    if (label != NULL) put(text, "%s%s=\"%s\"", has_labels ? "," : "", label, label_value);
    if (has_labels || label != NULL) put(text, "}");
    put(text, " %s\n", number_text(number, value));
}

void prometheus_sample(struct prometheus_text *text, const char *name, const char *label,
                       const char *label_value, double value)
{
    put_sample(text, name, "", label, label_value, value);
}

void prometheus_counter(struct prometheus_text *text, const char *name, const char *help,
                        double value)
{
    prometheus_family(text, name, "counter", help);
    put_sample(text, name, "", NULL, NULL, value);
}

void prometheus_gauge(struct prometheus_text *text, const char *name, const char *help,
                      double value)
{
    prometheus_family(text, name, "gauge", help);
    put_sample(text, name, "", NULL, NULL, value);
}

/* ---- histograms ---------------------------------------------------------------------------- */

/* The bound of bucket k is (2^k - less) / per. Empty buckets are written too: comparing two moments
 * or adding two pools needs the same buckets. */
static void put_histogram(struct prometheus_text *text, const char *name, const char *help,
                          const embed_distribution *distribution, double less, double per)
{
    uint64_t count = 0;
    prometheus_family(text, name, "histogram", help);
    for (int k = 0; k < EMBED_BUCKETS; k++) {
        char number[NUMBER_BYTES];
        double bound = ((double)(UINT64_C(1) << k) - less) / per;
        count += distribution->buckets[k];
        put_sample(text, name, "_bucket", "le",
                   number_text(number, k < EMBED_BUCKETS - 1 ? bound : INFINITY), (double)count);
    }
    put_sample(text, name, "_sum", NULL, NULL, distribution->sum / per);
    put_sample(text, name, "_count", NULL, NULL, (double)count);
}

void prometheus_histogram(struct prometheus_text *text, const char *name, const char *help,
                          const embed_distribution *distribution)
{
    put_histogram(text, name, help, distribution, 1, 1);
}

void prometheus_histogram_of_seconds(struct prometheus_text *text, const char *name,
                                     const char *help, const embed_distribution *microseconds)
{
    put_histogram(text, name, help, microseconds, 0, 1e6);
}
