/* warm_up.c - an instance computes before the first request does */
#include "model/warm_up.h"

#include "base/memory.h"
#include "base/status.h"

struct warm_up {
    struct embed_instance *instance;
    embed_encode_options options;
    int32_t *ids;      /* of the longest text; a shorter one is its beginning */
    embed_text *texts; /* of a full chunk, all the longest */
    float *row;
    float **places;    /* of each text: the same row, which nobody reads */
    size_t longest, n;
};

static embed_status encode(const struct warm_up *w, const embed_text *texts, size_t n)
{
    const struct row_places rows = {NULL, w->options.dimensions, w->places};
    embed_status status = instance_encode(w->instance, texts, n, &w->options, &rows, NULL);
    return status == EMBED_NOT_FINITE ? EMBED_OK : status; /* of such texts; others may be */
}

static embed_status encode_single(const struct warm_up *w, size_t tokens)
{
    const embed_text text = {NULL, w->ids, tokens};
    return encode(w, &text, 1);
}

/* A text of each size that the backend rounds up to. Where it does not, the text is as it is. */
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

embed_status instance_warm_up(struct embed_instance *instance, unsigned passes)
{
    const struct embed_model *model = instance_model(instance);
    struct warm_up w = {.instance = instance,
                        .options = EMBED_ENCODE_OPTIONS_INIT,
                        .longest = model->max_tokens,
                        .n = instance_limits(instance)->N / model->max_tokens};
    w.options.max_tokens = model->max_tokens;
    w.options.dimensions = model->encoder.config.C;
    embed_status status = allocate(&w, model);
    if (status == EMBED_OK) status = encode_passes(&w, passes);
    memory_free(w.ids);
    memory_free(w.texts);
    memory_free(w.row);
    memory_free(w.places);
    return status;
}
