/* request_summaries.c - requests for summaries: their documents and results */
#include "service/request.h"

#include "base/memory.h"
#include "base/status.h"

/* ---- documents ----------------------------------------------------------------------------- */

/* Elements used and allocated in a request's arrays, which grow. */
struct used {
    size_t texts, texts_capacity;
    size_t ids, ids_capacity;
};

/* Makes room for `texts` more texts and `ids` more ids; without slack if they are the last. */
static embed_status reserve(struct request *request, struct used *used, size_t texts, size_t ids,
                            bool are_last)
{
    static const char what[] = "a request's documents";
    if (used->texts + texts > used->texts_capacity) {
        size_t needed = used->texts + texts, capacity = are_last ? needed : needed + needed / 2;
        void *larger = memory_resize(request->texts, capacity, sizeof *request->texts, what);
        if (larger == NULL) return EMBED_OUT_OF_MEMORY;
        request->texts = larger;
        used->texts_capacity = capacity;
    }
    if (used->ids + ids > used->ids_capacity) {
        size_t needed = used->ids + ids, capacity = are_last ? needed : needed + needed / 2;
        void *larger = memory_resize(request->ids, capacity, sizeof *request->ids, what);
        if (larger == NULL) return EMBED_OUT_OF_MEMORY;
        request->ids = larger;
        used->ids_capacity = capacity;
    }
    return EMBED_OK;
}

/* Splits text i, whose tokens are `span`, into documents of at most `most` tokens, and appends
 * these. */
static embed_status append(struct request *request, struct used *used, size_t i,
                           const struct token_span *span, size_t most,
                           const struct embed_model *model)
{
    struct summaries *summaries = &request->summaries->of_texts;
    TRY(summaries_begin(summaries, i, span, most, model, request->summaries->number + i));
    size_t pieces = summaries->each[i].pieces;
    TRY(reserve(request, used, pieces, summaries->items[i].source_tokens, i + 1 == summaries->n));
    for (size_t p = 0; p < pieces; p++) {
        size_t count = summaries_cut(request->ids + used->ids, span, pieces, p);
        request->texts[used->texts++] =
            (struct request_text){.first = used->ids, .count = count, .summary = i, .piece = p};
        used->ids += count;
    }
    return EMBED_OK;
}

static embed_status tokenize(struct request *request, const embed_request *given,
                             const struct embed_model *model, struct token_batch *batch)
{
    struct used used = {0};
    for (size_t i = 0; i < given->n; i++) {
        struct token_span span;
        const struct token_source source =
            summaries_source(given->generate, model, request->summaries->number + i);
        TRY(token_batch_fill(batch, &span, &given->texts[i], 1, &source, NULL));
        TRY(append(request, &used, i, &span, given->generate->max_tokens, model));
    }
    request->n = used.texts;
    return EMBED_OK;
}

embed_status request_create_summaries(struct request *request, const embed_request *given,
                                      size_t number, const struct embed_model *model,
                                      struct token_batch *batch)
{
    const embed_generate_options *options = given->generate;
    struct request_summaries *summaries =
        memory_allocate(1, sizeof *summaries, "a request for summaries");
    if (summaries == NULL) return EMBED_OUT_OF_MEMORY;
    request->summaries = summaries;
    summaries->rules = summaries_rules(options, model);
    summaries->number = number;
    summaries->options = *options;
    atomic_init(&summaries->is_called_off, false);
    summaries->strings = given->strings;
    TRY(summaries_create(&summaries->of_texts, given->n));
    return tokenize(request, given, model, batch);
}

void request_free_summaries(struct request *request)
{
    if (request->summaries == NULL) return;
    summaries_free(&request->summaries->of_texts);
    memory_free(request->summaries);
}

/* ---- results ------------------------------------------------------------------------------- */

embed_status request_end_document(struct request *request, size_t i,
                                  const struct generator_result *result,
                                  const struct tokenizer *tokenizer, bool *is_last)
{
    struct generator_result mine = *result;
    mine.text = request->texts[i].summary;
    mine.piece = request->texts[i].piece;
    return summaries_end_piece(&request->summaries->of_texts, &mine, tokenizer, is_last);
}

embed_status request_tell(const struct request *request, size_t i)
{
    struct request_summaries *summaries = request->summaries;
    size_t text = request->texts[i].summary;
    if (atomic_load(&summaries->is_called_off)) return EMBED_OK;
    embed_status status = summaries_tell(&summaries->options, summaries->number + text,
                                         &summaries->of_texts.items[text]);
    if (status != EMBED_OK) atomic_store(&summaries->is_called_off, true);
    return status;
}
