/* test_decoder.c - inside the tiny BARTs: the encoder's output and the decoder's logits compared
 * with the reference, on every instruction set of this machine; test_summaries.c tests the results
 */
#include "test_models.h"

#include "model/model.h"

enum {
    STEPS = 16,
    BEAMS = 2
}; /* tokens of the reference's logits, for both beams */

/* ---- a document through the model ------------------------------------------------------- */

struct document {
    const struct embed_model *model;
    struct packed_batch source;
    const int32_t *tokens; /* (STEPS) */
    struct activations encoding;
    struct decoder_activations decoding;
    struct decoder_cache cache;
    float *hidden; /* (S, C) */
    float *logits; /* (STEPS, BEAMS, V) */
};

static embed_status compute_source(void *argument, size_t i, unsigned worker,
                                   struct execution *execution)
{
    (void)i;
    (void)worker;
    struct document *d = argument;
    const struct embed_model *model = d->model;
    const struct transformer_config *config = &model->encoder.config;
    const struct backend *op = model->backend;
    struct beam_document document = {0, (int32_t)d->source.N, model->generation};
    struct packed_batch batch;
    document.rules.num_beams = BEAMS;
    embed_status status = op->begin(&batch, &d->source, execution);
    if (status == EMBED_OK)
        status = encoder_forward(&model->encoder, op, &d->encoding, &batch, execution);
    if (status == EMBED_OK)
        status = decoder_attend_to(&model->decoder, config, op, &d->cache, 0, d->encoding.x,
                                   batch.N, execution);
    if (status == EMBED_OK) status = op->beam_start(&d->cache.beams, &document, 1, execution);
    if (status == EMBED_OK)
        status =
            op->fetch(d->hidden, d->encoding.x, batch.N * config->C * sizeof(float), execution);
    return status;
}

/* Gives both beams the reference's tokens before `length`. All of beam 1's past, except its last
 * token, is in row 0. */
static void set_tokens(const struct beam_slots *beams, const int32_t *tokens, int32_t length)
{
    int32_t *ancestors = beam_ancestors(beams, 0, length);
    beams->lengths[0] = length;
    for (size_t k = 0; k < BEAMS; k++) {
        beams->tokens[k * beams->T + (size_t)length - 1] = tokens[length - 1];
        for (int32_t t = 0; t < length; t++)
            ancestors[k * beams->T + (size_t)t] = t == length - 1 ? (int32_t)k : 0;
    }
}

static embed_status compute_steps(void *argument, size_t i, unsigned worker,
                                  struct execution *execution)
{
    (void)i;
    (void)worker;
    struct document *d = argument;
    const struct embed_model *model = d->model;
    const struct transformer_config *config = &model->encoder.config;
    const struct backend *op = model->backend;
    const int32_t slot = 0;
    const struct decode_batch host = {1, BEAMS, &slot, d->cache.beams};
    struct decode_batch batch;
    embed_status status = op->begin_steps(&batch, &host, execution);
    for (int32_t t = 0; status == EMBED_OK && t < STEPS; t++) {
        size_t row = BEAMS * config->V;
        set_tokens(&d->cache.beams, d->tokens, t + 1);
        status = decoder_forward(&model->decoder, config, op, &d->cache, &d->decoding, &batch,
                                 execution);
        memcpy(d->logits + (size_t)t * row, d->decoding.logits, row * sizeof(float));
    }
    return status;
}

static void deliver(void *argument, unsigned worker)
{
    (void)argument;
    (void)worker;
}

/* Allocates one block with the backend's alignment, and lays it out with `place`. */
#define PLACED(backend, memory, place_at)                                                      \
    do {                                                                                       \
        void *base = NULL;                                                                     \
        size_t bytes = place_at;                                                               \
        assert_int_equal((backend)->allocate(backend, &(memory), bytes, "a test"), EMBED_OK);  \
        base = memory;                                                                         \
        place_at;                                                                              \
    } while (0)

