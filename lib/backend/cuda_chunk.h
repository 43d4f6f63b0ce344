/* cuda_chunk.h - how many tokens a GPU computes at a time, by the card and the model's shape */
#ifndef LIB_BACKEND_CUDA_CHUNK_H
#define LIB_BACKEND_CUDA_CHUNK_H

#include <stddef.h>

/* What of a GPU the choice rests on; all zeros: not known. */
struct cuda_card {
    int capability; /* 90 for 9.0 */
    unsigned multiprocessors;
    size_t l2_bytes;
};

/* Where the card is not known, and the most where the second-level cache (L2) is too small. */
enum { CUDA_CHUNK_TOKENS = 8192 };

/* Tokens of a chunk for layers of width C, inner width F and elements of so many bytes. */
size_t cuda_chunk_tokens(const struct cuda_card *card, size_t C, size_t F, size_t element_bytes);

#endif
