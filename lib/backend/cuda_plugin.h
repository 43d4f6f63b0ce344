/* cuda_plugin.h - the interface between libembed and its CUDA plug-in
 *
 * libembed.so needs no CUDA library: everything that does is in libembed-cuda.so, which is opened
 * at run time. Both must be built from the same tree: libembed rejects a plug-in whose interface or
 * version differs. The plug-in exports one symbol, embed_cuda_plugin.
 */
#ifndef LIB_BACKEND_CUDA_PLUGIN_H
#define LIB_BACKEND_CUDA_PLUGIN_H

#include "backend/backend.h"

#include <stddef.h>

/* Increment this with every change of struct backend or of what follows here. */
#define CUDA_PLUGIN_ABI 6

/* Functions the plug-in borrows, so that there is one last failure and one allocator. */
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
    /* Fills in everything but the size. */
    embed_status (*device_info)(embed_device_info *info, int index);
    /* Opens GPU `index` in F16 or F32 (EMBED_DTYPE_AUTO: F16); the caller holds the backend. */
    embed_status (*open)(struct backend **backend, int index, embed_dtype dtype);
    /* Gets the costs measured on the GPU. Returns false and leaves *costs alone if no backend is
     * open on it. */
    bool (*measured_costs)(struct device_costs *costs, int index);
    /* Describes GPU `index`. Returns false and leaves *card alone if it cannot be used. */
    bool (*card)(struct cuda_card *card, int index);
};

/* The exported symbol. */
typedef const struct cuda_plugin *cuda_plugin_entry(const struct cuda_host *host);
#define CUDA_PLUGIN_SYMBOL "embed_cuda_plugin"

/* Opens the plug-in, once per process and never to be closed: the file that EMBED_CUDA_PLUGIN
 * names, else libembed-cuda.so in libembed's own folder. EMBED_NO_DEVICE says why there is none. */
embed_status cuda_plugin_load(const struct cuda_plugin **plugin);

/* Returns the level of the message that there is no GPU: a warning if EMBED_CUDA_PLUGIN names a
 * plug-in and that cannot be used. */
embed_log_level cuda_plugin_log_level(void);

#endif