/* Computes d->hidden and d->logits, which the caller frees. */
static void compute(struct document *d, const int32_t *source, size_t S)
{
    const struct transformer_config *config = &d->model->encoder.config;
    struct backend *backend = d->model->backend;
    size_t F = config->F > config->decoder.F ? config->F : config->decoder.F;
    struct chunk_limits limits = {S, 1, S > STEPS ? S : STEPS, config->HS, F,
                                  1, BEAMS, STEPS};
    int32_t arrays[3 * 128 + 2] = {0}, *positions = arrays + S, *offsets = positions + S;
    void *memory[3];
    struct executor *executor;

    memcpy(arrays, source, S * sizeof *source);
    for (size_t t = 0; t < S; t++) positions[t] = (int32_t)(t + config->first_position);
    offsets[1] = (int32_t)S;
    d->source = (struct packed_batch){S, 1, S, 0, arrays, positions, offsets, NULL};
    d->hidden = calloc(S * config->C, sizeof(float));
    d->logits = calloc(STEPS * BEAMS * config->V, sizeof(float));
    assert_non_null(d->hidden);
    assert_non_null(d->logits);

    PLACED(backend, memory[0],
           activations_place(&d->encoding, base, config, sizeof(float), S));
    PLACED(backend, memory[1],
           decoder_cache_place(&d->cache, base, config, sizeof(float), 1, BEAMS, STEPS, S));
    PLACED(backend, memory[2],
           decoder_activations_place(&d->decoding, base, config, sizeof(float), BEAMS, BEAMS));
    assert_int_equal(backend->executor_create(&executor, backend, &limits), EMBED_OK);
    const struct chunk_work encoding = {d, compute_source, deliver};
    const struct chunk_work decoding = {d, compute_steps, deliver};
    assert_int_equal(backend->run(executor, 1, &encoding), EMBED_OK);
    assert_int_equal(backend->run(executor, 1, &decoding), EMBED_OK);
    backend->executor_destroy(executor);
    for (size_t i = 0; i < 3; i++) backend->release(backend, memory[i]);
}

/* ---- comparison with the reference --------------------------------------------------------- */

static void check_document(const char *name, struct embed_model *model, size_t number,
                           const embed_text *text, const int32_t *tokens)
{
    size_t V = model->encoder.config.V, rows, columns;
    embed_tokens source = EMBED_TOKENS_INIT;
    embed_tokenize_options options = EMBED_TOKENIZE_OPTIONS_INIT;
    options.max_tokens = model->max_tokens;
    assert_int_equal(embed_tokenize(model, text, 1, &options, &source), EMBED_OK);

    struct document d = {.model = model, .tokens = tokens};
    compute(&d, source.ids, source.offsets[1]);
    float *expected = vector_stage_load(name, number, "encoder", &rows, &columns);
    assert_int_equal(rows, source.offsets[1]);
    assert_int_equal(columns, model->encoder.config.C);
    assert_rows_close("encoder", d.hidden, expected, rows, columns, 0.9999999, 2e-5, NULL);
    free(expected);

    expected = vector_stage_load(name, number, "logits", &rows, &columns);
    assert_int_equal(rows, STEPS);
    assert_int_equal(columns, V);
    for (size_t t = 0; t < STEPS; t++)
        for (size_t k = 0; k < BEAMS; k++)
            assert_rows_close("logits", d.logits + (t * BEAMS + k) * V, expected + t * V, 1, V,
                              0.9999999, 5e-5, NULL);
    free(expected);
    free(d.hidden);
    free(d.logits);
    embed_tokens_free(&source);
}

static void check_model(const char *name)
{
    static const size_t numbers[] = {1, 6, 3};
    char path[128];
    struct vector_lines lines = vector_lines_load(VECTORS "bart-documents.txt");
    embed_text *texts = texts_of(&lines);
    snprintf(path, sizeof path, VECTORS "%s.summaries", name);
    struct vector_ids summaries = vector_ids_load(path);
    snprintf(path, sizeof path, VECTORS "%s", name);
    struct opened opened = open_model(path, 1, 0);
    for (size_t i = 0; i < 3; i++)
        check_document(name, opened.model, numbers[i], &texts[numbers[i]],
                       summaries.ids + summaries.offsets[numbers[i]]);
    close_model(&opened);
    vector_ids_free(&summaries);
    free(texts);
    vector_lines_free(&lines);
}

static void test_stages(void **state)
{
    (void)state;
    FOR_EACH_ISA(check_model("tiny-bart"));
    FOR_EACH_ISA(check_model("tiny-bart-uneven"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
