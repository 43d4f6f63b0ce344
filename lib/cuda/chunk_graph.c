/* chunk_graph.c - CUDA graphs of small chunks and of decoding steps */
#include "cuda/chunk_graph.h"

#include "backend/cuda_layout.h"
#include "base/status.h"
#include "cuda/cuda_error.h"

/* A shape not seen among this many small chunks gives way to another. At most every 16th chunk then
 * has a graph made for it, which takes as long as starting its kernels a few times. */
#define STALE 4096

/* ---- shapes ------------------------------------------------------------------------------ */

/* Returns whether the shape will repeat. That of decoding steps will. Any other will if chunks are
 * rounded up to it, that is, if one token less rounds up to it too. The rest are large, or would
 * not fit. */
static bool comes_again(const struct chunk_shape *shape, const struct chunk_limits *limits)
{
    if (shape->is_steps || shape->variant == NEVER_AGAIN) return shape->is_steps;
    size_t N = shape->N - 1, B = shape->B, longest = shape->longest;
    cuda_round_up(limits, &N, &B, &longest);
    return N == shape->N && B == shape->B && longest == shape->longest;
}

static bool is_same(const struct chunk_shape *a, const struct chunk_shape *b)
{
    return a->is_steps == b->is_steps && a->N == b->N && a->B == b->B &&
           a->longest == b->longest && a->variant == b->variant;
}

static struct chunk_graph *known(struct chunk_graphs *graphs, const struct chunk_shape *shape,
                                 unsigned slot)
{
    for (unsigned i = 0; i < graphs->count; i++) {
        struct chunk_graph *graph = &graphs->shapes[i];
        if (is_same(&graph->shape, shape) && graph->slot == slot) return graph;
    }
    return NULL;
}

/* Returns the entry not used for the longest time, or NULL if that is not long enough; if `made`,
 * only entries with a graph count. */
static struct chunk_graph *stale(struct chunk_graphs *graphs, bool made)
{
    struct chunk_graph *oldest = NULL;
    for (unsigned i = 0; i < graphs->count; i++) {
        struct chunk_graph *graph = &graphs->shapes[i];
        if ((graph->executable != NULL || !made) &&
            (oldest == NULL || graph->last_use < oldest->last_use))
            oldest = graph;
    }
    return oldest != NULL && graphs->clock - oldest->last_use >= STALE ? oldest : NULL;
}

static void release(int device, struct chunk_graphs *graphs, struct chunk_graph *graph)
{
    if (graph->executable == NULL) return;
    RELEASE_CUDA(device, cudaGraphExecDestroy(graph->executable), "releasing a graph");
    graph->executable = NULL;
    graphs->bytes -= graph->bytes;
}

/* Adds an unknown shape, unless the table is full and none is stale. */
static void note(int device, struct chunk_graphs *graphs, const struct chunk_shape *shape,
                 unsigned slot)
{
    struct chunk_graph *graph = graphs->count < MOST_SHAPES ? &graphs->shapes[graphs->count++]
                                                            : stale(graphs, false);
    if (graph == NULL) return;
    release(device, graphs, graph);
    *graph = (struct chunk_graph){.shape = *shape, .slot = slot, .last_use = graphs->clock};
}

static bool has_room(int device, struct chunk_graphs *graphs)
{
    while (graphs->bytes + graphs->least > graphs->most_bytes) {
        struct chunk_graph *old = stale(graphs, true);
        if (old == NULL) return false;
        release(device, graphs, old);
    }
    return true;
}

void chunk_graph_find(enum execution_mode *mode, struct chunk_graph **out, int device,
                      struct chunk_graphs *graphs, const struct chunk_shape *shape, unsigned slot,
                      const struct chunk_limits *limits)
{
    *mode = EXECUTION_DIRECT;
    *out = NULL;
    if (graphs->are_off || !comes_again(shape, limits)) return;
    graphs->clock++;
    struct chunk_graph *graph = known(graphs, shape, slot);
    if (graph == NULL) {
        note(device, graphs, shape, slot);
        return;
    }
    graph->last_use = graphs->clock;
    *out = graph;
    if (graph->executable != NULL) *mode = EXECUTION_REPLAYED;
    else if (!graph->is_too_large && has_room(device, graphs)) *mode = EXECUTION_CAPTURED;
}

/* ---- graphs ------------------------------------------------------------------------------ */

/* Relaxed: if the device is lost meanwhile, the capture is never ended, and in the other modes this
 * thread could no longer allocate, on any device. */
embed_status chunk_graph_begin(int device, cudaStream_t stream)
{
    TRY_CUDA(device, cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed),
             "capturing a graph");
    return EMBED_OK;
}

/* The graph's size is the drop in free memory. An allocation by another thread or process in
 * between counts too: at worst there is one graph less. */
static embed_status instantiate(int device, struct chunk_graph *graph, cudaGraph_t captured)
{
    static const char what[] = "making a graph";
    size_t before = 0, after = 0, all = 0;
    TRY_CUDA(device, cudaMemGetInfo(&before, &all), what);
    TRY_CUDA(device, cudaGraphInstantiate(&graph->executable, captured, 0), what);
    graph->bytes = 0;
    TRY_CUDA(device, cudaMemGetInfo(&after, &all), what);
    if (before > after) graph->bytes = before - after;
    return EMBED_OK;
}

static embed_status make(int device, struct chunk_graph *graph, cudaStream_t stream)
{
    cudaGraph_t captured = NULL;
    TRY_CUDA(device, cudaStreamEndCapture(stream, &captured), "capturing a graph");
    embed_status status = instantiate(device, graph, captured);
    RELEASE_CUDA(device, cudaGraphDestroy(captured), "making a graph");
    return status;
}

void chunk_graph_end(int device, struct chunk_graph *graph, struct chunk_graphs *graphs,
                     cudaStream_t stream)
{
    graphs->are_off = make(device, graph, stream) != EMBED_OK;
    if (graph->executable == NULL) return;
    graphs->bytes += graph->bytes;
    if (graphs->made++ == 0 || graph->bytes < graphs->least) graphs->least = graph->bytes;
    graph->is_too_large = graphs->bytes > graphs->most_bytes;
    if (graph->is_too_large || graphs->are_off) release(device, graphs, graph);
}

void chunk_graph_discard(int device, cudaStream_t stream)
{
    cudaGraph_t captured = NULL;
    RELEASE_CUDA(device, cudaStreamEndCapture(stream, &captured), "capturing a graph");
    if (captured != NULL) RELEASE_CUDA(device, cudaGraphDestroy(captured), "capturing a graph");
}

embed_status chunk_graph_launch(int device, const struct chunk_graph *graph,
                                cudaStream_t stream)
{
    TRY_CUDA(device, cudaGraphLaunch(graph->executable, stream), "launching a graph");
    return EMBED_OK;
}

void chunk_graphs_destroy(int device, struct chunk_graphs *graphs)
{
    for (unsigned i = 0; i < graphs->count; i++) release(device, graphs, &graphs->shapes[i]);
}
