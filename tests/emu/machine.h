/* machine.h - what the sources of the emulated device share
 *
 *   control.cpp     settings, planned failures, reports; entering a call
 *   memory.cpp      device and pinned memory: guard pages, protection, accounts
 *   stream.cpp      queues of work, done at the calls that wait
 *   graph.cpp       work captured from a stream, to be enqueued as often as wanted
 *   latency.cpp     time that passes instead of work
 *   runtime.cpp     the calls of cuda_runtime_api.h
 *   launch.cpp      kernels: checks, blocks on OS threads
 *   block.cpp       one block: a fiber for each thread, barriers, warp operations
 *   fiber.cpp       stacks and switches
 *   warp_operations.cpp   shuffles, ldmatrix, mma
 *   cublaslt.cpp, product.cpp   cuBLASLt's calls, and its one product
 *
 * One lock for all (in `api`): every call is alone. Work of streams runs inside a call, and
 * spreads over OS threads that end before the call does.
 */
#ifndef EMULATOR_MACHINE_H
#define EMULATOR_MACHINE_H

#include "cublasLt.h"
#include "cuda_runtime_api.h"
#include "emulator.h"

#include <deque>
#include <functional>
#include <string>

/* ---- control ------------------------------------------------------------------------------- */

struct device {
    size_t memory; /* bytes */
    bool has_context;
    size_t context_bytes, handle_bytes, stream_bytes, graph_bytes; /* taken by these */
    size_t small_bytes, large_bytes;                  /* taken by allocations */
    size_t peak;
    cudaError_t fatal; /* after which nothing works */
    bool loss_is_told; /* a call has returned it */
    uint64_t busy_until; /* with a latency: when all that is enqueued will be done */
    cudaStream_t null_stream;
};

struct machine {
    struct device devices[EMULATOR_MAX_DEVICES];
    int device_count;
    int major, minor, driver;
    const char *name; /* NULL: that of emulated devices */
    int multiprocessors, l2_bytes;
    size_t context_cost, handle_cost, stream_cost, graph_cost;
    uint64_t schedule;
    double launch_time, row_time; /* ns; one of them not 0: a latency instead of work */
    size_t streams, events, graphs, handles, descriptors;
};

extern struct machine machine;

/* Notes a fault's text, if it is the first, and prints it. Any thread. */
void report(const std::string &text);
std::string format(const char *pattern, ...) __attribute__((format(printf, 1, 2)));

enum call_kind {
    CALL_PLAIN,   /* needs no device */
    CALL_THREAD,  /* the same, and tells only what the thread keeps: not counted after a loss */
    CALL_CHOOSES, /* names the device it is for */
    CALL_CONTEXT, /* creates the current device's context */
    CALL_WAITS,   /* the same; not while the thread captures a graph */
    CALL_RELEASE  /* frees something: even when it fails */
};

/* A call of the runtime: alone, counted, failed where planned, its error kept for
 * cudaGetLastError. */
cudaError_t api(const char *name, enum call_kind kind, const std::function<cudaError_t()> &body);
cublasStatus_t cublas_api(const char *name, enum call_kind kind,
                          const std::function<cublasStatus_t()> &body);

/* The lock alone. */
void locked(const std::function<void()> &body);

int current_device(void);
struct device *current(void);

/* ---- memory -------------------------------------------------------------------------------- */

struct allocation {
    unsigned char *data;
    size_t bytes;
    unsigned char *mapping; /* with guard pages on both sides */
    size_t mapping_bytes;
    int device;             /* or PINNED */
    bool live;
};

enum { PINNED = -1, POISON = 0xFF };

void *reserve_addresses(size_t bytes); /* which nothing can touch yet; or NULL */
void fill_poison(void *address, size_t bytes); /* not seen by sanitizers */

cudaError_t memory_allocate(void **pointer, size_t bytes, int device);
cudaError_t memory_release(void *pointer, bool pinned);
void memory_release_all(void);

/* The allocation that `pointer` is in, live or not, guard pages included; or NULL. */
const struct allocation *memory_find(const void *pointer);

/* Are these bytes in one live allocation of the device (or, where allowed, pinned)? */
bool memory_is_device(const void *pointer, size_t bytes, int device);
bool memory_is_pinned(const void *pointer, size_t bytes);
bool memory_is_any_device(const void *pointer);

