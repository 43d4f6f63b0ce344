/* cpu_features.h - what this processor is and can do */
#ifndef LIB_BACKEND_CPU_FEATURES_H
#define LIB_BACKEND_CPU_FEATURES_H

#include "embed.h"
#include "kernels/kernels.h"

#include <stddef.h>
#include <stdint.h>

/* The kernels for this processor in F32, BF16 or INT8 (EMBED_DTYPE_AUTO: BF16 where it has that,
 * else F32): the best it can run, but none above the one that the environment variable
 * EMBED_CPU_ISA names ("scalar", "avx2", "avx512", "avx512_bf16", "avx512_vnni").
 * EMBED_INVALID_ARGUMENT where that is unknown, EMBED_NO_DEVICE where the processor or the
 * operating system lacks it, EMBED_UNSUPPORTED where there is no BF16 or INT8. */
embed_status cpu_kernels_choose(const struct cpu_kernels **kernels, embed_dtype dtype);

embed_dtype cpu_kernels_dtype(const struct cpu_kernels *kernels);

/* The i-th table this processor can run, in any dtype, the best first; NULL past the last. */
const struct cpu_kernels *cpu_kernels_available(size_t i);

/* Processors this process may run on: of its affinity mask, and as many as its control groups let it
 * keep busy. */
unsigned cpu_count(void);

/* Physical memory of the machine in bytes; 0 where that is unknown. */
uint64_t cpu_memory_bytes(void);

/* What can still be taken of it without swapping, and within this process's control groups. */
uint64_t cpu_available_bytes(void);

/* "AMD EPYC 9554", as /proc/cpuinfo calls it; "CPU" where that is unknown. */
void cpu_name(char *out, size_t capacity);

#endif
