/* warm_up.c - runs an instance before its first request */
#include "model/warm_up.h"

#include "base/memory.h"
#include "base/status.h"

struct warm_up {
    struct embed_instance *instance;
    embed_encode_options options;
    int32_t *ids;      /* of the longest text; a shorter one is its beginning */
    embed_text *texts; /* of a full chunk, all of the longest length */
    float *row;
    float **places;    /* of each text's row: all `row`, which nobody reads */
    size_t longest, n;
};

static embed_status encode(const struct warm_up *w, const embed_text *texts, size_t n)
{
    const struct row_places rows = {NULL, w->options.dimensions, w->places};
    embed_status status = instance_encode(w->instance, texts, n, &w->options, NULL, &rows, NULL);
    return status == EMBED_NOT_FINITE ? EMBED_OK : status; /* real texts may be finite */
}

static embed_status encode_single(const struct warm_up *w, size_t tokens)
{
    const embed_text text = {NULL, w->ids, tokens};
    return encode(w, &text, 1);
}

/* Encodes a text of each size that the backend rounds up to, and the longest text. */
static embed_status encode_sizes(const struct warm_up *w)
{
    const struct backend *backend = instance_model(w->instance)->backend;
    const struct chunk_limits *limits = instance_limits(w->instance);
    for (size_t least = 1; least <= w->longest;) {
        size_t tokens = least, texts = 1, longest = least;
        backend->round_up(limits, &tokens, &texts, &longest);
        if (tokens == least || tokens >= w->longest) break;
        TRY(encode_single(w, tokens));
        least = tokens + 1;
    }
    return encode_single(w, w->longest);
}

static embed_status encode_passes(const struct warm_up *w, unsigned passes)
{
    bool rounds = instance_model(w->instance)->backend->round_up != NULL;
    for (unsigned pass = 0; pass < passes; pass++) {
        if (!rounds) {
            TRY(encode_single(w, w->longest < 16 ? w->longest : 16));
            continue;
        }
        TRY(encode_sizes(w));
        TRY(encode(w, w->texts, w->n));
    }
    return EMBED_OK;
}

static embed_status allocate(struct warm_up *w, const struct embed_model *model)
{
    static const char what[] = "warming up";
    w->ids = memory_allocate(w->longest, sizeof *w->ids, what);
    w->texts = memory_allocate(w->n, sizeof *w->texts, what);
    w->row = memory_allocate(w->options.dimensions, sizeof *w->row, what);
    w->places = memory_allocate(w->n, sizeof *w->places, what);
    if (w->ids == NULL || w->texts == NULL || w->row == NULL || w->places == NULL)
        return EMBED_OUT_OF_MEMORY;
    for (size_t t = 0; t < w->longest; t++) w->ids[t] = (int32_t)(model->encoder.config.V / 2);
    for (size_t i = 0; i < w->n; i++) {
        w->texts[i] = (embed_text){NULL, w->ids, w->longest};
        w->places[i] = w->row;
    }
    return EMBED_OK;
}

/* ---- a model that generates ----------------------------------------------------------------- */

/* Computes some steps for n documents, whose sources have `tokens` tokens. */
static embed_status generate(const struct warm_up *w, size_t n, size_t tokens)
{
    const struct embed_model *model = instance_model(w->instance);
    unsigned steps = model->backend->steps;
    size_t most = instance_max_length(w->instance);
    embed_generate_options options = EMBED_GENERATE_OPTIONS_INIT;
    embed_strings strings = EMBED_STRINGS_INIT;
    options.max_tokens = w->longest;
    options.num_beams = (unsigned)instance_limits(w->instance)->K;
    options.max_length = 1 + steps < most ? 1 + steps : most;
    options.min_length = options.max_length;
    options.length_penalty = 1;
    options.no_repeat_ngram_size = (size_t)model->generation.no_repeat_ngram_size;
    for (size_t i = 0; i < n; i++) w->texts[i].length = tokens;
    embed_status status = instance_generate(w->instance, w->texts, n, &options, &strings);
    for (size_t i = 0; i < strings.count; i++) memory_free(strings.items[i].text);
    memory_free(strings.items);
    return status == EMBED_NOT_FINITE ? EMBED_OK : status;
}

static embed_status generate_passes(const struct warm_up *w, unsigned passes)
{
    size_t documents = instance_limits(w->instance)->D, few = w->longest < 16 ? w->longest : 16;
    bool is_queue = instance_model(w->instance)->backend->is_queue;
    if (is_queue) TRY(generate(w, documents, w->longest));
    for (unsigned pass = 0; pass < passes; pass++) {
        for (size_t n = 1; n < documents && is_queue; n *= 2) TRY(generate(w, n, few));
        TRY(generate(w, is_queue ? documents : 1, few));
    }
    return EMBED_OK;
}

/* ---- all of it ------------------------------------------------------------------------------- */

embed_status instance_warm_up(struct embed_instance *instance, unsigned passes)
{
    const struct embed_model *model = instance_model(instance);
    const struct chunk_limits *limits = instance_limits(instance);
    bool generates = model->encoder.config.decoder.L > 0;
    struct warm_up w = {.instance = instance,
                        .options = EMBED_ENCODE_OPTIONS_INIT,
                        .longest = model->max_tokens,
                        .n = generates ? limits->D : limits->N / model->max_tokens};
    w.options.max_tokens = model->max_tokens;
    w.options.dimensions = model_width(model);
    embed_status status = allocate(&w, model);
    if (status == EMBED_OK) status = generates ? generate_passes(&w, passes) : encode_passes(&w, passes);
    memory_free(w.ids);
    memory_free(w.texts);
    memory_free(w.row);
    memory_free(w.places);
    return status;
}
