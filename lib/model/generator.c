/* generator.c - decodes many documents at once, by continuous batching
 *
 * A round: free slots take new documents, which go through the encoder together; all documents in
 * flight take a few steps; those that are done leave. The host looks at results only between
 * rounds.
 */
#include "model/generator.h"

#include "base/memory.h"
#include "base/placement.h"
#include "base/status.h"
#include "model/chunk.h"
#include "model/decoder.h"
#include "model/instance_parts.h"

#include <string.h>

struct slot {
    bool is_busy;
    size_t text, piece; /* of its document */
    int32_t *ids;       /* (max_tokens) of its source */
};

/* Host memory that the device reads and writes. */
struct staging {
    struct beam_document *documents; /* (P) documents that begin */
    int32_t *slots;                  /* (P) slots that take a step */
    int32_t *results;                /* (P, BEAM_RESULT_HEADER + T) */
};

struct generator {
    struct embed_instance *instance;
    void *memory; /* on the device */
    struct decoder_cache cache;
    struct decoder_activations activations;
    struct staging staging;
    struct slot *slots; /* (P) */
    int32_t *ids;       /* (P, max_tokens): the slots' */
    size_t beams;       /* of each document in flight, K */
    size_t begun;       /* documents that begin now */
    size_t stepping;    /* slots in staging.slots */
};

/* ---- create and destroy -------------------------------------------------------------------- */

static size_t result_size(const struct instance_plan *plan)
{
    return BEAM_RESULT_HEADER + plan->limits.M;
}

static size_t staging_place(struct staging *staging, void *base, const struct instance_plan *plan)
{
    struct placement memory = {base, 0};
    size_t P = plan->limits.D;
    staging->documents = placement_take(&memory, P, 1, sizeof *staging->documents);
    staging->slots = placement_take(&memory, P, 1, sizeof *staging->slots);
    staging->results = placement_take(&memory, P, result_size(plan), sizeof *staging->results);
    return memory.bytes;
}

size_t generator_staging_bytes(const struct instance_plan *plan)
{
    struct staging none;
    return staging_place(&none, NULL, plan);
}

/* Marks all slots on the device as empty by storing float zeros, whose bits are BEAM_EMPTY. */
static embed_status stop_slots(struct generator *generator)
{
    struct backend *backend = generator->instance->model->backend;
    size_t P = generator->instance->plan.limits.D;
    float *zeros = memory_allocate(P, sizeof *zeros, "a generator");
    if (zeros == NULL) return EMBED_OUT_OF_MEMORY;
    embed_status status = backend->weight_store(backend, generator->cache.beams.states,
                                                WEIGHT_VECTOR, zeros, 0, 1, P);
    memory_free(zeros);
    return status;
}

static embed_status create_cache(struct generator *generator)
{
    struct embed_instance *instance = generator->instance;
    const struct embed_model *model = instance->model;
    const struct instance_plan *plan = &instance->plan;
    const struct transformer_config *config = &model->encoder.config;
    struct backend *backend = model->backend;
    size_t P = plan->limits.D, K = plan->limits.K, element = backend->activation_bytes;

    TRY(backend->allocate(backend, &generator->memory, plan->cache, "keys and values"));
    decoder_cache_place(&generator->cache, generator->memory, config, element, P, K,
                        plan->limits.M, plan->limits.T);
    decoder_activations_place(&generator->activations, instance->activations, config, element,
                              P * K, K);

    return stop_slots(generator);
}

static embed_status fill(struct generator *generator)
{
    const struct embed_instance *instance = generator->instance;
    const struct instance_plan *plan = &instance->plan;
    size_t P = plan->limits.D, S = plan->limits.T;

    TRY(create_cache(generator));
    size_t workers = plan->worker_staging * instance->model->backend->workers;
    staging_place(&generator->staging, (char *)instance->staging + workers, plan);
    generator->slots = memory_allocate(P, sizeof *generator->slots, "a generator");
    generator->ids = memory_allocate(P, S * sizeof *generator->ids, "a generator");
    if (generator->slots == NULL || generator->ids == NULL) return EMBED_OUT_OF_MEMORY;
    for (size_t p = 0; p < P; p++) generator->slots[p].ids = generator->ids + p * S;
    return EMBED_OK;
}

