/* device.c - the GPUs of this machine */
#include "cuda/device.h"

#include "base/status.h"
#include "cuda/cuda_error.h"
#include "cuda/linear_path.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* A thread's current device, if unknown; if it is only a default, without a context. */
enum { NO_DEVICE = -1, NO_CONTEXT = -2 };

/* Says why there is no GPU: the runtime's own messages for these errors blame the program. */
static embed_status no_device(cudaError_t error)
{
    int driver = 0, runtime = 0;
    cudaGetLastError();
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0) return fail(EMBED_NO_DEVICE, "no NVIDIA driver is installed");
    if (error == cudaErrorInsufficientDriver)
        return fail(EMBED_NO_DEVICE,
                    "the NVIDIA driver is for CUDA %d.%d, but libembed-cuda needs %d.%d",
                    driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    if (error == cudaSuccess || error == cudaErrorNoDevice)
        return fail(EMBED_NO_DEVICE, "there is no NVIDIA GPU");
    return fail(EMBED_NO_DEVICE, "CUDA cannot be used: %s (%s)", cudaGetErrorString(error),
                cudaGetErrorName(error));
}

/* Once a device is lost, the runtime may answer any call with its error, even about other devices;
 * the count is then the last one known. */
embed_status device_count(int *count)
{
    static atomic_int last_count;
    int found = atomic_load(&last_count);
    if (!cuda_any_is_lost()) {
        cudaError_t error = cudaGetDeviceCount(&found);
        if (error != cudaSuccess || found == 0) return no_device(error);
        if (found > MOST_DEVICES) found = MOST_DEVICES;
        atomic_store(&last_count, found);
    }
    *count = found;
    return EMBED_OK;
}

static int capability_of(const struct cudaDeviceProp *properties)
{
    return properties->major * 10 + properties->minor;
}

/* Machine code runs on GPUs of the same major and the same or a later minor capability, PTX on all
 * from its own on. CUDA_ARCHS ("75 80 90") and CUDA_PTX (80) are what the Makefile compiled. */
static bool has_kernels_for(int capability)
{
    const char *rest = CUDA_ARCHS;
    for (char *end; *rest != '\0'; rest = end) {
        int arch = (int)strtol(rest, &end, 10);
        if (end == rest) break;
        if (arch / 10 == capability / 10 && arch <= capability) return true;
    }
    return capability >= CUDA_PTX;
}

embed_status device_info(embed_device_info *info, int index)
{
    struct cudaDeviceProp properties;
    info->device = EMBED_DEVICE_CUDA;
    info->index = index;
    info->threads = 0;
    if (cuda_is_lost(index)) {
        info->memory_bytes = 0;
        snprintf(info->name, sizeof info->name, "NVIDIA GPU");
        snprintf(info->details, sizeof info->details, "lost to this process");
        return EMBED_OK;
    }
    TRY_CUDA(index, cudaGetDeviceProperties(&properties, index), "asking what the GPU is");
    info->memory_bytes = properties.totalGlobalMem;
    snprintf(info->name, sizeof info->name, "%.127s", properties.name);
    int capability = capability_of(&properties);
    const char *obstacle = capability < OLDEST_CAPABILITY ? "too old"
                           : !has_kernels_for(capability) ? "no kernels in this build"
                                                          : NULL;
    enum linear_path path;
    TRY(linear_path_choose(&path, properties.name));
    snprintf(info->details, sizeof info->details, "compute capability %d.%d, %s%s",
             properties.major, properties.minor, obstacle ? obstacle : "linear layers: ",
             obstacle ? "" : linear_path_word(path));
    return EMBED_OK;
}

embed_status device_check(int index, char *name, size_t name_size, struct cuda_card *card)
{
    int count = 0;
    struct cudaDeviceProp properties;
    TRY(device_count(&count));
    if (index < 0 || index >= count)
        return fail(EMBED_NO_DEVICE, "there is no cuda:%d, only cuda:0%s", index,
                    count == 2  ? " and cuda:1"
                    : count > 2 ? " and following"
                                : "");
    TRY(cuda_check(index));
    cudaError_t error = cudaGetDeviceProperties(&properties, index);
    if (error != cudaSuccess) {
        cuda_note(index, error, "asking what the GPU is");
        TRY(cuda_check(index));
        return no_device(error);
    }
    if (capability_of(&properties) < OLDEST_CAPABILITY)
        return fail(EMBED_NO_DEVICE, "%s has compute capability %d.%d, but %d.%d is needed",
                    properties.name, properties.major, properties.minor, OLDEST_CAPABILITY / 10,
                    OLDEST_CAPABILITY % 10);
    if (!has_kernels_for(capability_of(&properties)))
        return fail(EMBED_NO_DEVICE,
                    "%s has compute capability %d.%d, and libembed-cuda.so was built without kernels "
                    "for it (CUDA_ARCHS=\"%s\")",
                    properties.name, properties.major, properties.minor, CUDA_ARCHS);
    snprintf(name, name_size, "%s", properties.name);
    *card = (struct cuda_card){.capability = capability_of(&properties),
                               .multiprocessors = (unsigned)properties.multiProcessorCount,
                               .l2_bytes = (size_t)properties.l2CacheSize};
    return EMBED_OK;
}

