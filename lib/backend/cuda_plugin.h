/* cuda_plugin.h - what libembed and its CUDA plug-in know of each other
 *
 * libembed.so needs no CUDA library: all that does is in libembed-cuda.so, which is opened at
 * run time. Both are built from the same tree, and refuse each other when they are not. The
 * plug-in exports one symbol, embed_cuda_plugin.
 */
#ifndef LIB_BACKEND_CUDA_PLUGIN_H
#define LIB_BACKEND_CUDA_PLUGIN_H

#include "backend/backend.h"

#include <stddef.h>

/* One more with every change of struct backend and of what follows here. */
#define CUDA_PLUGIN_ABI 6

/* What the plug-in borrows, so that there is one last failure and one allocator. */
struct cuda_host {
    embed_status (*fail)(embed_status status, const char *message);
    void *(*allocate)(size_t count, size_t size, const char *what);
    void (*free)(void *block);
};

struct cuda_plugin {
    unsigned abi;
    size_t backend_size; /* of struct backend */
    const char *version; /* of libembed */

    /* GPUs of this machine, usable or not. EMBED_NO_DEVICE says why there are none. */
    embed_status (*device_count)(int *count);
    /* Fills in all but the size. */
    embed_status (*device_info)(embed_device_info *info, int index);
    /* F16 or F32 (EMBED_DTYPE_AUTO: F16) on GPU `index`; the caller holds it. */
    embed_status (*open)(struct backend **backend, int index, embed_dtype dtype);
    /* What was measured on the GPU. False, and *costs as it was, where no backend is open on it. */
    bool (*measured_costs)(struct device_costs *costs, int index);
    /* What GPU `index` is. False, and *card as it was, where it cannot be used. */
    bool (*card)(struct cuda_card *card, int index);
};

/* The exported symbol. */
typedef const struct cuda_plugin *cuda_plugin_entry(const struct cuda_host *host);
#define CUDA_PLUGIN_SYMBOL "embed_cuda_plugin"

/* The plug-in, opened once a process and never closed: the file that EMBED_CUDA_PLUGIN names,
 * else libembed-cuda.so in libembed's own folder. EMBED_NO_DEVICE says why there is none. */
embed_status cuda_plugin_load(const struct cuda_plugin **plugin);

/* Of the message that there is no GPU: a warning where EMBED_CUDA_PLUGIN names a plug-in, and that one
 * cannot be used. */
embed_log_level cuda_plugin_log_level(void);

#endif
