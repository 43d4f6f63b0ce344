/* embed_generate.c - the public functions: summaries */
#include "embed.h"

#include "arguments.h"
#include "base/memory.h"
#include "base/status.h"
#include "model/instance.h"
#include "model/model.h"

#include <math.h>

static embed_status check_generates(const embed_model *model)
{
    if (model->encoder.config.decoder.L > 0) return EMBED_OK;
    return fail(EMBED_UNSUPPORTED, "%s: a %s model gives embeddings, and writes no summaries",
                model->folder, model->encoder.config.family);
}

embed_status embed_model_get_generation(const embed_model *model, embed_generate_options *options)
{
    REQUIRE(model);
    TRY(check_generates(model));
    const struct generation_rules *rules = &model->generation;
    const embed_generate_options all = {
        .num_beams = (unsigned)rules->num_beams,
        .min_length = (size_t)rules->min_length,
        .max_length = (size_t)rules->max_length,
        .length_penalty = (double)rules->length_penalty,
        .no_repeat_ngram_size = (size_t)rules->no_repeat_ngram_size,
        .early_stopping = (embed_early_stopping)rules->early_stopping,
    };
    return give_struct(options, &all, sizeof all, "embed_generate_options");
}

/* Checked against what the model and an instance for max_beams beams of most_tokens can. */
static embed_status check_generation(const embed_generate_options *options, size_t most_beams,
                                     size_t most_length)
{
    if (options->num_beams < 1 || options->num_beams > most_beams)
        return fail(EMBED_INVALID_ARGUMENT,
                    "num_beams is %u, must be from 1 to the instance's %zu (begin with "
                    "embed_model_get_generation)", options->num_beams, most_beams);
    if (options->max_length < 2 || options->max_length > most_length)
        return fail(EMBED_INVALID_ARGUMENT,
                    "max_length is %zu, must be from 2 to the instance's %zu", options->max_length,
                    most_length);
    if (options->min_length > options->max_length)
        return fail(EMBED_INVALID_ARGUMENT, "min_length is %zu, max_length is %zu",
                    options->min_length, options->max_length);
    if (!isfinite(options->length_penalty) || fabs(options->length_penalty) > 100)
        return fail(EMBED_INVALID_ARGUMENT, "length_penalty is %g, must be from -100 to 100",
                    options->length_penalty);
    if (options->no_repeat_ngram_size > most_length)
        return fail(EMBED_INVALID_ARGUMENT, "no_repeat_ngram_size is %zu, must be at most %zu",
                    options->no_repeat_ngram_size, most_length);
    if ((int)options->early_stopping < EMBED_STOP_BY_HEURISTIC ||
        options->early_stopping > EMBED_STOP_NEVER)
        return fail(EMBED_INVALID_ARGUMENT, "early_stopping is %d, must be an embed_early_stopping",
                    (int)options->early_stopping);
    if (options->long_texts != EMBED_LONG_CUT && options->long_texts != EMBED_LONG_SPLIT)
        return fail(EMBED_INVALID_ARGUMENT, "long_texts is %d, must be an embed_long_text",
                    (int)options->long_texts);
    return EMBED_OK;
}

embed_status embed_instance_generate(embed_instance *instance, const embed_text *texts, size_t n,
                                     const embed_generate_options *options, embed_strings *out)
{
    REQUIRE(instance);
    REQUIRE(out);
    const embed_model *model = instance_model(instance);
    embed_generate_options all = EMBED_GENERATE_OPTIONS_INIT;
    embed_strings strings = EMBED_STRINGS_INIT;
    TRY(embed_model_get_generation(model, &all));
    TRY(take_options(&all, sizeof all, options, "embed_generate_options"));
    TRY(check_generation(&all, instance_limits(instance)->K, instance_max_length(instance)));
    TRY(check_max_tokens(&all.max_tokens, model));
    TRY(check_texts(texts, n));
    TRY(give_struct(out, &strings, sizeof strings, "embed_strings"));
    if (n == 0) return EMBED_OK;
    embed_status status = instance_generate(instance, texts, n, &all, &strings);
    if (strings.items != NULL) give_struct(out, &strings, sizeof strings, "embed_strings");
    return status;
}

void embed_strings_free(embed_strings *strings)
{
    if (strings == NULL) return;
    for (size_t i = 0; i < strings->count; i++) memory_free(strings->items[i].text);
    memory_free(strings->items);
    strings->items = NULL;
    strings->count = 0;
}

embed_status embed_pool_generate(embed_pool *pool, const embed_text *texts, size_t n,
                                 const embed_generate_options *options, embed_strings *out)
{
    REQUIRE(pool);
    (void)texts, (void)n, (void)options, (void)out;
    return fail(EMBED_UNSUPPORTED, "this version does not generate text in a pool");
}
