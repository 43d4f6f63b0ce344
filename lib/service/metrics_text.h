/* metrics_text.h - the metrics of a pool and of a cache in Prometheus' text format
 *
 * Writes up to `capacity` bytes to `out`, NUL included, and the length of the full text to *length.
 * Fails with EMBED_INVALID_ARGUMENT, writing nothing, if `labels` are malformed.
 */
#ifndef LIB_SERVICE_METRICS_TEXT_H
#define LIB_SERVICE_METRICS_TEXT_H

#include "embed.h"

#include <stddef.h>

embed_status metrics_write_text(const embed_metrics *metrics, const char *labels, char *out,
                                size_t capacity, size_t *length);

embed_status cache_metrics_write_text(const embed_cache_metrics *metrics, const char *labels,
                                      char *out, size_t capacity, size_t *length);

#endif
