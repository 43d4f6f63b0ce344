/* chunk_graph.c - the operations of small chunks, kept to be started at once */
#include "cuda/chunk_graph.h"

#include "backend/cuda_layout.h"
#include "base/memory.h"
#include "base/status.h"
#include "cuda/cuda_error.h"

/* Shapes come in few sizes: a service of single texts of up to 512 tokens sees ten. */
#define MOST_GRAPHS 64

struct chunk_graph {
    size_t N, B, longest, variant;
    cudaGraphExec_t executable; /* NULL: seen once */
    struct chunk_graph *next;
};

/* Is it one of the sizes that chunks are rounded up to, and so what one token less is rounded
 * up to? All others are large, or would not fit. */
static bool is_rounded(const struct packed_batch *batch, const struct chunk_limits *limits)
{
    size_t N = batch->N - 1, B = batch->B, longest = batch->longest;
    cuda_round_up(limits, &N, &B, &longest);
    return N == batch->N && B == batch->B && longest == batch->longest;
}

/* Notes that such a batch was seen, unless there are enough. */
static embed_status add(struct chunk_graphs *graphs, const struct packed_batch *batch)
{
    if (graphs->count == MOST_GRAPHS) return EMBED_OK;
    struct chunk_graph *graph = memory_allocate(1, sizeof *graph, "a graph");
    if (graph == NULL) return EMBED_OUT_OF_MEMORY;
    *graph = (struct chunk_graph){batch->N,       batch->B, batch->longest,
                                  batch->variant, NULL,     graphs->first};
    graphs->first = graph;
    graphs->count++;
    return EMBED_OK;
}

embed_status chunk_graph_find(enum execution_mode *mode, struct chunk_graph **out,
                              struct chunk_graphs *graphs, const struct packed_batch *batch,
                              const struct chunk_limits *limits)
{
    *mode = EXECUTION_DIRECT;
    *out = NULL;
    if (graphs->are_off || !is_rounded(batch, limits)) return EMBED_OK;
    struct chunk_graph *graph = graphs->first;
    while (graph != NULL &&
           !(graph->N == batch->N && graph->B == batch->B && graph->longest == batch->longest &&
             graph->variant == batch->variant))
        graph = graph->next;
    if (graph == NULL) return add(graphs, batch);
    *mode = graph->executable != NULL ? EXECUTION_REPLAYED : EXECUTION_CAPTURED;
    *out = graph;
    return EMBED_OK;
}

/* Relaxed: of a device that is lost meanwhile no capture is ended, and in the other modes its
 * thread could not allocate any more, on any device. */
embed_status chunk_graph_begin(int device, cudaStream_t stream)
{
    TRY_CUDA(device, cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed),
             "capturing a graph");
    return EMBED_OK;
}

embed_status chunk_graph_end(int device, struct chunk_graph *graph, cudaStream_t stream)
{
    cudaGraph_t captured = NULL;
    TRY_CUDA(device, cudaStreamEndCapture(stream, &captured), "capturing a graph");
    embed_status status = cuda_status(
        device, cudaGraphInstantiate(&graph->executable, captured, 0), "making a graph");
    RELEASE_CUDA(device, cudaGraphDestroy(captured), "making a graph");
    return status;
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
    while (graphs->first != NULL) {
        struct chunk_graph *graph = graphs->first;
        graphs->first = graph->next;
        if (graph->executable != NULL)
            RELEASE_CUDA(device, cudaGraphExecDestroy(graph->executable), "releasing a graph");
        memory_free(graph);
    }
}
