/* block.cpp - runs the threads of a block; barriers and warp operations
 *
 * A thread runs until it must wait for others. Then the next ready thread runs, preferably of the
 * same warp. The last lane to reach an operation of its warp performs it for all and continues. If
 * no thread can run, the block is stuck, which is a fault of the kernel.
 */
#include "block.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

EMULATED_THREAD_LOCAL const struct emulated_thread *emulated_this_thread;
EMULATED_THREAD_LOCAL struct worker *this_worker;

static uint32_t bit_of(const struct lane *lane)
{
    return 1u << lane->number;
}

/* ---- scheduling ---------------------------------------------------------------------------- */

static unsigned random_below(struct worker *worker, unsigned limit)
{
    worker->random ^= worker->random << 13; /* xorshift64, Marsaglia 2003 */
    worker->random ^= worker->random >> 7;
    worker->random ^= worker->random << 17;
    return (unsigned)(worker->random >> 33) % limit;
}

static struct lane *choose(struct worker *worker, struct warp *warp)
{
    uint32_t ready = warp->ready;
    if (worker->random != 0) { /* skip some of the lowest */
        unsigned skip = random_below(worker, (unsigned)__builtin_popcount(ready));
        while (skip-- > 0) ready &= ready - 1;
    }
    return &warp->first_lane[__builtin_ctz(ready)];
}

/* Returns a ready lane of the running lane's warp, or of the next warp that has one; with random
 * scheduling, of a random warp or the next after it. */
static struct lane *next_ready(struct worker *worker)
{
    struct warp *warp = worker->running->warp, *end = worker->warps + worker->warp_count;
    if (worker->random != 0) warp = &worker->warps[random_below(worker, worker->warp_count)];
    for (unsigned i = 0; i < worker->warp_count; i++) {
        if (warp->ready != 0) return choose(worker, warp);
        if (++warp == end) warp = worker->warps;
    }
    return NULL;
}

/* Ends the running thread, and the block, for good. */
[[noreturn]] static void back_to_scheduler(void)
{
    struct worker *worker = this_worker;
    struct lane *self = worker->running;
    emulated_this_thread = NULL;
    fiber_switch(&self->fiber, &worker->scheduler, true);
    abort(); /* nobody switches back */
}

/* Returns how many threads are in a state, and sets *example to the first of them. */
static unsigned count_in(enum lane_state state, const struct lane **example)
{
    unsigned count = 0;
    for (unsigned t = this_worker->size; t-- > 0;) {
        if (this_worker->lanes[t].state != state) continue;
        *example = &this_worker->lanes[t];
        count++;
    }
    return count;
}

/* Reports a deadlock: which threads wait where, and for which others. */
[[noreturn]] static void stuck(void)
{
    struct worker *worker = this_worker;
    const struct lane *waiting = NULL, *other = NULL;
    unsigned ended = count_in(LANE_HAS_ENDED, &other);
    if (count_in(LANE_AT_WARP_OPERATION, &waiting) > 0) {
        const struct warp_call *call = waiting->warp->calls[waiting->number];
        worker->running = (struct lane *)waiting;
        fault(cudaErrorLaunchFailure,
              "%s at %s:%d waits for lanes 0x%08x of its warp, which are elsewhere (%u threads "
              "have ended, %u wait at a barrier)",
              call->name, call->file, call->line, call->mask & ~waiting->warp->arrived, ended,
              worker->at_barrier);
    }
    count_in(LANE_AT_BARRIER, &waiting);
    worker->running = (struct lane *)waiting;
    fault(cudaErrorLaunchFailure,
          "__syncthreads at %s:%d is reached by %u of %u threads; %u have ended before, as thread "
          "(%u, %u, %u)",
          worker->barrier_file, worker->barrier_line, worker->at_barrier, worker->size, ended,
          other->index.x, other->index.y, other->index.z);
}

/* Suspends the running thread, or ends it, and runs others until it can continue. */
static void let_others_run(bool ends)
{
    struct worker *worker = this_worker;
    struct lane *self = worker->running, *next = next_ready(worker);
    if (next == NULL) stuck();
    worker->running = next;
    emulated_this_thread = next;
    fiber_switch(&self->fiber, &next->fiber, ends);
}

