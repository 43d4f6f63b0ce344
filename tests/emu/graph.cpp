/* graph.cpp - work captured from a stream, enqueued any number of times
 *
 * A capture has one stream, without forks; cudaStreamCaptureModeGlobal, which restricts other
 * threads, is not emulated. As in CUDA, a call that waits or allocates fails while its thread
 * captures, unless the mode is relaxed, and invalidates the capture; so does waiting for the stream
 * itself. Captured work is not done before the graph is launched.
 */
#include "machine.h"

#include <pthread.h>
#include <set>

struct CUgraph_st {
    std::deque<struct work> work;
    pthread_t thread; /* the one that captures */
    bool is_relaxed, is_spoiled;
};

struct CUgraphExec_st {
    std::deque<struct work> work;
    int device;
};

static std::set<cudaGraph_t> captures, graphs; /* in progress; finished */
static std::set<cudaGraphExec_t> executables;

bool graph_spoiled(void)
{
    bool found = false;
    for (cudaGraph_t capture : captures) {
        if (capture->is_relaxed || !pthread_equal(capture->thread, pthread_self())) continue;
        capture->is_spoiled = true;
        found = true;
    }
    return found;
}

bool graph_spoil(struct CUgraph_st *graph)
{
    if (graph != NULL) graph->is_spoiled = true;
    return graph != NULL;
}

void graph_add(struct CUgraph_st *graph, struct work work)
{
    graph->work.push_back(std::move(work));
}

void graph_discard_capture(struct CUgraph_st *graph)
{
    captures.erase(graph);
    delete graph;
}

/* ---- capture ------------------------------------------------------------------------------- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    return api("cudaStreamBeginCapture", CALL_CONTEXT, [=] {
        if (stream == NULL || stream_resolve(stream) == NULL)
            return cudaErrorInvalidResourceHandle;
        if (mode == cudaStreamCaptureModeGlobal || stream->waits_for_null)
            return cudaErrorNotSupported;
        if (stream->capture != NULL) return cudaErrorInvalidValue;
        stream->capture = new CUgraph_st{
            {}, pthread_self(), mode == cudaStreamCaptureModeRelaxed, false};
        captures.insert(stream->capture);
        return cudaSuccess;
    });
}

/* Ends the capture even if it fails; then there is no graph. */
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    cudaGraph_t captured = NULL;
    cudaError_t error = api("cudaStreamEndCapture", CALL_RELEASE, [&] {
        if (stream == NULL || stream_resolve(stream) == NULL || stream->capture == NULL)
            return cudaErrorInvalidValue;
        captured = stream->capture;
        stream->capture = NULL;
        captures.erase(captured);
        return captured->is_spoiled ? cudaErrorStreamCaptureInvalidated : cudaSuccess;
    });
    if (error != cudaSuccess) {
        delete captured;
        captured = NULL;
    }
    locked([=] {
        if (captured == NULL) return;
        graphs.insert(captured);
        machine.graphs++;
    });
    *graph = captured;
    return error;
}

/* ---- graphs -------------------------------------------------------------------------------- */

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    return api("cudaGraphDestroy", CALL_RELEASE, [=] {
        if (graphs.erase(graph) == 0) return cudaErrorInvalidValue;
        machine.graphs--;
        delete graph;
        return cudaSuccess;
    });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph,
                                 unsigned long long flags)
{
    return api("cudaGraphInstantiate", CALL_WAITS, [=] {
        if (graphs.count(graph) == 0 || flags != 0) return cudaErrorInvalidValue;
        if (!memory_charge(current(), &current()->graph_bytes, machine.graph_cost))
            return cudaErrorMemoryAllocation;
        *executable = new CUgraphExec_st{graph->work, current_device()};
        executables.insert(*executable);
        machine.graphs++;
        return cudaSuccess;
    });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable)
{
    return api("cudaGraphExecDestroy", CALL_RELEASE, [=] {
        if (executables.erase(executable) == 0) return cudaErrorInvalidValue;
        machine.devices[executable->device].graph_bytes -= machine.graph_cost;
        machine.graphs--;
        delete executable;
        return cudaSuccess;
    });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream)
{
    return api("cudaGraphLaunch", CALL_CONTEXT, [=] {
        cudaStream_t resolved = stream_resolve(stream);
        if (resolved == NULL || executables.count(executable) == 0 ||
            resolved->device != executable->device)
            return cudaErrorInvalidResourceHandle;
        if (resolved->capture != NULL) return cudaErrorNotSupported;
        bool is_first = true; /* a graph has the latency of one launch */
        for (struct work work : executable->work) {
            work.launch_time = is_first ? machine.launch_time : 0;
            is_first = false;
            stream_enqueue(resolved, work);
        }
        return cudaSuccess;
    });
}

void graphs_destroy_all(void)
{
    for (cudaGraph_t graph : graphs) delete graph;
    for (cudaGraphExec_t executable : executables) delete executable;
    graphs.clear();
    executables.clear();
}
