/* emulator.h - controls and inspects the emulated device in tests
 *
 * The device itself is used through cuda_runtime_api.h. These functions are exported, so that a
 * test can find them in an emulated plug-in with dlsym. Any thread may call them, but settings must
 * be made before the first use of the device, or after emulator_reset().
 *
 * For the command line, the environment variables EMULATOR_DEVICES, EMULATOR_MEMORY (bytes of each
 * device) and EMULATOR_DRIVER (version, such as 13000) are read once at load and at each
 * emulator_reset().
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

/* Frees everything that is left and clears errors, reports, counts and settings. No other thread
 * may be in a call; earlier handles become invalid. */
EMULATOR_API void emulator_reset(void);

/* ---- the machine; defaults in the comments ------------------------------------------------- */

EMULATOR_API void emulator_set_devices(int count);                  /* 1; 0: none */
EMULATOR_API void emulator_set_memory(int device, size_t bytes);    /* 8 GiB */
EMULATOR_API void emulator_set_capability(int major, int minor);    /* that of EMULATED_ARCH */
/* Sets the reported properties of every device. Defaults: 4 multiprocessors, 4 MiB of L2, and for
 * NULL the name "emulated device N". */
EMULATOR_API void emulator_set_card(const char *name, int multiprocessors, int l2_bytes);
EMULATOR_API void emulator_set_driver(int version);                 /* 13000; 0: no driver */

/* Bytes taken on a device by its first use, by each cuBLASLt handle and by each stream; invented,
 * but of realistic size (256 MiB, 8 MiB, 0). */
EMULATOR_API void emulator_set_costs(size_t context, size_t handle, size_t stream);
EMULATOR_API void emulator_set_graph_cost(size_t bytes); /* of each executable graph; 64 KiB */

/* The order in which the threads of a block run: by number if 0, else random from this seed. */
EMULATOR_API void emulator_set_schedule(uint64_t seed);

/* ---- time ---------------------------------------------------------------------------------- */

/* If either is above 0, kernels and products are checked but not computed; time passes instead.
 * Each launch and each product occupies its device for launch_microseconds, a product for another
 * row_microseconds per row (token), a graph for one launch and its products' rows; copies take no
 * time. A device works in the order of enqueueing, whatever the stream. Enqueueing returns at once;
 * waiting sleeps until the end, as precisely as Linux can (by spinning below 50 us). Results are
 * zeros, and device memory is not protected. */
EMULATOR_API void emulator_set_latency(double launch_microseconds, double row_microseconds);

/* ---- failures ------------------------------------------------------------------------------ */

/* Makes the `nth` call from now (1: the next) of this name, or of any name if NULL, fail with
 * `code`; all later ones too if `forever`. A new plan replaces the last one; nth = 0: none.
 *
 * `code` is a cudaError_t, or a cublasStatus_t for a cuBLASLt call given by name. A cuBLASLt call
 * hit by a plan without a name fails with ALLOC_FAILED for cudaErrorMemoryAllocation, else with
 * EXECUTION_FAILED. As in CUDA, codes that are fatal for the context (700, 719, 999, ...; 46 once
 * there is a context) are sticky: every later call on that device returns them. This excludes calls
 * that need no device, such as those that describe a product. A call that frees or destroys
 * something does so even if it fails. A launch is "cudaLaunchKernel". */
EMULATOR_API void emulator_fail(const char *call, unsigned long nth, int code, bool forever);

/* The first call that the plan made fail; NULL: none yet. */
EMULATOR_API const char *emulator_failed_call(void);

/* The number of calls so far that can fail, of all threads. */
EMULATOR_API unsigned long emulator_calls(void);

/* The number of runtime and cuBLASLt calls made for a device after a call had returned its fatal
 * error. A cuBLASLt status does not count as such a return, since it does not name the error. A
 * call that names no device is for the current one; cudaGetDevice, which queries only the thread,
 * is for none. */
EMULATOR_API unsigned long emulator_calls_after_loss(void);

/* ---- usage --------------------------------------------------------------------------------- */

/* The first fault found, with kernel, block, thread and place; NULL: none. */
EMULATOR_API const char *emulator_report(void);

struct emulator_usage {
    size_t device_allocations, device_bytes; /* as requested, on all devices */
    size_t pinned_allocations, pinned_bytes;
    size_t streams, events, graphs; /* graphs: captured and instantiated */
    size_t handles, descriptors; /* of cuBLASLt */
};

EMULATOR_API void emulator_get_usage(struct emulator_usage *usage);

/* Bytes of a device's memory in use now, and the peak; with context, costs and rounding. */
EMULATOR_API size_t emulator_taken(int device);
EMULATOR_API size_t emulator_peak(int device);

/* The same by consumer; allocations are rounded up, but unused parts of blocks not counted. */
struct emulator_account {
    size_t context, handles, streams, graphs, allocations;
};

EMULATOR_API void emulator_get_account(int device, struct emulator_account *account);

#ifdef __cplusplus
}
#endif

#endif