/* ---- barriers and operations --------------------------------------------------------------- */

static void everybody_goes_on(struct worker *worker)
{
    worker->at_barrier = 0;
    worker->barriers++;
    for (unsigned w = 0; w < worker->warp_count; w++)
        worker->warps[w].ready = worker->warps[w].lanes;
    for (unsigned t = 0; t < worker->size; t++) worker->lanes[t].state = LANE_RUNS;
}

/* The objects for ThreadSanitizer alternate: with only one, a thread that leaves late would also
 * see what others did after this barrier. */
void emulated_barrier(const char *file, int line)
{
    struct worker *worker = this_worker;
    struct lane *self = worker->running;
    char *order = &worker->barrier_order[worker->barriers % 2];
    if (worker->at_barrier == 0) {
        worker->barrier_file = file;
        worker->barrier_line = line;
    } else if (worker->barrier_line != line ||
               (worker->barrier_file != file && strcmp(worker->barrier_file, file) != 0)) {
        fault(cudaErrorLaunchFailure,
              "waits in __syncthreads at %s:%d, %u other threads in that at %s:%d", file, line,
              worker->at_barrier, worker->barrier_file, worker->barrier_line);
    }
    happens_before_release(order);
    if (++worker->at_barrier == worker->size) {
        everybody_goes_on(worker);
    } else {
        self->state = LANE_AT_BARRIER;
        self->warp->ready &= ~bit_of(self);
        let_others_run(false);
    }
    happens_before_acquire(order);
}

static void check_same_call(const struct warp *warp, const struct warp_call *call)
{
    for (unsigned l = 0; l < EMULATED_WARP; l++) {
        if ((call->mask >> l & 1) == 0) continue;
        const struct warp_call *other = warp->calls[l];
        if (other->operation == call->operation && other->line == call->line &&
            other->mask == call->mask &&
            (other->file == call->file || strcmp(other->file, call->file) == 0))
            continue;
        fault(cudaErrorLaunchFailure,
              "%s at %s:%d, mask 0x%08x: lane %u of the warp is in %s at %s:%d, mask 0x%08x",
              call->name, call->file, call->line, call->mask, l, other->name, other->file,
              other->line, other->mask);
    }
}

static void meet(struct warp *warp, struct lane *self, const struct warp_call *call)
{
    if ((warp->arrived & call->mask) == call->mask) {
        check_same_call(warp, call);
        call->operation(warp->operands, call->mask);
        warp->arrived &= ~call->mask;
        warp->ready |= call->mask;
        return;
    }
    self->state = LANE_AT_WARP_OPERATION;
    warp->ready &= ~bit_of(self);
    let_others_run(false);
    self->state = LANE_RUNS;
}

void emulated_together(emulated_operation *operation, const char *name, unsigned mask,
                       void *operands, const char *file, int line)
{
    struct lane *self = this_worker->running;
    struct warp *warp = self->warp;
    const struct warp_call call = {operation, name, file, mask, line};
    if ((mask & bit_of(self)) == 0)
        fault(cudaErrorLaunchFailure, "%s at %s:%d: its mask 0x%08x is without the lane itself, %u",
              name, file, line, mask, self->number);
    if ((mask & ~warp->lanes) != 0)
        fault(cudaErrorLaunchFailure, "%s at %s:%d: its mask names lanes 0x%08x, which are absent",
              name, file, line, mask & ~warp->lanes);
    warp->calls[self->number] = &call;
    warp->operands[self->number] = operands;
    warp->arrived |= bit_of(self);

    if (operation != emulated_do_nothing) { /* only __syncwarp orders the lanes' reads and writes */
        meet(warp, self, &call);
        return;
    }
    bool whole = mask == warp->lanes;
    char *order = whole ? &warp->order[warp->orderings % 2] : &warp->partial_order;
    if (whole && (warp->arrived & mask) == mask) warp->orderings++;
    happens_before_release(order);
    meet(warp, self, &call);
    happens_before_acquire(order);
}

/* ---- copies to shared memory --------------------------------------------------------------- */

