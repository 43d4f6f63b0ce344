/* folder.c - the files of a model folder */
#include "formats/folder.h"

#include "base/memory.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Returns whether this looks like OWNER/MODEL, as models are named where they can be downloaded. */
static bool is_hub_name(const char *name)
{
    const char *slash = strchr(name, '/');
    return slash != NULL && slash != name && name[0] != '.' && slash[1] != '\0' &&
           strchr(slash + 1, '/') == NULL;
}

embed_status folder_check(const char *folder)
{
    struct stat facts;
    if (folder[0] == '\0')
        return fail(EMBED_INVALID_ARGUMENT, "the name of the model folder is empty");
    int error = stat(folder, &facts) != 0 ? errno : S_ISDIR(facts.st_mode) ? 0 : ENOTDIR;
    if (error == 0) return EMBED_OK;
    bool hub = error == ENOENT && is_hub_name(folder);
    return fail(EMBED_IO, "%s: %s%s", folder, strerror(error),
                hub ? " (expected a local model folder; models are not downloaded)" : "");
}

char *folder_path(const char *folder, const char *name)
{
    size_t length = strlen(folder) + 1 + strlen(name) + 1;
    char *path = memory_allocate(length, 1, "a path");
    if (path != NULL) snprintf(path, length, "%s/%s", folder, name);
    return path;
}

bool folder_is_plain_name(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length <= NAME_MAX && strpbrk(name, "/\\") == NULL &&
           strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

embed_status folder_has(bool *has, const char *folder, const char *name)
{
    struct stat facts;
    char *path = folder_path(folder, name);
    if (path == NULL) return EMBED_OUT_OF_MEMORY;
    embed_status status = EMBED_OK;
    *has = lstat(path, &facts) == 0;
    if (!*has && errno != ENOENT && errno != ENOTDIR)
        status = fail(EMBED_IO, "%s: %s", path, strerror(errno));
    memory_free(path);
    return status;
}

static embed_status read_all(char *out, size_t bytes, int fd, const char *path)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = read(fd, out + done, bytes - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(EMBED_IO, "%s: %s", path, strerror(errno));
        if (n == 0) return fail(EMBED_IO, "%s: was truncated while being read", path);
        done += (size_t)n;
    }
    return EMBED_OK;
}

embed_status file_refuse_pointer(const char *path, const char *bytes, size_t length)
{
    static const char start[] = "version https://git-lfs";
    if (length < sizeof start - 1 || memcmp(bytes, start, sizeof start - 1) != 0) return EMBED_OK;
    return fail(EMBED_BAD_FILE,
                "%s: is a Git LFS pointer, not the file itself: run \"git lfs pull\" in its folder",
                path);
}

embed_status file_read(char **text, size_t *length, const char *path, size_t max_bytes)
{
    /* O_NONBLOCK: opening a FIFO must not wait for a writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return fail(EMBED_IO, "%s: %s", path, strerror(errno));

    embed_status status = EMBED_OK;
    char *bytes = NULL;
    struct stat facts;
    if (fstat(fd, &facts) != 0)
        status = fail(EMBED_IO, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(facts.st_mode))
        status = fail(EMBED_IO, "%s: not a regular file", path);
    else if ((uintmax_t)facts.st_size > max_bytes)
        status = fail(EMBED_BAD_FILE, "%s: %jd bytes exceed the limit of %zu", path,
                      (intmax_t)facts.st_size, max_bytes);
    else if ((bytes = memory_allocate((size_t)facts.st_size + 1, 1, path)) == NULL)
        status = EMBED_OUT_OF_MEMORY;
    else
        status = read_all(bytes, (size_t)facts.st_size, fd, path);
    close(fd);
    if (status == EMBED_OK) status = file_refuse_pointer(path, bytes, (size_t)facts.st_size);

    if (status != EMBED_OK) {
        memory_free(bytes);
        return status;
    }
    *text = bytes;
    *length = (size_t)facts.st_size;
    return EMBED_OK;
}
