/* device.h - the GPUs of this machine, and the backend on one of them */
#ifndef LIB_CUDA_DEVICE_H
#define LIB_CUDA_DEVICE_H

#include "backend/backend.h"

/* Compute capability 7.5 (Turing) is the oldest that the kernels are built for. */
enum { OLDEST_CAPABILITY = 75 };

/* See cuda_plugin.h. */
embed_status device_count(int *count);
embed_status device_info(embed_device_info *info, int index);

/* Whether GPU `index` can be used, what it is called, and what it is. EMBED_NO_DEVICE says why
 * not. */
embed_status device_check(int index, char *name, size_t name_size, struct cuda_card *card);
bool device_card(struct cuda_card *card, int index); /* see cuda_plugin.h */

embed_status backend_cuda_open(struct backend **backend, int index, embed_dtype dtype);

/* The calling thread's current device, which belongs to the program: what the library changes
 * it to lasts for one call. Only one that is lost is not set again: the thread stays where it is.
 * EMBED_DEVICE_LOST where `index` is. */
embed_status device_enter(int index, int *previous);
void device_leave(int previous);

/* Entered for the first time, the device gets its context: here, so that its failure is told in
 * CUDA's own words and not in cuBLASLt's. */
embed_status device_begin_use(int index);

#endif