static void check_row(const void *row, const char *name, const char *file, int line)
{
    const unsigned char *p = (const unsigned char *)row, *base = this_worker->block.shared_memory;
    size_t size = this_worker->kernel->shared_bytes;
    if (p < base || p + 16 > base + size)
        fault(cudaErrorIllegalAddress,
              "%s at %s:%d: %p is not in the block's shared memory, of %zu bytes at %p", name, file,
              line, row, size, (const void *)base);
    if ((size_t)(p - base) % 16 != 0)
        fault(cudaErrorMisalignedAddress,
              "%s at %s:%d: byte %zu of shared memory is not a multiple of 16", name, file, line,
              (size_t)(p - base));
}

void emulated_reads_row(const void *row, const char *name, const char *file, int line)
{
    check_row(row, name, file, line);
    thread_sanitizer_reads(row, 16);
}

static int take_copy(const char *file, int line)
{
    struct worker *worker = this_worker;
    int copy = worker->free_copy;
    if (copy != NONE) {
        worker->free_copy = worker->copies[copy].next;
        return copy;
    }
    if (worker->copies_used == MAX_COPIES)
        fault(cudaErrorLaunchFailure, "cp.async at %s:%d: %d are under way", file, line,
              MAX_COPIES);
    return worker->copies_used++;
}

void emulated_copy_async(void *shared, const void *global, uint32_t bytes, const char *file,
                         int line)
{
    struct worker *worker = this_worker;
    struct lane *self = worker->running;
    check_row(shared, "cp.async", file, line);
    if (bytes > 16 || (bytes > 0 && (uintptr_t)global % 16 != 0))
        fault(cudaErrorMisalignedAddress, "cp.async at %s:%d of %u bytes from %p", file, line,
              bytes, global);
    thread_sanitizer_reads(global, bytes);
    thread_sanitizer_writes(shared, 16);
    fill_poison(shared, 16);

    int copy = take_copy(file, line);
    worker->copies[copy] = {shared, global, bytes, self->groups, NONE};
    if (self->first_copy == NONE) self->first_copy = copy;
    else worker->copies[self->last_copy].next = copy;
    self->last_copy = copy;
}

void emulated_copy_async_commit(void)
{
    this_worker->running->groups++;
}

void emulated_copy_async_wait(unsigned pending)
{
    struct worker *worker = this_worker;
    struct lane *self = worker->running;
    while (self->first_copy != NONE) {
        int first = self->first_copy;
        struct copy *copy = &worker->copies[first];
        if (copy->group + pending >= self->groups) break;
        volatile unsigned char *to = (unsigned char *)copy->shared;
        const unsigned char *from = (const unsigned char *)copy->global;
        for (unsigned i = 0; i < 16; i++) to[i] = i < copy->bytes ? from[i] : 0;
        self->first_copy = copy->next;
        copy->next = worker->free_copy;
        worker->free_copy = first;
    }
}

/* ---- a block ------------------------------------------------------------------------------- */

static void lane_main(void)
{
    struct worker *worker = this_worker;
    struct lane *self = worker->running;
    fiber_has_begun(worker->scheduler_left ? &worker->scheduler : NULL);
    worker->scheduler_left = false;
    happens_before_acquire(&worker->start_order);
    worker->kernel->thread();
    if (self->first_copy != NONE)
        fault(cudaErrorLaunchFailure, "ends with a cp.async that was never waited for");
    happens_before_release(&worker->end_order);
    self->state = LANE_HAS_ENDED;
    self->warp->ready &= ~bit_of(self);
    if (++worker->ended == worker->size) back_to_scheduler();
    let_others_run(true);
}

