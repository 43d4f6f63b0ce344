/* backend_cpu.c - the operations on the CPU, in FP32, BF16 or INT8
 *
 * Each thread computes a chunk at a time, through all layers, so that many texts need no barrier
 * and activations stay in the thread's own cache. If there are fewer chunks than threads, they are
 * computed one after another, and every operation is split among all threads: rows by tokens,
 * linear layers by outputs, attention by heads. Neither way changes a bit of the result.
 */
#include "backend/backend_cpu.h"

#include "backend/cpu_features.h"
#include "backend/thread_team.h"
#include "base/first_failure.h"
#include "base/memory.h"
#include "base/status.h"

#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Larger chunks read the weights less often (MiniLM in FP32: 42 MB take 2 ms from memory, and 512
 * tokens 100 ms to compute); smaller ones keep more of the activations in cache. With 256, 512,
 * 1024, 2048 on two Zen 4 cores: in FP32 7.28, 7.16, 7.16, 7.25 s for 71,371 tokens; in BF16 9,943,
 * 10,044, 9,924, 9,665 tokens/s of one core at 34 tokens a text. */
#define CHUNK_TOKENS 512

/* A step reads all of the decoder's weights, however many documents there are: reading BART-large's
 * 910 MB of FP32 takes about as long as computing 16 beams. */
#define SLOTS 4

struct cpu_backend {
    struct backend backend; /* first, so that a struct backend * is a struct cpu_backend * */
    const struct cpu_kernels *kernels;
    struct thread_team *team;
};

struct executor {
    const struct cpu_backend *cpu;
    char *scratch; /* one block per thread */
    size_t scratch_bytes; /* per thread */
};

/* ---- memory and weights -------------------------------------------------------------------- */

/* Attention may read this many bytes past the last value (kernels.h). */
#define PAST_THE_END 256

static embed_status cpu_allocate(struct backend *backend, void **out, size_t bytes,
                                 const char *what)
{
    (void)backend;
    size_t padded;
    if (!size_add(bytes, PAST_THE_END, &padded)) padded = SIZE_MAX;
    void *block = memory_allocate_aligned(padded, what);
    if (block == NULL) return EMBED_OUT_OF_MEMORY;
    *out = block;
    return EMBED_OK;
}

static void cpu_release(struct backend *backend, void *memory)
{
    (void)backend;
    memory_free(memory);
}

static size_t cpu_weight_bytes(const struct backend *backend, enum weight_kind kind, size_t rows,
                               size_t columns)
{
    const struct cpu_kernels *kernels = ((const struct cpu_backend *)backend)->kernels;
    size_t floats, bytes;
    /* Padding adds at most one panel of rows to a matrix. */
    if (!size_add(rows, kernels->panel, &floats) || !size_multiply(floats, columns, &floats) ||
        !size_multiply(floats, sizeof(float), &bytes))
        return SIZE_MAX;
    switch (kind) {
    case WEIGHT_TABLE: return rows * columns * kernels->element_bytes;
    case WEIGHT_MATRIX: return kernels->linear_weight_bytes(rows, columns);
    case WEIGHT_BIAS:
    case WEIGHT_WIDE_BIAS: return kernels->linear_bias_size(columns) * sizeof(float);
    default: return rows * columns * sizeof(float);
    }
}

static embed_status cpu_weight_store(struct backend *backend, void *weight, enum weight_kind kind,
                                     const float *values, size_t first, size_t count,
                                     size_t columns)
{
    const struct cpu_kernels *kernels = ((const struct cpu_backend *)backend)->kernels;
    if (kind == WEIGHT_MATRIX) {
        kernels->linear_pack(weight, values, count, columns);
        return EMBED_OK;
    }
    if (kind == WEIGHT_TABLE) {
        char *rows = (char *)weight + first * columns * kernels->element_bytes;
        kernels->store(rows, values, count * columns);
        return EMBED_OK;
    }
    float *floats = weight;
    memcpy(floats + first * columns, values, count * columns * sizeof(float));
    if (kind == WEIGHT_BIAS || kind == WEIGHT_WIDE_BIAS) {
        size_t padded = kernels->linear_bias_size(columns);
        memset(floats + columns, 0, (padded - columns) * sizeof(float));
    }
    return EMBED_OK;
}

