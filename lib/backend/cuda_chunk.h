/* cuda_chunk.h - how many tokens a GPU computes at a time, by card and model shape */
#ifndef LIB_BACKEND_CUDA_CHUNK_H
#define LIB_BACKEND_CUDA_CHUNK_H

#include <stddef.h>

/* The properties of a GPU that the choice depends on; all zeros: unknown. */
struct cuda_card {
    int capability; /* 90 for 9.0 */
    unsigned multiprocessors;
    size_t l2_bytes;
};

/* Used if the card is unknown; the maximum if the second-level cache (L2) is too small. */
enum { CUDA_CHUNK_TOKENS = 8192 };

/* Returns the tokens of a chunk, for layers of width C, inner width F and the given element
 * size. */
size_t cuda_chunk_tokens(const struct cuda_card *card, size_t C, size_t F, size_t element_bytes);

#endif
