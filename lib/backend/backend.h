/* backend.h - what the model code sees of a device
 *
 * A backend is one open device with one dtype: it stores weights in the layout its kernels like,
 * and runs the operations of the forward pass. `void *` is memory of the device, handed out by the
 * backend; activations are matrices of `activation_bytes` a number. Dimensions: kernels/kernels.h.
 *
 * A batch is computed in chunks of whole sequences. An executor is what one instance owns of the
 * device to compute them (scratch, streams); an execution is one chunk under way, which every
 * operation takes last: a CUDA stream, or a CPU thread, or all CPU threads together.
 */
#ifndef LIB_BACKEND_BACKEND_H
#define LIB_BACKEND_BACKEND_H

#include "backend/cuda_chunk.h"
#include "embed.h"
#include "kernels/beam_search.h"
#include "kernels/kernels.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct thread_team;
struct executor;
struct execution;

enum weight_kind {
    WEIGHT_TABLE,  /* rows that are looked up: embeddings (rows, columns) */
    WEIGHT_VECTOR, /* FP32 in any dtype, rows as they are: LayerNorm (1, columns), a struct dense */
    WEIGHT_MATRIX, /* of a linear layer (O = rows, I = columns) */
    WEIGHT_BIAS,   /* of a linear layer (1, O = columns) */
    WEIGHT_WIDE_BIAS, /* of one whose result is logits, or added to a residual stream (1, O =
                       * columns): on a GPU FP32 in any dtype */
    WEIGHT_SCORES  /* added to attention's scores: a relative_bias (NH = rows, columns) */
};

struct linear {
    void *weight, *bias;
    size_t O, I;
};

/* Of pooled rows, in FP32 in any dtype. */
struct dense {
    void *weight, *bias; /* (O, I) and (O), WEIGHT_VECTORs; bias NULL: none */
    size_t O, I;
    enum activation activation;
};

struct layernorm {
    void *weight, *bias; /* (C) */
};

struct embeddings {
    void *word;     /* (V, C) */
    void *position; /* (positions, C) */
    void *type;     /* (C), the token type of a single text; NULL where the model has none */
    struct layernorm norm;
};

/* What attention adds to its scores by the distance from query to key (MPNet). */
struct relative_bias {
    void *table;     /* (NH, columns): distance d of head h at [h, zero + d]; NULL: none */
    size_t columns;  /* 2 * zero + 1, and 64 that are never used but may be read */
    size_t zero;     /* the longest distance */
};

/* The variant of a chunk whose operations will not come again: those that write into slots. */
#define NEVER_AGAIN SIZE_MAX

/* Sequence b is tokens offsets[b] to offsets[b + 1] - 1; the last sequences may be empty, and the
 * last tokens in none. The four arrays follow each other in memory without a gap. */
struct packed_batch {
    size_t N, B, longest;
    size_t variant; /* batches of one shape and variant are followed by the same operations, on the
                     * same memory; but NEVER_AGAIN is not */
    const int32_t *ids;       /* (N) */
    const int32_t *positions; /* (N), rows of the position table */
    const int32_t *offsets;   /* (B + 1) */
    const int32_t *skipped;   /* (B) first tokens that are not pooled; NULL: all are */
};

/* Numbers in the arrays of a batch. */
static inline size_t packed_batch_size(size_t N, size_t B)
{
    return 2 * N + B + 1 + B;
}

/* What an executor must be large enough for: chunks of up to N tokens and B sequences, sequences of
 * up to T tokens, heads of HS, linear layers of up to I inputs; and, where a decoder follows, steps of
 * up to D documents with K beams each. Those have no more tokens than T. */
struct chunk_limits {
    size_t N, B, T, HS, I;
    size_t D, K; /* 0: there is no decoder */
};

/* What is done with each chunk. A worker has buffers of its own, free again after deliver. */
struct chunk_work {
    void *argument;
    /* Computes chunk i, or enqueues it: begin, operations, fetch. */
    embed_status (*compute)(void *argument, size_t i, unsigned worker, struct execution *execution);
    /* What compute has fetched is there. */
    void (*deliver)(void *argument, unsigned worker);
};

/* What a GPU gives besides what is allocated on it. */
struct device_costs {
    size_t context; /* once a process and device: CUDA's */
    size_t library; /* once a process and device: cuBLASLt's */
    size_t stream;  /* of each executor */
    bool are_measured; /* on this device in this process; else they are allowances */
};

struct backend {
    atomic_size_t references; /* see backend_hold */
    embed_device device;
    int device_index;
    embed_dtype dtype;
    char device_name[128];
    char instruction_set[16];
    size_t activation_bytes;
    unsigned workers;    /* chunks of an executor that are under way at the same time */
    bool is_queue;       /* they are computed one after another, while `run` has long returned */
    unsigned steps;      /* of decoding in a chunk: so often it is worth to look who is done */
    size_t slots;        /* documents that are decoded at a time, where the caller has no wish */
    bool matrices_are_tables; /* a WEIGHT_MATRIX without a bias of its own is stored as a WEIGHT_TABLE */
    struct device_costs costs; /* zeros on the CPU */
    size_t graph_bytes;  /* of the device, that an executor takes at most for graphs, by and by */
    struct cuda_card card; /* zeros on the CPU, and where a plan is for a GPU that is not here */

