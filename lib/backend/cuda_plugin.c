/* cuda_plugin.c - finds and opens libembed-cuda.so */
#include "backend/cuda_plugin.h"

#include "base/memory.h"
#include "base/status.h"
#include "base/version.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "libembed-cuda.so"

static embed_status host_fail(embed_status status, const char *message)
{
    return fail(status, "%s", message);
}

static const struct cuda_host host = {host_fail, memory_allocate, memory_free};

/* Calls dlopen, looked up by name: a direct call makes the linker warn in every statically linked
 * program. Such a program has no dlopen, and computes on the CPU. */
static void *open_library(const char *path, const char **why)
{
    void *(*open)(const char *, int);
    *(void **)&open = dlsym(RTLD_DEFAULT, "dlopen");
    *why = "a statically linked program cannot open libraries";
    if (open == NULL) return NULL;
    void *handle = open(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) *why = dlerror();
    return handle;
}

/* Gets the path of the file that contains this code, as the loader found it. A program that
 * contains the library may have been found along PATH; its name then has no folder. */
static embed_status own_file(char path[PATH_MAX])
{
    Dl_info info;
    if (dladdr((const void *)&host, &info) != 0 && strchr(info.dli_fname, '/') != NULL &&
        realpath(info.dli_fname, path) != NULL)
        return EMBED_OK;
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (length <= 0) return fail(EMBED_NO_DEVICE, "libembed's own folder is not known");
    path[length] = '\0';
    return EMBED_OK;
}

static const char *named(void)
{
    const char *name = getenv("EMBED_CUDA_PLUGIN");
    return name != NULL && *name != '\0' ? name : NULL;
}

/* Finds the plug-in. The path always has a folder: the loader would search for a bare name
 * elsewhere. */
static embed_status find(char path[PATH_MAX])
{
    const char *set = named();
    if (set != NULL) {
        if (strchr(set, '/') == NULL || strlen(set) >= PATH_MAX)
            return fail(EMBED_NO_DEVICE,
                        "EMBED_CUDA_PLUGIN is \"%s\", not a path with a folder", set);
        strcpy(path, set);
        if (access(path, R_OK) != 0)
            return fail(EMBED_NO_DEVICE, "%s, which EMBED_CUDA_PLUGIN names, cannot be read",
                        path);
        return EMBED_OK;
    }
    TRY(own_file(path));
    char *name = strrchr(path, '/') + 1;
    if (name - path + sizeof FILE_NAME > PATH_MAX)
        return fail(EMBED_NO_DEVICE, "the path of libembed's folder is too long");
    strcpy(name, FILE_NAME);
    if (access(path, R_OK) != 0)
        return fail(EMBED_NO_DEVICE, "there is no %s: libembed is installed without CUDA",
                    path);
    /* Without a driver, opening the plug-in, and cuBLASLt with it, would waste 60 ms. */
    const char *why;
    if (open_library("libcuda.so.1", &why) == NULL)
        return fail(EMBED_NO_DEVICE, "no NVIDIA driver is installed: %s", why);
    return EMBED_OK;
}

static embed_status check(const struct cuda_plugin *plugin, const char *path)
{
    if (plugin->abi != CUDA_PLUGIN_ABI || plugin->backend_size != sizeof(struct backend) ||
        strcmp(plugin->version, VERSION_TEXT) != 0)
        return fail(EMBED_NO_DEVICE,
                    "%s was built with libembed %s (interface %u, %zu), but this is libembed %s "
                    "(interface %d, %zu)",
                    path, plugin->version, plugin->abi, plugin->backend_size, VERSION_TEXT,
                    CUDA_PLUGIN_ABI, sizeof(struct backend));
    return EMBED_OK;
}

static _Atomic(const struct cuda_plugin *) loaded;

/* Two threads may get here at once; both get the same handle. A plug-in in use is never closed,
 * since the CUDA runtime does not like to be unloaded; a rejected one is. */
embed_status cuda_plugin_load(const struct cuda_plugin **out)
{
    const struct cuda_plugin *plugin = atomic_load(&loaded);
    if (plugin == NULL) {
        char path[PATH_MAX];
        TRY(find(path));
        const char *why;
        void *handle = open_library(path, &why);
        if (handle == NULL) return fail(EMBED_NO_DEVICE, "%s", why);
        cuda_plugin_entry *entry = NULL;
        *(void **)&entry = dlsym(handle, CUDA_PLUGIN_SYMBOL);
        embed_status status = EMBED_OK;
        if (entry == NULL)
            status = fail(EMBED_NO_DEVICE, "%s is not a libembed CUDA plug-in", path);
        if (status == EMBED_OK) status = check(plugin = entry(&host), path);
        if (status != EMBED_OK) {
            dlclose(handle);
            return status;
        }
        atomic_store(&loaded, plugin);
    }
    *out = plugin;
    return EMBED_OK;
}

embed_log_level cuda_plugin_log_level(void)
{
    return named() != NULL && atomic_load(&loaded) == NULL ? EMBED_LOG_WARNING : EMBED_LOG_INFO;
}
