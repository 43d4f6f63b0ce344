/* arguments.c - checks and completes callers' arguments */
#include "arguments.h"

#include "backend/cpu_features.h"
#include "base/status.h"

#include <math.h>
#include <string.h>

#define MAX_THREADS 1024

embed_status take_options(void *options, size_t size, const void *caller, const char *what)
{
    if (caller == NULL) return EMBED_OK;
    size_t given;
    memcpy(&given, caller, sizeof given);
    if (given < sizeof given || given > 4096)
        return fail(EMBED_INVALID_ARGUMENT, "%s: size is %zu; set it with its EMBED_..._INIT", what,
                    given);
    const unsigned char *bytes = caller;
    for (size_t i = size; i < given; i++) {
        if (bytes[i] != 0)
            return fail(EMBED_INVALID_ARGUMENT,
                        "%s: sets an option that this version of the library does not know", what);
    }
    memcpy(options, caller, given < size ? given : size);
    return EMBED_OK;
}

embed_status check_struct(const void *caller, const char *function, const char *what)
{
    if (caller == NULL) return fail(EMBED_INVALID_ARGUMENT, "%s: %s is NULL", function, what);
    size_t given;
    memcpy(&given, caller, sizeof given);
    if (given < sizeof given || given > 4096)
        return fail(EMBED_INVALID_ARGUMENT,
                    "%s: the size of %s is %zu; set it with its EMBED_..._INIT", function, what,
                    given);
    return EMBED_OK;
}

/* Checks that the caller's struct has its first `needed` bytes, too. */
static embed_status check_owner(const void *caller, size_t needed, const char *function,
                                const char *what)
{
    size_t given;
    TRY(check_struct(caller, function, what));
    memcpy(&given, caller, sizeof given);
    if (given >= needed) return EMBED_OK;
    return fail(EMBED_INVALID_ARGUMENT,
                "%s: the size of %s is %zu; set it with its EMBED_..._INIT", function, what, given);
}

embed_status check_strings(const embed_strings *strings, const char *function, const char *what)
{
    return check_owner(strings, offsetof(embed_strings, count) + sizeof strings->count, function,
                       what);
}

embed_status check_tokens(const embed_tokens *tokens, const char *function, const char *what)
{
    return check_owner(tokens, offsetof(embed_tokens, count) + sizeof tokens->count, function,
                       what);
}

embed_status give_struct(void *caller, const void *filled, size_t size, const char *function,
                         const char *what)
{
    TRY(check_struct(caller, function, what));
    size_t given;
    memcpy(&given, caller, sizeof given);
    size_t copied = given < size ? given : size;
    memcpy((char *)caller + sizeof given, (const char *)filled + sizeof given,
           copied - sizeof given);
    return EMBED_OK;
}

embed_status check_texts(const embed_text *texts, size_t n)
{
    if (texts == NULL && n > 0) return fail(EMBED_INVALID_ARGUMENT, "texts is NULL");
    for (size_t i = 0; i < n; i++) {
        if (texts[i].data == NULL && texts[i].ids == NULL && texts[i].length > 0)
            return fail(EMBED_INVALID_ARGUMENT, "text %zu: data and ids are NULL", i);
    }
    return EMBED_OK;
}

embed_status take_model_options(embed_model_options *all, const embed_model_options *options)
{
    *all = (embed_model_options)EMBED_MODEL_OPTIONS_INIT;
    TRY(take_options(all, sizeof *all, options, "embed_model_options"));
    if (all->threads > MAX_THREADS)
        return fail(EMBED_INVALID_ARGUMENT, "threads is %u, must be at most %d", all->threads,
                    MAX_THREADS);
    if (all->threads > 0) return EMBED_OK;
    unsigned count = cpu_count();
    all->threads = count < MAX_THREADS ? count : MAX_THREADS;
    return EMBED_OK;
}

embed_status check_switch(embed_switch value, const char *name)
{
    if (value == EMBED_AS_MODEL || value == EMBED_ON || value == EMBED_OFF) return EMBED_OK;
    return fail(EMBED_INVALID_ARGUMENT, "%s is %d, must be an embed_switch", name, (int)value);
}

embed_status check_max_tokens(size_t *max_tokens, const embed_model *model)
{
    size_t least = tokenizer_added_tokens(model->tokenizer);
    if (*max_tokens == 0) *max_tokens = model->max_tokens;
    if (*max_tokens < least || *max_tokens > model->max_tokens)
        return fail(EMBED_INVALID_ARGUMENT, "max_tokens is %zu, must be from %zu to the model's %zu",
                    *max_tokens, least, model->max_tokens);
    return EMBED_OK;
}

