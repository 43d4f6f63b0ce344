/* control.cpp - settings, planned failures, reports; entry to every call */
#include "machine.h"

#include <mutex>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct machine machine;

static std::recursive_mutex &lock_of_machine(void)
{
    static std::recursive_mutex *lock = new std::recursive_mutex; /* outlives all destructors */
    return *lock;
}

static std::mutex report_lock;
static std::string first_report;

/* The current device: that of the current context, else the one chosen by cudaSetDevice. */
static __thread int this_device, chosen_device;
static __thread bool is_bound; /* there is a current context */
static __thread cudaError_t last_error;

static struct {
    std::string name; /* empty: any */
    unsigned long countdown;
    int code;
    bool forever, has_failed;
    std::string failed_call;
} plan;

static unsigned long calls, calls_after_loss;

/* ---- reports ------------------------------------------------------------------------------- */

std::string format(const char *pattern, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, pattern);
    vsnprintf(text, sizeof text, pattern, arguments);
    va_end(arguments);
    return text;
}

void report(const std::string &text)
{
    std::lock_guard<std::mutex> guard(report_lock);
    fprintf(stderr, "emulator: %s\n", text.c_str());
    if (first_report.empty()) first_report = text;
}

const char *emulator_report(void)
{
    std::lock_guard<std::mutex> guard(report_lock);
    return first_report.empty() ? NULL : first_report.c_str();
}

/* ---- entering a call ----------------------------------------------------------------------- */

int current_device(void)
{
    return this_device;
}

struct device *current(void)
{
    return &machine.devices[this_device];
}

static cudaError_t driver_error(void)
{
    if (machine.driver / 1000 < CUDART_VERSION / 1000) return cudaErrorInsufficientDriver;
    return machine.device_count == 0 ? cudaErrorNoDevice : cudaSuccess;
}

/* Returns whether a process can do nothing more with the device after this error: CUDA's sticky
 * errors, and those that leave no context. A device that is unavailable before there is a context
 * may become available later. */
static bool is_fatal(cudaError_t error, const struct device *device)
{
    switch (error) {
    case cudaErrorDevicesUnavailable:
        return device->has_context;
    case cudaErrorCudartUnloading:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorContextIsDestroyed:
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
    case cudaErrorMpsRpcFailure:
    case cudaErrorMpsClientTerminated:
    case cudaErrorExternalDevice:
    case cudaErrorUnknown:
        return true;
    default:
        return false;
    }
}

static bool needs_device(enum call_kind kind)
{
    return kind != CALL_PLAIN && kind != CALL_THREAD;
}

/* Records the device's first fatal error. Calls that need no device never cause one. */
static void note_fatal(cudaError_t error, enum call_kind kind, struct device *device)
{
    if (!needs_device(kind) || driver_error() != cudaSuccess) return;
    if (is_fatal(error, device) && device->fatal == cudaSuccess) device->fatal = error;
}

static void count_after_loss(const struct device *device)
{
    if (device->loss_is_told) calls_after_loss++;
}

/* Counts a call and returns whether the plan makes it fail. */
static bool is_planned_to_fail(const char *name)
{
    calls++;
    if (plan.countdown == 0 || (!plan.name.empty() && plan.name != name)) return false;
    if (plan.countdown > 1) {
        plan.countdown--;
        return false;
    }
    if (!plan.forever) plan.countdown = 0;
    if (!plan.has_failed) plan.failed_call = name;
    plan.has_failed = true;
    return true;
}

/* Charges the device for its context on first use. */
static cudaError_t context_create(struct device *device)
{
    if (device->has_context) return cudaSuccess;
    if (!memory_charge(device, &device->context_bytes, machine.context_cost))
        return cudaErrorMemoryAllocation;
    device->has_context = true;
    return cudaSuccess;
}

/* Makes the current device's context the thread's. */
static cudaError_t context_bind(void)
{
    cudaError_t error = context_create(current());
    if (error == cudaSuccess) is_bound = true;
    return error;
}

/* Returns the error, other than a planned one, that prevents a call. */
static cudaError_t obstacle(enum call_kind kind)
{
    if (!needs_device(kind) || kind == CALL_CHOOSES) return cudaSuccess;
    cudaError_t error = driver_error();
    if (error == cudaSuccess) error = current()->fatal;
    if (error == cudaSuccess) error = context_bind();
    if (error == cudaSuccess && kind == CALL_WAITS && graph_spoiled())
        error = cudaErrorStreamCaptureUnsupported;
    return error;
}

/* Makes a call for a device, which need not be the current one. */
static cudaError_t api_for(int index, const char *name, enum call_kind kind,
                           const std::function<cudaError_t()> &body)
{
    std::lock_guard<std::recursive_mutex> guard(lock_of_machine());
    struct device *device = &machine.devices[index];
    if (kind != CALL_THREAD) count_after_loss(device);
    cudaError_t error = obstacle(kind);
    if (is_planned_to_fail(name) && error == cudaSuccess) error = (cudaError_t)plan.code;
    if (error == cudaSuccess || kind == CALL_RELEASE) {
        cudaError_t own = body();
        if (error == cudaSuccess) error = own;
    }
    if (error != cudaSuccess) last_error = error;
    note_fatal(error, kind, device);
    if (needs_device(kind) && error != cudaSuccess && error == device->fatal)
        device->loss_is_told = true;
    return error;
}

