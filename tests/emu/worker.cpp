/* worker.cpp - a worker's memory, and the handling of a kernel's faults */
#include "block.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#define PAGE ((size_t)4096)
#define GUARD ((size_t)1 << 20) /* an index off by a row or two must not jump over it */

/* ---- memory -------------------------------------------------------------------------------- */

/* Sanitizers need larger frames. */
static size_t stack_size(void)
{
    return sanitized_by_address() || sanitized_by_thread() ? 256 << 10 : 64 << 10;
}

static bool open_stacks(struct worker *worker)
{
    for (unsigned t = 0; t < MAX_THREADS; t++) { /* except a guard page below each */
        unsigned char *stack = worker->stacks + t * worker->stack_bytes;
        if (mprotect(stack + PAGE, worker->stack_bytes - PAGE, PROT_READ | PROT_WRITE) != 0)
            return false;
    }
    return true;
}

struct worker *worker_create(void)
{
    struct worker *worker = new struct worker();
    worker->stack_bytes = stack_size();
    worker->stacks = (unsigned char *)reserve_addresses(MAX_THREADS * worker->stack_bytes);
    unsigned char *shared = (unsigned char *)reserve_addresses(LARGEST_SHARED + 2 * GUARD);
    worker->shared_region = shared + GUARD;
    worker->copies = (struct copy *)reserve_addresses(MAX_COPIES * sizeof *worker->copies);
    if (worker->stacks != NULL && shared != NULL && worker->copies != NULL && open_stacks(worker) &&
        mprotect(worker->shared_region, LARGEST_SHARED, PROT_READ | PROT_WRITE) == 0 &&
        mprotect(worker->copies, MAX_COPIES * sizeof *worker->copies, PROT_READ | PROT_WRITE) == 0)
        return worker;
    delete worker; /* its addresses stay reserved: no memory is left anyway */
    return NULL;
}

void worker_destroy(struct worker *worker)
{
    for (unsigned t = 0; t < worker->fibers; t++) fiber_destroy(&worker->lanes[t].fiber);
    munmap(worker->stacks, MAX_THREADS * worker->stack_bytes);
    munmap(worker->shared_region - GUARD, LARGEST_SHARED + 2 * GUARD);
    munmap(worker->copies, MAX_COPIES * sizeof *worker->copies);
    delete worker;
}

/* ---- faults -------------------------------------------------------------------------------- */

static void report_fault(const char *text)
{
    const struct worker *worker = this_worker;
    uint3 block = worker->block.index, thread = worker->running->index;
    report(format("kernel %s, block (%u, %u, %u), thread (%u, %u, %u): %s",
                  worker->kernel->name.c_str(), block.x, block.y, block.z, thread.x, thread.y,
                  thread.z, text));
}

/* The threads are abandoned where they are: kernels own nothing that needs to be freed. */
void fault(cudaError_t error, const char *pattern, ...)
{
    struct worker *worker = this_worker;
    char text[1024];
    va_list arguments;
    va_start(arguments, pattern);
    vsnprintf(text, sizeof text, pattern, arguments);
    va_end(arguments);
    report_fault(text);
    worker->error = error;
    emulated_this_thread = NULL;
    fiber_switch(&worker->running->fiber, &worker->scheduler, true);
    abort(); /* nobody switches back */
}

static void describe_access(char *text, size_t size)
{
    const struct worker *worker = this_worker;
    const unsigned char *address = (const unsigned char *)worker->fault_address;
    const unsigned char *shared = worker->block.shared_memory;
    size_t bytes = worker->kernel->shared_bytes;
    Dl_info where;
    std::string at = "?";
    if (dladdr(worker->fault_instruction, &where) != 0)
        at = format("%s+0x%zx", where.dli_fname,
                    (size_t)((char *)worker->fault_instruction - (char *)where.dli_fbase));
    std::string what;
    if (address == NULL) what = "a null pointer, or an address that is misaligned or no address";
    else if (address >= worker->shared_region - GUARD &&
             address < worker->shared_region + LARGEST_SHARED + GUARD)
        what = format("byte %td of shared memory, of %zu bytes", address - shared, bytes);
    else what = memory_describe(address);
    snprintf(text, size, "illegal access: %s; instruction %s (for addr2line)", what.c_str(),
             at.c_str());
}

/* Where a thread continues after the signal. */
static void faulted_thread(void)
{
    char text[900];
    describe_access(text, sizeof text);
    fault(cudaErrorIllegalAddress, "%s", text);
}

static struct sigaction old_segv, old_bus;

static void on_signal(int signal, siginfo_t *info, void *context)
{
    if (emulated_this_thread == NULL) { /* not in a kernel: act as if not installed */
        sigaction(signal, signal == SIGSEGV ? &old_segv : &old_bus, NULL);
        return; /* the access faults again */
    }
#if defined(__x86_64__)
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    this_worker->fault_address = info->si_addr;
    this_worker->fault_instruction = (void *)registers[REG_RIP];
    registers[REG_RIP] = (greg_t)faulted_thread;
    registers[REG_RSP] = ((registers[REG_RSP] - 256) & ~(greg_t)15) - 8; /* past the red zone */
#else
    (void)info, (void)context;
    sigaction(signal, signal == SIGSEGV ? &old_segv : &old_bus, NULL);
#endif
}

void catch_faults(bool on)
{
    if (sanitized_by_thread()) return; /* it delivers signals late */
    if (on) {
        struct sigaction action = {};
        action.sa_sigaction = on_signal;
        action.sa_flags = SA_SIGINFO;
        sigaction(SIGSEGV, &action, &old_segv);
        sigaction(SIGBUS, &action, &old_bus);
    } else {
        sigaction(SIGSEGV, &old_segv, NULL);
        sigaction(SIGBUS, &old_bus, NULL);
    }
}