    void (*close)(struct backend *backend);

    /* ---- memory: of the device, aligned for its kernels ---- */
    embed_status (*allocate)(struct backend *backend, void **out, size_t bytes, const char *what);
    void (*release)(struct backend *backend, void *memory); /* NULL is fine */
    /* What `allocate` can still give, and what `bytes` of it take, granularity included. */
    embed_status (*free_memory)(const struct backend *backend, uint64_t *bytes);
    size_t (*taken_memory)(const struct backend *backend, size_t bytes);
    /* Memory of the host, which the device copies from and to. */
    embed_status (*staging_allocate)(struct backend *backend, void **out, size_t bytes,
                                     const char *what);
    void (*staging_release)(struct backend *backend, void *memory); /* NULL is fine */

    /* ---- weights ---- */
    /* Bytes in the device's layout; SIZE_MAX where they do not fit. */
    size_t (*weight_bytes)(const struct backend *backend, enum weight_kind kind, size_t rows,
                           size_t columns);
    /* Stores rows [first, first + count) of a weight from values (count, columns). A matrix is
     * stored at once. Several threads may store into different weights. EMBED_UNSUPPORTED where a
     * value is too large for the dtype. */
    embed_status (*weight_store)(struct backend *backend, void *weight, enum weight_kind kind,
                                 const float *values, size_t first, size_t count, size_t columns);

    /* ---- executors ---- */
    /* Tokens of a chunk where the caller has no wish, for layers of width C and inner width F. */
    size_t (*chunk_tokens)(const struct backend *backend, size_t C, size_t F);
    embed_status (*executor_create)(struct executor **executor, struct backend *backend,
                                    const struct chunk_limits *limits);
    size_t (*executor_bytes)(const struct backend *backend, const struct chunk_limits *limits);
    void (*executor_destroy)(struct executor *executor); /* NULL is fine */
    /* Computes chunks 0 to count - 1, up to `workers` at a time, and delivers them, in any order,
     * from any thread; the last ones, where the backend is a queue, at a later call of run or
     * finish. Returns the first failure, with its message; then nothing is under way any more. */
    embed_status (*run)(struct executor *executor, size_t count, const struct chunk_work *work);
    /* Delivers what is still under way. */
    embed_status (*finish)(struct executor *executor, const struct chunk_work *work);

    /* ---- a chunk: begin, operations, fetch ---- */
    /* Raises the sizes of a small chunk to the next of a few, whose operations the backend can
     * start at once when they come again. NULL: there is no use in that. */
    void (*round_up)(const struct chunk_limits *limits, size_t *N, size_t *B, size_t *longest);
    /* `device` becomes the batch as the operations want it; `host`, whose arrays are staging
     * memory, must stay until delivery. */
    embed_status (*begin)(struct packed_batch *device, const struct packed_batch *host,
                          struct execution *execution);
    /* As begin, for a chunk of decoding: host->slots is staging memory, and device->slots where the
     * operations want it. Chunks of the same D and K are followed by the same operations. */
    embed_status (*begin_steps)(struct decode_batch *device, const struct decode_batch *host,
                                struct execution *execution);
    /* The last: copies `bytes` of what the operations gave to staging memory, where they are at
     * delivery. */
    embed_status (*fetch)(void *out, const void *memory, size_t bytes,
                          struct execution *execution);

    /* ---- operations: the same formulas as in kernels.h, over a whole chunk ---- */
    embed_status (*embed_layernorm)(void *y, const struct packed_batch *batch,
                                    const struct embeddings *embeddings, size_t C, float eps,
                                    struct execution *execution);
    embed_status (*linear)(void *y, const void *x, const struct linear *layer, size_t N,
                           enum activation activation, struct execution *execution);
    /* qkv (N, 3C): q, k and v side by side, each NH heads of HS. */
    embed_status (*attention)(void *context, const void *qkv, const struct relative_bias *bias,
                              const struct packed_batch *batch, size_t NH, size_t HS,
                              struct execution *execution);
    /* x (N, O) = layernorm(in (N, I) @ layer + x). buffer (N, O) becomes anything; it is neither x
     * nor in. */
    embed_status (*linear_add_layernorm)(void *x, const void *in, const struct linear *layer,
                                         const struct layernorm *norm, size_t N, float eps,
                                         void *buffer, struct execution *execution);
    /* first (B, C) = of each sequence the row of x (N, C) that POOLING_CLS takes; and back. NULL: it
     * is not worth it to compute with these alone. */
    embed_status (*take_first_rows)(void *first, const void *x, const struct packed_batch *batch,
                                    size_t C, struct execution *execution);
    embed_status (*put_first_rows)(void *x, const void *first, const struct packed_batch *batch,
                                   size_t C, struct execution *execution);
    /* rows (B, C) from x (N, C), of which the first D components are wanted, with L2 norm 1 where
     * `normalize` says so; row b at rows + b * stride. Rows are floats in any dtype. */
    embed_status (*pool)(float *rows, size_t stride, const void *x,
                         const struct packed_batch *batch, size_t C, enum pooling pooling, size_t D,
                         bool normalize, struct execution *execution);
    /* y (B, O) from rows x (B, I). */
    embed_status (*dense)(float *y, const float *x, const struct dense *layer, size_t B,
                          struct execution *execution);
    /* The first D components of rows (B, W) get an L2 norm of 1, in place. */
    embed_status (*l2_normalize)(float *rows, size_t B, size_t W, size_t D,
                                 struct execution *execution);

