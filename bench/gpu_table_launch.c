/* gpu_table_launch.c - replaces the CUDA runtime beneath the launchers; see the header */
#include "gpu_table_launch.h"

#include <cuda_occupancy.h>
#include <cuda_runtime_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_KERNELS = 4096, REGISTERS = 65536, THREADS_OF_BLOCK = 1024 };

static void check(int is_right, const char *what, const char *of)
{
    if (is_right) return;
    fprintf(stderr, "gpu-table: %s: %s\n", of, what);
    exit(1);
}

/* ---- reports --------------------------------------------------------------------------------- */

static struct reported {
    char name[256];
    int arch, registers;
    size_t static_shared;
} reported[MOST_KERNELS];
static size_t reported_count;

/* Parses the line that begins a kernel, "... Compiling entry function 'NAME' for 'sm_ARCH'", and
 * the one that follows it, "... Used 217 registers, used 1 barriers, 1024 bytes smem, ...". */
static void read_line(const char *line, const char *path)
{
    struct reported next = {0};
    const char *at = strstr(line, "entry function '");
    if (at != NULL) {
        check(reported_count < MOST_KERNELS, "too many kernels", path);
        check(sscanf(at, "entry function '%255[^']' for 'sm_%d'", next.name, &next.arch) == 2,
              "not a report of ptxas", path);
        reported[reported_count++] = next;
    }
    if ((at = strstr(line, ": Used ")) == NULL) return;
    check(reported_count > 0, "registers of no kernel", path);
    struct reported *kernel = &reported[reported_count - 1];
    kernel->registers = atoi(at + strlen(": Used "));
    if (strstr(at, " bytes smem") == NULL) return;
    at = strstr(at, " bytes smem");
    while (at > line && at[-1] >= '0' && at[-1] <= '9') at--;
    kernel->static_shared = strtoul(at, NULL, 10);
}

void launch_read_reports(int count, char **paths)
{
    char line[2048];
    for (int i = 0; i < count; i++) {
        FILE *file = fopen(paths[i], "r");
        check(file != NULL, "cannot be read", paths[i]);
        while (fgets(line, sizeof line, file) != NULL) read_line(line, paths[i]);
        fclose(file);
    }
}

/* ---- the runtime called by nvcc's objects ---------------------------------------------------- */

/* Each object registers its kernels before main: the address that identifies a kernel in launches,
 * and its name in the reports. */
static struct {
    const void *address;
    const char *name;
} registered[MOST_KERNELS];
static size_t registered_count;

static const void *last_kernel;
static cudaLaunchConfig_t last_launch;

void **__cudaRegisterFatBinary(void *binary);
void __cudaRegisterFatBinaryEnd(void **handle);
void __cudaUnregisterFatBinary(void **handle);
void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name,
                            int threads, void *tid, void *bid, void *block, void *grid,
                            int *warp);
cudaError_t __cudaPopCallConfiguration(void *grid, void *block, size_t *shared, void *stream);
cudaError_t __cudaGetKernel(void **handle, const void *host);
cudaError_t __cudaLaunchKernel(void *kernel, dim3 grid, dim3 block, void **arguments,
                               size_t shared, cudaStream_t stream);

void **__cudaRegisterFatBinary(void *binary)
{
    static void *handle;
    (void)binary;
    return &handle;
}

void __cudaRegisterFatBinaryEnd(void **handle)
{
    (void)handle;
}

void __cudaUnregisterFatBinary(void **handle)
{
    (void)handle;
}

void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name,
                            int threads, void *tid, void *bid, void *block, void *grid,
                            int *warp)
{
    (void)handle, (void)device, (void)threads, (void)tid, (void)bid, (void)block, (void)grid,
        (void)warp;
    check(registered_count < MOST_KERNELS, "too many kernels", name);
    registered[registered_count].address = host;
    registered[registered_count++].name = name;
}

/* The next three belong to the <<<>>> syntax, which is linked but not used. */
cudaError_t __cudaPopCallConfiguration(void *grid, void *block, size_t *shared, void *stream)
{
    (void)grid, (void)block, (void)shared, (void)stream;
    return cudaErrorNotSupported;
}

cudaError_t __cudaGetKernel(void **handle, const void *host)
{
    (void)handle, (void)host;
    return cudaErrorNotSupported;
}

