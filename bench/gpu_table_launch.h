/* gpu_table_launch.h - records a launcher's launch and its use of a multiprocessor
 *
 * The launchers of kernels/cuda run unchanged. gpu_table_launch.c replaces the CUDA runtime beneath
 * them: it computes nothing and records the last launch. Registers and static shared memory come
 * from the compiler's reports (nvcc -Xptxas -v).
 */
#ifndef BENCH_GPU_TABLE_LAUNCH_H
#define BENCH_GPU_TABLE_LAUNCH_H

#include <stddef.h>

/* Limits of a compute capability, from "Technical Specifications per Compute Capability" in
 * NVIDIA's CUDA C++ Programming Guide. All have 65,536 registers; cuda_occupancy.h knows the limit
 * on blocks and the allocation units of registers and shared memory. */
struct multiprocessor {
    int major, minor, threads;
    size_t shared, shared_of_block, shared_reserved; /* bytes; shared_reserved is per block */
};

struct launch {
    char kernel[160]; /* as in the source, without commas */
    unsigned threads; /* per block */
    size_t blocks;
    int registers; /* per thread */
    size_t static_shared, dynamic_shared;
    int resident; /* blocks that fit a multiprocessor at once */
};

/* Reads the reports; ends the program with a message if one cannot be read. */
void launch_read_reports(int count, char **paths);

/* Returns the launch of the launcher called last. Ends the program if it launched nothing, or if
 * its kernel is in no report. */
struct launch launch_last(const struct multiprocessor *multiprocessor);

#endif
