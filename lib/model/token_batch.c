/* token_batch.c - tokenizes many texts, on all threads */
#include "model/token_batch.h"

#include "base/first_failure.h"
#include "base/memory.h"
#include "base/status.h"

#include <stdatomic.h>
#include <string.h>

/* Threads take texts in groups of this size: small enough to balance the work, large enough that
 * the shared counter costs nothing. */
#define GROUP 16

struct lane { /* of one thread */
    struct token_list list;
    struct word_cache cache;
    char *joined; /* prompt and text, concatenated */
    size_t joined_capacity;
};

struct token_batch {
    unsigned threads;
    struct lane *lanes;
    /* Lane and start of span i's ids: pointers would dangle while the lists still grow and move. */
    unsigned lane_of[TOKEN_BATCH_TEXTS];
    size_t start_of[TOKEN_BATCH_TEXTS];
};

struct fill {
    struct token_batch *batch;
    struct token_span *spans;
    const embed_text *texts;
    size_t n;
    const struct token_source *source;
    atomic_size_t next;
    struct first_failure failure;
};

embed_status token_batch_create(struct token_batch **out, unsigned threads)
{
    struct token_batch *batch = memory_allocate(1, sizeof *batch, "a batch of tokens");
    if (batch == NULL) return EMBED_OUT_OF_MEMORY;
    batch->threads = threads;
    batch->lanes = memory_allocate(threads, sizeof *batch->lanes, "a batch of tokens");
    if (batch->lanes == NULL) {
        memory_free(batch);
        return EMBED_OUT_OF_MEMORY;
    }
    *out = batch;
    return EMBED_OK;
}

void token_batch_destroy(struct token_batch *batch)
{
    if (batch == NULL) return;
    for (unsigned i = 0; i < batch->threads; i++) {
        token_list_free(&batch->lanes[i].list);
        word_cache_free(&batch->lanes[i].cache);
        memory_free(batch->lanes[i].joined);
    }
    memory_free(batch->lanes);
    memory_free(batch);
}

/* Joins prompt and text as bytes, before tokenizing: a token may span the boundary. */
static embed_status join(struct lane *lane, const char *prompt, const embed_text *text,
                         size_t *length)
{
    size_t head = strlen(prompt);
    if (!size_add(head, text->length, length))
        return fail(EMBED_OUT_OF_MEMORY, "a text of %zu bytes and its prompt are too long",
                    text->length);
    if (*length > lane->joined_capacity) {
        char *larger = memory_resize(lane->joined, *length, 1, "a text and its prompt");
        if (larger == NULL) return EMBED_OUT_OF_MEMORY;
        lane->joined = larger;
        lane->joined_capacity = *length;
    }
    memcpy(lane->joined, prompt, head);
    if (text->length > 0) memcpy(lane->joined + head, text->data, text->length);
    return EMBED_OK;
}

static embed_status check_given(const embed_text *text, const struct token_source *source,
                                size_t number)
{
    if (text->length == 0) return fail(EMBED_INVALID_ARGUMENT, "text %zu: no token ids", number);
    if (source->max_given > 0 && text->length > source->max_given)
        return fail(EMBED_INVALID_ARGUMENT, "text %zu: %zu token ids, the limit is %zu", number,
                    text->length, source->max_given);
    for (size_t i = 0; i < text->length; i++) {
        if (text->ids[i] < 0 || (size_t)text->ids[i] >= source->vocabulary)
            return fail(EMBED_INVALID_ARGUMENT, "text %zu: token id %d is out of range 0 to %zu",
                        number, (int)text->ids[i], source->vocabulary - 1);
    }
    return EMBED_OK;
}

static embed_status fill_one(struct fill *fill, size_t i, unsigned rank)
{
    const struct token_source *source = fill->source;
    const embed_text *text = &fill->texts[i];
    struct token_span *span = &fill->spans[i];
    struct lane *lane = &fill->batch->lanes[rank];

    if (text->ids != NULL) {
        TRY(check_given(text, source, source->first_text + i));
        *span = (struct token_span){.ids = text->ids,
                                    .count = text->length,
                                    .skipped = source->skipped != NULL ? source->skipped[i] : 0};
        return EMBED_OK;
    }
    const char *data = text->data;
    size_t length = text->length;
    if (source->prompt[0] != '\0') {
        TRY(join(lane, source->prompt, text, &length));
        data = lane->joined;
    }
    struct tokenizer_facts facts;
    fill->batch->lane_of[i] = rank;
    fill->batch->start_of[i] = lane->list.count;
    TRY(tokenizer_encode(source->tokenizer, &lane->cache, data, length, source->max_tokens,
                         &lane->list, &facts));
    *span = (struct token_span){NULL, facts.tokens, facts.invalid_bytes, facts.truncated,
                                source->prompt_tokens};
    return EMBED_OK;
}

static void fill_some(void *argument, unsigned rank)
{
    struct fill *fill = argument;
    size_t first;
    while (!first_failure_seen(&fill->failure) &&
           (first = atomic_fetch_add(&fill->next, GROUP)) < fill->n) {
        size_t last = fill->n - first < GROUP ? fill->n : first + GROUP;
        for (size_t i = first; i < last; i++)
            first_failure_note(&fill->failure, fill_one(fill, i, rank));
    }
}

embed_status token_batch_fill(struct token_batch *batch, struct token_span *spans,
                              const embed_text *texts, size_t n, const struct token_source *source,
                              struct thread_team *team)
{
    struct fill fill = {.batch = batch, .spans = spans, .texts = texts, .n = n, .source = source};
    for (unsigned i = 0; i < batch->threads; i++) batch->lanes[i].list.count = 0;
    if (n <= GROUP || team == NULL) fill_some(&fill, 0);
    else thread_team_run(team, fill_some, &fill);

    TRY(first_failure_result(&fill.failure));
    for (size_t i = 0; i < n; i++) {
        if (texts[i].ids == NULL)
            spans[i].ids = batch->lanes[batch->lane_of[i]].list.ids + batch->start_of[i];
    }
    return EMBED_OK;
}