static embed_status cpu_free_memory(const struct backend *backend, uint64_t *bytes)
{
    (void)backend;
    *bytes = cpu_available_bytes();
    return EMBED_OK;
}

static size_t cpu_taken_memory(const struct backend *backend, size_t bytes)
{
    (void)backend;
    return bytes + PAST_THE_END;
}

/* ---- executors ----------------------------------------------------------------------------- */

/* Returns the bytes of scratch per thread, in whole cache lines so that threads do not share
 * one. */
static size_t scratch_bytes(const struct backend *backend, const struct chunk_limits *limits)
{
    const struct cpu_kernels *kernels = ((const struct cpu_backend *)backend)->kernels;
    size_t attention = kernels->attention_scratch_bytes(limits->T, limits->HS);
    size_t linear = kernels->linear_scratch_bytes(limits->I);
    size_t layernorm = kernels->layernorm_scratch_bytes(limits->I);
    size_t cross = kernels->decode_attention_scratch_bytes(limits->K, limits->T, limits->HS);
    size_t self = kernels->decode_attention_scratch_bytes(1, limits->M, limits->HS);
    size_t each[] = {attention, linear, layernorm, cross, self}, most = 0;
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) most = each[i] > most ? each[i] : most;
    return (most + 63) / 64 * 64;
}

static size_t cpu_chunk_tokens(const struct backend *backend, size_t C, size_t F)
{
    (void)backend, (void)C, (void)F;
    return CHUNK_TOKENS;
}

static size_t cpu_executor_bytes(const struct backend *backend, const struct chunk_limits *limits)
{
    return scratch_bytes(backend, limits) * backend->workers;
}

static embed_status cpu_executor_create(struct executor **out, struct backend *backend,
                                        const struct chunk_limits *limits)
{
    const struct cpu_backend *cpu = (const struct cpu_backend *)backend;
    struct executor *executor = memory_allocate(1, sizeof *executor, "an executor");
    if (executor == NULL) return EMBED_OUT_OF_MEMORY;
    executor->cpu = cpu;
    executor->scratch_bytes = scratch_bytes(backend, limits);
    executor->scratch =
        memory_allocate_aligned(cpu_executor_bytes(backend, limits), "scratch");
    if (executor->scratch == NULL) {
        memory_free(executor);
        return EMBED_OUT_OF_MEMORY;
    }
    *out = executor;
    return EMBED_OK;
}

static void cpu_executor_destroy(struct executor *executor)
{
    if (executor == NULL) return;
    memory_free(executor->scratch);
    memory_free(executor);
}

static embed_status run_chunk(const struct chunk_work *work, size_t i, unsigned worker,
                              struct execution *execution)
{
    TRY(work->compute(work->argument, i, worker, execution));
    work->deliver(work->argument, worker);
    return EMBED_OK;
}

struct chunk_run {
    struct executor *executor;
    size_t count;
    const struct chunk_work *work;
    atomic_size_t next;
    struct first_failure failure;
};

static void run_chunks(void *argument, unsigned rank)
{
    struct chunk_run *run = argument;
    const struct executor *executor = run->executor;
    struct execution execution = {executor->cpu->kernels, NULL,
                                  executor->scratch + rank * executor->scratch_bytes,
                                  executor->scratch_bytes};
    size_t i;
    while ((i = atomic_fetch_add(&run->next, 1)) < run->count)
        first_failure_note(&run->failure, run_chunk(run->work, i, rank, &execution));
}

static embed_status cpu_run(struct executor *executor, size_t count, const struct chunk_work *work)
{
    const struct cpu_backend *cpu = executor->cpu;
    if (count < cpu->backend.workers) {
        struct execution execution = {cpu->kernels, cpu->team, executor->scratch,
                                      executor->scratch_bytes};
        for (size_t i = 0; i < count; i++) TRY(run_chunk(work, i, 0, &execution));
        return EMBED_OK;
    }
    struct chunk_run run = {.executor = executor, .count = count, .work = work};
    thread_team_run(cpu->team, run_chunks, &run);
    return first_failure_result(&run.failure);
}

static embed_status cpu_finish(struct executor *executor, const struct chunk_work *work)
{
    (void)executor;
    (void)work;
    return EMBED_OK;
}

