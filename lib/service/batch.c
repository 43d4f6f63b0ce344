/* batch.c - texts of several requests that are computed together */
#include "service/batch.h"

#include "base/memory.h"

embed_status batch_create(struct batch **out, size_t most_texts)
{
    struct batch *batch = memory_allocate(1, sizeof *batch, "a batch");
    if (batch == NULL) return EMBED_OUT_OF_MEMORY;
    batch->most_texts = most_texts;
    batch->part = memory_allocate(most_texts, sizeof *batch->part, "a batch");
    batch->text = memory_allocate(most_texts, sizeof *batch->text, "a batch");
    batch->skipped = memory_allocate(most_texts, sizeof *batch->skipped, "a batch");
    batch->row = memory_allocate(most_texts, sizeof *batch->row, "a batch");
    batch->item = memory_allocate(most_texts, sizeof *batch->item, "a batch");
    batch->path = memory_allocate(most_texts, sizeof *batch->path, "a batch");
    if (batch->part == NULL || batch->text == NULL || batch->skipped == NULL || batch->row == NULL || batch->item == NULL ||
        batch->path == NULL) {
        batch_destroy(batch);
        return EMBED_OUT_OF_MEMORY;
    }
    *out = batch;
    return EMBED_OK;
}

void batch_destroy(struct batch *batch)
{
    if (batch == NULL) return;
    memory_free(batch->part);
    memory_free(batch->text);
    memory_free(batch->skipped);
    memory_free(batch->row);
    memory_free(batch->item);
    memory_free(batch->path);
    memory_free(batch);
}

void batch_clear(struct batch *batch, int32_t num_beams)
{
    batch->texts = batch->tokens = batch->parts = 0;
    batch->num_beams = num_beams;
    batch->unfinished = batch->generated = 0;
}

bool batch_fits(const struct batch *batch, const struct request *request)
{
    if (request->summaries != NULL)
        return batch->num_beams == 0 || batch->num_beams == request->summaries->rules.num_beams;
    return batch->texts == 0 || (batch->dimensions == request->dimensions &&
                                 batch->normalize == request->normalize);
}

void batch_append(struct batch *batch, struct request *request, size_t first, size_t count)
{
    if (batch->texts == 0) {
        batch->dimensions = request->dimensions;
        batch->normalize = request->normalize;
    }
    if (request->summaries != NULL) batch->num_beams = request->summaries->rules.num_beams;
    batch->part[batch->parts++] = (struct batch_part){request, first, count};
    for (size_t i = first; i < first + count; i++) {
        const struct request_text *text = &request->texts[i];
        size_t at = batch->texts++;
        batch->text[at] =
            (embed_text){.ids = request->ids + text->first, .length = text->count};
        batch->skipped[at] = text->skipped;
        batch->row[at] = request->out == NULL ? NULL : request->out + i * request->dimensions;
        batch->item[at] = (embed_item){.status = EMBED_PENDING};
        batch->path[at] = 0;
        batch->tokens += text->count;
    }
}

size_t batch_pending(const struct batch *batch)
{
    size_t pending = 0;
    for (size_t i = 0; i < batch->texts; i++) pending += batch->item[i].status == EMBED_PENDING;
    return pending;
}
