/* gpu_table_launch.h - what a launcher would launch, and what that takes on a multiprocessor
 *
 * The launchers of kernels/cuda are called as they are. gpu_table_launch.c stands in for the
 * CUDA runtime beneath them: nothing is computed, the last launch is kept. Registers and static
 * shared memory are those of the compiler's reports (nvcc -Xptxas -v).
 */
#ifndef BENCH_GPU_TABLE_LAUNCH_H
#define BENCH_GPU_TABLE_LAUNCH_H

#include <stddef.h>

/* Limits of a compute capability, "Technical Specifications per Compute Capability" in NVIDIA's
 * CUDA C++ Programming Guide. All have 65,536 registers; cuda_occupancy.h knows the most blocks
 * and in what units registers and shared memory are given out. */
struct multiprocessor {
    int major, minor, threads;
    size_t shared, shared_of_block, shared_reserved; /* bytes; reserved: of each block */
};

struct launch {
    char kernel[160]; /* as in the source, without commas */
    unsigned threads; /* of a block */
    size_t blocks;
    int registers; /* of a thread */
    size_t static_shared, dynamic_shared;
    int resident; /* blocks that a multiprocessor has room for at the same time */
};

/* Ends the program with a message when a report cannot be read. */
void launch_read_reports(int count, char **paths);

/* What the last launcher that was called launched; ends the program when it launched nothing,
 * or no report knows its kernel. */
struct launch launch_last(const struct multiprocessor *multiprocessor);

#endif