cudaError_t api(const char *name, enum call_kind kind, const std::function<cudaError_t()> &body)
{
    return api_for(this_device, name, kind, body);
}

static cublasStatus_t planned_status(enum call_kind kind)
{
    if (!plan.name.empty()) return (cublasStatus_t)plan.code;
    last_error = (cudaError_t)plan.code;
    note_fatal(last_error, kind, current());
    return plan.code == cudaErrorMemoryAllocation ? CUBLAS_STATUS_ALLOC_FAILED
                                                  : CUBLAS_STATUS_EXECUTION_FAILED;
}

cublasStatus_t cublas_api(const char *name, enum call_kind kind,
                          const std::function<cublasStatus_t()> &body)
{
    std::lock_guard<std::recursive_mutex> guard(lock_of_machine());
    count_after_loss(current());
    cudaError_t error = obstacle(kind);
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
    if (error == cudaErrorMemoryAllocation) status = CUBLAS_STATUS_ALLOC_FAILED;
    else if (error != cudaSuccess && error == current()->fatal)
        status = CUBLAS_STATUS_EXECUTION_FAILED;
    else if (error != cudaSuccess) status = CUBLAS_STATUS_NOT_INITIALIZED;
    if (is_planned_to_fail(name) && status == CUBLAS_STATUS_SUCCESS) status = planned_status(kind);
    if (status == CUBLAS_STATUS_SUCCESS || kind == CALL_RELEASE) {
        cublasStatus_t own = body();
        if (status == CUBLAS_STATUS_SUCCESS) status = own;
    }
    return status;
}

/* ---- settings ------------------------------------------------------------------------------ */

void locked(const std::function<void()> &body)
{
    std::lock_guard<std::recursive_mutex> guard(lock_of_machine());
    body();
}

/* Returns a number from the environment, or `otherwise`. */
static size_t from_environment(const char *name, size_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void set_defaults(void)
{
    size_t memory = from_environment("EMULATOR_MEMORY", (size_t)8 << 30);
    for (struct device &device : machine.devices) {
        device = {};
        device.memory = memory;
    }
    emulator_set_devices((int)from_environment("EMULATOR_DEVICES", 1));
    emulator_set_driver((int)from_environment("EMULATOR_DRIVER", CUDART_VERSION));
    emulator_set_capability(EMULATED_ARCH / 100, EMULATED_ARCH / 10 % 10);
    emulator_set_card(nullptr, 4, 4 << 20);
    emulator_set_costs((size_t)256 << 20, (size_t)8 << 20, 0);
    emulator_set_graph_cost(64 << 10);
    emulator_set_schedule(0);
}

__attribute__((constructor)) static void machine_begin(void)
{
    set_defaults();
}

void emulator_reset(void)
{
    std::lock_guard<std::recursive_mutex> guard(lock_of_machine());
    streams_and_events_destroy_all();
    graphs_destroy_all();
    memory_release_all();
    machine = {};
    set_defaults();
    plan = {};
    calls = calls_after_loss = 0;
    this_device = chosen_device = 0;
    is_bound = false;
    last_error = cudaSuccess;
    std::lock_guard<std::mutex> report_guard(report_lock);
    first_report.clear();
}

void emulator_set_devices(int count)
{
    machine.device_count = count > EMULATOR_MAX_DEVICES ? EMULATOR_MAX_DEVICES : count;
}

void emulator_set_memory(int device, size_t bytes)
{
    machine.devices[device].memory = bytes;
}

void emulator_set_capability(int major, int minor)
{
    machine.major = major;
    machine.minor = minor;
}

void emulator_set_card(const char *name, int multiprocessors, int l2_bytes)
{
    machine.name = name;
    machine.multiprocessors = multiprocessors;
    machine.l2_bytes = l2_bytes;
}

void emulator_set_driver(int version)
{
    machine.driver = version;
}

void emulator_set_costs(size_t context, size_t handle, size_t stream)
{
    machine.context_cost = context;
    machine.handle_cost = handle;
    machine.stream_cost = stream;
}

void emulator_set_graph_cost(size_t bytes)
{
    machine.graph_cost = bytes;
}

void emulator_set_schedule(uint64_t seed)
{
    machine.schedule = seed;
}

void emulator_fail(const char *call, unsigned long nth, int code, bool forever)
{
    std::lock_guard<std::recursive_mutex> guard(lock_of_machine());
    plan = {};
    plan.name = call == NULL ? "" : call;
    plan.countdown = nth;
    plan.code = code;
    plan.forever = forever;
}

const char *emulator_failed_call(void)
{
    return plan.has_failed ? plan.failed_call.c_str() : NULL;
}

unsigned long emulator_calls(void)
{
    std::lock_guard<std::recursive_mutex> guard(lock_of_machine());
    return calls;
}

unsigned long emulator_calls_after_loss(void)
{
    std::lock_guard<std::recursive_mutex> guard(lock_of_machine());
    return calls_after_loss;
}

size_t emulator_taken(int device)
{
    std::lock_guard<std::recursive_mutex> guard(lock_of_machine());
    return memory_taken(&machine.devices[device]);
}

void emulator_get_account(int device, struct emulator_account *account)
{
    std::lock_guard<std::recursive_mutex> guard(lock_of_machine());
    const struct device *d = &machine.devices[device];
    *account = {d->context_bytes, d->handle_bytes, d->stream_bytes, d->graph_bytes,
                d->small_bytes + d->large_bytes};
}

size_t emulator_peak(int device)
{
    std::lock_guard<std::recursive_mutex> guard(lock_of_machine());
    return machine.devices[device].peak;
}

/* ---- errors and devices -------------------------------------------------------------------- */

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = cudaPeekAtLastError();
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    std::lock_guard<std::recursive_mutex> guard(lock_of_machine());
    count_after_loss(current());
    if (current()->fatal == cudaSuccess) return last_error;
    current()->loss_is_told = true;
    return current()->fatal;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    return api("cudaGetDeviceCount", CALL_PLAIN, [=] {
        *count = driver_error() == cudaSuccess ? machine.device_count : 0;
        return driver_error();
    });
}

