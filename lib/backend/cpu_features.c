/* cpu_features.c - what this processor is and can do */
#include "backend/cpu_features.h"

#include "backend/backend.h"
#include "backend/cgroup.h"
#include "base/status.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct instruction_set {
    const struct cpu_kernels *kernels;
    bool (*available)(void);
};

static bool always(void)
{
    return true;
}

#if defined(__x86_64__)
/* __builtin_cpu_supports asks the processor and, through XGETBV, the operating system: registers
 * not saved on a task switch do not count. */
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

static bool has_avx512_bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16");
}

static bool has_avx512_vnni(void)
{
    return has_avx512_bf16() && __builtin_cpu_supports("avx512vnni");
}
#endif

static const struct instruction_set instruction_sets[] = { /* best first */
#if defined(__x86_64__)
    {&cpu_kernels_avx512_vnni, has_avx512_vnni},
    {&cpu_kernels_avx512_bf16, has_avx512_bf16},
    {&cpu_kernels_avx512, has_avx512},
    {&cpu_kernels_avx2, has_avx2},
#endif
    {&cpu_kernels_scalar, always},
};

#define COUNT (sizeof instruction_sets / sizeof *instruction_sets)

const struct cpu_kernels *cpu_kernels_available(size_t i)
{
    for (size_t s = 0; s < COUNT; s++) {
        if (instruction_sets[s].available() && i-- == 0) return instruction_sets[s].kernels;
    }
    return NULL;
}

/* Sets *first to the first entry of the list that may be used: the one that EMBED_CPU_ISA names, or
 * 0 if it is not set. */
static embed_status first_allowed(size_t *first)
{
    const char *name = getenv("EMBED_CPU_ISA");
    *first = 0;
    if (name == NULL || *name == '\0') return EMBED_OK;
    for (size_t s = 0; s < COUNT; s++) {
        if (strcmp(name, instruction_sets[s].kernels->name) != 0) continue;
        if (!instruction_sets[s].available())
            return fail(EMBED_NO_DEVICE, "EMBED_CPU_ISA=%s: this processor does not have it", name);
        *first = s;
        return EMBED_OK;
    }
    return fail(EMBED_INVALID_ARGUMENT,
                "EMBED_CPU_ISA=%s: not one of avx512_vnni, avx512_bf16, avx512, avx2, scalar",
                name);
}

embed_dtype cpu_kernels_dtype(const struct cpu_kernels *kernels)
{
    switch (kernels->matrix_bytes) {
    case 1: return EMBED_DTYPE_INT8;
    case 2: return EMBED_DTYPE_BF16;
    default: return EMBED_DTYPE_F32;
    }
}

static embed_status lacks(embed_dtype dtype, size_t first)
{
    const char *name = dtype_name(dtype);
    if (first > 0)
        return fail(EMBED_UNSUPPORTED, "EMBED_CPU_ISA=%s does not compute in %s",
                    instruction_sets[first].kernels->name, name);
    return fail(EMBED_UNSUPPORTED, "this processor has no AVX-512 %s, which %s needs",
                dtype == EMBED_DTYPE_BF16 ? "BF16" : "VNNI and BF16", name);
}

embed_status cpu_kernels_choose(const struct cpu_kernels **kernels, embed_dtype dtype)
{
    size_t first;
    TRY(first_allowed(&first));
    for (size_t s = first; s < COUNT; s++) {
        *kernels = instruction_sets[s].kernels;
        embed_dtype is = cpu_kernels_dtype(*kernels);
        bool wanted = dtype == EMBED_DTYPE_AUTO ? is != EMBED_DTYPE_INT8 : is == dtype;
        if (wanted && instruction_sets[s].available()) return EMBED_OK;
    }
    return lacks(dtype, first);
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned cpu_count(void)
{
    cpu_set_t set;
    const unsigned allowed = cgroup_read_limits("").processors;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return least((unsigned)CPU_COUNT(&set), allowed);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? least((unsigned)online, allowed) : 1;
}

uint64_t cpu_memory_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && bytes > 0 ? (uint64_t)pages * (uint64_t)bytes : 0;
}

/* Returns the memory available on the machine, regardless of control groups. */
static uint64_t available_bytes(void)
{
    FILE *file = fopen("/proc/meminfo", "re");
    if (file == NULL) return cpu_memory_bytes();
    char line[256];
    unsigned long long kilobytes = 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "MemAvailable: %llu kB", &kilobytes) == 1) break;
    fclose(file);
    return kilobytes > 0 ? kilobytes << 10 : cpu_memory_bytes();
}

uint64_t cpu_available_bytes(void)
{
    const uint64_t here = available_bytes(), allowed = cgroup_read_limits("").bytes;
    return here < allowed ? here : allowed;
}

void cpu_name(char *out, size_t capacity)
{
    snprintf(out, capacity, "CPU");
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (file == NULL) return;
    char line[512];
    while (fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || colon == NULL) continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(out, capacity, "%.*s", (int)capacity - 1, colon + 1 + strspn(colon + 1, " "));
        break;
    }
    fclose(file);
}
