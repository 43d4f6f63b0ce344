/* embed_bench_source.c - the texts of a sweep */
#include "embed_bench_sweep.h"

#include <stdlib.h>

/* Returns a random order, the same each time: neighbouring lines of a file are often similar in
 * length. */
static size_t *shuffle(size_t count)
{
    size_t *order = allocate(count, sizeof *order);
    uint64_t random = 1;
    for (size_t i = 0; i < count; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u; /* Knuth's */
        size_t j = (size_t)((random >> 33) % (i + 1));
        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

static void make_room(struct source *source, size_t period, size_t most_batch)
{
    source->period = period;
    source->count = period + most_batch;
    source->texts = allocate(source->count, sizeof *source->texts);
    source->ids = allocate(source->count, sizeof *source->ids);
    source->first_token = allocate(source->count + 1, sizeof *source->first_token);
}

static void count_tokens(struct source *source)
{
    for (size_t i = 0; i < source->count; i++)
        source->first_token[i + 1] = source->first_token[i] + source->ids[i].length;
    source->mean_tokens = (double)source->first_token[source->period] / (double)source->period;
}

static void make_of_length(struct source *source, size_t tokens, size_t most_batch,
                           const embed_model_info *info)
{
    make_room(source, 1, most_batch);
    source->tokens = tokens;
    source->all_ids = allocate(tokens, sizeof *source->all_ids);
    for (size_t i = 0; i < tokens; i++) source->all_ids[i] = any_id(i, info);
    for (size_t i = 0; i < source->count; i++)
        source->ids[i] = source->texts[i] = (embed_text){NULL, source->all_ids, tokens};
    count_tokens(source);
}

static void make_of_lines(struct source *source, const struct sweep *sweep, size_t most_batch)
{
    const struct lines *lines = &sweep->lines;
    size_t *order = shuffle(lines->count);
    embed_tokens tokens = EMBED_TOKENS_INIT;
    embed_tokenize_options options = EMBED_TOKENIZE_OPTIONS_INIT;
    options.max_tokens = sweep->info.max_tokens;
    check(embed_tokenize(sweep->model, lines->texts, lines->count, &options, &tokens));
    source->all_ids = allocate(tokens.offsets[lines->count], sizeof *source->all_ids);
    for (size_t i = 0; i < tokens.offsets[lines->count]; i++) source->all_ids[i] = tokens.ids[i];
    make_room(source, lines->count, most_batch);
    for (size_t i = 0; i < source->count; i++) {
        size_t line = order[i % lines->count], first = tokens.offsets[line];
        source->texts[i] = lines->texts[line];
        source->ids[i] =
            (embed_text){NULL, source->all_ids + first, tokens.offsets[line + 1] - first};
    }
    count_tokens(source);
    embed_tokens_free(&tokens);
    free(order);
}

void sources_make(struct sweep *sweep)
{
    const struct settings *settings = sweep->settings;
    size_t most_batch = settings->batch.values[settings->batch.count - 1];
    sweep->source_count = settings->text != NULL ? 1 : settings->lengths.count;
    sweep->sources = allocate(sweep->source_count, sizeof *sweep->sources);
    if (settings->text != NULL) {
        make_of_lines(&sweep->sources[0], sweep, most_batch);
        return;
    }
    for (size_t i = 0; i < sweep->source_count; i++)
        make_of_length(&sweep->sources[i], settings->lengths.values[i], most_batch, &sweep->info);
}

void sources_free(struct sweep *sweep)
{
    for (size_t i = 0; i < sweep->source_count; i++) {
        free(sweep->sources[i].texts);
        free(sweep->sources[i].ids);
        free(sweep->sources[i].first_token);
        free(sweep->sources[i].all_ids);
    }
    free(sweep->sources);
}

size_t source_tokens(const struct source *source, size_t first, size_t count)
{
    return source->first_token[first + count] - source->first_token[first];
}
