/* embed_service.c - public functions: pools, caches, metrics */
#include "embed.h"

#include "arguments.h"
#include "base/status.h"
#include "service/cache.h"
#include "service/metrics_text.h"
#include "service/pool.h"

/* ---- pool ---------------------------------------------------------------------------------- */

static embed_status take_pool_options(embed_pool_options *all, const embed_pool_options *options)
{
    *all = (embed_pool_options)EMBED_POOL_OPTIONS_INIT;
    TRY(take_options(all, sizeof *all, options, "embed_pool_options"));
    if (all->batch_tokens > MAX_BATCH_TOKENS)
        return fail(EMBED_INVALID_ARGUMENT, "batch_tokens is %zu, must be at most %zu",
                    all->batch_tokens, MAX_BATCH_TOKENS);
    if (all->documents > MAX_BATCH_TOKENS) /* each has a token at least */
        return fail(EMBED_INVALID_ARGUMENT, "documents is %zu, must be at most %zu",
                    all->documents, MAX_BATCH_TOKENS);
    if (all->fallback != EMBED_FALLBACK_LAZY && all->fallback != EMBED_FALLBACK_NONE &&
        all->fallback != EMBED_FALLBACK_READY)
        return fail(EMBED_INVALID_ARGUMENT, "fallback is %d, must be an embed_fallback",
                    (int)all->fallback);
    return check_switch(all->warm_up, "warm_up");
}

embed_status embed_pool_create(embed_pool **pool, embed_model *const *models, size_t n,
                               const embed_pool_options *options)
{
    REQUIRE(pool);
    REQUIRE(models);
    if (n == 0) return fail(EMBED_INVALID_ARGUMENT, "a pool needs a model");
    for (size_t i = 0; i < n; i++)
        if (models[i] == NULL)
            return fail(EMBED_INVALID_ARGUMENT, "embed_pool_create: models[%zu] is NULL", i);
    embed_pool_options all;
    TRY(take_pool_options(&all, options));
    return pool_create(pool, models, n, &all);
}

embed_status embed_pool_encode(embed_pool *pool, const embed_text *texts, size_t n,
                               const embed_encode_options *options, float *out, size_t capacity,
                               embed_item *items)
{
    REQUIRE(pool);
    embed_encode_options all;
    TRY(take_encode(&all, options, pool->models[0], texts, n, out, capacity));
    return n == 0 ? EMBED_OK : pool_encode(pool, texts, n, &all, out, items);
}

/* Checks and completes options within the limits of the pool's instances. */
static embed_status take_pool_generate(embed_generate_options *all,
                                       const embed_generate_options *options,
                                       const embed_pool *pool, const embed_text *texts, size_t n)
{
    return take_generate(all, options, pool->models[0], pool->options.num_beams,
                         pool->options.max_length, texts, n);
}

embed_status embed_pool_generate(embed_pool *pool, const embed_text *texts, size_t n,
                                 const embed_generate_options *options, embed_strings *out)
{
    REQUIRE(pool);
    CHECK_STRINGS(out);
    embed_generate_options all;
    embed_strings strings = EMBED_STRINGS_INIT;
    TRY(take_pool_generate(&all, options, pool, texts, n));
    if (n == 0) return GIVE_STRUCT(out, strings);
    embed_status status = pool_generate(pool, texts, n, &all, &strings);
    if (strings.items != NULL) TRY(GIVE_STRUCT(out, strings));
    return status;
}

static embed_status submit_for_rows(embed_pool *pool, embed_request *given, embed_ticket **ticket)
{
    embed_encode_options all;
    if (given->generate != NULL || given->strings != NULL)
        return fail(EMBED_INVALID_ARGUMENT,
                    "a request has generate or strings, which are for models that generate; this "
                    "one gives embeddings");
    TRY(take_encode(&all, given->options, pool->models[0], given->texts, given->n, given->out,
                    given->capacity));
    given->options = &all;
    return pool_submit(pool, given, 0, ticket);
}

static embed_status submit_for_summaries(embed_pool *pool, embed_request *given,
                                         embed_ticket **ticket)
{
    embed_generate_options all;
    if (given->options != NULL || given->out != NULL || given->items != NULL)
        return fail(EMBED_INVALID_ARGUMENT,
                    "a request has options, out or items, which are for embeddings; this model "
                    "generates: it takes generate and strings");
    TRY(take_pool_generate(&all, given->generate, pool, given->texts, given->n));
    TRY(check_strings(given->strings, "embed_pool_submit", "request->strings"));
    given->generate = &all;
    return pool_submit(pool, given, 0, ticket);
}

