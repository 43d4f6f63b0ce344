/* backend.h - the model code's view of a device
 *
 * A backend is one open device with one dtype. It stores weights in the layout its kernels prefer
 * and runs the operations of the forward pass. `void *` is device memory allocated by the backend;
 * activations are matrices with `activation_bytes` per number. Dimensions: kernels/kernels.h.
 *
 * A batch is computed in chunks of whole sequences. An executor is what one instance owns on the
 * device to compute them (scratch, streams). An execution is one chunk in flight, which every
 * operation takes as its last argument: a CUDA stream, one CPU thread, or all CPU threads together.
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
    WEIGHT_TABLE,  /* lookup table: embeddings (rows, columns) */
    WEIGHT_VECTOR, /* FP32 in any dtype, rows unpacked: LayerNorm (1, columns), a struct dense */
    WEIGHT_MATRIX, /* of a linear layer (O = rows, I = columns) */
    WEIGHT_BIAS,   /* of a linear layer (1, O = columns) */
    WEIGHT_WIDE_BIAS, /* of a linear layer that gives logits or is added to a residual stream (1, O
                         = columns): on a GPU, FP32 in any dtype */
    WEIGHT_SCORES  /* added to attention scores: a relative_bias (NH = rows, columns) */
};

struct linear {
    void *weight, *bias;
    size_t O, I;
};

/* A Dense module, applied to pooled rows. FP32 in any dtype. */
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
    void *type;     /* (C), the token type of a single text; NULL: the model has none */
    struct layernorm norm;
};

/* Added to attention scores by the distance from query to key (MPNet). */
struct relative_bias {
    void *table;     /* (NH, columns): distance d of head h is at [h, zero + d]; NULL: none */
    size_t columns;  /* 2 * zero + 1, plus 64 that are never used but may be read */
    size_t zero;     /* the longest distance */
};

/* The variant of chunks whose operations do not repeat, such as those that write into slots. */
#define NEVER_AGAIN SIZE_MAX

/* Sequence b is tokens offsets[b] to offsets[b + 1] - 1. The last sequences may be empty, and the
 * last tokens may belong to none. The four arrays follow each other in memory without a gap. */
struct packed_batch {
    size_t N, B, longest;
    size_t variant; /* batches of the same shape and variant are followed by the same operations on
                       the same memory, except with NEVER_AGAIN */
    const int32_t *ids;       /* (N) */
    const int32_t *positions; /* (N), rows of the position table */
    const int32_t *offsets;   /* (B + 1) */
    const int32_t *skipped;   /* (B) leading tokens that are not pooled; NULL: all are pooled */
};

/* Returns how many numbers the arrays of a batch hold. */
static inline size_t packed_batch_size(size_t N, size_t B)
{
    return 2 * N + B + 1 + B;
}

/* The sizes an executor must handle: chunks of up to N tokens and B sequences, sequences of up to T
 * tokens, heads of HS, linear layers with up to I inputs. With a decoder also steps of up to D
 * documents with K beams each, whose sources have at most T tokens and whose summaries at most M. */
struct chunk_limits {
    size_t N, B, T, HS, I;
    size_t D, K, M; /* 0: there is no decoder */
};

/* What to do with each chunk. Each worker has its own buffers, free again after deliver. */
struct chunk_work {
    void *argument;
    /* Computes or enqueues chunk i: begin, operations, fetch. */
    embed_status (*compute)(void *argument, size_t i, unsigned worker, struct execution *execution);
    /* Called when the data that compute fetches has arrived. */
    void (*deliver)(void *argument, unsigned worker);
};

/* GPU memory taken besides explicit allocations. */
struct device_costs {
    size_t context; /* CUDA's, once per process and device */
    size_t library; /* cuBLASLt's, once per process and device */
    size_t stream;  /* per executor */
    bool are_measured; /* on this device in this process; otherwise allowances */
};

struct backend {
    atomic_size_t references; /* see backend_hold */
    embed_device device;
    int device_index;
    embed_dtype dtype;
    char device_name[128];
    char instruction_set[16];
    size_t activation_bytes;
    unsigned workers;    /* chunks of one executor in flight at the same time */
    bool is_queue;       /* chunks are computed in order, asynchronously: `run` returns before they
                            are done */
    unsigned steps;      /* decoding steps per chunk, between checks for finished documents */
    size_t slots;        /* documents decoded at a time, if the caller does not choose */
    bool matrices_are_tables; /* a WEIGHT_MATRIX without its own bias is stored like a
                                 WEIGHT_TABLE */
    struct device_costs costs; /* zeros on the CPU */
    size_t graph_bytes;  /* device memory that an executor's graphs may grow to */
    struct cuda_card card; /* zeros on the CPU, and in a plan for a GPU that is not present */

