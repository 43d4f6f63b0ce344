/* test_metrics_text.c - metrics as text: by the format's grammar, and as in tests/expected
 *
 * The grammar is that of https://prometheus.io/docs/instrumenting/exposition_formats/ (0.0.4), with
 * what Prometheus' own linter requires in addition: HELP and TYPE once, before a metric's samples.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "embed.h"

#include <locale.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABELS "model=\"minilm\",_folder2=\"C:\\\\a \\\"b\\\", {c}\\n\xc3\xa9\""

/* ---- texts --------------------------------------------------------------------------------- */

/* Fills in values that each appear in one place only; buckets hold 1, 2, 3, ... */
static void fill_distribution(embed_distribution *distribution, double scale)
{
    for (unsigned k = 0; k < EMBED_BUCKETS; k++) {
        distribution->buckets[k] = k + 1;
        distribution->count += k + 1;
    }
    distribution->sum = 1234567 * scale;
    distribution->p50 = 1500 * scale;
    distribution->p95 = 250000 * scale;
    distribution->p99 = 3 * scale;
    distribution->largest = 1e7 * scale;
}

static embed_metrics filled(void)
{
    embed_metrics metrics = EMBED_METRICS_INIT;
    metrics.state = EMBED_POOL_DEGRADED;
    snprintf(metrics.reason, sizeof metrics.reason, "a reason \"with quotes\"");
    metrics.seconds = 3600.25;
    for (unsigned i = 0; i < EMBED_STATUS_COUNT; i++) metrics.requests[i] = 100 + i;
    metrics.texts = 12345678901234, metrics.tokens = 200, metrics.batches = 201;
    metrics.texts_per_second = 1234.5;
    metrics.queued_requests = 202, metrics.queued_tokens = 203, metrics.computing_texts = 204;
    metrics.texts_not_finite = 205, metrics.texts_retried = 206, metrics.texts_split = 207;
    metrics.texts_on_cpu = 208, metrics.generated_tokens = 211;
    fill_distribution(&metrics.latency_microseconds, 1);
    fill_distribution(&metrics.queued_microseconds, 2);
    fill_distribution(&metrics.compute_microseconds, 3);
    fill_distribution(&metrics.batch_texts, 4);
    fill_distribution(&metrics.batch_tokens, 5);
    metrics.instances = 3, metrics.instances_at_first = 4, metrics.instance_batch_tokens = 8192;
    metrics.instance_bytes = 209, metrics.weight_bytes = 210;
    metrics.device_free_bytes = 25769803776, metrics.device_bytes = 51539607552;
    return metrics;
}

static embed_cache_metrics filled_cache(void)
{
    embed_cache_metrics metrics = EMBED_CACHE_METRICS_INIT;
    metrics.hits = 301, metrics.loads = 302, metrics.load_failures = 303;
    metrics.evictions = 304, metrics.refusals = 305, metrics.load_seconds = 1.5;
    metrics.resident = 306, metrics.in_use = 307, metrics.pinned = 308;
    metrics.resident_bytes = 309;
    return metrics;
}

static char *pool_text(const embed_metrics *metrics, const char *labels)
{
    size_t length, again;
    assert_int_equal(embed_metrics_text(metrics, labels, NULL, 0, &length), EMBED_OK);
    char *text = malloc(length + 1);
    assert_non_null(text);
    assert_int_equal(embed_metrics_text(metrics, labels, text, length + 1, &again), EMBED_OK);
    assert_int_equal(again, length);
    assert_int_equal(strlen(text), length);
    return text;
}

static char *cache_text(const embed_cache_metrics *metrics, const char *labels)
{
    size_t length, again;
    assert_int_equal(embed_cache_metrics_text(metrics, labels, NULL, 0, &length), EMBED_OK);
    char *text = malloc(length + 1);
    assert_non_null(text);
    assert_int_equal(embed_cache_metrics_text(metrics, labels, text, length + 1, &again), EMBED_OK);
    assert_int_equal(again, length);
    assert_int_equal(strlen(text), length);
    return text;
}

/* ---- the grammar --------------------------------------------------------------------------- */

#define NAME_FIRST "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
#define NAME_REST  NAME_FIRST "0123456789"

