/* summaries.c - turns texts into documents, and the documents' results into summaries */
#include "model/summaries.h"

#include "base/memory.h"
#include "base/status.h"
#include "base/text_buffer.h"

#include <string.h>

struct summary_piece {
    bool is_finite;
    struct text_buffer text;
    size_t tokens;
    double score;
};

/* ---- options ------------------------------------------------------------------------------- */

struct generation_rules summaries_rules(const embed_generate_options *options,
                                        const struct embed_model *model)
{
    struct generation_rules rules = model->generation; /* for its tokens */
    rules.num_beams = (int32_t)options->num_beams;
    rules.min_length = (int32_t)options->min_length;
    rules.max_length = (int32_t)options->max_length;
    rules.no_repeat_ngram_size = (int32_t)options->no_repeat_ngram_size;
    rules.length_penalty = (float)options->length_penalty;
    rules.early_stopping = (int32_t)options->early_stopping;
    return rules;
}

struct token_source summaries_source(const embed_generate_options *options,
                                     const struct embed_model *model, size_t first_text)
{
    size_t most = options->long_texts == EMBED_LONG_SPLIT ? 0 : options->max_tokens;
    return (struct token_source){model->tokenizer, "", most, model->encoder.config.V, most,
                                 first_text, 0, NULL};
}

/* ---- pieces -------------------------------------------------------------------------------- */

/* Computes how many pieces of at most `most` tokens a text of `tokens` tokens becomes. */
static embed_status count_pieces(size_t *pieces, size_t tokens, size_t most,
                                 const struct embed_model *model, size_t number)
{
    *pieces = 1;
    if (tokens <= most) return EMBED_OK;
    if (tokenizer_added_tokens(model->tokenizer) != PIECE_SPECIAL_TOKENS ||
        most <= PIECE_SPECIAL_TOKENS)
        return fail(EMBED_UNSUPPORTED,
                    "text %zu: %zu tokens cannot be split into pieces of %zu, special tokens "
                    "included", number, tokens, most);
    size_t room = most - PIECE_SPECIAL_TOKENS;
    *pieces = (tokens - PIECE_SPECIAL_TOKENS + room - 1) / room;
    return EMBED_OK;
}

embed_status summaries_begin(struct summaries *summaries, size_t i, const struct token_span *span,
                             size_t most, const struct embed_model *model, size_t number)
{
    struct summary *summary = &summaries->each[i];
    size_t pieces;
    TRY(count_pieces(&pieces, span->count, most, model, number));
    summary->piece = memory_allocate(pieces, sizeof *summary->piece, "the pieces of a summary");
    if (summary->piece == NULL) return EMBED_OUT_OF_MEMORY;
    summary->pieces = pieces;
    atomic_init(&summary->left, pieces);
    summaries->items[i] = (embed_generated){
        .source_tokens = span->count + (pieces - 1) * PIECE_SPECIAL_TOKENS,
        .invalid_bytes = span->invalid_bytes,
        .truncated = span->truncated,
        .pieces = pieces,
    };
    return EMBED_OK;
}

size_t summaries_cut(int32_t *ids, const struct token_span *span, size_t pieces, size_t piece)
{
    if (pieces == 1) {
        memcpy(ids, span->ids, span->count * sizeof *ids);
        return span->count;
    }
    size_t content = span->count - PIECE_SPECIAL_TOKENS;
    size_t first = content * piece / pieces, last = content * (piece + 1) / pieces;
    ids[0] = span->ids[0];
    memcpy(ids + 1, span->ids + 1 + first, (last - first) * sizeof *ids);
    ids[1 + last - first] = span->ids[span->count - 1];
    return last - first + PIECE_SPECIAL_TOKENS;
}

/* ---- summaries ----------------------------------------------------------------------------- */

static void free_pieces(struct summary *summary)
{
    for (size_t p = 0; p < summary->pieces && summary->piece != NULL; p++)
        text_buffer_free(&summary->piece[p].text);
    memory_free(summary->piece);
    summary->piece = NULL;
}

