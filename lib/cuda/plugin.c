/* plugin.c - the one symbol that libembed-cuda.so exports, and what it borrows from libembed
 *
 * The files of lib/cuda include base/status.h and base/memory.h like all others; inside the
 * plug-in, this file implements the functions of these headers that they need.
 */
#include "backend/cuda_plugin.h"

#include "base/memory.h"
#include "base/status.h"
#include "base/version.h"
#include "cuda/device.h"
#include "cuda/device_library.h"

#include <stdarg.h>
#include <stdio.h>

static const struct cuda_host *host;

embed_status fail(embed_status status, const char *format, ...)
{
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return host->fail(status, message);
}

void *memory_allocate(size_t count, size_t size, const char *what)
{
    return host->allocate(count, size, what);
}

void memory_free(void *block)
{
    host->free(block);
}

EMBED_API cuda_plugin_entry embed_cuda_plugin;

const struct cuda_plugin *embed_cuda_plugin(const struct cuda_host *borrowed)
{
    static const struct cuda_plugin plugin = {
        .abi = CUDA_PLUGIN_ABI,
        .backend_size = sizeof(struct backend),
        .version = VERSION_TEXT,
        .device_count = device_count,
        .device_info = device_info,
        .open = backend_cuda_open,
        .measured_costs = device_library_costs,
        .card = device_card,
    };
    host = borrowed;
    return &plugin;
}