cudaError_t __cudaLaunchKernel(void *kernel, dim3 grid, dim3 block, void **arguments,
                               size_t shared, cudaStream_t stream)
{
    (void)kernel, (void)grid, (void)block, (void)arguments, (void)shared, (void)stream;
    return cudaErrorNotSupported;
}

cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute attribute,
                                 int value)
{
    (void)kernel, (void)attribute, (void)value;
    return cudaSuccess;
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *config, const void *kernel,
                                void **arguments)
{
    (void)arguments;
    last_kernel = kernel;
    last_launch = *config;
    return cudaSuccess;
}

/* ---- the last launch ------------------------------------------------------------------------- */

static int blocks_with_room(const struct launch *launch, const struct multiprocessor *m)
{
    const cudaOccDeviceProp device = {.computeMajor = m->major,
                                      .computeMinor = m->minor,
                                      .maxThreadsPerBlock = THREADS_OF_BLOCK,
                                      .maxThreadsPerMultiprocessor = m->threads,
                                      .regsPerBlock = REGISTERS,
                                      .regsPerMultiprocessor = REGISTERS,
                                      .warpSize = 32,
                                      .sharedMemPerBlock = 48 * 1024,
                                      .sharedMemPerMultiprocessor = m->shared,
                                      .numSms = 1,
                                      .sharedMemPerBlockOptin = m->shared_of_block,
                                      .reservedSharedMemPerBlock = m->shared_reserved};
    const cudaOccFuncAttributes kernel = {.maxThreadsPerBlock = THREADS_OF_BLOCK,
                                          .numRegs = launch->registers,
                                          .sharedSizeBytes = launch->static_shared,
                                          .shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN,
                                          .maxDynamicSharedSizeBytes = launch->dynamic_shared,
                                          .numBlockBarriers = 1};
    const cudaOccDeviceState state = {.carveoutConfig = SHAREDMEM_CARVEOUT_DEFAULT};
    cudaOccResult result;
    check(cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state,
                                                  (int)launch->threads,
                                                  launch->dynamic_shared) == CUDA_OCC_SUCCESS,
          "cuda_occupancy.h does not know it", launch->kernel);
    return result.activeBlocksPerMultiprocessor;
}

/* From libstdc++, which the kernels' host code needs anyway. */
char *__cxa_demangle(const char *mangled, char *buffer, size_t *size, int *status);

/* Demangles the name: "void attention_kernel<32, 2>(__half*, ...)" becomes
 * "attention_kernel<32 2>". */
static void write_kernel(char *out, size_t size, const char *mangled)
{
    char *name = __cxa_demangle(mangled, NULL, NULL, NULL);
    check(name != NULL, "not a C++ name", mangled);
    const char *from = strncmp(name, "void ", 5) == 0 ? name + 5 : name;
    size_t length = 0;
    for (int depth = 0; *from != '\0' && (depth > 0 || *from != '('); from++) {
        depth += (*from == '<') - (*from == '>');
        if (*from != ',' && length + 1 < size) out[length++] = *from;
    }
    out[length] = '\0';
    free(name);
}

struct launch launch_last(const struct multiprocessor *multiprocessor)
{
    const int arch = multiprocessor->major * 10 + multiprocessor->minor;
    const char *name = NULL;
    for (size_t i = 0; i < registered_count; i++)
        if (registered[i].address == last_kernel) name = registered[i].name;
    check(name != NULL, "no kernel of ours was launched", "launcher");
    last_kernel = NULL;

    const struct reported *kernel = NULL;
    for (size_t i = 0; i < reported_count; i++)
        if (reported[i].arch == arch && strcmp(reported[i].name, name) == 0)
            kernel = &reported[i];
    check(kernel != NULL && kernel->registers > 0, "in no report, for this architecture", name);

    const dim3 grid = last_launch.gridDim, block = last_launch.blockDim;
    struct launch launch = {.threads = block.x * block.y * block.z,
                            .blocks = (size_t)grid.x * grid.y * grid.z,
                            .registers = kernel->registers,
                            .static_shared = kernel->static_shared,
                            .dynamic_shared = last_launch.dynamicSmemBytes};
    write_kernel(launch.kernel, sizeof launch.kernel, name);
    launch.resident = blocks_with_room(&launch, multiprocessor);
    check(launch.resident > 0, "has no room on a multiprocessor", launch.kernel);
    return launch;
}
