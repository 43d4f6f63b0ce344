/* batch.h - texts of several requests that are computed together
 *
 * For a model that generates, a batch holds a single document. An instance has many such batches in
 * flight; documents join and leave as they start and end.
 */
#ifndef LIB_SERVICE_BATCH_H
#define LIB_SERVICE_BATCH_H

#include "service/request.h"

/* Consecutive texts of one request. */
struct batch_part {
    struct request *request;
    size_t first, count;
};

/* While item[i].status is EMBED_PENDING, text i has neither a result nor a final failure. */
struct batch {
    struct batch *next; /* in the one list that holds it: free, in flight, or passed on by its
                           member */
    size_t most_texts;
    size_t texts, tokens, parts;
    size_t dimensions; /* floats per row, the same for all texts */
    embed_switch normalize;
    int32_t num_beams; /* of the document */
    size_t unfinished; /* texts whose summaries still lack other documents */
    size_t generated;  /* tokens generated */
    uint64_t formed; /* clock_nanoseconds when it was formed */
    uint64_t computed; /* clock_nanoseconds when it was delivered */
    struct batch_part *part; /* (parts) */
    embed_text *text;        /* (texts), as ids */
    size_t *skipped;         /* (texts), leading tokens excluded from pooling */
    float **row;             /* (texts), where the rows go */
    embed_item *item;        /* (texts) */
    unsigned char *path;     /* (texts), embed_path bits */
};

/* Creates an empty batch with room for `most_texts` texts; the caller owns it. */
embed_status batch_create(struct batch **batch, size_t most_texts);
void batch_destroy(struct batch *batch); /* NULL is fine */

/* Empties the batch. If `num_beams` is not 0, only documents with that many beams will fit. */
void batch_clear(struct batch *batch, int32_t num_beams);

/* Returns whether texts of `request` may join those already in the batch. */
bool batch_fits(const struct batch *batch, const struct request *request);

/* Appends texts [first, first + count) of `request`, which must fit. */
void batch_append(struct batch *batch, struct request *request, size_t first, size_t count);

/* Returns the number of texts that are still EMBED_PENDING. */
size_t batch_pending(const struct batch *batch);

#endif