static bool is_device(int index)
{
    return index >= 0 && index < machine.device_count;
}

/* Returns the device that a call with this argument is counted for. */
static int named(int index)
{
    return is_device(index) ? index : this_device;
}

cudaError_t cudaSetDevice(int device)
{
    return api_for(named(device), "cudaSetDevice", CALL_CHOOSES, [=] {
        if (driver_error() != cudaSuccess) return driver_error();
        if (!is_device(device)) return cudaErrorInvalidDevice;
        this_device = chosen_device = device;
        if (current()->fatal != cudaSuccess) return current()->fatal;
        return context_bind();
    });
}

cudaError_t cudaGetDevice(int *device)
{
    return api("cudaGetDevice", CALL_THREAD, [=] {
        *device = this_device;
        return driver_error();
    });
}

cudaError_t cudaInitDevice(int device, unsigned, unsigned)
{
    return api_for(named(device), "cudaInitDevice", CALL_CHOOSES, [=] {
        if (driver_error() != cudaSuccess) return driver_error();
        if (!is_device(device)) return cudaErrorInvalidDevice;
        struct device *named_device = &machine.devices[device];
        if (named_device->fatal != cudaSuccess) return named_device->fatal;
        return context_create(named_device);
    });
}

/* ---- functions of the driver --------------------------------------------------------------- */

static int get_current(struct device **context)
{
    *context = is_bound ? current() : nullptr;
    return cudaSuccess;
}

static int set_current(struct device *context)
{
    is_bound = context != nullptr;
    this_device = is_bound ? (int)(context - machine.devices) : chosen_device;
    return cudaSuccess;
}

static int retain(struct device **context, int device)
{
    *context = &machine.devices[device];
    cudaError_t error = cudaSuccess;
    locked([&] { error = context_create(*context); });
    return error;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char *symbol, void **function, unsigned,
                                             unsigned long long,
                                             enum cudaDriverEntryPointQueryResult *result)
{
    const std::string name = symbol;
    *function = name == "cuCtxGetCurrent"            ? (void *)get_current
                : name == "cuCtxSetCurrent"          ? (void *)set_current
                : name == "cuDevicePrimaryCtxRetain" ? (void *)retain
                                                     : nullptr;
    *result = *function != nullptr ? cudaDriverEntryPointSuccess
                                   : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess;
}

/* ---- devices ------------------------------------------------------------------------------- */

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
    return api_for(named(device), "cudaGetDeviceProperties", CALL_CHOOSES, [=] {
        if (driver_error() != cudaSuccess) return driver_error();
        if (!is_device(device)) return cudaErrorInvalidDevice;
        *properties = {};
        if (machine.name != nullptr)
            snprintf(properties->name, sizeof properties->name, "%s", machine.name);
        else
            snprintf(properties->name, sizeof properties->name, "emulated device %d", device);
        properties->totalGlobalMem = machine.devices[device].memory;
        properties->major = machine.major;
        properties->minor = machine.minor;
        properties->multiProcessorCount = machine.multiprocessors;
        properties->l2CacheSize = machine.l2_bytes;
        return cudaSuccess;
    });
}

cudaError_t cudaDriverGetVersion(int *version)
{
    return api("cudaDriverGetVersion", CALL_PLAIN, [=] {
        *version = machine.driver;
        return cudaSuccess;
    });
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    return api("cudaRuntimeGetVersion", CALL_PLAIN, [=] {
        *version = CUDART_VERSION;
        return cudaSuccess;
    });
}