/* State of the check: the current metric, and the names of all earlier ones. */
struct parser {
    char name[128], type[16];
    char names[64][128];
    size_t metrics, samples; /* samples: of this metric */
    double bound, cumulative; /* of a histogram's last bucket */
    bool has_sum, has_count;
};

/* Reads NAME and returns what follows. */
static const char *read_name(const char *at, char *out, size_t capacity)
{
    size_t length = strspn(at, NAME_FIRST) > 0 ? strspn(at, NAME_REST) : 0;
    if (length == 0 || length >= capacity) fail_msg("no name: %s", at);
    memcpy(out, at, length);
    out[length] = '\0';
    return at + length;
}

static const char *expect(const char *at, const char *wanted)
{
    if (strncmp(at, wanted, strlen(wanted)) != 0) fail_msg("\"%s\" is missing: %s", wanted, at);
    return at + strlen(wanted);
}

/* Parses a value as Go's ParseFloat does; strtod accepts more. */
static double read_value(const char *text)
{
    if (strcmp(text, "+Inf") == 0) return INFINITY;
    if (strcmp(text, "-Inf") == 0) return -INFINITY;
    if (strcmp(text, "NaN") == 0) return NAN;
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || strspn(text, "0123456789+-.e") != strlen(text))
        fail_msg("no number: %s", text);
    return value;
}

/* Reads {a="b",...} if present. Cuts the value of the label `wanted` out of the line (NULL if it is
 * absent). */
static char *read_labels(char *at, const char *wanted, char **value)
{
    char names[8][128];
    size_t n = 0;
    *value = NULL;
    if (*at != '{') return at;
    at++;
    for (;;) {
        assert_true(n < 8);
        at = (char *)read_name(at, names[n], sizeof names[n]);
        for (size_t i = 0; i < n; i++) assert_string_not_equal(names[i], names[n]);
        at = (char *)expect(at, "=\"");
        char *start = at;
        for (; *at != '"'; at++) {
            if (*at == '\\' && strchr("\\\"n", *++at) == NULL) fail_msg("a wrong escape: %s", at);
            if (*at == '\0') fail_msg("no closing quote: %s", start);
        }
        if (wanted != NULL && strcmp(names[n], wanted) == 0) {
            *value = start;
            *at = '\0';
        }
        n++;
        at++;
        if (*at == '}') return at + 1;
        at = (char *)expect(at, ",");
    }
}

static void end_metric(struct parser *parser)
{
    if (parser->metrics == 0) return;
    if (parser->samples == 0) fail_msg("%s has no samples", parser->name);
    if (strcmp(parser->type, "histogram") == 0)
        assert_true(parser->has_sum && parser->has_count && parser->bound == INFINITY);
}

/* # HELP NAME TEXT: begins a metric, whose name must be new. */
static void read_help(struct parser *parser, const char *line)
{
    end_metric(parser);
    const char *after = read_name(expect(line, "# HELP "), parser->name, sizeof parser->name);
    assert_true(strlen(expect(after, " ")) > 0);
    assert_null(strchr(after, '\\'));
    assert_true(parser->metrics < 64);
    for (size_t i = 0; i < parser->metrics; i++)
        assert_string_not_equal(parser->names[i], parser->name);
    strcpy(parser->names[parser->metrics++], parser->name);
    parser->type[0] = '\0';
    parser->samples = 0;
    parser->bound = parser->cumulative = -INFINITY;
    parser->has_sum = parser->has_count = false;
}

/* # TYPE NAME counter: of the metric just begun. */
static void read_type(struct parser *parser, const char *line)
{
    char name[128];
    const char *after = read_name(expect(line, "# TYPE "), name, sizeof name);
    assert_string_equal(name, parser->name);
    assert_string_equal(parser->type, "");
    assert_int_equal(parser->samples, 0);
    snprintf(parser->type, sizeof parser->type, "%s", expect(after, " "));
    bool is_counter = strcmp(parser->type, "counter") == 0;
    if (!is_counter && strcmp(parser->type, "gauge") != 0)
        assert_string_equal(parser->type, "histogram");
    size_t length = strlen(name);
    bool is_total = length > 6 && strcmp(name + length - 6, "_total") == 0;
    if (is_counter != is_total) fail_msg("%s is a %s", name, parser->type);
}

