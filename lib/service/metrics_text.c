/* metrics_text.c - the metrics of a pool and of a cache in Prometheus' text format */
#include "service/metrics_text.h"

#include "base/status.h"
#include "service/prometheus_text.h"

/* Label values are compared by programs: they stay the same, whatever embed_status_string
 * returns. */
static const char *const status_names[] = {
    "ok",         "invalid_argument", "out_of_memory", "io",
    "bad_file",   "unsupported",      "no_device",     "not_finite",
    "system",     "device_failed",    "device_lost",   "busy",
    "pending",    "expired",          "cancelled",     "closed",
};
_Static_assert(sizeof status_names / sizeof *status_names == EMBED_STATUS_COUNT,
               "a name for each status");

static void put_state(struct prometheus_text *text, const embed_metrics *metrics)
{
    static const char name[] = "embed_pool_state";
    static const struct {
        embed_pool_state state;
        const char *name;
    } states[] = {{EMBED_POOL_READY, "ready"},
                  {EMBED_POOL_DEGRADED, "degraded"},
                  {EMBED_POOL_CLOSED, "closed"}};
    prometheus_family(text, name, "gauge", "1 for the state that the pool is in, else 0.");
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        prometheus_sample(text, name, "state", states[i].name, metrics->state == states[i].state);
    prometheus_gauge(text, "embed_pool_age_seconds", "Since the pool was created.",
                     metrics->seconds);
}

static void put_work(struct prometheus_text *text, const embed_metrics *metrics)
{
    static const char requests[] = "embed_requests_total";
    prometheus_family(text, requests, "counter", "Requests by how they ended, refusals included.");
    for (int i = 0; i < EMBED_STATUS_COUNT; i++)
        prometheus_sample(text, requests, "status", status_names[i], (double)metrics->requests[i]);
    prometheus_counter(text, "embed_texts_total", "Texts computed.", (double)metrics->texts);
    prometheus_counter(text, "embed_tokens_total", "Tokens computed.", (double)metrics->tokens);
    prometheus_counter(text, "embed_generated_tokens_total", "Tokens of summaries generated.",
                       (double)metrics->generated_tokens);
    prometheus_counter(text, "embed_batches_total", "Batches computed.", (double)metrics->batches);
    prometheus_gauge(text, "embed_texts_per_second", "Texts computed, over the last ten seconds.",
                     metrics->texts_per_second);
    prometheus_gauge(text, "embed_queued_requests", "Requests that wait now.",
                     (double)metrics->queued_requests);
    prometheus_gauge(text, "embed_queued_tokens", "Tokens that wait now.",
                     (double)metrics->queued_tokens);
    prometheus_gauge(text, "embed_computing_texts", "Texts that are computed now.",
                     (double)metrics->computing_texts);
}

static void put_troubles(struct prometheus_text *text, const embed_metrics *metrics)
{
    prometheus_counter(text, "embed_texts_not_finite_total",
                       "Texts whose row was not finite in the model's dtype.",
                       (double)metrics->texts_not_finite);
    prometheus_counter(text, "embed_texts_retried_total",
                       "Texts computed again because their batch failed.",
                       (double)metrics->texts_retried);
    prometheus_counter(text, "embed_texts_split_total",
                       "Texts whose batch was split to keep a failure from others.",
                       (double)metrics->texts_split);
    prometheus_counter(text, "embed_texts_on_cpu_total",
                       "Texts computed by the fallback on the CPU.",
                       (double)metrics->texts_on_cpu);
}

/* A histogram gives percentiles to a factor of two only; these are those of embed_distribution. */
static void put_quantiles(struct prometheus_text *text, const char *name,
                          const embed_distribution *microseconds)
{
    prometheus_family(text, name, "gauge", "Percentiles since the pool was created, to 7%.");
    prometheus_sample(text, name, "quantile", "0.5", microseconds->p50 / 1e6);
    prometheus_sample(text, name, "quantile", "0.95", microseconds->p95 / 1e6);
    prometheus_sample(text, name, "quantile", "0.99", microseconds->p99 / 1e6);
}