embed_status generator_create(struct generator **out, struct embed_instance *instance)
{
    struct generator *generator = memory_allocate(1, sizeof *generator, "a generator");
    if (generator == NULL) return EMBED_OUT_OF_MEMORY;
    generator->instance = instance;
    embed_status status = fill(generator);
    if (status != EMBED_OK) {
        generator_destroy(generator);
        return status;
    }
    *out = generator;
    return EMBED_OK;
}

void generator_destroy(struct generator *generator)
{
    if (generator == NULL) return;
    struct backend *backend = generator->instance->model->backend;
    backend->release(backend, generator->memory);
    memory_free(generator->slots);
    memory_free(generator->ids);
    memory_free(generator);
}

/* ---- sources through the encoder ----------------------------------------------------------- */

/* Puts new documents into free slots, as many as the instance has spans for: the rest begin in later
 * rounds. The i-th that begins is the instance's spans[i]. */
static embed_status take_documents(struct generator *generator, const struct generator_feed *feed)
{
    struct embed_instance *instance = generator->instance;
    generator->begun = 0;
    for (size_t p = 0; p < instance->plan.limits.D && generator->begun < TOKEN_BATCH_TEXTS; p++) {
        struct slot *slot = &generator->slots[p];
        struct generator_document document;
        bool has = false;
        if (slot->is_busy) continue;
        TRY(feed->next(feed->argument, &document, &has));
        if (!has) break;

        memcpy(slot->ids, document.ids, document.count * sizeof *slot->ids);
        slot->is_busy = true;
        slot->text = document.text;
        slot->piece = document.piece;
        size_t i = generator->begun++;
        instance->spans[i] = (struct token_span){.ids = slot->ids, .count = document.count};
        generator->staging.documents[i] =
            (struct beam_document){(int32_t)p, (int32_t)document.count, document.rules};
        generator->beams = (size_t)document.rules.num_beams;
    }
    return EMBED_OK;
}

static embed_status compute_sources(void *argument, size_t i, unsigned index,
                                    struct execution *execution)
{
    struct generator *generator = argument;
    struct embed_instance *instance = generator->instance;
    const struct embed_model *model = instance->model;
    const struct transformer_config *config = &model->encoder.config;
    const struct backend *op = model->backend;
    struct worker *worker = &instance->workers[index];
    const struct activations *a = &worker->activations;

    size_t first = instance->chunks[i], last = instance->chunks[i + 1];
    struct packed_batch host = chunk_pack(instance, first, last, worker), batch;
    host.variant = NEVER_AGAIN; /* keys and values go to another place each time */
    TRY(op->begin(&batch, &host, execution));
    TRY(encoder_forward(&model->encoder, op, a, &batch, execution));

    const struct beam_document *documents = generator->staging.documents;
    const char *x = a->x;
    for (size_t d = first; d < last; d++) {
        size_t S = (size_t)documents[d].source;
        TRY(decoder_attend_to(&model->decoder, config, op, &generator->cache,
                              (size_t)documents[d].slot, x, S, execution));
        x += S * config->C * op->activation_bytes;
    }
    return op->beam_start(&generator->cache.beams, documents + first, last - first, execution);
}

static void deliver_nothing(void *argument, unsigned index)
{
    (void)argument;
    (void)index;
}

/* Computes `count` chunks and waits for them. */
static embed_status run(struct generator *generator, size_t count, const struct chunk_work *work)
{
    struct embed_instance *instance = generator->instance;
    const struct backend *backend = instance->model->backend;
    TRY(backend->run(instance->executor, count, work));
    return backend->finish(instance->executor, work);
}

static embed_status encode_sources(struct generator *generator)
{
    const struct chunk_work work = {generator, compute_sources, deliver_nothing};
    struct embed_instance *instance = generator->instance;
    size_t tokens = 0;
    if (generator->begun == 0) return EMBED_OK;
    for (size_t i = 0; i < generator->begun; i++) tokens += instance->spans[i].count;
    return run(generator, chunk_cut(instance, generator->begun, tokens), &work);
}

