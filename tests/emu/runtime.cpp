/* runtime.cpp - the calls of cuda_runtime_api.h that concern memory and streams
 *
 * Devices and errors are in control.cpp, launches in launch.cpp.
 */
#include "machine.h"

#include <string.h>

/* ---- memory -------------------------------------------------------------------------------- */

cudaError_t cudaMemGetInfo(size_t *free, size_t *total)
{
    return api("cudaMemGetInfo", CALL_CONTEXT, [=] {
        *total = current()->memory;
        *free = current()->memory - memory_taken(current());
        return cudaSuccess;
    });
}

cudaError_t cudaMalloc(void **pointer, size_t bytes)
{
    return api("cudaMalloc", CALL_WAITS,
               [=] { return memory_allocate(pointer, bytes, current_device()); });
}

/* Waits, as CUDA does, for all work of the device, which may still use the memory. */
cudaError_t cudaFree(void *pointer)
{
    latency_wait([] { return device_done_at(current_device()); });
    return api("cudaFree", CALL_RELEASE, [=] {
        const struct allocation *a = pointer != NULL ? memory_find(pointer) : NULL;
        cudaError_t error = cudaSuccess;
        if (a != NULL && a->device != PINNED) error = streams_finish_all(a->device);
        cudaError_t released = memory_release(pointer, false);
        return error != cudaSuccess ? error : released;
    });
}

cudaError_t cudaMallocHost(void **pointer, size_t bytes)
{
    return api("cudaMallocHost", CALL_WAITS,
               [=] { return memory_allocate(pointer, bytes, PINNED); });
}

cudaError_t cudaFreeHost(void *pointer)
{
    latency_wait([] { return device_done_at(current_device()); });
    return api("cudaFreeHost", CALL_RELEASE, [=] {
        cudaError_t error = cudaSuccess; /* work of any device that is not lost may use it */
        for (int device = 0; device < machine.device_count && error == cudaSuccess; device++)
            if (device == current_device() || machine.devices[device].fatal == cudaSuccess)
                error = streams_finish_all(device);
        cudaError_t released = memory_release(pointer, true);
        return error != cudaSuccess ? error : released;
    });
}

/* ---- copies -------------------------------------------------------------------------------- */

/* Return whether these bytes are on the side that the call names; report a fault if they are
 * not. */
static bool is_on_device(const void *pointer, size_t bytes, const char *call, const char *which)
{
    if (memory_is_device(pointer, bytes, current_device())) return true;
    report(format("%s: the %s, %zu bytes, is not device memory: %s", call, which, bytes,
                  memory_describe(pointer).c_str()));
    return false;
}

static bool is_on_host(const void *pointer, size_t bytes, const char *call, const char *which)
{
    const struct allocation *a = memory_find(pointer);
    if (a == NULL || memory_is_pinned(pointer, bytes)) return true;
    report(format("%s: the %s, %zu bytes, is not host memory: %s", call, which, bytes,
                  memory_describe(pointer).c_str()));
    return false;
}

static cudaError_t check_copy(const char *call, void *to, const void *from, size_t bytes,
                              enum cudaMemcpyKind *kind)
{
    if (*kind == cudaMemcpyDefault) {
        bool to_device = memory_is_any_device(to), from_device = memory_is_any_device(from);
        *kind = to_device ? from_device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice
                          : from_device ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost;
    }
    if (*kind < cudaMemcpyHostToHost || *kind > cudaMemcpyDeviceToDevice)
        return cudaErrorInvalidMemcpyDirection;
    bool to_device = *kind == cudaMemcpyHostToDevice || *kind == cudaMemcpyDeviceToDevice;
    bool from_device = *kind == cudaMemcpyDeviceToHost || *kind == cudaMemcpyDeviceToDevice;
    bool good = (to_device ? is_on_device : is_on_host)(to, bytes, call, "target") &&
                (from_device ? is_on_device : is_on_host)(from, bytes, call, "source");
    return good ? cudaSuccess : cudaErrorInvalidValue;
}