static void put_distributions(struct prometheus_text *text, const embed_metrics *metrics)
{
    prometheus_histogram_of_seconds(text, "embed_request_latency_seconds",
                                    "Time of requests, from submission to completion.",
                                    &metrics->latency_microseconds);
    put_quantiles(text, "embed_request_latency_quantile_seconds",
                  &metrics->latency_microseconds);
    prometheus_histogram_of_seconds(text, "embed_text_queued_seconds",
                                    "Time that texts waited until their batch was formed.",
                                    &metrics->queued_microseconds);
    put_quantiles(text, "embed_text_queued_quantile_seconds",
                  &metrics->queued_microseconds);
    prometheus_histogram_of_seconds(text, "embed_batch_compute_seconds",
                                    "Time that batches took to compute.",
                                    &metrics->compute_microseconds);
    put_quantiles(text, "embed_batch_compute_quantile_seconds",
                  &metrics->compute_microseconds);
    prometheus_histogram(text, "embed_batch_texts", "Texts in a batch.", &metrics->batch_texts);
    prometheus_histogram(text, "embed_batch_tokens", "Tokens in a batch.", &metrics->batch_tokens);
}

static void put_resources(struct prometheus_text *text, const embed_metrics *metrics)
{
    prometheus_gauge(text, "embed_instances", "Instances now.", metrics->instances);
    prometheus_gauge(text, "embed_instances_at_first", "Instances when the pool was created.",
                     metrics->instances_at_first);
    prometheus_gauge(text, "embed_instance_batch_tokens", "Tokens that a batch may have now.",
                     (double)metrics->instance_batch_tokens);
    prometheus_gauge(text, "embed_instances_bytes", "Memory of all instances' own now.",
                     (double)metrics->instance_bytes);
    prometheus_gauge(text, "embed_weights_bytes", "Memory of the weights, which instances share.",
                     (double)metrics->weight_bytes);
    prometheus_gauge(text, "embed_device_free_bytes", "Free memory of the pool's GPUs together.",
                     (double)metrics->device_free_bytes);
    prometheus_gauge(text, "embed_device_memory_bytes", "Memory of the pool's GPUs together.",
                     (double)metrics->device_bytes);
}

embed_status metrics_write_text(const embed_metrics *metrics, const char *labels, char *out,
                                size_t capacity, size_t *length)
{
    struct prometheus_text text;
    TRY(prometheus_text_begin(&text, labels, out, capacity));
    put_state(&text, metrics);
    put_work(&text, metrics);
    put_troubles(&text, metrics);
    put_distributions(&text, metrics);
    put_resources(&text, metrics);
    *length = text.length;
    return EMBED_OK;
}

embed_status cache_metrics_write_text(const embed_cache_metrics *metrics, const char *labels,
                                      char *out, size_t capacity, size_t *length)
{
    struct prometheus_text text;
    TRY(prometheus_text_begin(&text, labels, out, capacity));
    prometheus_counter(&text, "embed_cache_hits_total",
                       "Times that a model asked for was resident.", (double)metrics->hits);
    prometheus_counter(&text, "embed_cache_loads_total", "Models loaded.", (double)metrics->loads);
    prometheus_counter(&text, "embed_cache_load_failures_total", "Models that could not be loaded.",
                       (double)metrics->load_failures);
    prometheus_counter(&text, "embed_cache_evictions_total", "Models dropped to make room.",
                       (double)metrics->evictions);
    prometheus_counter(&text, "embed_cache_refusals_total",
                       "Times that no room could be made, all that is resident being in use.",
                       (double)metrics->refusals);
    prometheus_counter(&text, "embed_cache_load_seconds_total", "Time of all loads together.",
                       metrics->load_seconds);
    prometheus_gauge(&text, "embed_cache_resident_models", "Models that are loaded now.",
                     (double)metrics->resident);
    prometheus_gauge(&text, "embed_cache_in_use_models", "Those of them that are in use.",
                     (double)metrics->in_use);
    prometheus_gauge(&text, "embed_cache_pinned_models", "Those of them that are pinned.",
                     (double)metrics->pinned);
    prometheus_gauge(&text, "embed_cache_resident_bytes", "Memory of weights and instances now.",
                     (double)metrics->resident_bytes);
    *length = text.length;
    return EMBED_OK;
}
