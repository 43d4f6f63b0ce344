/* retry_f32.c - recomputes texts in FP32 whose results are not finite */
#include "model/retry_f32.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/status.h"
#include "model/finite.h"
#include "model/summaries.h"

static embed_status open_f32(struct embed_instance **instance, const struct embed_model *model,
                             const embed_instance_options *options)
{
    struct embed_model *f32;
    TRY(model_open_on_cpu(&f32, model, EMBED_DTYPE_F32));
    embed_status status = instance_create(instance, f32, options);
    model_release(f32); /* the instance holds it */
    return status;
}

size_t retry_f32(const struct embed_model *model, const embed_text *texts, size_t n,
                 const embed_encode_options *options, const size_t *skipped,
                 const struct row_places *rows, embed_item *items, size_t not_finite)
{
    const embed_instance_options instance_options = EMBED_INSTANCE_OPTIONS_INIT;
    size_t left = not_finite;
    struct embed_instance *instance;
    if (open_f32(&instance, model, &instance_options) != EMBED_OK) {
        log_message(EMBED_LOG_WARNING,
                    "%zu embeddings are not finite and cannot be retried in FP32: %s", not_finite,
                    error_message());
        return not_finite;
    }
    for (size_t i = 0; i < n; i++) {
        const struct row_places place = {.out = row_place(rows, i), .D = options->dimensions};
        if (all_finite(place.out, place.D)) continue;
        embed_item *item = items == NULL ? NULL : &items[i];
        embed_status status = instance_encode(
            instance, &texts[i], 1, options, skipped != NULL ? &skipped[i] : NULL, &place, item);
        if (status == EMBED_OK) left--;
        if (item == NULL) continue;
        item->path = EMBED_PATH_F32;
        if (status != EMBED_OK) item->status = EMBED_NOT_FINITE; /* also if memory ran out */
    }
    instance_destroy(instance);
    log_message(EMBED_LOG_WARNING,
                "%zu embeddings were not finite on %s, and %zu of them could be computed in FP32 on "
                "the CPU",
                not_finite, model->backend->device_name, not_finite - left);
    return left;
}

static embed_status open_f32_for_one(struct embed_instance **instance,
                                     const struct embed_model *model, unsigned num_beams,
                                     size_t max_length)
{
    embed_instance_options options = EMBED_INSTANCE_OPTIONS_INIT;
    options.documents = 1;
    options.num_beams = num_beams;
    options.max_length = max_length;
    return open_f32(instance, model, &options);
}

embed_status retry_summaries_f32(const struct embed_model *model, const embed_text *texts, size_t n,
                                 const embed_generate_options *options, embed_generated *items,
                                 size_t *not_finite)
{
    embed_status status = EMBED_OK;
    struct embed_instance *instance = NULL;
    embed_generate_options quiet = *options;
    size_t left = 0, tried = 0;
    quiet.done = NULL;
    if (open_f32_for_one(&instance, model, options->num_beams, options->max_length) != EMBED_OK)
        log_message(EMBED_LOG_WARNING,
                    "summaries hit NaN or infinity and cannot be retried in FP32: %s",
                    error_message());
    for (size_t i = 0; i < n && status == EMBED_OK; i++) {
        embed_strings again = EMBED_STRINGS_INIT;
        if (items[i].status != EMBED_NOT_FINITE) continue;
        if (instance != NULL &&
            instance_generate(instance, &texts[i], 1, &quiet, &again) == EMBED_OK)
            items[i] = again.items[0];
        memory_free(again.items);
        left += items[i].status == EMBED_NOT_FINITE;
        tried++;
        status = summaries_tell(options, i, &items[i]);
    }
    instance_destroy(instance);
    log_message(
        EMBED_LOG_WARNING,
        "%zu summaries hit NaN or infinity on %s; %zu of them were written in FP32 on the CPU",
        tried, model->backend->device_name, tried - left);
    *not_finite = left;
    return status;
}

struct retry {
    const struct generator_document *document; /* NULL once it has been given */
    embed_status (*ended)(void *argument, const struct generator_result *result);
    void *argument;
};

static embed_status give_document(void *argument, struct generator_document *document, bool *has)
{
    struct retry *retry = argument;
    *has = retry->document != NULL;
    if (*has) *document = *retry->document;
    retry->document = NULL;
    return EMBED_OK;
}

static embed_status end_document(void *argument, const struct generator_result *result)
{
    struct retry *retry = argument;
    return retry->ended(retry->argument, result);
}

embed_status retry_document_f32(const struct embed_model *model,
                                const struct generator_document *document,
                                embed_status (*ended)(void *argument,
                                                      const struct generator_result *result),
                                void *argument)
{
    struct retry retry = {document, ended, argument};
    const struct generator_feed feed = {&retry, give_document, end_document};
    const struct generation_rules *rules = &document->rules;
    struct embed_instance *instance;
    TRY(open_f32_for_one(&instance, model, (unsigned)rules->num_beams, (size_t)rules->max_length));
    embed_status status = generator_run(instance_generator(instance), &feed);
    instance_destroy(instance);
    return status;
}