static void check_histogram(struct parser *parser, const char *suffix, const char *le, double value)
{
    if (strcmp(suffix, "_bucket") == 0) {
        assert_non_null(le);
        double bound = read_value(le);
        if (!(bound > parser->bound)) fail_msg("%s: le %s does not increase", parser->name, le);
        if (!(value >= parser->cumulative)) fail_msg("%s: le %s is less", parser->name, le);
        parser->bound = bound;
        parser->cumulative = value;
    } else if (strcmp(suffix, "_sum") == 0) {
        parser->has_sum = true;
    } else {
        assert_string_equal(suffix, "_count");
        assert_true(parser->bound == INFINITY && value == parser->cumulative);
        parser->has_count = true;
    }
}

/* NAME{LABELS} VALUE, whose labels begin with the requested ones. */
static void read_sample(struct parser *parser, char *line, const char *labels)
{
    char name[128], *le;
    bool is_histogram = strcmp(parser->type, "histogram") == 0;
    char *at = (char *)read_name(line, name, sizeof name);
    if (labels != NULL) expect(expect(at, "{"), labels);
    at = read_labels(at, is_histogram ? "le" : NULL, &le);
    double value = read_value(expect(at, " "));
    const char *suffix = expect(name, parser->name);
    assert_true(parser->type[0] != '\0');
    if (is_histogram) check_histogram(parser, suffix, le, value);
    else assert_string_equal(suffix, "");
    parser->samples++;
}

/* Checks the text, which it modifies. Returns the number of metrics. */
static size_t parse(char *text, const char *labels)
{
    struct parser parser = {.metrics = 0};
    char *line = text, *end;
    assert_true(*text != '\0');
    for (; *line != '\0'; line = end + 1) {
        end = strchr(line, '\n');
        if (end == NULL) fail_msg("the last line does not end: %s", line);
        *end = '\0';
        if (strncmp(line, "# HELP", 6) == 0) read_help(&parser, line);
        else if (*line == '#') read_type(&parser, line);
        else read_sample(&parser, line, labels);
    }
    end_metric(&parser);
    return parser.metrics;
}

static void test_grammar(void **state)
{
    (void)state;
    static const char *const labels[] = {NULL, "model=\"minilm\"", LABELS};
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        embed_metrics metrics = filled(), none = EMBED_METRICS_INIT;
        embed_cache_metrics cache = filled_cache();
        char *text = pool_text(&metrics, labels[i]);
        assert_int_equal(parse(text, labels[i]), 30);
        free(text);
        text = pool_text(&none, labels[i]);
        assert_int_equal(parse(text, labels[i]), 30);
        free(text);
        text = cache_text(&cache, labels[i]);
        assert_int_equal(parse(text, labels[i]), 10);
        free(text);
    }
}

/* ---- the text ------------------------------------------------------------------------------ */

static void check_same_as_file(const char *text, const char *path)
{
    FILE *file = fopen(path, "rb");
    char line[1024];
    const char *at = text;
    if (file == NULL) fail_msg("%s is missing (run in the repository's root)", path);
    for (int number = 1; fgets(line, sizeof line, file) != NULL; number++) {
        if (strncmp(at, line, strlen(line)) != 0)
            fail_msg("%s:%d: %snot:\n%.*s", path, number, line, (int)strcspn(at, "\n"), at);
        at += strlen(line);
    }
    fclose(file);
    if (*at != '\0') fail_msg("%s ends before: %s", path, at);
}

static void test_text(void **state)
{
    (void)state;
    embed_metrics metrics = filled();
    embed_cache_metrics cache = filled_cache();
    char *text = pool_text(&metrics, LABELS);
    check_same_as_file(text, "tests/expected/pool-metrics.txt");
    free(text);
    text = cache_text(&cache, NULL);
    check_same_as_file(text, "tests/expected/cache-metrics.txt");
    free(text);
}