embed_status embed_pool_submit(embed_pool *pool, const embed_request *request,
                               embed_ticket **ticket)
{
    REQUIRE(pool);
    REQUIRE(request);
    embed_request given = EMBED_REQUEST_INIT;
    TRY(take_options(&given, sizeof given, request, "embed_request"));
    if (given.n == 0) return fail(EMBED_INVALID_ARGUMENT, "a request has no texts");
    if (ticket == NULL && given.done == NULL)
        return fail(EMBED_INVALID_ARGUMENT, "a request has neither a ticket nor `done`");
    return pool_generates(pool) ? submit_for_summaries(pool, &given, ticket)
                                : submit_for_rows(pool, &given, ticket);
}

/* A ticket is a struct request under another name. */
embed_status embed_ticket_wait(embed_ticket *ticket, unsigned milliseconds)
{
    REQUIRE(ticket);
    return request_wait((struct request *)ticket, milliseconds);
}

void embed_ticket_cancel(embed_ticket *ticket)
{
    struct request *request = (struct request *)ticket;
    if (request != NULL) pool_cancel(request->pool, request);
}

void embed_ticket_free(embed_ticket *ticket)
{
    request_release((struct request *)ticket);
}

embed_model *embed_pool_model(const embed_pool *pool)
{
    return pool == NULL ? NULL : pool->models[0];
}

embed_status embed_pool_get_memory(const embed_pool *pool, embed_memory *memory)
{
    REQUIRE(pool);
    embed_memory all = EMBED_MEMORY_INIT;
    pool_get_memory(pool, &all);
    return GIVE_STRUCT(memory, all);
}

embed_status embed_pool_close(embed_pool *pool, unsigned drain_milliseconds)
{
    REQUIRE(pool);
    pool_close(pool, drain_milliseconds);
    return EMBED_OK;
}

void embed_pool_destroy(embed_pool *pool)
{
    if (pool == NULL) return;
    pool_close(pool, 0);
    pool_release(pool);
}

embed_status embed_pool_get_metrics(const embed_pool *pool, embed_metrics *metrics)
{
    REQUIRE(pool);
    embed_metrics all = EMBED_METRICS_INIT;
    pool_get_metrics(pool, &all);
    return GIVE_STRUCT(metrics, all);
}

/* ---- cache --------------------------------------------------------------------------------- */

embed_status embed_cache_create(embed_cache **cache, const embed_cache_options *options)
{
    REQUIRE(cache);
    embed_cache_options all = EMBED_CACHE_OPTIONS_INIT;
    embed_model_options model;
    embed_pool_options pool;
    TRY(take_options(&all, sizeof all, options, "embed_cache_options"));
    TRY(take_model_options(&model, all.model));
    TRY(take_pool_options(&pool, all.pool));
    all.model = &model;
    all.pool = &pool;
    return cache_create(cache, &all);
}

embed_status embed_cache_acquire(embed_cache *cache, const char *folder, embed_pool **pool)
{
    REQUIRE(cache);
    REQUIRE(folder);
    REQUIRE(pool);
    return cache_acquire(cache, folder, pool);
}

void embed_cache_release(embed_cache *cache, embed_pool *pool)
{
    if (cache != NULL && pool != NULL) cache_release(cache, pool);
}

embed_status embed_cache_pin(embed_cache *cache, const char *folder)
{
    REQUIRE(cache);
    REQUIRE(folder);
    return cache_pin(cache, folder);
}

void embed_cache_unpin(embed_cache *cache, const char *folder)
{
    if (cache != NULL && folder != NULL) cache_unpin(cache, folder);
}

embed_status embed_cache_get_metrics(const embed_cache *cache, embed_cache_metrics *metrics)
{
    REQUIRE(cache);
    embed_cache_metrics all = EMBED_CACHE_METRICS_INIT;
    cache_get_metrics(cache, &all);
    return GIVE_STRUCT(metrics, all);
}

void embed_cache_destroy(embed_cache *cache)
{
    cache_destroy(cache);
}

/* ---- metrics ------------------------------------------------------------------------------- */

embed_status embed_metrics_text(const embed_metrics *metrics, const char *labels, char *out,
                                size_t capacity, size_t *length)
{
    REQUIRE(metrics);
    REQUIRE(length);
    if (capacity > 0) REQUIRE(out);
    embed_metrics all = EMBED_METRICS_INIT;
    TRY(take_options(&all, sizeof all, metrics, "embed_metrics"));
    return metrics_write_text(&all, labels, out, capacity, length);
}

embed_status embed_cache_metrics_text(const embed_cache_metrics *metrics, const char *labels,
                                      char *out, size_t capacity, size_t *length)
{
    REQUIRE(metrics);
    REQUIRE(length);
    if (capacity > 0) REQUIRE(out);
    embed_cache_metrics all = EMBED_CACHE_METRICS_INIT;
    TRY(take_options(&all, sizeof all, metrics, "embed_cache_metrics"));
    return cache_metrics_write_text(&all, labels, out, capacity, length);
}
