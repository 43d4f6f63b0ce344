/* chunk.h - cuts texts into chunks, and packs a chunk into a batch */
#ifndef LIB_MODEL_CHUNK_H
#define LIB_MODEL_CHUNK_H

#include "backend/backend.h"

struct embed_instance;
struct worker;

/* Cuts the instance's first n spans, which have `tokens` tokens in total, into chunks of about
 * equally many tokens. Writes instance->chunks and returns the number of chunks. */
size_t chunk_cut(struct embed_instance *instance, size_t n, size_t tokens);

/* Packs spans [first, last) into a batch, whose arrays are the worker's staging memory. */
struct packed_batch chunk_pack(const struct embed_instance *instance, size_t first, size_t last,
                               struct worker *worker);

#endif
