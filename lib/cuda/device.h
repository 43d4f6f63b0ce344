/* device.h - the GPUs of this machine, and the backend on one of them */
#ifndef LIB_CUDA_DEVICE_H
#define LIB_CUDA_DEVICE_H

#include "backend/backend.h"

/* Compute capability 7.5 (Turing) is the oldest that the kernels are built for. */
enum { OLDEST_CAPABILITY = 75 };

/* See cuda_plugin.h. */
embed_status device_count(int *count);
embed_status device_info(embed_device_info *info, int index);

/* Checks that GPU `index` can be used, and gets its name and properties. EMBED_NO_DEVICE says why
 * it cannot. */
embed_status device_check(int index, char *name, size_t name_size, struct cuda_card *card);
bool device_card(struct cuda_card *card, int index); /* see cuda_plugin.h */

embed_status backend_cuda_open(struct backend **backend, int index, embed_dtype dtype);

/* Makes `index` the calling thread's current device; device_leave restores the previous one. The
 * current device belongs to the program, so the library changes it for one call only. A previous
 * device that is lost is not restored, and one without a context gets none. EMBED_DEVICE_LOST if
 * `index` is lost. */
embed_status device_enter(int index, int *previous);
void device_leave(int previous);

/* Creates the context of the device, at its first use: here, so that a failure is reported in
 * CUDA's words and not in cuBLASLt's. `previous` is from device_enter. */
embed_status device_begin_use(int index, int previous);

#endif
