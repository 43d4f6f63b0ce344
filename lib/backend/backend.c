/* backend.c - which device and dtype a model is opened on */
#include "backend/backend.h"

#include "base/log.h"
#include "base/status.h"

static const char no_cuda[] = "this build of libembed has no CUDA backend";

void backend_hold(struct backend *backend)
{
    atomic_fetch_add(&backend->references, 1);
}

void backend_release(struct backend *backend)
{
    if (backend != NULL && atomic_fetch_sub(&backend->references, 1) == 1) backend->close(backend);
}

embed_status backend_open(struct backend **backend, const embed_model_options *options,
                          struct thread_team *team)
{
    switch (options->device) {
    case EMBED_DEVICE_CPU: break;
    case EMBED_DEVICE_AUTO:
        log_message(EMBED_LOG_INFO, "computing on the CPU: %s", no_cuda);
        break;
    case EMBED_DEVICE_CUDA: return fail(EMBED_NO_DEVICE, "device cuda: %s", no_cuda);
    default: return fail(EMBED_INVALID_ARGUMENT, "device %d is unknown", (int)options->device);
    }
    if (options->device_index != 0)
        return fail(EMBED_NO_DEVICE, "device cpu:%d: there is only cpu:0", options->device_index);

    switch (options->dtype) {
    case EMBED_DTYPE_AUTO:
    case EMBED_DTYPE_F32: return backend_cpu_open(backend, team, options->threads);
    case EMBED_DTYPE_BF16:
    case EMBED_DTYPE_F16:
    case EMBED_DTYPE_INT8:
        return fail(EMBED_UNSUPPORTED, "this version computes in f32 only on the CPU");
    }
    return fail(EMBED_INVALID_ARGUMENT, "dtype %d is unknown", (int)options->dtype);
}