/* With any capacity: the text is truncated and NUL-terminated, and nothing is written after it. */
static void test_capacity(void **state)
{
    (void)state;
    embed_metrics metrics = filled();
    char *text = pool_text(&metrics, LABELS);
    size_t whole = strlen(text), length;
    char *room = malloc(whole + 16);
    assert_non_null(room);
    for (size_t capacity = 1; capacity < whole + 8; capacity += capacity < 200 ? 1 : 97) {
        memset(room, '#', whole + 16);
        assert_int_equal(embed_metrics_text(&metrics, LABELS, room, capacity, &length), EMBED_OK);
        size_t written = capacity <= whole ? capacity - 1 : whole;
        assert_int_equal(length, whole);
        assert_memory_equal(room, text, written);
        assert_int_equal(room[written], '\0');
        for (size_t i = written + 1; i < whole + 16; i++) assert_int_equal(room[i], '#');
    }
    free(room);
    free(text);
}

/* Numbers that metrics do not reach, but that a program may set. */
static void test_odd_numbers(void **state)
{
    (void)state;
    embed_metrics metrics = EMBED_METRICS_INIT;
    metrics.seconds = NAN;
    metrics.texts_per_second = INFINITY;
    metrics.latency_microseconds.sum = -INFINITY;
    metrics.latency_microseconds.p50 = 1e300;
    metrics.texts = UINT64_MAX;
    metrics.state = (embed_pool_state)77;
    char *text = pool_text(&metrics, NULL);
    assert_non_null(strstr(text, "\nembed_pool_age_seconds NaN\n"));
    assert_non_null(strstr(text, "\nembed_texts_per_second +Inf\n"));
    assert_non_null(strstr(text, "\nembed_request_latency_seconds_sum -Inf\n"));
    assert_non_null(strstr(text, "{quantile=\"0.5\"} 1e+294\n"));
    assert_non_null(strstr(text, "\nembed_texts_total 1.84467440737096e+19\n"));
    assert_null(strstr(text, "\"} 1\n"));
    parse(text, NULL);
    free(text);
}

/* In any locale available: glibc's C.UTF-8 alone would show nothing. */
static void test_locale(void **state)
{
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE", "fr_FR.UTF-8", "ps_AF.UTF-8"};
    embed_metrics metrics = filled();
    size_t tried = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (setlocale(LC_ALL, names[i]) == NULL) continue;
        char *text = pool_text(&metrics, LABELS);
        setlocale(LC_ALL, "C");
        check_same_as_file(text, "tests/expected/pool-metrics.txt");
        free(text);
        tried++;
    }
    if (tried == 0) print_message("no locale here has a decimal comma\n"), skip();
}

/* ---- wrong calls --------------------------------------------------------------------------- */

static void check_refused(const char *labels, const char *why)
{
    embed_metrics metrics = EMBED_METRICS_INIT;
    embed_cache_metrics cache = EMBED_CACHE_METRICS_INIT;
    char out[8] = "before";
    size_t length = 77;
    if (embed_metrics_text(&metrics, labels, out, 8, &length) != EMBED_INVALID_ARGUMENT)
        fail_msg("labels are taken: %s", labels);
    if (strcmp(embed_error_message(), why) != 0)
        fail_msg("%s: \"%s\", must be \"%s\"", labels, embed_error_message(), why);
    assert_int_equal(embed_cache_metrics_text(&cache, labels, out, 8, &length),
                     EMBED_INVALID_ARGUMENT);
    assert_string_equal(out, "before");
    assert_int_equal(length, 77);
}