/* Checks again when the copy runs: memory of a graph may have been freed by then. */
static struct work copying(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    struct work work = {};
    work.run = [=]() mutable {
        if (check_copy("a copy", to, from, bytes, &kind) != cudaSuccess)
            return cudaErrorIllegalAddress;
        memcpy(to, from, bytes);
        return cudaSuccess;
    };
    work.poisoned = kind == cudaMemcpyDeviceToHost ? to : NULL;
    work.poisoned_bytes = bytes;
    return work;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    latency_wait([] { return stream_done_at(NULL); });
    return api("cudaMemcpy", CALL_WAITS, [=]() mutable {
        if (bytes == 0) return cudaSuccess;
        cudaError_t error = check_copy("cudaMemcpy", to, from, bytes, &kind);
        if (error != cudaSuccess) return error;
        return stream_run(stream_resolve(NULL), copying(to, from, bytes, kind));
    });
}

/* If host memory is not pinned, it is read or written before the call returns. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    return api("cudaMemcpyAsync", CALL_CONTEXT, [=]() mutable {
        stream = stream_resolve(stream);
        if (stream == NULL) return cudaErrorInvalidResourceHandle;
        if (bytes == 0) return cudaSuccess;
        cudaError_t error = check_copy("cudaMemcpyAsync", to, from, bytes, &kind);
        if (error != cudaSuccess) return error;
        bool to_pageable = !memory_is_any_device(to) && !memory_is_pinned(to, bytes);
        bool from_pageable = !memory_is_any_device(from) && !memory_is_pinned(from, bytes);
        if (to_pageable || from_pageable) {
            if (graph_spoil(stream->capture)) return cudaErrorStreamCaptureUnsupported;
            return stream_run(stream, copying(to, from, bytes, kind));
        }
        stream_enqueue(stream, copying(to, from, bytes, kind));
        return cudaSuccess;
    });
}

static cudaError_t set_memory(const char *call, void *pointer, int value, size_t bytes,
                              cudaStream_t stream)
{
    return api(call, CALL_CONTEXT, [=]() mutable {
        stream = stream_resolve(stream);
        if (stream == NULL) return cudaErrorInvalidResourceHandle;
        if (bytes == 0) return cudaSuccess;
        if (!is_on_device(pointer, bytes, call, "target")) return cudaErrorInvalidValue;
        struct work work = {};
        work.run = [=] {
            if (!is_on_device(pointer, bytes, call, "target")) return cudaErrorIllegalAddress;
            memset(pointer, value, bytes);
            return cudaSuccess;
        };
        stream_enqueue(stream, work);
        return cudaSuccess;
    });
}

/* As in CUDA, does not wait for device memory. */
cudaError_t cudaMemset(void *pointer, int value, size_t bytes)
{
    return set_memory("cudaMemset", pointer, value, bytes, NULL);
}

cudaError_t cudaMemsetAsync(void *pointer, int value, size_t bytes, cudaStream_t stream)
{
    return set_memory("cudaMemsetAsync", pointer, value, bytes, stream);
}

