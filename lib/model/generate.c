/* generate.c - texts in, summaries out
 *
 * The generator asks for one document after another: a text, or a piece of one that is too long and is
 * to be split. They end in any order; a text ends with its last piece.
 */
#include "base/memory.h"
#include "base/status.h"
#include "base/text_buffer.h"
#include "model/generator.h"
#include "model/instance_parts.h"

#include <string.h>

/* A text on its way: what its pieces gave so far. */
struct summary {
    size_t pieces, ended;
    struct text_buffer *texts; /* (pieces) */
};

struct generate {
    struct embed_instance *instance;
    const embed_text *texts;
    size_t n;
    const embed_generate_options *options;
    struct generation_rules rules;
    embed_generated *items;    /* (n) */
    struct summary *summaries; /* (n) */
    size_t not_finite;
    size_t begun;              /* texts; of the last, `piece` of `pieces` are begun: its summary may */
    size_t piece, pieces;      /* have ended, and is gone then */
    struct token_span span;    /* of that text */
    int32_t *ids;              /* (max_tokens): a piece with its special tokens */
};

/* ---- documents ----------------------------------------------------------------------------- */

/* Tokens of a text besides its special tokens, which are one before and one after it. */
enum { SPECIAL_TOKENS = 2 };

/* The next text: its tokens, and how many pieces it has. */
static embed_status begin_text(struct generate *g)
{
    const struct embed_model *model = g->instance->model;
    bool split = g->options->long_texts == EMBED_LONG_SPLIT;
    size_t most = g->options->max_tokens, i = g->begun, pieces = 1;
    struct token_source source = {.tokenizer = model->tokenizer, .prompt = "",
                                  .max_tokens = split ? 0 : most,
                                  .vocabulary = model->encoder.config.V,
                                  .max_given = split ? 0 : most, .first_text = i};
    TRY(token_batch_fill(g->instance->tokens, &g->span, &g->texts[i], 1, &source, NULL));
    if (g->span.count > most) {
        if (tokenizer_added_tokens(model->tokenizer) != SPECIAL_TOKENS || most <= SPECIAL_TOKENS)
            return fail(EMBED_UNSUPPORTED,
                        "text %zu: %zu tokens cannot be split into pieces of %zu, special tokens "
                        "included", i, g->span.count, most);
        size_t room = most - SPECIAL_TOKENS;
        pieces = (g->span.count - SPECIAL_TOKENS + room - 1) / room;
    }
    struct summary *summary = &g->summaries[i];
    summary->texts = memory_allocate(pieces, sizeof *summary->texts, "the pieces of a summary");
    if (summary->texts == NULL) return EMBED_OUT_OF_MEMORY;
    summary->pieces = pieces;
    g->items[i] = (embed_generated){.invalid_bytes = g->span.invalid_bytes,
                                    .truncated = g->span.truncated, .pieces = pieces};
    g->begun++;
    g->piece = 0;
    g->pieces = pieces;
    return EMBED_OK;
}

/* Piece `piece` of the text: all have about as many tokens, and special tokens of their own. */
static void cut_piece(struct generate *g, struct generator_document *document)
{
    size_t pieces = g->pieces;
    document->ids = g->span.ids;
    document->count = g->span.count;
    if (pieces == 1) return;
    size_t content = g->span.count - SPECIAL_TOKENS;
    size_t first = content * g->piece / pieces, last = content * (g->piece + 1) / pieces;
    g->ids[0] = g->span.ids[0];
    memcpy(g->ids + 1, g->span.ids + 1 + first, (last - first) * sizeof *g->ids);
    g->ids[1 + last - first] = g->span.ids[g->span.count - 1];
    document->ids = g->ids;
    document->count = last - first + SPECIAL_TOKENS;
}

static embed_status next_document(void *argument, struct generator_document *document, bool *has)
{
    struct generate *g = argument;
    *has = false;
    if (g->piece == g->pieces) {
        if (g->begun == g->n) return EMBED_OK;
        TRY(begin_text(g));
    }
    size_t text = g->begun - 1;
    *document = (struct generator_document){.text = text, .piece = g->piece, .rules = g->rules};
    cut_piece(g, document);
    g->items[text].source_tokens += document->count;
    g->piece++;
    *has = true;
    return EMBED_OK;
}

