/* member_compute.c - computes a batch and recovers from failures
 *
 * Out of memory: tries again with a smaller instance. A GPU that is lost or keeps failing: leaves
 * the batch to another member. Any other failure: tries once more, then in halves, until the texts
 * at fault are alone.
 */
#include "base/log.h"
#include "base/status.h"
#include "model/instance.h"
#include "service/member.h"

static embed_status encode(struct member *member, struct batch *batch, size_t first, size_t last)
{
    embed_encode_options options = EMBED_ENCODE_OPTIONS_INIT;
    const struct row_places rows = {.D = batch->dimensions, .each = batch->row + first};
    options.max_tokens = member->model->max_tokens;
    options.dimensions = batch->dimensions;
    options.normalize = batch->normalize;
    embed_status status =
        instance_encode(member->instance, batch->text + first, last - first, &options,
                        batch->skipped + first, &rows, batch->item + first);
    if (status == EMBED_OK || status == EMBED_NOT_FINITE) return EMBED_OK;
    for (size_t i = first; i < last; i++) batch->item[i].status = EMBED_PENDING;
    return status;
}

static void mark(struct batch *batch, size_t first, size_t last, unsigned path)
{
    for (size_t i = first; i < last; i++) batch->path[i] |= (unsigned char)path;
}

void member_give_up(struct member *member, struct batch *batch, size_t i, embed_status status)
{
    if (member->pool->fallback != NULL && !member_is_fallback(member)) return;
    pool_fail_text(member->pool, batch, i, status);
}

embed_status member_recover(struct member *member, embed_status status)
{
    if (status == EMBED_DEVICE_LOST) return member_leave(member, status);
    if (member_is_fallback(member)) return EMBED_OK;
    if (++member->failures >= MOST_FAILURES) return member_leave(member, status);
    return status == EMBED_OUT_OF_MEMORY ? member_shrink(member) : EMBED_OK;
}

void member_succeeded(struct member *member)
{
    member->failures = 0;
    member->pause = SHORTEST_PAUSE;
}

/* Returns EMBED_OK, or a failure if the member has left the pool. */
static embed_status compute(struct member *member, struct batch *batch, size_t first, size_t last)
{
    embed_status status = encode(member, batch, first, last);
    for (unsigned again = 0; status != EMBED_OK; again++) {
        mark(batch, first, last, EMBED_PATH_RETRIED);
        TRY(member_recover(member, status));
        if (again > 0) break;
        log_message(EMBED_LOG_WARNING, "retrying a batch of %zu texts: %s", last - first,
                    error_message());
        status = encode(member, batch, first, last);
    }
    if (status == EMBED_OK) {
        member_succeeded(member);
        return EMBED_OK;
    }
    if (last - first == 1) {
        member_give_up(member, batch, first, status);
        return EMBED_OK;
    }
    size_t middle = first + (last - first) / 2;
    mark(batch, first, last, EMBED_PATH_SPLIT);
    TRY(compute(member, batch, first, middle));
    return compute(member, batch, middle, last);
}

/* Computes the texts that are still pending. In a batch passed on by another member they may lie
 * anywhere. */
static embed_status compute_pending(struct member *member, struct batch *batch)
{
    for (size_t first = 0, last; first < batch->texts; first = last) {
        for (last = first; last < batch->texts && batch->item[last].status == EMBED_PENDING;) last++;
        if (last == first) last++;
        else TRY(compute(member, batch, first, last));
    }
    return EMBED_OK;
}

embed_status member_open_fallback(struct member *member, struct batch *batch)
{
    embed_status status = member->instance != NULL ? EMBED_OK : member_open(member, true);
    if (status == EMBED_OK) return EMBED_OK;
    fail(status, "no instance is left, and the CPU fallback failed: %s", error_message());
    pool_fail_pending(member->pool, batch, status);
    return status;
}

/* Returns EMBED_OK, or a failure if the member no longer has an instance. */
static embed_status compute_all(struct member *member, struct batch *batch)
{
    if (member_is_fallback(member)) {
        TRY(member_open_fallback(member, batch));
        for (size_t i = 0; i < batch->texts; i++)
            if (batch->item[i].status == EMBED_PENDING) mark(batch, i, i + 1, EMBED_PATH_CPU);
    }
    return compute_pending(member, batch);
}

void member_compute(struct member *member, struct batch *batch)
{
    embed_status status = compute_all(member, batch);
    if (batch_pending(batch) == 0) pool_deliver(member->pool, member, batch);
    else pool_pass_on(member->pool, member, batch, status == EMBED_OK);
}