/* Replaces zeros with their defaults and checks limits against the model. */
static embed_status complete(embed_encode_options *options, const embed_model *model)
{
    size_t width = model_width(model);
    TRY(check_max_tokens(&options->max_tokens, model));
    if (options->dimensions == 0) options->dimensions = width;
    if (options->dimensions > width)
        return fail(EMBED_INVALID_ARGUMENT, "dimensions is %zu, but the model has only %zu",
                    options->dimensions, width);
    TRY(check_switch(options->normalize, "normalize"));
    const char *name = options->prompt_name;
    if (name != NULL && *name != '\0' &&
        embedding_pipeline_prompt(&model->pipeline, name) == NULL)
        return fail(EMBED_INVALID_ARGUMENT, "prompt \"%s\": the model folder has none of that name",
                    name);
    return EMBED_OK;
}

embed_status take_encode(embed_encode_options *all, const embed_encode_options *options,
                         const embed_model *model, const embed_text *texts, size_t n,
                         const float *out, size_t capacity)
{
    if (model->encoder.config.decoder.L > 0)
        return fail(EMBED_UNSUPPORTED, "%s: a %s model writes summaries, and gives no embeddings",
                    model->folder, model->encoder.config.family);
    *all = (embed_encode_options)EMBED_ENCODE_OPTIONS_INIT;
    TRY(take_options(all, sizeof *all, options, "embed_encode_options"));
    TRY(complete(all, model));
    if (n == 0) return EMBED_OK;
    if (out == NULL) return fail(EMBED_INVALID_ARGUMENT, "out is NULL");
    if (n > capacity / all->dimensions)
        return fail(EMBED_INVALID_ARGUMENT, "capacity is %zu floats, %zu rows of %zu need more",
                    capacity, n, all->dimensions);
    return check_texts(texts, n); /* after the room for rows, so that a wild n reads nothing */
}

embed_status take_generation(embed_generate_options *all, const embed_model *model)
{
    const struct generation_rules *rules = &model->generation;
    if (model->encoder.config.decoder.L == 0)
        return fail(EMBED_UNSUPPORTED, "%s: a %s model gives embeddings, and writes no summaries",
                    model->folder, model->encoder.config.family);
    *all = (embed_generate_options)EMBED_GENERATE_OPTIONS_INIT;
    all->num_beams = (unsigned)rules->num_beams;
    all->min_length = (size_t)rules->min_length;
    all->max_length = (size_t)rules->max_length;
    all->length_penalty = (double)rules->length_penalty;
    all->no_repeat_ngram_size = (size_t)rules->no_repeat_ngram_size;
    all->early_stopping = (embed_early_stopping)rules->early_stopping;
    return EMBED_OK;
}

/* Marks, in messages, a value that the caller may not have set. */
static const char *as_model(size_t value, int32_t folder)
{
    return value == (size_t)folder ? " (the model's)" : "";
}

/* Checks the options against an instance for `most_beams` beams of `most_length` tokens each. */
static embed_status check_generation(const embed_generate_options *options,
                                     const struct generation_rules *folder, size_t most_beams,
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
        return fail(EMBED_INVALID_ARGUMENT, "min_length is %zu%s, max_length is %zu%s",
                    options->min_length, as_model(options->min_length, folder->min_length),
                    options->max_length, as_model(options->max_length, folder->max_length));
    if (!(fabs(options->length_penalty) < MOST_LENGTH_PENALTY))
        return fail(EMBED_INVALID_ARGUMENT, "length_penalty is %g, must be above %d and below %d",
                    options->length_penalty, -MOST_LENGTH_PENALTY, MOST_LENGTH_PENALTY);
    if (options->no_repeat_ngram_size > MOST_GENERATED)
        return fail(EMBED_INVALID_ARGUMENT, "no_repeat_ngram_size is %zu, must be at most %d",
                    options->no_repeat_ngram_size, MOST_GENERATED);
    if ((int)options->early_stopping < EMBED_STOP_BY_HEURISTIC ||
        options->early_stopping > EMBED_STOP_NEVER)
        return fail(EMBED_INVALID_ARGUMENT, "early_stopping is %d, must be an embed_early_stopping",
                    (int)options->early_stopping);
    if (options->long_texts != EMBED_LONG_CUT && options->long_texts != EMBED_LONG_SPLIT)
        return fail(EMBED_INVALID_ARGUMENT, "long_texts is %d, must be an embed_long_text",
                    (int)options->long_texts);
    return EMBED_OK;
}

embed_status take_generate(embed_generate_options *all, const embed_generate_options *options,
                           const embed_model *model, size_t most_beams, size_t most_length,
                           const embed_text *texts, size_t n)
{
    TRY(take_generation(all, model));
    TRY(take_options(all, sizeof *all, options, "embed_generate_options"));
    TRY(check_generation(all, &model->generation, most_beams, most_length));
    TRY(check_max_tokens(&all->max_tokens, model));
    return check_texts(texts, n);
}
