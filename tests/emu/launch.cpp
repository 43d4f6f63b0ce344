/* launch.cpp - kernels: checks at launch, blocks on OS threads */
#include "block.h"

#include <atomic>
#include <chrono>
#include <mutex>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* ---- OS threads ---------------------------------------------------------------------------- */

size_t processors(void)
{
    enum { MOST = 16 };
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count > MOST ? (size_t)MOST : (size_t)count;
}

static void *run_task(void *task)
{
    (*(const std::function<void()> *)task)();
    return NULL;
}

/* Creates threads for this one task and joins them, since nothing may be left when a library is
 * unloaded. They block the signals that are meant for the program. */
void run_parallel(size_t threads, const std::function<void()> &task)
{
    std::vector<pthread_t> others;
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (size_t i = 1; i < threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, run_task, (void *)&task) != 0) break;
        others.push_back(thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    task();
    for (pthread_t thread : others) pthread_join(thread, NULL);
}

/* ---- workers ------------------------------------------------------------------------------- */

static std::mutex idle_lock;

static std::vector<struct worker *> &idle_workers(void)
{
    static auto *idle = new std::vector<struct worker *>;
    return *idle;
}

static struct worker *take_worker(void)
{
    std::lock_guard<std::mutex> guard(idle_lock);
    if (idle_workers().empty()) return worker_create();
    struct worker *worker = idle_workers().back();
    idle_workers().pop_back();
    return worker;
}

static void give_back(struct worker *worker)
{
    std::lock_guard<std::mutex> guard(idle_lock);
    idle_workers().push_back(worker);
}

__attribute__((destructor)) static void destroy_workers(void)
{
    locked([] {
        for (struct worker *worker : idle_workers()) worker_destroy(worker);
        idle_workers().clear();
    });
}

/* ---- a kernel ------------------------------------------------------------------------------ */

/* A launch's remaining blocks, taken by several OS threads. */
struct grid {
    const struct kernel *kernel;
    uint64_t blocks;
    std::atomic<uint64_t> next;
    std::atomic<int> error;
};

/* Runs blocks until none are left, one has failed, or `microseconds` have passed (0: no limit). */
static void run_blocks(struct grid *grid, long microseconds)
{
    typedef std::chrono::steady_clock clock;
    struct worker *worker = take_worker();
    if (worker == NULL) {
        grid->error = cudaErrorLaunchOutOfResources;
        return;
    }
    worker_begin(worker, grid->kernel);
    auto end = clock::now() + std::chrono::microseconds(microseconds);
    while (grid->error == cudaSuccess && (microseconds == 0 || clock::now() < end)) {
        uint64_t index = grid->next++;
        if (index >= grid->blocks) break;
        cudaError_t error = worker_run_block(worker, index);
        if (error != cudaSuccess) grid->error = error;
    }
    worker_end(worker);
    give_back(worker);
}

/* Runs on one thread at first: creating others takes as long as a small kernel. */
static cudaError_t run_kernel(const struct kernel *kernel, int device)
{
    enum { ALONE = 200 };
    uint64_t blocks = (uint64_t)kernel->grid.x * kernel->grid.y * kernel->grid.z;
    struct grid grid = {kernel, blocks, {0}, {cudaSuccess}};
    catch_faults(true);
    run_blocks(&grid, ALONE);
    if (grid.error == cudaSuccess && grid.next < blocks)
        run_parallel(processors(), [&] { run_blocks(&grid, 0); });
    catch_faults(false);
    if (grid.error == cudaSuccess && !memory_guards_are_whole(device, kernel->name.c_str()))
        return cudaErrorIllegalAddress;
    return (cudaError_t)grid.error.load();
}

/* Returns the kernel's name from the text of launch()'s arguments: everything before the first
 * comma outside < > and ( ). */
static std::string name_in(const char *text)
{
    int depth = 0;
    size_t length = 0;
    for (; text[length] != '\0'; length++) {
        char c = text[length];
        if (c == ',' && depth == 0) break;
        depth += (c == '<' || c == '(') - (c == '>' || c == ')');
    }
    return std::string(text, length);
}

/* Returns the largest shared memory that launch() can request for a block. */
static size_t shared_limit(void)
{
    return EMULATED_ARCH == 750 ? 64 << 10 : 163 << 10;
}

static cudaError_t check_shape(const struct emulated_launch *launch)
{
    dim3 grid = launch->grid, block = launch->block;
    bool block_fits = block.x <= 1024 && block.y <= 1024 && block.z <= 64 &&
                      (uint64_t)block.x * block.y * block.z <= MAX_THREADS;
    bool grid_fits = grid.x <= 0x7FFFFFFFu && grid.y <= 65535 && grid.z <= 65535;
    if (!block_fits || !grid_fits || (uint64_t)block.x * block.y * block.z == 0 || grid.x == 0 ||
        grid.y == 0 || grid.z == 0)
        return cudaErrorInvalidConfiguration;
    return launch->shared_bytes > shared_limit() ? cudaErrorInvalidValue : cudaSuccess;
}

/* Called when the kernel runs: memory of a graph may have been freed by then. */
static bool pointers_are_device(const struct kernel *kernel, int device)
{
    for (size_t i = 0; i < kernel->pointers.size(); i++) {
        const void *pointer = kernel->pointers[i];
        if (pointer == NULL || memory_is_device(pointer, 0, device) || memory_is_pinned(pointer, 0))
            continue;
        report(format("kernel %s: its argument, pointer %zu, is not memory of device %d: %s",
                      kernel->name.c_str(), i, device, memory_describe(pointer).c_str()));
        return false;
    }
    return true;
}

cudaError_t emulated_launch_kernel(const struct emulated_launch *launch, cudaStream_t stream)
{
    return api("cudaLaunchKernel", CALL_CONTEXT, [=]() mutable {
        stream = stream_resolve(stream);
        if (stream == NULL || stream->device != current_device())
            return cudaErrorInvalidResourceHandle;
        if (launch->architecture / 10 > machine.major * 10 + machine.minor)
            return cudaErrorNoKernelImageForDevice;
        cudaError_t error = check_shape(launch);
        if (error != cudaSuccess) return error;
        std::vector<const void *> pointers(launch->pointers,
                                           launch->pointers + launch->pointer_count);
        struct kernel kernel = {name_in(launch->text), launch->grid,   launch->block,
                                launch->shared_bytes,  launch->thread, pointers};
        struct work work = {};
        int device = stream->device;
        work.launch_time = machine.launch_time;
        work.run = [=] {
            if (!pointers_are_device(&kernel, device)) return cudaErrorIllegalAddress;
            return latency_is_on() ? cudaSuccess : run_kernel(&kernel, device);
        };
        stream_enqueue(stream, work);
        return cudaSuccess;
    });
}