static embed_status cpu_begin(struct packed_batch *device, const struct packed_batch *host,
                              struct execution *execution)
{
    (void)execution;
    *device = *host;
    return EMBED_OK;
}

static embed_status cpu_fetch(void *out, const void *memory, size_t bytes,
                              struct execution *execution)
{
    (void)execution;
    memcpy(out, memory, bytes);
    return EMBED_OK;
}

/* ---- operations ---------------------------------------------------------------------------- */

static void operation_share(void *argument, unsigned rank)
{
    const struct operation *operation = argument;
    const struct execution *execution = operation->execution;
    size_t threads = thread_team_size(execution->team);
    size_t first = operation->units * rank / threads;
    size_t last = operation->units * (rank + 1) / threads;
    if (first < last)
        operation->part(operation, first, last,
                        execution->scratch + rank * execution->scratch_bytes);
}

embed_status cpu_compute(void (*part)(const struct operation *, size_t, size_t, void *),
                         const void *arguments, size_t units, struct execution *execution)
{
    struct operation operation = {part, execution, execution->kernels, arguments, units};
    if (execution->team == NULL) part(&operation, 0, units, execution->scratch);
    else thread_team_run(execution->team, operation_share, &operation);
    return EMBED_OK;
}

struct embed_layernorm_arguments {
    void *y;
    const struct packed_batch *batch;
    const struct embeddings *w;
    size_t C;
    float eps;
};

static void embed_layernorm_part(const struct operation *operation, size_t first, size_t last,
                                 void *scratch)
{
    const struct embed_layernorm_arguments *a = operation->arguments;
    operation->kernels->embed_layernorm(
        row_of(operation, a->y, first, a->C), NULL, a->batch->ids + first,
        a->batch->positions + first, a->w->word, a->w->position, a->w->type, a->w->norm.weight,
        a->w->norm.bias, last - first, a->C, a->eps, scratch);
}

static embed_status cpu_embed_layernorm(void *y, const struct packed_batch *batch,
                                        const struct embeddings *embeddings, size_t C, float eps,
                                        struct execution *execution)
{
    struct embed_layernorm_arguments arguments = {y, batch, embeddings, C, eps};
    return cpu_compute(embed_layernorm_part, &arguments, batch->N, execution);
}

struct linear_arguments {
    void *y;
    const void *x;
    const struct linear *layer;
    size_t N;
    enum activation activation;
};

static void linear_part(const struct operation *operation, size_t first, size_t last,
                        void *scratch)
{
    const struct linear_arguments *a = operation->arguments;
    size_t panel = operation->kernels->panel, O = a->layer->O;
    size_t end = last * panel < O ? last * panel : O;
    operation->kernels->linear(a->y, a->x, a->layer->weight, a->layer->bias, a->N, O, a->layer->I,
                               first * panel, end, a->activation, scratch);
}

static embed_status cpu_linear(void *y, const void *x, const struct linear *layer, size_t N,
                               enum activation activation, struct execution *execution)
{
    struct linear_arguments arguments = {y, x, layer, N, activation};
    size_t panel = execution->kernels->panel;
    return cpu_compute(linear_part, &arguments, (layer->O + panel - 1) / panel, execution);
}

struct attention_arguments {
    void *context;
    const void *qkv;
    const struct relative_bias *bias;
    const struct packed_batch *batch;
    size_t NH, HS;
};

/* Unit b * NH + h is head h of sequence b. */
static void attention_part(const struct operation *operation, size_t first, size_t last,
                           void *scratch)
{
    const struct attention_arguments *a = operation->arguments;
    size_t C = a->NH * a->HS;
    for (size_t unit = first; unit < last; unit++) {
        size_t b = unit / a->NH, h = unit % a->NH;
        size_t begin = (size_t)a->batch->offsets[b], T = (size_t)a->batch->offsets[b + 1] - begin;
        size_t bytes = operation->kernels->element_bytes;
        const char *q = (const char *)a->qkv + (begin * 3 * C + h * a->HS) * bytes;
        const float *relative = a->bias->table;
        if (relative != NULL) relative += h * a->bias->columns + a->bias->zero;
        operation->kernels->attention((char *)a->context + (begin * C + h * a->HS) * bytes, q,
                                      q + C * bytes, q + 2 * C * bytes, relative, T, a->HS, 3 * C,
                                      C, 1.0f / sqrtf((float)a->HS), scratch);
    }
}

