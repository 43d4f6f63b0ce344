/* block.h - the threads of a block, each a fiber, on one OS thread */
#ifndef EMULATOR_BLOCK_H
#define EMULATOR_BLOCK_H

#include "fiber.h"
#include "machine.h"

#include <emulated_device.h>

#include <vector>

#undef launch /* a macro of kernels */

enum {
    MAX_THREADS = 1024,
    MAX_WARPS = MAX_THREADS / EMULATED_WARP,
    MAX_COPIES = 1 << 17, /* of a block, in flight */
    LARGEST_SHARED = 256 << 10
};

/* What a lane passes to an operation of its warp. Lives on the lane's stack. */
struct warp_call {
    emulated_operation *operation;
    const char *name, *file;
    unsigned mask;
    int line;
};

enum lane_state { LANE_RUNS, LANE_AT_BARRIER, LANE_AT_WARP_OPERATION, LANE_HAS_ENDED };

struct lane : emulated_thread {
    struct fiber fiber;
    struct warp *warp;
    enum lane_state state;
    int first_copy, last_copy; /* in flight, in worker.copies; or NONE */
    unsigned groups;           /* of copies, committed so far */
};

struct warp {
    struct lane *first_lane;
    uint32_t lanes;   /* existing lanes */
    uint32_t ready;   /* lanes that can run */
    uint32_t arrived; /* lanes that wait at the operation in calls */
    const struct warp_call *calls[EMULATED_WARP];
    void *operands[EMULATED_WARP];
    unsigned orderings; /* __syncwarp calls of the whole warp so far */
    char order[2], partial_order; /* objects for ThreadSanitizer, which uses only their addresses */
};

struct copy {
    void *shared;
    const void *global;
    uint32_t bytes;
    unsigned group;
    int next; /* in the lane's list or the free list; or NONE */
};

enum { NONE = -1 };

/* What an OS thread needs to run blocks; reused from launch to launch. */
struct worker {
    struct emulated_block block;
    const struct kernel *kernel;
    unsigned size; /* threads of the block */
    unsigned warp_count;
    struct lane lanes[MAX_THREADS];
    struct warp warps[MAX_WARPS];
    struct lane *running;
    unsigned ended;

    unsigned at_barrier, barriers;
    const char *barrier_file;
    int barrier_line;
    char barrier_order[2], start_order, end_order;

    struct copy *copies; /* MAX_COPIES; not a vector, whose growth would look like a race */
    int copies_used, free_copy;
    uint64_t random; /* 0: threads run in order of number */

    struct fiber scheduler; /* the OS thread itself */
    bool scheduler_left;    /* only just; its stack is not noted yet */
    cudaError_t error;
    void *fault_address, *fault_instruction;

    unsigned char *stacks, *shared_region;
    size_t stack_bytes;
    unsigned fibers; /* created so far */
};

struct kernel {
    std::string name;
    dim3 grid, block;
    size_t shared_bytes;
    std::function<void()> thread;
    std::vector<const void *> pointers; /* among the kernel's arguments */
};

struct worker *worker_create(void); /* NULL: out of memory */
void worker_destroy(struct worker *worker);

/* Enclose the blocks of one kernel on one OS thread. */
void worker_begin(struct worker *worker, const struct kernel *kernel);
void worker_end(struct worker *worker);

cudaError_t worker_run_block(struct worker *worker, uint64_t index);

/* Turns a bad memory access of a kernel's thread into an error of the kernel. */
void catch_faults(bool on);

/* Called in a kernel's thread: ends the thread and the kernel. */
[[noreturn]] void fault(cudaError_t error, const char *pattern, ...)
    __attribute__((format(printf, 2, 3)));

extern EMULATED_THREAD_LOCAL struct worker *this_worker;

#endif