/* ---- beams through the decoder ------------------------------------------------------------- */

static embed_status compute_steps(void *argument, size_t i, unsigned index,
                                  struct execution *execution)
{
    (void)i;
    (void)index;
    struct generator *generator = argument;
    const struct embed_instance *instance = generator->instance;
    const struct embed_model *model = instance->model;
    const struct transformer_config *config = &model->encoder.config;
    const struct decoder_activations *a = &generator->activations;
    const struct backend *op = model->backend;

    const struct beam_slots *beams = &generator->cache.beams;
    struct decode_batch host = {generator->stepping, generator->beams, generator->staging.slots,
                                *beams};
    struct decode_batch batch;
    TRY(op->begin_steps(&batch, &host, execution));
    for (unsigned step = 0; step < op->steps; step++) {
        TRY(decoder_forward(&model->decoder, config, op, &generator->cache, a, &batch, execution));
        TRY(op->beam_candidates(a->candidates, a->logits, &batch, config->V, execution));
        TRY(op->beam_step(&batch, a->candidates, execution));
    }
    size_t results = beams->P * result_size(&instance->plan) * sizeof *beams->results;
    return op->fetch(generator->staging.results, beams->results, results, execution);
}

/* Chooses the slots that take the next steps. For a queue, free slots, which cost little, raise
 * their number to a power of two if there are enough: few different numbers let the same operations
 * recur. */
static void choose_slots(struct generator *generator)
{
    const struct embed_instance *instance = generator->instance;
    size_t P = instance->plan.limits.D, D = 0;
    for (size_t p = 0; p < P; p++)
        if (generator->slots[p].is_busy) generator->staging.slots[D++] = (int32_t)p;
    size_t wanted = D > 0; /* 0 if no document is in flight */
    while (wanted < D) wanted *= 2;
    for (size_t p = 0; p < P && D < wanted && instance->model->backend->is_queue; p++)
        if (!generator->slots[p].is_busy) generator->staging.slots[D++] = (int32_t)p;
    generator->stepping = D;
}

/* Passes on the results of slots that are done, and frees the slots. */
static embed_status end_documents(struct generator *generator, const struct generator_feed *feed)
{
    const struct instance_plan *plan = &generator->instance->plan;
    for (size_t p = 0; p < plan->limits.D; p++) {
        struct slot *slot = &generator->slots[p];
        const int32_t *result = generator->staging.results + p * result_size(plan);
        if (!slot->is_busy || (result[0] != BEAM_DONE && result[0] != BEAM_NOT_FINITE)) continue;
        slot->is_busy = false;
        struct generator_result ended = {slot->text, slot->piece, result[0] == BEAM_DONE,
                                         result + BEAM_RESULT_HEADER, (size_t)result[1], 0};
        memcpy(&ended.score, &result[2], sizeof ended.score);
        TRY(feed->ended(feed->argument, &ended));
    }
    return EMBED_OK;
}

/* Drops the documents that a failed or cancelled run left in flight. Their slots must stop on the
 * device, too: in a queue, free slots may take steps. */
static embed_status drop_documents(struct generator *generator)
{
    size_t P = generator->instance->plan.limits.D, p = 0;
    while (p < P && !generator->slots[p].is_busy) p++;
    if (p < P) TRY(stop_slots(generator));
    for (; p < P; p++) generator->slots[p].is_busy = false;
    return EMBED_OK;
}

embed_status generator_run(struct generator *generator, const struct generator_feed *feed)
{
    const struct chunk_work work = {generator, compute_steps, deliver_nothing};
    TRY(drop_documents(generator));
    for (;;) {
        TRY(take_documents(generator, feed));
        TRY(encode_sources(generator));
        choose_slots(generator);
        if (generator->stepping == 0) return EMBED_OK;
        TRY(run(generator, 1, &work));
        TRY(end_documents(generator, feed));
    }
}