/* Joins the texts of the pieces with spaces into the item's text, skipping empty ones. */
static embed_status join(embed_generated *item, const struct summary *summary)
{
    size_t length = 0;
    for (size_t p = 0; p < summary->pieces; p++) length += summary->piece[p].text.length + 1;
    item->text = memory_allocate(length, 1, "a summary"); /* zeroed: the NUL is there */
    if (item->text == NULL) return EMBED_OUT_OF_MEMORY;
    for (size_t p = 0; p < summary->pieces; p++) {
        const struct text_buffer *text = &summary->piece[p].text;
        if (text->length == 0) continue;
        if (item->length > 0) item->text[item->length++] = ' ';
        memcpy(item->text + item->length, text->data, text->length);
        item->length += text->length;
    }
    return EMBED_OK;
}

/* Completes an item after all its pieces have ended. */
static embed_status end_summary(embed_generated *item, struct summary *summary)
{
    for (size_t p = 0; p < summary->pieces; p++) {
        const struct summary_piece *piece = &summary->piece[p];
        item->tokens += piece->tokens;
        item->score += piece->score;
        if (!piece->is_finite) item->status = EMBED_NOT_FINITE;
    }
    item->score /= (double)summary->pieces;
    if (item->status == EMBED_OK) TRY(join(item, summary));
    free_pieces(summary);
    return EMBED_OK;
}

embed_status summaries_end_piece(struct summaries *summaries, const struct generator_result *result,
                                 const struct tokenizer *tokenizer, bool *is_last)
{
    struct summary *summary = &summaries->each[result->text];
    struct summary_piece *piece = &summary->piece[result->piece];
    *is_last = false;
    piece->is_finite = result->is_finite;
    if (result->is_finite) {
        TRY(tokenizer_decode(tokenizer, result->tokens, result->count, true, &piece->text));
        piece->tokens = result->count;
        piece->score = (double)result->score;
    }
    *is_last = atomic_fetch_sub(&summary->left, 1) == 1;
    return *is_last ? end_summary(&summaries->items[result->text], summary) : EMBED_OK;
}

embed_status summaries_called_off(void)
{
    return fail(EMBED_CANCELLED, "the generation was cancelled by its `done` callback");
}

embed_status summaries_tell(const embed_generate_options *options, size_t i,
                            const embed_generated *summary)
{
    if (options->done == NULL || options->done(options->user, i, summary) != 0) return EMBED_OK;
    return summaries_called_off();
}

/* ---- all of them --------------------------------------------------------------------------- */

embed_status summaries_create(struct summaries *summaries, size_t n)
{
    static const char what[] = "summaries";
    *summaries = (struct summaries){.n = n};
    summaries->items = memory_allocate(n, sizeof *summaries->items, what);
    summaries->each = memory_allocate(n, sizeof *summaries->each, what);
    if (summaries->items != NULL && summaries->each != NULL) return EMBED_OK;
    summaries_free(summaries);
    return EMBED_OUT_OF_MEMORY;
}

void summaries_free(struct summaries *summaries)
{
    for (size_t i = 0; i < summaries->n && summaries->each != NULL; i++)
        free_pieces(&summaries->each[i]);
    for (size_t i = 0; i < summaries->n && summaries->items != NULL; i++)
        memory_free(summaries->items[i].text);
    memory_free(summaries->each);
    memory_free(summaries->items);
    *summaries = (struct summaries){0};
}

size_t summaries_count_not_finite(const struct summaries *summaries)
{
    size_t count = 0;
    for (size_t i = 0; i < summaries->n; i++)
        count += summaries->items[i].status == EMBED_NOT_FINITE;
    return count;
}

void summaries_give(struct summaries *summaries, embed_strings *strings)
{
    strings->items = summaries->items;
    strings->count = summaries->n;
    summaries->items = NULL;
    summaries_free(summaries);
}
