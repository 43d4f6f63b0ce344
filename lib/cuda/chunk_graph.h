/* chunk_graph.h - the operations of small chunks and of decoding, kept to be started at once
 *
 * A chunk of one shape and variant is computed as it comes the first time, captured into a CUDA
 * graph the second time, and from then on that graph is launched: half the time for each
 * kernel's start, and none of the CPU's for the operations.
 *
 * What a graph takes of the device only CUDA knows: each is measured as it is made, and all of an
 * executor's together stay below what was planned for them. When that is reached, or 256 shapes are
 * known, others are computed as they come, until one of those was not seen for long.
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

/* Chunks of the same shape are followed by the same operations. */
struct chunk_shape {
    bool is_steps; /* of decoding: N documents with B beams each */
    size_t N, B, longest, variant;
};

struct chunk_graph {
    struct chunk_shape shape;
    unsigned slot;              /* its buffers are in the graph */
    uint64_t last_use;          /* by the clock of all */
    cudaGraphExec_t executable; /* NULL: there is none yet */
    size_t bytes;               /* of the device, that it takes */
    bool is_too_large;          /* there was one, and it took more than was left */
};

/* Shapes come in few sizes: single texts of up to 512 tokens in 24. */
enum { MOST_SHAPES = 256 };

/* All graphs of an executor; starts zeroed, but for most_bytes. */
struct chunk_graphs {
    struct chunk_graph shapes[MOST_SHAPES];
    unsigned count;
    uint64_t clock; /* small chunks so far */
    size_t bytes, most_bytes;
    unsigned made;
    size_t least;   /* of those made: without so much left there is no use in making one more */
    bool are_off;   /* one could not be made: there is too little memory for them */
};

/* How to compute a chunk of this shape in this slot. *graph is where its graph is or will be; NULL:
 * nowhere. */
void chunk_graph_find(enum execution_mode *mode, struct chunk_graph **graph, int device,
                      struct chunk_graphs *graphs, const struct chunk_shape *shape, unsigned slot,
                      const struct chunk_limits *limits);

/* Between these two, what is enqueued becomes the graph; nothing runs. After a failure in
 * between, discard instead: nothing is left. Where there is no graph afterwards, since it failed or
 * took too much, what was enqueued is lost: it is to be enqueued again, and none will be tried. */
embed_status chunk_graph_begin(int device, cudaStream_t stream);
void chunk_graph_end(int device, struct chunk_graph *graph, struct chunk_graphs *graphs,
                     cudaStream_t stream);
void chunk_graph_discard(int device, cudaStream_t stream);

embed_status chunk_graph_launch(int device, const struct chunk_graph *graph,
                                cudaStream_t stream);

void chunk_graphs_destroy(int device, struct chunk_graphs *graphs);

#endif
