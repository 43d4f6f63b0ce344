/* batch.h - texts of several requests that are computed together
 *
 * Where the model generates, a batch is one document: others join it and leave it as they end, in an
 * instance that has many batches under way.
 */
#ifndef LIB_SERVICE_BATCH_H
#define LIB_SERVICE_BATCH_H

#include "service/request.h"

/* Consecutive texts of one request. */
struct batch_part {
    struct request *request;
    size_t first, count;
};

/* Text i of the batch has not been computed, or could not be, while items[i].status is EMBED_PENDING. */
struct batch {
    struct batch *next; /* in one list: free ones, those under way, those whose member could not go on */
    size_t most_texts;
    size_t texts, tokens, parts;
    size_t dimensions; /* of all its texts' rows */
    embed_switch normalize;
    int32_t num_beams; /* of a document */
    size_t unfinished; /* texts of which other documents are still to come */
    size_t generated;  /* tokens */
    uint64_t formed; /* nanoseconds */
    uint64_t computed; /* nanoseconds, from then on */
    struct batch_part *part; /* (parts) */
    embed_text *text;        /* (texts), as ids */
    size_t *skipped;         /* (texts), first tokens that are not pooled */
    float **row;             /* (texts), where they go */
    embed_item *item;        /* (texts) */
    unsigned char *path;     /* (texts), embed_path bits */
};

/* With room for so many texts. */
embed_status batch_create(struct batch **batch, size_t most_texts);
void batch_destroy(struct batch *batch); /* NULL is fine */

/* For texts of any kind; or, where it is not 0, for documents of so many beams. */
void batch_clear(struct batch *batch, int32_t num_beams);

/* May texts of this request go with those that it has? */
bool batch_fits(const struct batch *batch, const struct request *request);

/* Appends texts [first, first + count) of a request, which fit. */
void batch_append(struct batch *batch, struct request *request, size_t first, size_t count);

/* Texts that are still EMBED_PENDING. */
size_t batch_pending(const struct batch *batch);

#endif