/* ---- summaries ----------------------------------------------------------------------------- */

/* The text of an item from those of its pieces, joined by a space. */
static embed_status join(embed_generated *item, const struct summary *summary)
{
    size_t length = 0;
    for (size_t p = 0; p < summary->pieces; p++) length += summary->texts[p].length + 1;
    item->text = memory_allocate(length, 1, "a summary");
    if (item->text == NULL) return EMBED_OUT_OF_MEMORY;
    for (size_t p = 0; p < summary->pieces; p++) {
        const struct text_buffer *text = &summary->texts[p];
        if (text->length == 0) continue;
        if (item->length > 0) item->text[item->length++] = ' ';
        memcpy(item->text + item->length, text->data, text->length);
        item->length += text->length;
    }
    return EMBED_OK; /* zeroed memory: the NUL is there */
}

static void free_pieces(struct summary *summary)
{
    for (size_t p = 0; p < summary->pieces; p++) text_buffer_free(&summary->texts[p]);
    memory_free(summary->texts);
    *summary = (struct summary){0};
}

static embed_status end_text(struct generate *g, size_t i)
{
    embed_generated *item = &g->items[i];
    item->score /= (double)g->summaries[i].pieces;
    if (item->status == EMBED_OK) TRY(join(item, &g->summaries[i]));
    else g->not_finite++;
    free_pieces(&g->summaries[i]);
    if (g->options->done != NULL) g->options->done(g->options->user, i, item);
    return EMBED_OK;
}

static embed_status end_document(void *argument, const struct generator_result *result)
{
    struct generate *g = argument;
    embed_generated *item = &g->items[result->text];
    struct summary *summary = &g->summaries[result->text];
    if (result->is_finite) {
        TRY(tokenizer_decode(g->instance->model->tokenizer, result->tokens, result->count, true,
                             &summary->texts[result->piece]));
        item->tokens += result->count;
        item->score += (double)result->score;
    } else {
        item->status = EMBED_NOT_FINITE;
    }
    summary->ended++;
    return summary->ended == summary->pieces ? end_text(g, result->text) : EMBED_OK;
}

/* ---- all of it ----------------------------------------------------------------------------- */

static struct generation_rules rules_of(const embed_generate_options *options,
                                        const struct embed_model *model)
{
    struct generation_rules rules = model->generation; /* its tokens */
    rules.num_beams = (int32_t)options->num_beams;
    rules.min_length = (int32_t)options->min_length;
    rules.max_length = (int32_t)options->max_length;
    rules.no_repeat_ngram_size = (int32_t)options->no_repeat_ngram_size;
    rules.length_penalty = (float)options->length_penalty;
    rules.early_stopping = (int32_t)options->early_stopping;
    return rules;
}

static embed_status generate_all(struct generate *g)
{
    static const char what[] = "summaries";
    g->items = memory_allocate(g->n, sizeof *g->items, what);
    g->summaries = memory_allocate(g->n, sizeof *g->summaries, what);
    g->ids = memory_allocate(g->options->max_tokens, sizeof *g->ids, what);
    if (g->items == NULL || g->summaries == NULL || g->ids == NULL) return EMBED_OUT_OF_MEMORY;
    const struct generator_feed feed = {g, next_document, end_document};
    return generator_run(g->instance->generator, &feed);
}

embed_status instance_generate(struct embed_instance *instance, const embed_text *texts, size_t n,
                               const embed_generate_options *options, embed_strings *strings)
{
    struct generate g = {.instance = instance, .texts = texts, .n = n, .options = options,
                         .rules = rules_of(options, instance->model)};
    embed_status status = generate_all(&g);
    for (size_t i = 0; i < n && g.summaries != NULL; i++) free_pieces(&g.summaries[i]);
    memory_free(g.summaries);
    memory_free(g.ids);
    if (status != EMBED_OK) {
        for (size_t i = 0; i < n && g.items != NULL; i++) memory_free(g.items[i].text);
        memory_free(g.items);
        return status;
    }
    strings->items = g.items;
    strings->count = n;
    if (g.not_finite > 0)
        return fail(EMBED_NOT_FINITE, "%zu of %zu summaries met NaN or infinity", g.not_finite, n);
    return EMBED_OK;
}