/* "16 bytes past the end of an allocation of 400 bytes", ... */
std::string memory_describe(const void *pointer);

/* The device's memory can be touched between these only. */
void memory_open(int device);
void memory_close(int device);

/* Reports what was written just past an allocation, or just before it. */
bool memory_guards_are_whole(int device, const char *who);

size_t memory_taken(const struct device *device);
bool memory_charge(struct device *device, size_t *account, size_t bytes);

/* ---- streams ------------------------------------------------------------------------------- */

struct work {
    std::function<cudaError_t()> run;
    void *poisoned; /* pinned memory that is poison from the enqueueing on, until run; or NULL */
    size_t poisoned_bytes;
    double launch_time, row_time; /* ns that a latency takes */
    uint64_t done_at;             /* the time when these have passed */
};

struct CUstream_st {
    int device;
    bool waits_for_null; /* not cudaStreamNonBlocking */
    uint64_t enqueued, done;
    std::deque<struct work> work;
    uint64_t done_at; /* with a latency: when all of its work will be done */
    struct CUgraph_st *capture; /* where work goes instead, between begin and end; or NULL */
};

/* A moment in a stream: when so many pieces of its work are done. */
struct CUevent_st {
    cudaStream_t stream; /* NULL: not recorded, or its stream is gone, all work done */
    uint64_t moment;
};

/* The stream that a call means: NULL is the current device's; or NULL if there is none. */
cudaStream_t stream_resolve(cudaStream_t stream);

void stream_enqueue(cudaStream_t stream, struct work work);
cudaError_t stream_finish(cudaStream_t stream); /* does all its work */
cudaError_t streams_finish_all(int device);
cudaError_t stream_run(cudaStream_t stream, struct work work); /* now */

cudaStream_t stream_create(int device, bool waits_for_null);
void stream_destroy(cudaStream_t stream);
void streams_and_events_destroy_all(void);

cudaEvent_t event_create(void);
void event_destroy(cudaEvent_t event);
bool event_exists(cudaEvent_t event);
cudaError_t event_finish(cudaEvent_t event); /* does the work before it */

/* When the work before an event, or all of a stream's or a device's, will be done. */
uint64_t event_done_at(cudaEvent_t event);
uint64_t stream_done_at(cudaStream_t stream);
uint64_t device_done_at(int device);

/* ---- latency ------------------------------------------------------------------------------- */

/* Does time pass instead of work? */
bool latency_is_on(void);

/* Where the time of new work lies on the stream's device. */
void latency_enter(cudaStream_t stream, struct work *work);
bool latency_is_over(const struct work &work);

/* Before the body of a call that waits, and without the lock, so that others go on: asks with it
 * until when, and sleeps. */
void latency_wait(const std::function<uint64_t()> &until);

/* ---- graphs -------------------------------------------------------------------------------- */

/* Is this thread capturing one? Then what waits or allocates is not permitted, and spoils it. Not
 * where it was begun relaxed. */
bool graph_spoiled(void);
bool graph_spoil(struct CUgraph_st *graph); /* this one; false where it is NULL */

void graph_add(struct CUgraph_st *graph, struct work work);
void graph_discard_capture(struct CUgraph_st *graph); /* may be NULL */
void graphs_destroy_all(void);

/* ---- kernels ------------------------------------------------------------------------------- */

/* Calls task() on up to `threads` OS threads at once, this one among them. */
void run_parallel(size_t threads, const std::function<void()> &task);
size_t processors(void);

/* ---- product ------------------------------------------------------------------------------- */

/* d (N, O) = alpha * x (N, I) @ w (O, I)^T + beta * c (N, O) + bias (O); all row-major with their
 * own distance between rows; the bias only where there is one. Types: CUDA_R_16F, CUDA_R_32F. */
struct product_matrix {
    const void *data;
    cudaDataType type;
    size_t stride;
};

struct product {
    struct product_matrix w, x, c, bias;
    bool has_bias;
    void *d;
    cudaDataType d_type;
    size_t d_stride;
    size_t N, O, I;
    size_t parts; /* the sum over I in so many parts, each summed, then added */
    float alpha, beta;
};

void product_run(const struct product *product);

#endif
