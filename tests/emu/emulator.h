/* emulator.h - what tests set and ask of the emulated device
 *
 * The same device and the same rules as seen through cuda_runtime_api.h: this is the other side.
 * Exported, so that a test finds it in an emulated plug-in with dlsym. Any thread, but settings are
 * for before the first use of the device: emulator_reset() begins anew.
 *
 * For the command line: EMULATOR_DEVICES, EMULATOR_MEMORY (bytes of each), EMULATOR_DRIVER
 * (version, as 13000) are read once at load, and at emulator_reset().
 */
#ifndef EMULATOR_H
#define EMULATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EMULATOR_API __attribute__((visibility("default")))

enum { EMULATOR_MAX_DEVICES = 8 };

/* Frees whatever is left, forgets errors, reports, counts and settings. No other thread may be in a
 * call, and handles from before are not valid any more. */
EMULATOR_API void emulator_reset(void);

/* ---- the machine --------------------------------------------------------------------------- */

EMULATOR_API void emulator_set_devices(int count);                  /* 1; 0: none */
EMULATOR_API void emulator_set_memory(int device, size_t bytes);    /* 8 GiB */
EMULATOR_API void emulator_set_capability(int major, int minor);    /* that of EMULATED_ARCH */
/* What is told of every device: 4 multiprocessors, 4 MiB of L2, and the name "emulated device N",
 * where it is NULL. */
EMULATOR_API void emulator_set_card(const char *name, int multiprocessors, int l2_bytes);
EMULATOR_API void emulator_set_driver(int version);                 /* 13000; 0: none installed */

/* Bytes taken on a device at its first use, for each cuBLASLt handle and for each stream; invented
 * figures of the right size (256 MiB, 8 MiB, 0). */
EMULATOR_API void emulator_set_costs(size_t context, size_t handle, size_t stream);
EMULATOR_API void emulator_set_graph_cost(size_t bytes); /* of each that is instantiated; 64 KiB */

/* The order in which the threads of a block go on: 0, by number; else at random from this seed. */
EMULATOR_API void emulator_set_schedule(uint64_t seed);

/* ---- time ---------------------------------------------------------------------------------- */

/* With either above 0, kernels and products are checked but not computed, and time passes instead.
 * Each launch and each product takes launch_microseconds of its device, a product row_microseconds
 * more for each of its rows (tokens), a graph one launch and its products' rows; copies take none.
 * A device does one after another, in the order in which they were enqueued, whatever their
 * streams. To enqueue returns at once, to wait sleeps until the end, as exactly as Linux does
 * (below 50 us by turning round). Results are zeros, device memory is not protected. */
EMULATOR_API void emulator_set_latency(double launch_microseconds, double row_microseconds);

/* ---- failures ------------------------------------------------------------------------------ */

/* The `nth` call from now (1: the next) of this name, or of any if NULL, fails with `code`; then
 * all that follow too, if `forever`. Only one such plan at a time; nth = 0: none.
 * A cudaError_t; for a call of cuBLASLt by name, a cublasStatus_t; for one that `any` hits,
 * ALLOC_FAILED for cudaErrorMemoryAllocation, else EXECUTION_FAILED. As in CUDA, codes that are
 * fatal for the context (700, 719, 999, ...; 46 once there is a context) stay: every later call on
 * that device returns them. Not of calls that need no device, as those that describe a product.
 * A call that frees or destroys does so even when it fails. A launch is "cudaLaunchKernel". */
EMULATOR_API void emulator_fail(const char *call, unsigned long nth, int code, bool forever);

/* The call that the plan made fail first; NULL: none yet. */
EMULATOR_API const char *emulator_failed_call(void);

/* Calls that can fail, so far, of all threads. */
EMULATOR_API unsigned long emulator_calls(void);

/* Calls of the runtime and of cuBLASLt that were made for a device after a call had returned its
 * fatal error; what cuBLASLt returns does not count as that, since it does not tell. A call that
 * names no device is for the current one; cudaGetDevice, which asks the thread, for none. */
EMULATOR_API unsigned long emulator_calls_after_loss(void);

/* ---- what is there ------------------------------------------------------------------------- */

/* The first fault found: in words, with kernel, block, thread and place; NULL: none. */
EMULATOR_API const char *emulator_report(void);

struct emulator_usage {
    size_t device_allocations, device_bytes; /* as asked for, on all devices */
    size_t pinned_allocations, pinned_bytes;
    size_t streams, events, graphs; /* graphs captured, and instantiated */
    size_t handles, descriptors; /* cuBLASLt's */
};

EMULATOR_API void emulator_get_usage(struct emulator_usage *usage);

/* Of a device's memory: taken now, and at most so far; context, costs and rounding included. */
EMULATOR_API size_t emulator_taken(int device);
EMULATOR_API size_t emulator_peak(int device);

/* The same by what took it, each allocation rounded up but without blocks that are partly used. */
struct emulator_account {
    size_t context, handles, streams, graphs, allocations;
};

EMULATOR_API void emulator_get_account(int device, struct emulator_account *account);

#ifdef __cplusplus
}
#endif

#endif
