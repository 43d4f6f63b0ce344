/* chunk_graph.h - the operations of small chunks, kept to be started at once
 *
 * A chunk of one shape and variant is computed as it comes the first time, captured into a CUDA
 * graph the second time, and from then on that graph is launched: half the time for each
 * kernel's start, and none of the CPU's for the operations.
 */
#ifndef LIB_CUDA_CHUNK_GRAPH_H
#define LIB_CUDA_CHUNK_GRAPH_H

#include "backend/backend.h"

#include <cuda_runtime_api.h>

enum execution_mode {
    EXECUTION_DIRECT,   /* operations are enqueued */
    EXECUTION_CAPTURED, /* they are enqueued, and a graph is made of them */
    EXECUTION_REPLAYED  /* the graph has them already: they do nothing */
};

/* All graphs of a slot; starts zeroed. */
struct chunk_graphs {
    struct chunk_graph *first;
    unsigned count;
    bool are_off; /* one could not be made: there is too little memory for them */
};

/* How to compute a batch of this shape. *graph is where its graph is or will be; NULL: nowhere.
 */
embed_status chunk_graph_find(enum execution_mode *mode, struct chunk_graph **graph,
                              struct chunk_graphs *graphs, const struct packed_batch *batch,
                              const struct chunk_limits *limits);

/* Between these two, what is enqueued becomes the graph; nothing runs. After a failure in
 * between, discard instead: nothing is left. */
embed_status chunk_graph_begin(int device, cudaStream_t stream);
embed_status chunk_graph_end(int device, struct chunk_graph *graph, cudaStream_t stream);
void chunk_graph_discard(int device, cudaStream_t stream);

embed_status chunk_graph_launch(int device, const struct chunk_graph *graph,
                                cudaStream_t stream);

void chunk_graphs_destroy(int device, struct chunk_graphs *graphs);

#endif
