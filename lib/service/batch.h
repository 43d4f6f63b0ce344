/* batch.h - texts of several requests that are computed together */
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
    struct batch *next; /* among those whose member could not go on */
    size_t most_texts;
    size_t texts, tokens, parts;
    size_t dimensions; /* of all its texts' rows */
    embed_switch normalize;
    uint64_t formed; /* nanoseconds */
    uint64_t computed; /* nanoseconds, from then on */
    struct batch_part *part; /* (parts) */
    embed_text *text;        /* (texts), as ids */
    float **row;             /* (texts), where they go */
    embed_item *item;        /* (texts) */
    unsigned char *path;     /* (texts), embed_path bits */
};

/* With room for so many texts. */
embed_status batch_create(struct batch **batch, size_t most_texts);
void batch_destroy(struct batch *batch); /* NULL is fine */

void batch_clear(struct batch *batch);

/* Appends texts [first, first + count) of a request, which fit. */
void batch_append(struct batch *batch, struct request *request, size_t first, size_t count);

/* Texts that are still EMBED_PENDING. */
size_t batch_pending(const struct batch *batch);

#endif