    /* ---- operations of a decoder; states and letters: kernels/beam_search.h ---- */
    /* The slots of documents (D), which is staging memory, begin: one token each. In the chunk that
     * computes what their decoder attends to, whose variant is NEVER_AGAIN. D is at most that of the
     * executor's limits. */
    embed_status (*beam_start)(const struct beam_slots *beams, const struct beam_document *documents,
                               size_t D, struct execution *execution);
    /* The residual stream is in FP32 in any dtype: where activations are too, x is `residual`.
     *
     * residual (D * K, C) = layernorm(word[last token of each beam] + position[first_position + its
     * position]), and x is the same as activations. */
    embed_status (*embed_beams)(void *x, float *residual, const struct decode_batch *batch,
                                const struct embeddings *embeddings, size_t first_position,
                                size_t C, float eps, struct execution *execution);
    /* y (N, O) in FP32 = x @ layer, without an activation. The bias is a WEIGHT_WIDE_BIAS. */
    embed_status (*residual_linear)(float *y, const void *x, const struct linear *layer, size_t N,
                                    struct execution *execution);
    /* residual (N, C) = layernorm(more (N, C) + residual (N, C)), and x the same as activations. */
    embed_status (*residual_layernorm)(void *x, float *residual, const float *more,
                                       const struct layernorm *norm, size_t N, size_t C, float eps,
                                       struct execution *execution);
    /* Causal self-attention of the beams' last tokens. qkv (D * K, 3C). Their keys and values are
     * first appended to the layer's cache (P, K, T, 2C), a key and its value side by side: row k of
     * slot p, position length - 1. */
    embed_status (*self_attention)(void *context, const void *qkv, void *cache,
                                   const struct decode_batch *batch, size_t NH, size_t HS,
                                   struct execution *execution);
    /* Attention of all beams of a document to its source: q (D * K, C), and the layer's cache
     * (P, most_sources, 2C), of which a slot has sources[slot] keys and values. */
    embed_status (*cross_attention)(void *context, const void *q, const void *cache,
                                    size_t most_sources, const struct decode_batch *batch,
                                    size_t NH, size_t HS, struct execution *execution);
    /* y (N, O) in FP32 = x @ layer, without an activation. The bias is a WEIGHT_WIDE_BIAS; NULL:
     * none. */
    embed_status (*logits)(float *y, const void *x, const struct linear *layer, size_t N,
                           struct execution *execution);
    /* The best ways for each beam to go on, from its logits (D * K, V), which become anything: scores
     * are the beam's plus the logarithm of softmax over all of V, and only then rules forbid tokens. */
    embed_status (*beam_candidates)(struct beam_candidate *candidates, float *logits,
                                    const struct decode_batch *batch, size_t V,
                                    struct execution *execution);
    /* Beams become one token longer: kernels/beam_step.h. */
    embed_status (*beam_step)(const struct decode_batch *batch,
                              const struct beam_candidate *candidates,
                              struct execution *execution);
};

/* One more holder; backend_release drops one, and closes the backend with the last. Whoever holds
 * one after its model is closed (shared weights) may only release memory with it. */
void backend_hold(struct backend *backend);
void backend_release(struct backend *backend); /* NULL is fine */

/* The device and dtype that `options` ask for. `team` computes on the CPU and must outlive the
 * backend's operations. The caller holds it. EMBED_NO_DEVICE and EMBED_UNSUPPORTED say why. */
embed_status backend_open(struct backend **backend, const embed_model_options *options,
                          struct thread_team *team);

/* One that only tells bytes, of a team of options->threads; where a GPU is asked for by name, there
 * need not be one. */
embed_status backend_open_for_plan(struct backend **backend, const embed_model_options *options);

/* GPUs of this machine, usable or not, and what one is. EMBED_NO_DEVICE says why there are none. */
embed_status backend_gpu_count(int *count);
embed_status backend_gpu_info(embed_device_info *info, int index);

/* The CPU with so many threads, in F32, BF16 or INT8. EMBED_UNSUPPORTED where it has not got
 * that. */
embed_status backend_cpu_open(struct backend **backend, struct thread_team *team, unsigned threads,
                              embed_dtype dtype);

/* "f32", "bf16", "f16" or "int8". */
const char *dtype_name(embed_dtype dtype);

#endif