    void (*close)(struct backend *backend);

    /* ---- memory: on the device, aligned for its kernels ---- */
    embed_status (*allocate)(struct backend *backend, void **out, size_t bytes, const char *what);
    void (*release)(struct backend *backend, void *memory); /* NULL is fine */
    /* The bytes that `allocate` can still give; the bytes that an allocation takes, rounded up. */
    embed_status (*free_memory)(const struct backend *backend, uint64_t *bytes);
    size_t (*taken_memory)(const struct backend *backend, size_t bytes);
    /* Host memory that the device copies from and to. */
    embed_status (*staging_allocate)(struct backend *backend, void **out, size_t bytes,
                                     const char *what);
    void (*staging_release)(struct backend *backend, void *memory); /* NULL is fine */

    /* ---- weights ---- */
    /* Returns the bytes in the device's layout; SIZE_MAX on overflow. */
    size_t (*weight_bytes)(const struct backend *backend, enum weight_kind kind, size_t rows,
                           size_t columns);
    /* Stores rows [first, first + count) of a weight from values (count, columns). A matrix is
     * stored in one call. Several threads may store into different weights. EMBED_UNSUPPORTED if a
     * value is too large for the dtype. */
    embed_status (*weight_store)(struct backend *backend, void *weight, enum weight_kind kind,
                                 const float *values, size_t first, size_t count, size_t columns);

    /* ---- executors ---- */
    /* Returns the default tokens of a chunk, for layers of width C and inner width F. */
    size_t (*chunk_tokens)(const struct backend *backend, size_t C, size_t F);
    embed_status (*executor_create)(struct executor **executor, struct backend *backend,
                                    const struct chunk_limits *limits);
    size_t (*executor_bytes)(const struct backend *backend, const struct chunk_limits *limits);
    void (*executor_destroy)(struct executor *executor); /* NULL is fine */
    /* Computes chunks 0 to count - 1, up to `workers` at a time, and delivers them in any order,
     * from any thread. If the backend is a queue, the last ones are delivered by a later call of
     * run or finish. Returns the first failure, with its message; no chunk is in flight after a
     * failure. */
    embed_status (*run)(struct executor *executor, size_t count, const struct chunk_work *work);
    /* Delivers the chunks still in flight. */
    embed_status (*finish)(struct executor *executor, const struct chunk_work *work);

    /* ---- a chunk: begin, operations, fetch ---- */
    /* Rounds the sizes of a small chunk up to one of a few shapes, whose operations the backend can
     * launch as a whole when they repeat. NULL: the backend gains nothing from it. */
    void (*round_up)(const struct chunk_limits *limits, size_t *N, size_t *B, size_t *longest);
    /* Sets *device to the batch as the operations expect it. The arrays of `host` are staging
     * memory and must stay unchanged until delivery. */
    embed_status (*begin)(struct packed_batch *device, const struct packed_batch *host,
                          struct execution *execution);
    /* Like begin, for a chunk of decoding steps: host->slots is staging memory, and device->slots
     * is where the operations expect it. Chunks of the same D and K are followed by the same
     * operations. */
    embed_status (*begin_steps)(struct decode_batch *device, const struct decode_batch *host,
                                struct execution *execution);
    /* Comes last: copies `bytes` of the results to staging memory, where they are valid at
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
    /* x (N, O) = layernorm(in (N, I) @ layer + x). buffer (N, O) is scratch, neither x nor in. */
    embed_status (*linear_add_layernorm)(void *x, const void *in, const struct linear *layer,
                                         const struct layernorm *norm, size_t N, float eps,
                                         void *buffer, struct execution *execution);
    /* take_first_rows: first (B, C) = the row of x (N, C) that POOLING_CLS takes from each
     * sequence. put_first_rows copies them back. NULL: computing with these rows alone does not
     * pay. */
    embed_status (*take_first_rows)(void *first, const void *x, const struct packed_batch *batch,
                                    size_t C, struct execution *execution);
    embed_status (*put_first_rows)(void *x, const void *first, const struct packed_batch *batch,
                                   size_t C, struct execution *execution);
    /* rows (B, C) from x (N, C), row b at rows + b * stride. Only the first D components are
     * needed; if `normalize`, they are scaled to L2 norm 1. Rows are floats in any dtype. */
    embed_status (*pool)(float *rows, size_t stride, const void *x,
                         const struct packed_batch *batch, size_t C, enum pooling pooling, size_t D,
                         bool normalize, struct execution *execution);
    /* y (B, O) from rows x (B, I). */
    embed_status (*dense)(float *y, const float *x, const struct dense *layer, size_t B,
                          struct execution *execution);
    /* Scales the first D components of rows (B, W) to L2 norm 1, in place. */
    embed_status (*l2_normalize)(float *rows, size_t B, size_t W, size_t D,
                                 struct execution *execution);

