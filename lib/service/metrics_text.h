/* metrics_text.h - the metrics of a pool and of a cache as text for Prometheus
 *
 * Writes up to `capacity` bytes to out, the NUL included, and the length of the whole to *length.
 * EMBED_INVALID_ARGUMENT where `labels` are wrong; then nothing is written.
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
