/* backend.c - opens a backend on the requested device and dtype */
#include "backend/backend.h"

#include "backend/cuda_layout.h"
#include "backend/cuda_plugin.h"
#include "base/log.h"
#include "base/status.h"

void backend_hold(struct backend *backend)
{
    atomic_fetch_add(&backend->references, 1);
}

void backend_release(struct backend *backend)
{
    if (backend != NULL && atomic_fetch_sub(&backend->references, 1) == 1) backend->close(backend);
}

/* Prefixes the failure with the device, which the caller requested by name. */
static embed_status name_cuda(embed_status status)
{
    return status == EMBED_OK ? EMBED_OK : fail(status, "device cuda: %s", error_message());
}

static embed_status open_cuda(struct backend **backend, const embed_model_options *options)
{
    const struct cuda_plugin *plugin;
    TRY(cuda_plugin_load(&plugin));
    return plugin->open(backend, options->device_index, options->dtype);
}

static embed_status open_cpu(struct backend **backend, const embed_model_options *options,
                             struct thread_team *team)
{
    if (options->device_index != 0)
        return fail(EMBED_NO_DEVICE, "there is no cpu:%d, only cpu:0", options->device_index);
    switch (options->dtype) {
    case EMBED_DTYPE_AUTO:
    case EMBED_DTYPE_F32:
    case EMBED_DTYPE_BF16:
    case EMBED_DTYPE_INT8: return backend_cpu_open(backend, team, options->threads, options->dtype);
    case EMBED_DTYPE_F16:
        return fail(EMBED_UNSUPPORTED, "the CPU computes in f32, bf16 and int8, not in f16");
    }
    return fail(EMBED_INVALID_ARGUMENT, "dtype %d is unknown", (int)options->dtype);
}

static embed_status unknown_device(const embed_model_options *options)
{
    return fail(EMBED_INVALID_ARGUMENT, "device %d is unknown", (int)options->device);
}

embed_status backend_open(struct backend **backend, const embed_model_options *options,
                          struct thread_team *team)
{
    switch (options->device) {
    case EMBED_DEVICE_CPU: return open_cpu(backend, options, team);
    case EMBED_DEVICE_CUDA: return name_cuda(open_cuda(backend, options));
    case EMBED_DEVICE_AUTO:
        if (open_cuda(backend, options) == EMBED_OK) return EMBED_OK;
        log_message(cuda_plugin_log_level(), "computing on the CPU: %s", error_message());
        return open_cpu(backend, options, team);
    }
    return unknown_device(options);
}

embed_status backend_open_for_plan(struct backend **backend, const embed_model_options *options)
{
    int gpus;
    switch (options->device) {
    case EMBED_DEVICE_CPU: return open_cpu(backend, options, NULL);
    case EMBED_DEVICE_AUTO:
        if (backend_gpu_count(&gpus) != EMBED_OK) return open_cpu(backend, options, NULL);
        break;
    case EMBED_DEVICE_CUDA: break;
    default: return unknown_device(options);
    }
    TRY(cuda_layout_open(backend, options->device_index, options->dtype));
    const struct cuda_plugin *plugin;
    if (cuda_plugin_load(&plugin) == EMBED_OK) {
        plugin->card(&(*backend)->card, options->device_index);
        plugin->measured_costs(&(*backend)->costs, options->device_index);
    }
    return EMBED_OK;
}

embed_status backend_gpu_count(int *count)
{
    const struct cuda_plugin *plugin;
    TRY(cuda_plugin_load(&plugin));
    return plugin->device_count(count);
}

embed_status backend_gpu_info(embed_device_info *info, int index)
{
    const struct cuda_plugin *plugin;
    TRY(cuda_plugin_load(&plugin));
    return plugin->device_info(info, index);
}

const char *dtype_name(embed_dtype dtype)
{
    switch (dtype) {
    case EMBED_DTYPE_F32: return "f32";
    case EMBED_DTYPE_BF16: return "bf16";
    case EMBED_DTYPE_F16: return "f16";
    case EMBED_DTYPE_INT8: return "int8";
    case EMBED_DTYPE_AUTO: break;
    }
    return "unknown";
}
