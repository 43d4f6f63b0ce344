/* metrics.h - counters of a pool
 *
 * Recording takes a few atomic additions, from any thread, without a lock. Microseconds are whole
 * numbers.
 */
#ifndef LIB_SERVICE_METRICS_H
#define LIB_SERVICE_METRICS_H

#include "embed.h"

#include <stdint.h>

struct metrics;

embed_status metrics_create(struct metrics **metrics);
void metrics_destroy(struct metrics *metrics); /* NULL is fine */

/* Record how a request ended. A rejected one (EMBED_BUSY, EMBED_CLOSED, out of memory) has no
 * latency; one that was invalid is not recorded. */
void metrics_request_refused(struct metrics *metrics, embed_status status);
void metrics_request_completed(struct metrics *metrics, embed_status status, uint64_t microseconds);

/* Records a computed batch and the tokens it generated. */
void metrics_batch(struct metrics *metrics, uint64_t texts, uint64_t tokens, uint64_t generated,
                   uint64_t compute_microseconds);
/* Records one of its texts: its queueing time, embed_path bits and status. */
void metrics_text(struct metrics *metrics, uint64_t queued_microseconds, unsigned path,
                  embed_status status);

/* Fills in what was recorded, percentiles, rate and age; the caller fills in the rest of *out. What
 * other threads record meanwhile may show in one number and not yet in another. */
void metrics_read(const struct metrics *metrics, embed_metrics *out);

#endif