bool device_card(struct cuda_card *card, int index)
{
    char name[sizeof(((struct backend *)0)->device_name)];
    return device_check(index, name, sizeof name, card) == EMBED_OK;
}

/* ---- the current device ------------------------------------------------------------------ */

/* A thread that has not used CUDA yet has no current context, and cudaGetDevice names device 0.
 * cudaSetDevice(0) would then not restore anything but, since CUDA 12, create a context there:
 * hundreds of megabytes of a GPU that is not used, and if another process has filled or reserved
 * that GPU, a failing attempt in every call. So such a thread gets a context, and loses it again,
 * by these functions of the driver; their results are those of cudaError_t. */
struct CUctx_st;
static struct {
    int (*cuCtxGetCurrent)(struct CUctx_st **context);
    int (*cuCtxSetCurrent)(struct CUctx_st *context);
    int (*cuDevicePrimaryCtxRetain)(struct CUctx_st **context, int device);
    bool are_found;
} driver;

static pthread_once_t driver_once = PTHREAD_ONCE_INIT;
static _Atomic(struct CUctx_st *) contexts[MOST_DEVICES]; /* once used this way; never released */

static bool find_function(const char *name, void *function)
{
    enum cudaDriverEntryPointQueryResult found;
    if (cudaGetDriverEntryPointByVersion(name, function, CUDART_VERSION, cudaEnableDefault,
                                         &found) == cudaSuccess)
        return found == cudaDriverEntryPointSuccess;
    cudaGetLastError();
    return false;
}

static void find_driver(void)
{
    driver.are_found = find_function("cuCtxGetCurrent", &driver.cuCtxGetCurrent) &&
                       find_function("cuCtxSetCurrent", &driver.cuCtxSetCurrent) &&
                       find_function("cuDevicePrimaryCtxRetain", &driver.cuDevicePrimaryCtxRetain);
}

static bool has_no_context(void)
{
    struct CUctx_st *context = NULL;
    pthread_once(&driver_once, find_driver);
    return driver.are_found && driver.cuCtxGetCurrent(&context) == 0 && context == NULL;
}

/* Makes the device current to a thread without a context. */
static embed_status lend_context(int index)
{
    static const char what[] = "beginning to use the device";
    struct CUctx_st *context = atomic_load(&contexts[index]);
    if (context == NULL) {
        TRY_CUDA(index, cudaInitDevice(index, 0, 0), what);
        TRY_CUDA(index, (cudaError_t)driver.cuDevicePrimaryCtxRetain(&context, index), what);
        atomic_store(&contexts[index], context);
    }
    TRY_CUDA(index, (cudaError_t)driver.cuCtxSetCurrent(context), "choosing the device");
    return EMBED_OK;
}

embed_status device_enter(int index, int *previous)
{
    TRY(cuda_check(index));
    if (cudaGetDevice(previous) != cudaSuccess) {
        cudaGetLastError();
        *previous = NO_DEVICE; /* the error may be another device's: cudaSetDevice will tell */
    }
    if (*previous == index) return EMBED_OK;
    if (*previous != NO_DEVICE && has_no_context()) {
        *previous = NO_CONTEXT;
        return lend_context(index);
    }
    TRY_CUDA(index, cudaSetDevice(index), "choosing the device");
    return EMBED_OK;
}

embed_status device_begin_use(int index, int previous)
{
    if (previous != NO_CONTEXT)
        TRY_CUDA(index, cudaSetDevice(index), "beginning to use the device");
    cuda_begin_use(index);
    return EMBED_OK;
}

void device_leave(int previous)
{
    int current;
    if (previous == NO_DEVICE) return;
    if (previous == NO_CONTEXT) driver.cuCtxSetCurrent(NULL);
    else if (cudaGetDevice(&current) != cudaSuccess || current != previous)
        RELEASE_CUDA(previous, cudaSetDevice(previous), "choosing the device");
}