    /* ---- decoder operations; states and dimensions: kernels/beam_search.h ---- */
    /* Starts a slot, with one token, for each of `documents` (D), which is staging memory. Part of
     * the chunk that computes what their decoder attends to, whose variant is NEVER_AGAIN. D is at
     * most that of the executor's limits. */
    embed_status (*beam_start)(const struct beam_slots *beams, const struct beam_document *documents,
                               size_t D, struct execution *execution);
    /* The residual stream is in FP32 in any dtype; if activations are FP32 too, x is `residual`.
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
    /* Causal self-attention of each beam's last token. qkv (D * K, 3C). First appends their keys
     * and values to the layer's cache (P, K, T, 2C), each key beside its value, at row k of slot p,
     * position length - 1. */
    embed_status (*self_attention)(void *context, const void *qkv, void *cache,
                                   const struct decode_batch *batch, size_t NH, size_t HS,
                                   struct execution *execution);
    /* Attention of all beams of a document to its source: q (D * K, C). The layer's cache is (P,
     * most_sources, 2C); each slot holds sources[slot] keys and values. */
    embed_status (*cross_attention)(void *context, const void *q, const void *cache,
                                    size_t most_sources, const struct decode_batch *batch,
                                    size_t NH, size_t HS, struct execution *execution);
    /* y (N, O) in FP32 = x @ layer, without an activation. The bias is a WEIGHT_WIDE_BIAS; NULL:
     * none. */
    embed_status (*logits)(float *y, const void *x, const struct linear *layer, size_t N,
                           struct execution *execution);
    /* The best continuations of each beam, from its logits (D * K, V), which are overwritten. A
     * score is the beam's plus the log-softmax over all of V; only then do rules forbid tokens. */
    embed_status (*beam_candidates)(struct beam_candidate *candidates, float *logits,
                                    const struct decode_batch *batch, size_t V,
                                    struct execution *execution);
    /* Extends the beams by one token: kernels/beam_step.h. */
    embed_status (*beam_step)(const struct decode_batch *batch,
                              const struct beam_candidate *candidates,
                              struct execution *execution);
};

/* Adds a holder; backend_release drops one, and closes the backend with the last. A holder that
 * remains after its model is closed (shared weights) may use it only to release memory. */
void backend_hold(struct backend *backend);
void backend_release(struct backend *backend); /* NULL is fine */

/* Opens the device and dtype that `options` requests. `team` computes on the CPU and must outlive
 * the backend's operations. The caller holds the backend. EMBED_NO_DEVICE and EMBED_UNSUPPORTED say
 * why it cannot be opened. */
embed_status backend_open(struct backend **backend, const embed_model_options *options,
                          struct thread_team *team);

/* Opens a backend that only reports bytes, for a team of options->threads. A GPU requested by name
 * need not exist. */
embed_status backend_open_for_plan(struct backend **backend, const embed_model_options *options);

/* GPUs of this machine, usable or not, and a description of one. EMBED_NO_DEVICE says why there are
 * none. */
embed_status backend_gpu_count(int *count);
embed_status backend_gpu_info(embed_device_info *info, int index);

/* Opens the CPU with `threads` threads; for `dtype` and failures see cpu_kernels_choose. */
embed_status backend_cpu_open(struct backend **backend, struct thread_team *team, unsigned threads,
                              embed_dtype dtype);

/* "f32", "bf16", "f16" or "int8". */
const char *dtype_name(embed_dtype dtype);

#endif
