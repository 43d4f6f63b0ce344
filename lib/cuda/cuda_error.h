/* cuda_error.h - errors of the CUDA runtime as statuses, and the devices that are lost by them
 *
 * After some errors a process can do nothing more with a GPU: its context is dead, memory,
 * streams and all else that it had there are gone, and every call returns the error again. Such
 * a device is lost, for the whole process and for good. From then on nothing in lib/cuda makes
 * a call of CUDA or cuBLASLt for it: what is asked of it fails at once with EMBED_DEVICE_LOST
 * and the first error, and what is destroyed gives back memory of the host alone. Other GPUs go
 * on.
 *
 * Nothing is waited for any more, and pinned memory stays until the process ends: CUDA does not
 * say that a copy under way has stopped when its error is reported, so nobody else may get
 * these pages. Buffers of the caller are free again: the device only ever copies from and to
 * pinned memory of ours.
 */
#ifndef LIB_CUDA_CUDA_ERROR_H
#define LIB_CUDA_CUDA_ERROR_H

#include "base/status.h"

#include <cuda_runtime_api.h>
#include <stdbool.h>

/* No machine has had more. GPUs beyond are not used. */
enum { MOST_DEVICES = 128 };

/* EMBED_DEVICE_LOST, with the first error, where device `index` is lost. */
embed_status cuda_check(int index);

/* The same, without a sentence. Any index. */
bool cuda_is_lost(int index);
bool cuda_any_is_lost(void);

/* From now on there is a context on the device, and what makes it unavailable loses it. */
void cuda_begin_use(int index);

/* Was what an error says the loss of device `index`? Then it is kept: the next cuda_check
 * fails. Any other is forgotten, or the thread's next launch would report it again. */
void cuda_note(int index, cudaError_t error, const char *what);

/* The status for the outcome of a call for device `index`; EMBED_OK for cudaSuccess. Fails with
 * "CUDA: <what>: <why>" and EMBED_OUT_OF_MEMORY or EMBED_DEVICE_FAILED; with EMBED_NO_DEVICE
 * where the device is not available yet; with EMBED_DEVICE_LOST. `what` was being done. */
embed_status cuda_status(int index, cudaError_t error, const char *what);

/* Makes a call for device `index`, unless that is lost, and returns a failure to the caller. */
#define TRY_CUDA(index, call, what)                                                            \
    do {                                                                                       \
        TRY(cuda_check(index));                                                                \
        TRY(cuda_status(index, call, what));                                                   \
    } while (0)

/* Makes a call that gives something back, unless the device is lost: then it is left alone. A
 * failure matters only where it is the loss. */
#define RELEASE_CUDA(index, call, what)                                                        \
    do {                                                                                       \
        if (!cuda_is_lost(index)) cuda_note(index, call, what);                                \
    } while (0)

#endif
