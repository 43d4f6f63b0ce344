/* metrics.h - what a pool counts
 *
 * Recording is a few atomic additions, from any thread, without a lock. Microseconds are whole ones.
 */
#ifndef LIB_SERVICE_METRICS_H
#define LIB_SERVICE_METRICS_H

#include "embed.h"

#include <stdint.h>

struct metrics;

embed_status metrics_create(struct metrics **metrics);
void metrics_destroy(struct metrics *metrics); /* NULL is fine */

/* How a request ended; one that was refused (EMBED_BUSY, EMBED_CLOSED, wrong) has no latency. */
void metrics_request_refused(struct metrics *metrics, embed_status status);
void metrics_request_completed(struct metrics *metrics, embed_status status, uint64_t microseconds);

/* A batch that was computed, and the tokens that it generated. */
void metrics_batch(struct metrics *metrics, uint64_t texts, uint64_t tokens, uint64_t generated,
                   uint64_t compute_microseconds);
/* One of its texts: what it waited for, and its embed_path bits and status. */
void metrics_text(struct metrics *metrics, uint64_t queued_microseconds, unsigned path,
                  embed_status status);

/* Fills what was recorded, percentiles, rate and age; the rest of *out is the caller's. What other
 * threads record meanwhile may be in one number and not yet in another. */
void metrics_read(const struct metrics *metrics, embed_metrics *out);

#endif
