/* cuda_error.h - CUDA runtime errors as statuses, and devices lost to them
 *
 * After some errors a process cannot use a GPU any more: its context is dead, its memory, streams
 * and everything else there are gone, and every call returns the error again. Such a device is
 * lost, for the whole process and for good. From then on nothing in lib/cuda calls CUDA or cuBLASLt
 * for it: operations fail at once with EMBED_DEVICE_LOST and the first error, and destroying
 * objects releases only host memory. Other GPUs keep working.
 *
 * Nothing is waited for any more, and pinned memory stays until the process ends: CUDA does not say
 * that a copy in flight has stopped when its error is reported, so nobody else may get these pages.
 * The caller's buffers are free again: the device only copies from and to the library's own pinned
 * memory.
 */
#ifndef LIB_CUDA_CUDA_ERROR_H
#define LIB_CUDA_CUDA_ERROR_H

#include "base/status.h"

#include <cuda_runtime_api.h>
#include <stdbool.h>

/* No machine has had more. GPUs beyond this are not used. */
enum { MOST_DEVICES = 128 };

/* Returns EMBED_DEVICE_LOST, with the first error, if device `index` is lost. */
embed_status cuda_check(int index);

/* The same, without a message. Accept any index. */
bool cuda_is_lost(int index);
bool cuda_any_is_lost(void);

/* Records that the device has a context: from now on, its becoming unavailable means its loss. */
void cuda_begin_use(int index);

/* Records the loss of device `index` if `error` means that: the next cuda_check then fails. Clears
 * any other error, or the thread's next launch would report it again. */
void cuda_note(int index, cudaError_t error, const char *what);

/* Returns the status for the result of a call for device `index`; EMBED_OK for cudaSuccess. Fails
 * with "CUDA: <what>: <why>" and EMBED_OUT_OF_MEMORY or EMBED_DEVICE_FAILED, with EMBED_NO_DEVICE
 * if the device is not available yet, or with EMBED_DEVICE_LOST. `what` is the operation. */
embed_status cuda_status(int index, cudaError_t error, const char *what);

/* Makes a call for device `index`, unless it is lost, and returns from the caller on failure. */
#define TRY_CUDA(index, call, what)                                                            \
    do {                                                                                       \
        TRY(cuda_check(index));                                                                \
        TRY(cuda_status(index, call, what));                                                   \
    } while (0)

/* Makes a call that releases something, unless the device is lost. A failure matters only if it
 * means the loss of the device. */
#define RELEASE_CUDA(index, call, what)                                                        \
    do {                                                                                       \
        if (!cuda_is_lost(index)) cuda_note(index, call, what);                                \
    } while (0)

#endif
