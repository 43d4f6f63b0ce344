/* prometheus_text.h - writes Prometheus' text exposition format, version 0.0.4
 *
 * https://prometheus.io/docs/instrumenting/exposition_formats/. As snprintf: what there is no room
 * for is counted and not written. No number depends on the locale.
 */
#ifndef LIB_SERVICE_PROMETHEUS_TEXT_H
#define LIB_SERVICE_PROMETHEUS_TEXT_H

#include "embed.h"

#include <stddef.h>
#include <stdint.h>

struct prometheus_text {
    const char *labels; /* before a sample's own label; "": none */
    char *out;
    size_t capacity; /* of out, the NUL included */
    size_t length;   /* of the whole text, without it */
};

/* EMBED_INVALID_ARGUMENT where `labels` (NULL: none) are not NAME="VALUE", with commas between them
 * and each name once, or where a name is one that our samples have. Then nothing is written. */
embed_status prometheus_text_begin(struct prometheus_text *text, const char *labels, char *out,
                                   size_t capacity);

/* A metric that has one sample. The name of a counter ends in _total. */
void prometheus_counter(struct prometheus_text *text, const char *name, const char *help,
                        double value);
void prometheus_gauge(struct prometheus_text *text, const char *name, const char *help,
                      double value);

/* A metric of type "counter" or "gauge", before its samples; then each of them, by `label`, which
 * is "state", "status" or "quantile". */
void prometheus_family(struct prometheus_text *text, const char *name, const char *type,
                       const char *help);
void prometheus_sample(struct prometheus_text *text, const char *name, const char *label,
                       const char *label_value, double value);

/* A histogram of whole numbers: what is below 1, 2, 4, 8, ... is at most 0, 1, 3, 7, ..., which are
 * the bounds of its buckets. */
void prometheus_histogram(struct prometheus_text *text, const char *name, const char *help,
                          const embed_distribution *distribution);
/* One of times, as seconds. They were cut to whole microseconds, so that the bounds are 1, 2, 4, 8,
 * ... microseconds themselves. */
void prometheus_histogram_of_seconds(struct prometheus_text *text, const char *name,
                                     const char *help, const embed_distribution *microseconds);

#endif
