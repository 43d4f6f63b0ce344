/* chunk.h - texts cut into chunks, and a chunk's batch */
#ifndef LIB_MODEL_CHUNK_H
#define LIB_MODEL_CHUNK_H

#include "backend/backend.h"

struct embed_instance;
struct worker;

/* Cuts the instance's first n spans, of so many tokens together, into chunks of about equal tokens,
 * and returns how many. */
size_t chunk_cut(struct embed_instance *instance, size_t n, size_t tokens);

/* The batch that spans [first, last) make, in the worker's arrays. */
struct packed_batch chunk_pack(const struct embed_instance *instance, size_t first, size_t last,
                               struct worker *worker);

#endif
