/* prometheus_text.h - writes Prometheus' text exposition format, version 0.0.4
 *
 * https://prometheus.io/docs/instrumenting/exposition_formats/. As with snprintf, text
 * beyond the capacity is counted but not written. Numbers do not depend on the locale.
 */
#ifndef LIB_SERVICE_PROMETHEUS_TEXT_H
#define LIB_SERVICE_PROMETHEUS_TEXT_H

#include "embed.h"

#include <stddef.h>
#include <stdint.h>

struct prometheus_text {
    const char *labels; /* the caller's, written before a sample's own label; "": none */
    char *out;
    size_t capacity; /* of out, the NUL included */
    size_t length;   /* of the full text, without the NUL */
};

/* Begins a text. Fails with EMBED_INVALID_ARGUMENT, writing nothing, unless `labels` (NULL: none)
 * is a comma-separated list of NAME="VALUE" in which each name is valid, occurs once and is not one
 * that our samples use. */
embed_status prometheus_text_begin(struct prometheus_text *text, const char *labels, char *out,
                                   size_t capacity);

/* Write a metric with one sample. The name of a counter ends in _total. */
void prometheus_counter(struct prometheus_text *text, const char *name, const char *help,
                        double value);
void prometheus_gauge(struct prometheus_text *text, const char *name, const char *help,
                      double value);

/* prometheus_family begins a metric of type "counter" or "gauge"; prometheus_sample then writes
 * each of its samples, distinguished by `label`, which is "state", "status" or "quantile". */
void prometheus_family(struct prometheus_text *text, const char *name, const char *type,
                       const char *help);
void prometheus_sample(struct prometheus_text *text, const char *name, const char *label,
                       const char *label_value, double value);

/* Writes a histogram of integers: values below 1, 2, 4, 8, ... are at most 0, 1, 3, 7, ..., which
 * are the bounds of its buckets. */
void prometheus_histogram(struct prometheus_text *text, const char *name, const char *help,
                          const embed_distribution *distribution);
/* Writes a histogram of times in seconds. They were truncated to whole microseconds, so the bounds
 * are 1, 2, 4, 8, ... microseconds themselves. */
void prometheus_histogram_of_seconds(struct prometheus_text *text, const char *name,
                                     const char *help, const embed_distribution *microseconds);

#endif
