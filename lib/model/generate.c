/* generate.c - texts in, summaries out
 *
 * The generator requests one document after another: a text, or a piece of one. A text is tokenized
 * when its first document is requested.
 */
#include "base/memory.h"
#include "base/status.h"
#include "model/generator.h"
#include "model/instance_parts.h"
#include "model/retry_f32.h"
#include "model/summaries.h"

struct generate {
    struct embed_instance *instance;
    const embed_text *texts;
    const embed_generate_options *options;
    struct generation_rules rules;
    struct summaries summaries;
    size_t begun;           /* texts begun; of the last one, pieces from `piece` on are to come */
    size_t piece, pieces;
    struct token_span span; /* of the last text begun */
    int32_t *ids;           /* (max_tokens): a piece with its special tokens */
};

static embed_status begin_text(struct generate *g)
{
    const struct embed_model *model = g->instance->model;
    const struct token_source source = summaries_source(g->options, model, g->begun);
    TRY(token_batch_fill(g->instance->tokens, &g->span, &g->texts[g->begun], 1, &source, NULL));
    TRY(summaries_begin(&g->summaries, g->begun, &g->span, g->options->max_tokens, model, g->begun));
    g->pieces = g->summaries.each[g->begun].pieces;
    g->piece = 0;
    g->begun++;
    return EMBED_OK;
}

static embed_status next_document(void *argument, struct generator_document *document, bool *has)
{
    struct generate *g = argument;
    *has = g->piece < g->pieces || g->begun < g->summaries.n;
    if (!*has) return EMBED_OK;
    if (g->piece == g->pieces) TRY(begin_text(g));
    size_t count = summaries_cut(g->ids, &g->span, g->pieces, g->piece);
    *document = (struct generator_document){g->begun - 1, g->piece, g->ids, count, g->rules};
    g->piece++;
    return EMBED_OK;
}

/* Summaries that are not finite are recomputed in F32, unless that is the model's dtype. */
static bool may_retry(const struct embed_instance *instance)
{
    return instance->model->backend->dtype != EMBED_DTYPE_F32;
}

static embed_status end_document(void *argument, const struct generator_result *result)
{
    struct generate *g = argument;
    bool is_last;
    TRY(summaries_end_piece(&g->summaries, result, g->instance->model->tokenizer, &is_last));
    const embed_generated *item = &g->summaries.items[result->text];
    if (is_last && (item->status == EMBED_OK || !may_retry(g->instance)))
        TRY(summaries_tell(g->options, result->text, item));
    return EMBED_OK;
}

static embed_status generate_all(struct generate *g, size_t *not_finite)
{
    g->ids = memory_allocate(g->options->max_tokens, sizeof *g->ids, "a piece of a text");
    if (g->ids == NULL) return EMBED_OUT_OF_MEMORY;
    const struct generator_feed feed = {g, next_document, end_document};
    TRY(generator_run(g->instance->generator, &feed));
    *not_finite = summaries_count_not_finite(&g->summaries);
    if (*not_finite == 0 || !may_retry(g->instance)) return EMBED_OK;
    return retry_summaries_f32(g->instance->model, g->texts, g->summaries.n, g->options,
                               g->summaries.items, not_finite);
}

embed_status instance_generate(struct embed_instance *instance, const embed_text *texts, size_t n,
                               const embed_generate_options *options, embed_strings *strings)
{
    struct generate g = {.instance = instance, .texts = texts, .options = options,
                         .rules = summaries_rules(options, instance->model)};
    TRY(summaries_create(&g.summaries, n));
    size_t not_finite = 0;
    embed_status status = generate_all(&g, &not_finite);
    memory_free(g.ids);
    if (status != EMBED_OK) {
        summaries_free(&g.summaries);
        return status;
    }
    summaries_give(&g.summaries, strings);
    if (not_finite > 0)
        return fail(EMBED_NOT_FINITE, "%zu of %zu summaries hit NaN or infinity", not_finite, n);
    return EMBED_OK;
}
