/* cpu_features.h - what this processor is and can do */
#ifndef LIB_BACKEND_CPU_FEATURES_H
#define LIB_BACKEND_CPU_FEATURES_H

#include "embed.h"
#include "kernels/kernels.h"

#include <stddef.h>
#include <stdint.h>

/* Chooses the best kernels this processor can run in F32, BF16 or INT8 (EMBED_DTYPE_AUTO: BF16 if
 * available, else F32), but none above the instruction set that the environment variable
 * EMBED_CPU_ISA names ("scalar", "avx2", "avx512", "avx512_bf16", "avx512_vnni").
 * EMBED_INVALID_ARGUMENT if that is unknown, EMBED_NO_DEVICE if the processor or the operating
 * system lacks it, EMBED_UNSUPPORTED if there is no BF16 or INT8. */
embed_status cpu_kernels_choose(const struct cpu_kernels **kernels, embed_dtype dtype);

embed_dtype cpu_kernels_dtype(const struct cpu_kernels *kernels);

/* Returns the i-th table this processor can run, in any dtype, best first; NULL past the last. */
const struct cpu_kernels *cpu_kernels_available(size_t i);

/* Returns how many processors this process may use: those in its affinity mask, but no more than
 * its control groups let it keep busy. */
unsigned cpu_count(void);

/* Returns the machine's physical memory in bytes; 0 if unknown. */
uint64_t cpu_memory_bytes(void);

/* Returns the bytes still available without swapping, within this process's control groups. */
uint64_t cpu_available_bytes(void);

/* Writes the processor's name from /proc/cpuinfo, such as "AMD EPYC 9554"; "CPU" if unknown. */
void cpu_name(char *out, size_t capacity);

#endif
