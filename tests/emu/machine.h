/* machine.h - internals that the sources of the emulated device share
 *
 *   control.cpp     settings, planned failures, reports; entry to every call
 *   memory.cpp      device and pinned memory: guard pages, protection, accounting
 *   stream.cpp      queues of work, run by the calls that wait
 *   graph.cpp       work captured from a stream, enqueued any number of times
 *   latency.cpp     time that passes instead of work
 *   runtime.cpp     the calls of cuda_runtime_api.h
 *   launch.cpp      kernels: checks, blocks on OS threads
 *   block.cpp       one block: a fiber for each thread, barriers, warp operations
 *   fiber.cpp       stacks and switches
 *   warp_operations.cpp   shuffles, ldmatrix, mma
 *   cublaslt.cpp, product.cpp   cuBLASLt's calls, and its one product
 *
 * One lock (in `api`) serializes all calls. Work of streams runs inside a call, on OS threads
 * that end before the call does.
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
    cudaError_t fatal; /* sticky: no call works after it */
    bool loss_is_told; /* a call has returned `fatal` */
    uint64_t busy_until; /* with a latency: when all enqueued work will be done */
    cudaStream_t null_stream;
};

struct machine {
    struct device devices[EMULATOR_MAX_DEVICES];
    int device_count;
    int major, minor, driver;
    const char *name; /* NULL: "emulated device N" */
    int multiprocessors, l2_bytes;
    size_t context_cost, handle_cost, stream_cost, graph_cost;
    uint64_t schedule;
    double launch_time, row_time; /* ns; if either is above 0, a latency replaces work */
    size_t streams, events, graphs, handles, descriptors;
};

extern struct machine machine;

/* Prints a fault, and records it if it is the first. Any thread. */
void report(const std::string &text);
std::string format(const char *pattern, ...) __attribute__((format(printf, 1, 2)));

enum call_kind {
    CALL_PLAIN,   /* needs no device */
    CALL_THREAD,  /* the same, and queries only the thread: not counted after a loss */
    CALL_CHOOSES, /* names its device */
    CALL_CONTEXT, /* creates the current device's context */
    CALL_WAITS,   /* the same; not allowed while the thread captures a graph */
    CALL_RELEASE  /* frees something, even if it fails */
};

/* Runs the body of a runtime call: under the lock, counted, failed if planned, its error kept for
 * cudaGetLastError. */
cudaError_t api(const char *name, enum call_kind kind, const std::function<cudaError_t()> &body);
cublasStatus_t cublas_api(const char *name, enum call_kind kind,
                          const std::function<cublasStatus_t()> &body);

/* Runs `body` under the lock. */
void locked(const std::function<void()> &body);

int current_device(void);
struct device *current(void);

/* ---- memory -------------------------------------------------------------------------------- */

struct allocation {
    unsigned char *data;
    size_t bytes;
    unsigned char *mapping; /* including guard pages on both sides */
    size_t mapping_bytes;
    int device;             /* or PINNED */
    bool live;
};

enum { PINNED = -1, POISON = 0xFF };

void *reserve_addresses(size_t bytes); /* not accessible yet; NULL: none */
void fill_poison(void *address, size_t bytes); /* not seen by sanitizers */

cudaError_t memory_allocate(void **pointer, size_t bytes, int device);
cudaError_t memory_release(void *pointer, bool pinned);
void memory_release_all(void);

/* Returns the allocation that contains `pointer`, live or freed, guard pages included; or NULL. */
const struct allocation *memory_find(const void *pointer);

/* Returns whether these bytes are in one live allocation of the device, or of pinned memory.
 * memory_is_any_device also accepts guard pages and freed allocations. */
bool memory_is_device(const void *pointer, size_t bytes, int device);
bool memory_is_pinned(const void *pointer, size_t bytes);
bool memory_is_any_device(const void *pointer);

/* Returns a text such as "16 bytes past the end of an allocation of 400 bytes". */
std::string memory_describe(const void *pointer);

