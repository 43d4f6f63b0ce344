/* metrics.c - counters of a pool, in atomic integers */
#include "service/metrics.h"

#include "base/clock.h"
#include "base/memory.h"
#include "service/distribution.h"
#include "service/rate.h"

#include <stdatomic.h>

/* One block of 20 KB, mostly for the five distributions. */
struct metrics {
    uint64_t created; /* clock_nanoseconds */
    _Atomic uint64_t requests[EMBED_STATUS_COUNT];
    _Atomic uint64_t not_finite, retried, split, on_cpu, generated;
    struct distribution latency, queued, compute, batch_texts, batch_tokens;
    struct rate texts;
};

embed_status metrics_create(struct metrics **out)
{
    struct metrics *metrics = memory_allocate(1, sizeof *metrics, "metrics");
    if (metrics == NULL) return EMBED_OUT_OF_MEMORY;
    metrics->created = clock_nanoseconds();
    *out = metrics;
    return EMBED_OK;
}

void metrics_destroy(struct metrics *metrics)
{
    memory_free(metrics);
}

static uint64_t age_microseconds(const struct metrics *metrics)
{
    return (clock_nanoseconds() - metrics->created) / 1000;
}

/* ---- recording ----------------------------------------------------------------------------- */

_Static_assert(EMBED_CLOSED + 1 == EMBED_STATUS_COUNT, "requests[] has a counter for each status");

/* Relaxed order: a counter publishes no other memory. */
static void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static uint64_t counted(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void metrics_request_refused(struct metrics *metrics, embed_status status)
{
    count(&metrics->requests[status]);
}

void metrics_request_completed(struct metrics *metrics, embed_status status, uint64_t microseconds)
{
    count(&metrics->requests[status]);
    distribution_record(&metrics->latency, microseconds);
}

void metrics_batch(struct metrics *metrics, uint64_t texts, uint64_t tokens, uint64_t generated,
                   uint64_t compute_microseconds)
{
    if (generated > 0)
        atomic_fetch_add_explicit(&metrics->generated, generated, memory_order_relaxed);
    distribution_record(&metrics->batch_texts, texts);
    distribution_record(&metrics->batch_tokens, tokens);
    distribution_record(&metrics->compute, compute_microseconds);
    rate_record(&metrics->texts, age_microseconds(metrics), texts);
}

void metrics_text(struct metrics *metrics, uint64_t queued_microseconds, unsigned path,
                  embed_status status)
{
    distribution_record(&metrics->queued, queued_microseconds);
    if ((path & EMBED_PATH_F32) != 0 || status == EMBED_NOT_FINITE) count(&metrics->not_finite);
    if ((path & EMBED_PATH_RETRIED) != 0) count(&metrics->retried);
    if ((path & EMBED_PATH_SPLIT) != 0) count(&metrics->split);
    if ((path & EMBED_PATH_CPU) != 0) count(&metrics->on_cpu);
}

/* ---- reading ------------------------------------------------------------------------------- */

void metrics_read(const struct metrics *metrics, embed_metrics *out)
{
    uint64_t age = age_microseconds(metrics);
    out->seconds = (double)age / 1e6;
    out->texts_per_second = rate_read(&metrics->texts, age);
    for (int i = 0; i < EMBED_STATUS_COUNT; i++) out->requests[i] = counted(&metrics->requests[i]);
    out->texts_not_finite = counted(&metrics->not_finite);
    out->texts_retried = counted(&metrics->retried);
    out->texts_split = counted(&metrics->split);
    out->texts_on_cpu = counted(&metrics->on_cpu);
    out->generated_tokens = counted(&metrics->generated);
    distribution_read(&metrics->latency, &out->latency_microseconds);
    distribution_read(&metrics->queued, &out->queued_microseconds);
    distribution_read(&metrics->compute, &out->compute_microseconds);
    distribution_read(&metrics->batch_texts, &out->batch_texts);
    distribution_read(&metrics->batch_tokens, &out->batch_tokens);
    /* Sums of integers, exact in a double up to 2^53. */
    out->texts = (uint64_t)out->batch_texts.sum;
    out->tokens = (uint64_t)out->batch_tokens.sum;
    out->batches = out->batch_texts.count;
}