/* ---- streams ------------------------------------------------------------------------------- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    return api("cudaStreamCreateWithFlags", CALL_CONTEXT, [=] {
        if (flags != cudaStreamDefault && flags != cudaStreamNonBlocking)
            return cudaErrorInvalidValue;
        if (!memory_charge(current(), &current()->stream_bytes, machine.stream_cost))
            return cudaErrorMemoryAllocation;
        *stream = stream_create(current_device(), flags == cudaStreamDefault);
        return cudaSuccess;
    });
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    latency_wait([=] { return stream_done_at(stream); });
    return api("cudaStreamDestroy", CALL_RELEASE, [=] {
        if (stream == NULL || stream_resolve(stream) == NULL)
            return cudaErrorInvalidResourceHandle;
        cudaError_t error = stream_finish(stream);
        machine.devices[stream->device].stream_bytes -= machine.stream_cost;
        stream_destroy(stream);
        return error;
    });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    latency_wait([=] { return stream_done_at(stream); });
    return api("cudaStreamSynchronize", CALL_CONTEXT, [=] {
        cudaStream_t resolved = stream_resolve(stream);
        if (resolved == NULL) return cudaErrorInvalidResourceHandle;
        if (graph_spoil(resolved->capture)) return cudaErrorStreamCaptureUnsupported;
        return stream_finish(resolved);
    });
}

cudaError_t cudaDeviceSynchronize(void)
{
    latency_wait([] { return device_done_at(current_device()); });
    return api("cudaDeviceSynchronize", CALL_WAITS,
               [] { return streams_finish_all(current_device()); });
}

/* ---- events -------------------------------------------------------------------------------- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    return api("cudaEventCreateWithFlags", CALL_CONTEXT, [=] {
        if (flags != cudaEventDisableTiming) return cudaErrorNotSupported; /* no time here */
        *event = event_create();
        return cudaSuccess;
    });
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    return api("cudaEventDestroy", CALL_RELEASE, [=] {
        if (!event_exists(event)) return cudaErrorInvalidResourceHandle;
        event_destroy(event);
        return cudaSuccess;
    });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    return api("cudaEventRecord", CALL_CONTEXT, [=] {
        cudaStream_t resolved = stream_resolve(stream);
        if (resolved == NULL || !event_exists(event)) return cudaErrorInvalidResourceHandle;
        if (resolved->capture != NULL) return cudaErrorNotSupported;
        event->stream = resolved;
        event->moment = resolved->enqueued;
        return cudaSuccess;
    });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    latency_wait([=] { return event_done_at(event); });
    return api("cudaEventSynchronize", CALL_CONTEXT, [=] {
        return event_exists(event) ? event_finish(event) : cudaErrorInvalidResourceHandle;
    });
}

/* ---- error names --------------------------------------------------------------------------- */

struct error_name {
    cudaError_t error;
    const char *name, *text;
};

static const struct error_name error_names[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection",
     "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorDevicesUnavailable, "cudaErrorDevicesUnavailable",
     "CUDA-capable device(s) is/are busy or unavailable"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorNoKernelImageForDevice, "cudaErrorNoKernelImageForDevice",
     "no kernel image is available for execution on the device"},
    {cudaErrorContained, "cudaErrorContained", "Invalid access of peer GPU memory over nvlink or a "
                                               "hardware error"},
    {cudaErrorECCUncorrectable, "cudaErrorECCUncorrectable", "uncorrectable ECC error encountered"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress",
     "an illegal memory access was encountered"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources",
     "too many resources requested for launch"},
    {cudaErrorLaunchTimeout, "cudaErrorLaunchTimeout", "the launch timed out and was terminated"},
    {cudaErrorIllegalInstruction, "cudaErrorIllegalInstruction",
     "an illegal instruction was encountered"},
    {cudaErrorMisalignedAddress, "cudaErrorMisalignedAddress", "misaligned address"},
    {cudaErrorInvalidAddressSpace, "cudaErrorInvalidAddressSpace",
     "operation not supported on global/shared address space"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorTensorMemoryLeak, "cudaErrorTensorMemoryLeak",
     "a kernel has exited without freeing its tensor memory"},
    {cudaErrorMpsClientTerminated, "cudaErrorMpsClientTerminated",
     "the MPS client has been terminated"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};

static const struct error_name *find_error(cudaError_t error)
{
    static const struct error_name none = {cudaErrorUnknown, "unrecognized error code",
                                           "unrecognized error code"};
    for (const struct error_name &entry : error_names)
        if (entry.error == error) return &entry;
    return &none;
}

const char *cudaGetErrorName(cudaError_t error)
{
    return find_error(error)->name;
}

const char *cudaGetErrorString(cudaError_t error)
{
    return find_error(error)->text;
}