static embed_status cpu_attention(void *context, const void *qkv, const struct relative_bias *bias,
                                  const struct packed_batch *batch, size_t NH, size_t HS,
                                  struct execution *execution)
{
    struct attention_arguments arguments = {context, qkv, bias, batch, NH, HS};
    return cpu_compute(attention_part, &arguments, batch->B * NH, execution);
}

/* y = layernorm(x + y) */
struct add_layernorm_arguments {
    void *y;
    const void *x;
    const struct layernorm *norm;
    size_t C;
    float eps;
};

static void add_layernorm_part(const struct operation *operation, size_t first, size_t last,
                               void *scratch)
{
    const struct add_layernorm_arguments *a = operation->arguments;
    void *y = row_of(operation, a->y, first, a->C);
    operation->kernels->add_layernorm(y, row_of(operation, a->x, first, a->C), y, a->norm->weight,
                                      a->norm->bias, last - first, a->C, a->eps, scratch);
}

static embed_status cpu_linear_add_layernorm(void *x, const void *in, const struct linear *layer,
                                             const struct layernorm *norm, size_t N, float eps,
                                             void *buffer, struct execution *execution)
{
    TRY(cpu_linear(buffer, in, layer, N, ACTIVATION_NONE, execution));
    struct add_layernorm_arguments arguments = {x, buffer, norm, layer->O, eps};
    return cpu_compute(add_layernorm_part, &arguments, N, execution);
}

/* Returns sequence b's first pooled row of x (N, C), or its first row if none is pooled. */
static void *first_row(const struct execution *execution, const void *x,
                       const struct packed_batch *batch, size_t b, size_t C)
{
    size_t begin = (size_t)batch->offsets[b], T = (size_t)batch->offsets[b + 1] - begin;
    size_t skipped = batch->skipped != NULL ? (size_t)batch->skipped[b] : 0;
    size_t row = begin + (skipped < T ? skipped : 0);
    return (char *)x + row * C * execution->kernels->element_bytes;
}

static embed_status cpu_take_first_rows(void *first, const void *x,
                                        const struct packed_batch *batch, size_t C,
                                        struct execution *execution)
{
    size_t bytes = C * execution->kernels->element_bytes;
    for (size_t b = 0; b < batch->B; b++)
        memcpy((char *)first + b * bytes, first_row(execution, x, batch, b, C), bytes);
    return EMBED_OK;
}

static embed_status cpu_put_first_rows(void *x, const void *first,
                                       const struct packed_batch *batch, size_t C,
                                       struct execution *execution)
{
    size_t bytes = C * execution->kernels->element_bytes;
    for (size_t b = 0; b < batch->B; b++)
        memcpy(first_row(execution, x, batch, b, C), (const char *)first + b * bytes, bytes);
    return EMBED_OK;
}

struct pool_arguments {
    float *rows;
    size_t stride;
    const void *x;
    const struct packed_batch *batch;
    size_t C;
    enum pooling pooling;
    size_t D;
    bool normalize;
};

static void pool_part(const struct operation *operation, size_t first, size_t last, void *scratch)
{
    (void)scratch;
    const struct pool_arguments *a = operation->arguments;
    for (size_t b = first; b < last; b++) {
        size_t begin = (size_t)a->batch->offsets[b], T = (size_t)a->batch->offsets[b + 1] - begin;
        size_t skipped = a->batch->skipped != NULL ? (size_t)a->batch->skipped[b] : 0;
        float *row = a->rows + b * a->stride;
        operation->kernels->pool(row, row_of(operation, a->x, begin, a->C), skipped, T, a->C,
                                 a->pooling);
        if (a->normalize) operation->kernels->l2_normalize(row, row, a->D);
    }
}

static embed_status cpu_pool(float *rows, size_t stride, const void *x,
                             const struct packed_batch *batch, size_t C, enum pooling pooling,
                             size_t D, bool normalize, struct execution *execution)
{
    struct pool_arguments arguments = {rows, stride, x, batch, C, pooling, D, normalize};
    return cpu_compute(pool_part, &arguments, batch->B, execution);
}

