/* chunk_graph.h - CUDA graphs of small chunks and of decoding steps
 *
 * The first chunk of a shape and variant is computed directly, the second is captured into a CUDA
 * graph, and later ones launch that graph: kernels start in half the time, and the operations take
 * no CPU time.
 *
 * Only CUDA knows how much device memory a graph takes: each is measured when it is made, and an
 * executor's graphs together stay within what was planned for them. Once that is used up or 256
 * shapes are known, new shapes are computed directly, until a known one has not been seen for long.
 */
#ifndef LIB_CUDA_CHUNK_GRAPH_H
#define LIB_CUDA_CHUNK_GRAPH_H

#include "backend/backend.h"

#include <cuda_runtime_api.h>

enum execution_mode {
    EXECUTION_DIRECT,   /* operations are enqueued */
    EXECUTION_CAPTURED, /* operations are enqueued, and become a graph */
    EXECUTION_REPLAYED  /* operations do nothing: they are in the graph already */
};

/* Chunks of the same shape are followed by the same operations. */
struct chunk_shape {
    bool is_steps; /* a chunk of decoding steps: N documents with B beams each */
    size_t N, B, longest, variant;
};

struct chunk_graph {
    struct chunk_shape shape;
    unsigned slot;              /* whose buffers are in the graph */
    uint64_t last_use;          /* by the clock of chunk_graphs */
    cudaGraphExec_t executable; /* NULL: not made yet */
    size_t bytes;               /* of device memory that it takes */
    bool is_too_large;          /* it was made, and took more than was left */
};

/* There are few shapes: single texts of up to 512 tokens have 24. */
enum { MOST_SHAPES = 256 };

/* All graphs of an executor. Zero-initialize all but most_bytes. */
struct chunk_graphs {
    struct chunk_graph shapes[MOST_SHAPES];
    unsigned count;
    uint64_t clock; /* small chunks so far */
    size_t bytes, most_bytes;
    unsigned made;
    size_t least;   /* of the smallest made: if less is left, making one more is pointless */
    bool are_off;   /* making one failed: no more are made */
};

/* Decides how to compute a chunk of this shape in this slot. *graph is where its graph is or will
 * be; NULL: nowhere. */
void chunk_graph_find(enum execution_mode *mode, struct chunk_graph **graph, int device,
                      struct chunk_graphs *graphs, const struct chunk_shape *shape, unsigned slot,
                      const struct chunk_limits *limits);

/* Operations enqueued between begin and end become the graph, and do not run. After a failure in
 * between, call discard instead, which leaves nothing behind. If there is no graph after end,
 * because making it failed or it took too much, the operations are lost and must be enqueued again;
 * no graph will be tried for them any more. */
embed_status chunk_graph_begin(int device, cudaStream_t stream);
void chunk_graph_end(int device, struct chunk_graph *graph, struct chunk_graphs *graphs,
                     cudaStream_t stream);
void chunk_graph_discard(int device, cudaStream_t stream);

embed_status chunk_graph_launch(int device, const struct chunk_graph *graph,
                                cudaStream_t stream);

void chunk_graphs_destroy(int device, struct chunk_graphs *graphs);

#endif
