/* backend_cpu.h - splits the CPU's operations among threads; the operations of a decoder */
#ifndef LIB_BACKEND_BACKEND_CPU_H
#define LIB_BACKEND_BACKEND_CPU_H

#include "backend/backend.h"

struct execution {
    const struct cpu_kernels *kernels;
    struct thread_team *team; /* NULL: the calling thread alone */
    char *scratch;            /* that of rank r begins at r * scratch_bytes */
    size_t scratch_bytes;
};

/* An operation is a function that computes part of the work: units [first, last) of `units`. */
struct operation {
    void (*part)(const struct operation *operation, size_t first, size_t last, void *scratch);
    const struct execution *execution;
    const struct cpu_kernels *kernels;
    const void *arguments;
    size_t units;
};

/* Computes all units on the thread or threads of the execution. */
embed_status cpu_compute(void (*part)(const struct operation *, size_t, size_t, void *),
                         const void *arguments, size_t units, struct execution *execution);

/* Returns row n of a matrix of elements with C columns. */
static inline void *row_of(const struct operation *operation, const void *matrix, size_t n,
                           size_t C)
{
    return (char *)matrix + n * C * operation->kernels->element_bytes;
}

/* ---- backend_cpu_decoder.c: documented in backend.h ---- */

embed_status cpu_begin_steps(struct decode_batch *device, const struct decode_batch *host,
                             struct execution *execution);
embed_status cpu_beam_start(const struct beam_slots *beams, const struct beam_document *documents,
                            size_t D, struct execution *execution);
embed_status cpu_embed_beams(void *x, float *residual, const struct decode_batch *batch,
                             const struct embeddings *embeddings, size_t first_position, size_t C,
                             float eps, struct execution *execution);
embed_status cpu_residual_layernorm(void *x, float *residual, const float *more,
                                    const struct layernorm *norm, size_t N, size_t C, float eps,
                                    struct execution *execution);
embed_status cpu_self_attention(void *context, const void *qkv, void *cache,
                                const struct decode_batch *batch, size_t NH, size_t HS,
                                struct execution *execution);
embed_status cpu_cross_attention(void *context, const void *q, const void *cache,
                                 size_t most_sources, const struct decode_batch *batch, size_t NH,
                                 size_t HS, struct execution *execution);
/* Also serves as residual_linear. */
embed_status cpu_logits(float *y, const void *x, const struct linear *layer, size_t N,
                        struct execution *execution);
embed_status cpu_beam_candidates(struct beam_candidate *candidates, float *logits,
                                 const struct decode_batch *batch, size_t V,
                                 struct execution *execution);
embed_status cpu_beam_step(const struct decode_batch *batch,
                           const struct beam_candidate *candidates, struct execution *execution);

#endif