struct dense_arguments {
    float *y;
    const float *x;
    const struct dense *layer;
    size_t B;
};

static void dense_part(const struct operation *operation, size_t first, size_t last, void *scratch)
{
    (void)scratch;
    const struct dense_arguments *a = operation->arguments;
    const struct dense *layer = a->layer;
    operation->kernels->dense(a->y, a->x, layer->weight, layer->bias, a->B, layer->O, layer->I,
                              first, last, layer->activation);
}

static embed_status cpu_dense(float *y, const float *x, const struct dense *layer, size_t B,
                              struct execution *execution)
{
    struct dense_arguments arguments = {y, x, layer, B};
    return cpu_compute(dense_part, &arguments, layer->O, execution);
}

struct l2_normalize_arguments {
    float *rows;
    size_t W, D;
};

static void l2_normalize_part(const struct operation *operation, size_t first, size_t last,
                              void *scratch)
{
    (void)scratch;
    const struct l2_normalize_arguments *a = operation->arguments;
    for (size_t b = first; b < last; b++)
        operation->kernels->l2_normalize(a->rows + b * a->W, a->rows + b * a->W, a->D);
}

static embed_status cpu_l2_normalize(float *rows, size_t B, size_t W, size_t D,
                                     struct execution *execution)
{
    struct l2_normalize_arguments arguments = {rows, W, D};
    return cpu_compute(l2_normalize_part, &arguments, B, execution);
}

/* ---- open and close ------------------------------------------------------------------------ */

static void cpu_close(struct backend *backend)
{
    memory_free(backend);
}

embed_status backend_cpu_open(struct backend **out, struct thread_team *team, unsigned threads,
                              embed_dtype dtype)
{
    const struct cpu_kernels *kernels;
    TRY(cpu_kernels_choose(&kernels, dtype));
    struct cpu_backend *cpu = memory_allocate(1, sizeof *cpu, "the CPU backend");
    if (cpu == NULL) return EMBED_OUT_OF_MEMORY;

    cpu->kernels = kernels;
    cpu->team = team;
    cpu->backend = (struct backend){
        .references = 1,
        .device = EMBED_DEVICE_CPU,
        .dtype = cpu_kernels_dtype(kernels),
        .activation_bytes = kernels->element_bytes,
        .chunk_tokens = cpu_chunk_tokens,
        .workers = threads,
        .steps = 1,
        .slots = SLOTS,
        .close = cpu_close,
        .allocate = cpu_allocate,
        .release = cpu_release,
        .free_memory = cpu_free_memory,
        .taken_memory = cpu_taken_memory,
        .staging_allocate = cpu_allocate,
        .staging_release = cpu_release,
        .weight_bytes = cpu_weight_bytes,
        .weight_store = cpu_weight_store,
        .executor_create = cpu_executor_create,
        .executor_bytes = cpu_executor_bytes,
        .executor_destroy = cpu_executor_destroy,
        .run = cpu_run,
        .finish = cpu_finish,
        .begin = cpu_begin,
        .begin_steps = cpu_begin_steps,
        .fetch = cpu_fetch,
        .embed_layernorm = cpu_embed_layernorm,
        .linear = cpu_linear,
        .attention = cpu_attention,
        .linear_add_layernorm = cpu_linear_add_layernorm,
        .take_first_rows = cpu_take_first_rows,
        .put_first_rows = cpu_put_first_rows,
        .pool = cpu_pool,
        .dense = cpu_dense,
        .l2_normalize = cpu_l2_normalize,
        .beam_start = cpu_beam_start,
        .embed_beams = cpu_embed_beams,
        .residual_linear = cpu_logits,
        .residual_layernorm = cpu_residual_layernorm,
        .self_attention = cpu_self_attention,
        .cross_attention = cpu_cross_attention,
        .logits = cpu_logits,
        .beam_candidates = cpu_beam_candidates,
        .beam_step = cpu_beam_step,
    };
    cpu_name(cpu->backend.device_name, sizeof cpu->backend.device_name);
    snprintf(cpu->backend.instruction_set, sizeof cpu->backend.instruction_set, "%s",
             kernels->name);
    *out = &cpu->backend;
    return EMBED_OK;
}
