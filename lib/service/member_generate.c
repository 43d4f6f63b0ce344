/* member_generate.c - generates summaries of documents and recovers from failures
 *
 * The instance's generator asks for a document whenever one of its slots is free. The member takes
 * one from the queue, if one is waiting that may join those in flight, and delivers each as it
 * ends.
 *
 * Out of memory: tries those in flight again with a smaller instance. A GPU that is lost or keeps
 * failing: leaves them to another member. Any other failure: tries them once more without taking
 * others, then each alone, so that only a document at fault fails.
 */
#include "base/log.h"
#include "base/status.h"
#include "model/generator.h"
#include "model/instance.h"
#include "model/retry_f32.h"
#include "service/member.h"

#include <stdint.h>

struct generation {
    struct member *member;
    struct batch *waiting;   /* taken from the queue, to begin or to begin again */
    struct batch *under_way; /* in the generator */
    bool takes_more;         /* whether to take more from the queue */
};

/* ---- the generator's feed ------------------------------------------------------------------ */

static struct generator_document document_of(const struct batch *batch)
{
    return (struct generator_document){.text = (uintptr_t)batch,
                                       .ids = batch->text[0].ids,
                                       .count = batch->text[0].length,
                                       .rules = batch->part[0].request->summaries->rules};
}

/* Returns a waiting batch, else one from the queue that may join those in flight, else NULL. */
static struct batch *next_batch(struct generation *g)
{
    struct batch *batch = g->waiting;
    if (batch != NULL) g->waiting = batch->next;
    else if (g->takes_more)
        batch = pool_next_document(g->member->pool, g->member,
                                   g->under_way != NULL ? g->under_way->num_beams : 0);
    return batch;
}

static embed_status next_document(void *argument, struct generator_document *document, bool *has)
{
    struct generation *g = argument;
    struct batch *batch = next_batch(g);
    *has = batch != NULL;
    if (batch == NULL) return EMBED_OK;
    if (member_is_fallback(g->member)) batch->path[0] |= EMBED_PATH_CPU;
    batch->next = g->under_way;
    g->under_way = batch;
    *document = document_of(batch);
    return EMBED_OK;
}

/* Ends a batch that has left the generator: `result` is its document's. A failure becomes that of
 * the text. */
static void finish(struct member *member, struct batch *batch, const struct generator_result *result)
{
    bool is_last;
    const struct batch_part *document = &batch->part[0];
    embed_status status = request_end_document(document->request, document->first, result,
                                               member->model->tokenizer, &is_last);
    batch->item[0].status = result->is_finite ? EMBED_OK : EMBED_NOT_FINITE;
    batch->unfinished = !is_last;
    batch->generated = result->is_finite ? result->count : 0;
    if (status != EMBED_OK) pool_fail_text(member->pool, batch, 0, status);
    pool_deliver(member->pool, member, batch);
}

static embed_status finish_retried(void *argument, const struct generator_result *result)
{
    finish(argument, (struct batch *)result->text, result);
    return EMBED_OK;
}

static embed_status end_document(void *argument, const struct generator_result *result)
{
    struct generation *g = argument;
    struct member *member = g->member;
    struct batch **place = &g->under_way;
    while ((uintptr_t)*place != result->text) place = &(*place)->next;
    struct batch *batch = *place;
    *place = batch->next;
    member_succeeded(member);
    if (!result->is_finite && member->model->backend->dtype != EMBED_DTYPE_F32) {
        const struct generator_document document = document_of(batch);
        batch->path[0] |= EMBED_PATH_F32;
        if (retry_document_f32(member->model, &document, finish_retried, member) == EMBED_OK)
            return EMBED_OK;
        log_message(EMBED_LOG_WARNING,
                    "a summary hit NaN or infinity and cannot be retried in FP32: %s",
                    error_message());
    }
    finish(member, batch, result);
    return EMBED_OK;
}

/* ---- recovery ------------------------------------------------------------------------------ */

/* Runs until nothing is waiting or in flight. After a failure, what was in flight is waiting
 * again. */
static embed_status run(struct generation *g)
{
    const struct generator_feed feed = {g, next_document, end_document};
    embed_status status = generator_run(instance_generator(g->member->instance), &feed);
    struct batch **end = &g->under_way;
    for (; *end != NULL; end = &(*end)->next) (*end)->path[0] |= EMBED_PATH_RETRIED;
    *end = g->waiting;
    g->waiting = g->under_way;
    g->under_way = NULL;
    return status;
}

/* Runs what is waiting, again with a smaller instance when out of memory. Returns EMBED_OK, or a
 * failure if the member has left the pool. With EMBED_OK, *failure is EMBED_OK or a failure that
 * the caller may recover from. */
static embed_status run_within_memory(struct generation *g, embed_status *failure)
{
    for (;;) {
        *failure = run(g);
        if (*failure == EMBED_OK) return EMBED_OK;
        TRY(member_recover(g->member, *failure));
        if (*failure != EMBED_OUT_OF_MEMORY || member_is_fallback(g->member)) return EMBED_OK;
    }
}

/* Gives up the one waiting batch, which could not be computed: its text fails or goes to the
 * fallback. */
static void give_back_waiting(struct generation *g, embed_status status)
{
    struct member *member = g->member;
    struct batch *batch = g->waiting;
    g->waiting = NULL;
    member_give_up(member, batch, 0, status);
    if (batch_pending(batch) == 0) pool_deliver(member->pool, member, batch);
    else pool_pass_on(member->pool, member, batch, true);
}

/* Runs each waiting batch without company. */
static embed_status run_alone(struct generation *g)
{
    struct batch *others = g->waiting;
    embed_status status = EMBED_OK, failure;
    while (others != NULL && status == EMBED_OK) {
        g->waiting = others;
        others = others->next;
        g->waiting->next = NULL;
        g->waiting->path[0] |= EMBED_PATH_SPLIT;
        status = run_within_memory(g, &failure);
        if (status != EMBED_OK) g->waiting->next = others; /* all of them go to another member */
        else if (failure != EMBED_OK) give_back_waiting(g, failure);
    }
    return status;
}

static embed_status run_all(struct generation *g)
{
    embed_status failure;
    TRY(run_within_memory(g, &failure));
    if (failure == EMBED_OK) return EMBED_OK;
    size_t count = 0;
    for (const struct batch *batch = g->waiting; batch != NULL; batch = batch->next) count++;
    log_message(EMBED_LOG_WARNING, "retrying %zu documents: %s", count, error_message());
    g->takes_more = false;
    TRY(run_within_memory(g, &failure));
    if (failure == EMBED_OK) return EMBED_OK;
    if (count > 1) return run_alone(g);
    give_back_waiting(g, failure);
    return EMBED_OK;
}

void member_generate(struct member *member, struct batch *batch)
{
    struct generation g = {.member = member, .waiting = batch, .takes_more = true};
    batch->next = NULL;
    if (member_is_fallback(member) && member_open_fallback(member, batch) != EMBED_OK) {
        pool_deliver(member->pool, member, batch);
        return;
    }
    if (run_all(&g) == EMBED_OK) return;
    while (g.waiting != NULL) {
        batch = g.waiting;
        g.waiting = batch->next;
        pool_pass_on(member->pool, member, batch, false);
    }
}