static void prepare_lanes(struct worker *worker)
{
    dim3 size = worker->block.size;
    for (unsigned t = 0; t < worker->size; t++) {
        struct lane *lane = &worker->lanes[t];
        if (t >= worker->fibers) {
            fiber_create(&lane->fiber, worker->stacks + t * worker->stack_bytes,
                         worker->stack_bytes - t % 16 * 1088); /* tops in different cache sets */
            worker->fibers++;
        }
        fiber_begin_at(&lane->fiber, lane_main);
        lane->index = {t % size.x, t / size.x % size.y, t / size.x / size.y};
        lane->block = &worker->block;
        lane->warp = &worker->warps[t / EMULATED_WARP];
        lane->number = t % EMULATED_WARP;
        lane->state = LANE_RUNS;
        lane->first_copy = lane->last_copy = NONE;
        lane->groups = 0;
    }
    for (unsigned w = 0; w < worker->warp_count; w++) {
        struct warp *warp = &worker->warps[w];
        warp->first_lane = &worker->lanes[w * EMULATED_WARP];
        unsigned lanes = worker->size - w * EMULATED_WARP;
        warp->lanes = warp->ready = lanes >= EMULATED_WARP ? ~0u : (1u << lanes) - 1;
        warp->arrived = 0;
    }
}

enum { CANARY = 0xA5, CANARIES = 256 };

/* Places shared memory so that it ends, rounded up to 16 bytes, at a guard page. */
static void prepare_shared_memory(struct worker *worker)
{
    size_t bytes = worker->kernel->shared_bytes, rounded = (bytes + 15) / 16 * 16;
    unsigned char *base = worker->shared_region + LARGEST_SHARED - rounded;
    worker->block.shared_memory = base;
    fill_poison(base, bytes);
    memset(base + bytes, CANARY, rounded - bytes);
    memset(base - CANARIES, CANARY, CANARIES);
}

static cudaError_t check_shared_memory(struct worker *worker)
{
    size_t bytes = worker->kernel->shared_bytes;
    unsigned char *base = worker->block.shared_memory;
    unsigned char *end = worker->shared_region + LARGEST_SHARED;
    uint3 index = worker->block.index;
    for (unsigned char *p = base - CANARIES; p < end; p = p + 1 == base ? base + bytes : p + 1) {
        if ((p >= base && p < base + bytes) || *p == CANARY) continue;
        report(format("kernel %s, block (%u, %u, %u): has written to byte %td of its shared "
                      "memory, of %zu bytes",
                      worker->kernel->name.c_str(), index.x, index.y, index.z, p - base, bytes));
        return cudaErrorIllegalAddress;
    }
    return cudaSuccess;
}

/* After a fault: the threads stay suspended for ever. */
static void abandon_lanes(struct worker *worker)
{
    address_sanitizer_unpoison(worker->stacks, worker->fibers * worker->stack_bytes);
    for (unsigned t = 0; t < worker->size; t++)
        if (worker->lanes[t].state != LANE_HAS_ENDED)
            fiber_releases(&worker->lanes[t].fiber, &worker->end_order);
}

cudaError_t worker_run_block(struct worker *worker, uint64_t index)
{
    dim3 grid = worker->kernel->grid;
    worker->block.index = {(unsigned)(index % grid.x), (unsigned)(index / grid.x % grid.y),
                           (unsigned)(index / grid.x / grid.y)};
    worker->ended = worker->at_barrier = 0;
    worker->copies_used = 0;
    worker->free_copy = NONE;
    worker->error = cudaSuccess;
    worker->random = 0;
    if (machine.schedule != 0)
        worker->random = (machine.schedule + index) * 0x9E3779B97F4A7C15u | 1; /* spread */
    happens_before_acquire(&worker->end_order); /* the previous block used this shared memory */
    happens_before_release(&worker->start_order);
    prepare_lanes(worker);
    prepare_shared_memory(worker);

    worker->running = &worker->lanes[0];
    if (worker->random != 0) worker->running = next_ready(worker);
    worker->scheduler_left = true;
    emulated_this_thread = worker->running;
    fiber_switch(&worker->scheduler, &worker->running->fiber, false);
    if (worker->error == cudaSuccess) return check_shared_memory(worker);
    abandon_lanes(worker);
    return worker->error;
}

void worker_begin(struct worker *worker, const struct kernel *kernel)
{
    this_worker = worker;
    worker->kernel = kernel;
    worker->block.size = kernel->block;
    worker->block.grid = kernel->grid;
    worker->size = kernel->block.x * kernel->block.y * kernel->block.z;
    worker->warp_count = (worker->size + EMULATED_WARP - 1) / EMULATED_WARP;
}

void worker_end(struct worker *worker)
{
    happens_before_acquire(&worker->end_order);
    this_worker = NULL;
}