/* The device's memory is accessible only between these. */
void memory_open(int device);
void memory_close(int device);

/* Reports writes just before or past an allocation; false if there are any. */
bool memory_guards_are_whole(int device, const char *who);

size_t memory_taken(const struct device *device);
bool memory_charge(struct device *device, size_t *account, size_t bytes);

/* ---- streams ------------------------------------------------------------------------------- */

struct work {
    std::function<cudaError_t()> run;
    void *poisoned; /* pinned memory that is poison from enqueueing until run; or NULL */
    size_t poisoned_bytes;
    double launch_time, row_time; /* ns, with a latency */
    uint64_t done_at;             /* when these have passed */
};

struct CUstream_st {
    int device;
    bool waits_for_null; /* not cudaStreamNonBlocking */
    uint64_t enqueued, done;
    std::deque<struct work> work;
    uint64_t done_at; /* with a latency: when all its work will be done */
    struct CUgraph_st *capture; /* the graph that gets the work during a capture; or NULL */
};

/* A moment in a stream: when `moment` pieces of its work are done. */
struct CUevent_st {
    cudaStream_t stream; /* NULL: never recorded, or its stream was destroyed with all work done */
    uint64_t moment;
};

/* Returns the stream for a call's argument: the current device's null stream for NULL; NULL if
 * there is no such stream. */
cudaStream_t stream_resolve(cudaStream_t stream);

void stream_enqueue(cudaStream_t stream, struct work work);
cudaError_t stream_finish(cudaStream_t stream); /* runs all its work */
cudaError_t streams_finish_all(int device);
cudaError_t stream_run(cudaStream_t stream, struct work work); /* runs at once */

cudaStream_t stream_create(int device, bool waits_for_null);
void stream_destroy(cudaStream_t stream);
void streams_and_events_destroy_all(void);

cudaEvent_t event_create(void);
void event_destroy(cudaEvent_t event);
bool event_exists(cudaEvent_t event);
cudaError_t event_finish(cudaEvent_t event); /* runs the work before it */

/* The time at which the work before an event, or all of a stream's or a device's, will be done. */
uint64_t event_done_at(cudaEvent_t event);
uint64_t stream_done_at(cudaStream_t stream);
uint64_t device_done_at(int device);

/* ---- latency ------------------------------------------------------------------------------- */

/* Returns whether time passes instead of work. */
bool latency_is_on(void);

/* Schedules new work on the time line of the stream's device. */
void latency_enter(cudaStream_t stream, struct work *work);
bool latency_is_over(const struct work &work);

/* Called without the lock, so that other threads continue, before the body of a call that waits:
 * asks `until` under the lock for the end, and sleeps until then. */
void latency_wait(const std::function<uint64_t()> &until);

/* ---- graphs -------------------------------------------------------------------------------- */

/* Spoils all captures of this thread that were not begun relaxed, and returns whether there is one:
 * waiting and allocating are not permitted during a capture. */
bool graph_spoiled(void);
bool graph_spoil(struct CUgraph_st *graph); /* spoils this one; false if NULL */

void graph_add(struct CUgraph_st *graph, struct work work);
void graph_discard_capture(struct CUgraph_st *graph); /* NULL is allowed */
void graphs_destroy_all(void);

/* ---- kernels ------------------------------------------------------------------------------- */

/* Calls task() on up to `threads` OS threads at once, including this one. */
void run_parallel(size_t threads, const std::function<void()> &task);
size_t processors(void);

/* ---- product ------------------------------------------------------------------------------- */

/* Computes d (N, O) = alpha * x (N, I) @ w (O, I)^T + beta * c (N, O) + bias (O), the bias only if
 * has_bias. All are row-major, each with its own stride. Types: CUDA_R_16F, CUDA_R_32F. */
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
    size_t parts; /* into which the sum over I is split; each is summed, then they are added */
    float alpha, beta;
};

void product_run(const struct product *product);

#endif
