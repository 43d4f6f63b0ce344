/* cuda_error.c - CUDA runtime errors as statuses, and devices lost to them
 */
#include "cuda/cuda_error.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

enum device_state { UNUSED, IN_USE, BEING_LOST, LOST };

/* State of each device in this process. Zero-initialized. */
static struct {
    atomic_int state;
    char sentence[512]; /* the first error; written while the device is BEING_LOST */
} devices[MOST_DEVICES];

static atomic_bool any_is_lost;

/* ---- lost devices ------------------------------------------------------------------------ */

bool cuda_is_lost(int index)
{
    return index >= 0 && index < MOST_DEVICES &&
           atomic_load(&devices[index].state) >= BEING_LOST;
}

bool cuda_any_is_lost(void)
{
    return atomic_load(&any_is_lost);
}

embed_status cuda_check(int index)
{
    if (!cuda_is_lost(index)) return EMBED_OK;
    while (atomic_load(&devices[index].state) == BEING_LOST)
        sched_yield(); /* another thread is writing the sentence */
    return fail(EMBED_DEVICE_LOST, "%s", devices[index].sentence);
}

void cuda_begin_use(int index)
{
    int unused = UNUSED;
    atomic_compare_exchange_strong(&devices[index].state, &unused, IN_USE);
}

static void lose(int index, cudaError_t error, const char *what)
{
    int state = atomic_load(&devices[index].state);
    do {
        if (state >= BEING_LOST) return;
    } while (!atomic_compare_exchange_weak(&devices[index].state, &state, BEING_LOST));
    snprintf(devices[index].sentence, sizeof devices[index].sentence,
             "cuda:%d is lost to this process: %.200s: %s (%s)", index, what,
             cudaGetErrorString(error), cudaGetErrorName(error));
    atomic_store(&any_is_lost, true);
    atomic_store(&devices[index].state, LOST);
}

/* ---- errors ------------------------------------------------------------------------------ */

/* Returns whether nothing works on the device after this error: those of CUDA 13 whose description
 * says that the process must be terminated, and those that leave no context or none to be trusted.
 */
static bool is_fatal(int index, cudaError_t error)
{
    if (index >= MOST_DEVICES) return false; /* a device of the program's own */
    switch (error) {
    case cudaErrorContained:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorMpsClientTerminated:
    case cudaErrorExternalDevice: return true;
    case cudaErrorECCUncorrectable:    /* data in memory has changed */
    case cudaErrorNvlinkUncorrectable: /* data in transit has changed */
    case cudaErrorMpsRpcFailure:       /* the server that owns the context is gone */
    case cudaErrorContextIsDestroyed:  /* the program has reset the device */
    case cudaErrorCudartUnloading:     /* the process is exiting */
    case cudaErrorUnknown:
        return true; /* such as a GPU that has fallen off the bus */
    /* Before the first use, another process may have the GPU to itself. */
    case cudaErrorDevicesUnavailable: return atomic_load(&devices[index].state) != UNUSED;
    default: return false;
    }
}

void cuda_note(int index, cudaError_t error, const char *what)
{
    if (error == cudaSuccess) return;
    if (is_fatal(index, error)) lose(index, error, what);
    if (!cuda_is_lost(index)) cudaGetLastError();
}

embed_status cuda_status(int index, cudaError_t error, const char *what)
{
    if (error == cudaSuccess) return EMBED_OK;
    cuda_note(index, error, what);
    TRY(cuda_check(index));
    embed_status status = error == cudaErrorMemoryAllocation     ? EMBED_OUT_OF_MEMORY
                          : error == cudaErrorDevicesUnavailable ? EMBED_NO_DEVICE
                                                                 : EMBED_DEVICE_FAILED;
    return fail(status, "CUDA: %s: %s (%s)", what, cudaGetErrorString(error),
                cudaGetErrorName(error));
}