static void test_wrong_labels(void **state)
{
    (void)state;
    check_refused("model", "labels: byte 5: must be =\"");
    check_refused("model=", "labels: byte 5: must be =\"");
    check_refused("model=minilm", "labels: byte 5: must be =\"");
    check_refused("model =\"a\"", "labels: byte 5: must be =\"");
    check_refused("{model=\"a\"}", "labels: byte 0: must be a label's name");
    check_refused("=\"a\"", "labels: byte 0: must be a label's name");
    check_refused("2nd=\"a\"", "labels: byte 0: must be a label's name");
    check_refused("a:b=\"a\"", "labels: byte 1: must be =\"");
    check_refused("\xc3\xa9=\"a\"", "labels: byte 0: must be a label's name");
    check_refused("model=\"a\",", "labels: byte 10: must be a label's name");
    check_refused("model=\"a\" b=\"c\"", "labels: byte 9: must be a comma");
    check_refused("model=\"a\"}", "labels: byte 9: must be a comma");
    check_refused("model=\"a", "labels: byte 8: missing closing quote");
    check_refused("model=\"a\\", "labels: byte 8: a backslash must be written \\\\");
    check_refused("model=\"C:\\temp\"", "labels: byte 9: a backslash must be written \\\\");
    check_refused("model=\"a\nb\"", "labels: byte 8: a line end must be written \\n");
    check_refused("model=\"\xff\"", "labels: byte 7: invalid UTF-8");
    check_refused("model=\"\xc3\"", "labels: byte 7: invalid UTF-8");
    check_refused("__name__=\"a\"",
                  "labels: byte 0: names that begin with __ are Prometheus' own");
    check_refused("a=\"1\",b=\"2\",a=\"3\"", "labels: byte 12: the same label twice");
    check_refused("a=\"1\",le=\"1\"", "labels: byte 6: label name reserved by our metrics");
    check_refused("status=\"1\"", "labels: byte 0: label name reserved by our metrics");
    check_refused("state=\"1\"", "labels: byte 0: label name reserved by our metrics");
    check_refused("quantile=\"1\"", "labels: byte 0: label name reserved by our metrics");
}

/* 32 labels are accepted, one more is not. Empty label text means none. */
static void test_many_labels(void **state)
{
    (void)state;
    embed_metrics metrics = EMBED_METRICS_INIT;
    char labels[512] = "";
    size_t length, used = 0;
    for (int i = 0; i < 32; i++)
        used += (size_t)snprintf(labels + used, sizeof labels - used, "%sl%d=\"%d\"",
                                 i > 0 ? "," : "", i, i);
    assert_int_equal(embed_metrics_text(&metrics, labels, NULL, 0, &length), EMBED_OK);
    snprintf(labels + used, sizeof labels - used, ",more=\"1\"");
    char why[64];
    snprintf(why, sizeof why, "labels: byte %zu: more than 32 labels", used + 1);
    check_refused(labels, why);
    char *with = pool_text(&metrics, ""), *without = pool_text(&metrics, NULL);
    assert_string_equal(with, without);
    free(with);
    free(without);
}

static void test_wrong_arguments(void **state)
{
    (void)state;
    embed_metrics metrics = EMBED_METRICS_INIT;
    embed_cache_metrics cache = EMBED_CACHE_METRICS_INIT;
    char out[8];
    size_t length;
    assert_int_equal(embed_metrics_text(NULL, NULL, out, 8, &length), EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_metrics_text(&metrics, NULL, NULL, 8, &length), EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_metrics_text(&metrics, NULL, out, 8, NULL), EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_cache_metrics_text(NULL, NULL, out, 8, &length), EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_cache_metrics_text(&cache, NULL, NULL, 8, &length),
                     EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_cache_metrics_text(&cache, NULL, out, 8, NULL), EMBED_INVALID_ARGUMENT);
    metrics.size = 0, cache.size = 1;
    assert_int_equal(embed_metrics_text(&metrics, NULL, out, 8, &length), EMBED_INVALID_ARGUMENT);
    assert_int_equal(embed_cache_metrics_text(&cache, NULL, out, 8, &length),
                     EMBED_INVALID_ARGUMENT);
    /* The struct of an older program, which ended before `pinned`. */
    cache = filled_cache();
    cache.size = offsetof(embed_cache_metrics, pinned);
    char *text = cache_text(&cache, NULL);
    assert_non_null(strstr(text, "\nembed_cache_in_use_models 307\n"));
    assert_non_null(strstr(text, "\nembed_cache_pinned_models 0\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grammar),      cmocka_unit_test(test_text),
        cmocka_unit_test(test_capacity),     cmocka_unit_test(test_odd_numbers),
        cmocka_unit_test(test_locale),       cmocka_unit_test(test_wrong_labels),
        cmocka_unit_test(test_many_labels),  cmocka_unit_test(test_wrong_arguments),
    };
    return cmocka_run_group_tests_name("metrics as text", tests, NULL, NULL);
}
