/* embed_output.c - output files
 *
 * A regular file NAME is written as NAME.partial-PID.N beside it and renamed at the end. If the
 * program ends before that, by a failure or a signal that can be caught, the partial file is
 * removed; after a power cut or SIGKILL it stays, under a name that nobody takes for the result.
 * The output of a job that can be resumed is written as NAME.partial, which is never removed.
 * Devices, pipes and standard output are written in place.
 */
#include "embed_tool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES ((size_t)256 << 10)

/* The file to remove; there is at most one. Static, because a signal handler reads it. */
static char partial[PATH_MAX];
static volatile sig_atomic_t partial_exists;

static void remove_partial(void)
{
    if (partial_exists) unlink(partial);
    partial_exists = 0;
}

static void on_signal(int number)
{
    remove_partial();
    raise(number); /* SA_RESETHAND restored the default action: the signal ends the process */
}

static const int caught[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
#define CAUGHT (sizeof caught / sizeof caught[0])

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND}, before;
    for (size_t i = 0; i < CAUGHT; i++) {
        /* Signals that the caller ignores (nohup) stay ignored. */
        if (sigaction(caught[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(caught[i], &action, NULL);
    }
}

/* Creates a new file, with the permissions of the one it will replace (NULL: none). Returns its
 * descriptor, or -1 with errno set. */
static int create_partial(const char *target, const struct stat *replaced)
{
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before); /* no signal between creating and noting it */
    int fd = -1;
    for (unsigned attempt = 0; fd < 0; attempt++) {
        int length = snprintf(partial, sizeof partial, "%s.partial-%ld.%u", target,
                              (long)getpid(), attempt);
        if (length < 0 || (size_t)length >= sizeof partial) {
            errno = ENAMETOOLONG;
            break;
        }
        fd = open(partial, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST) break;
    }
    partial_exists = fd >= 0;
    int error = errno;
    if (fd >= 0 && replaced != NULL) (void)fchmod(fd, replaced->st_mode & 0777);
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return fd;
}

/* Returns the path of `to`, which is relative to the folder of the file `from`, or absolute. */
static char *relative_to(const char *from, const char *to)
{
    const char *slash = *to != '/' ? strrchr(from, '/') : NULL;
    size_t folder = slash != NULL ? (size_t)(slash + 1 - from) : 0;
    char *path = tool_resize(NULL, folder + strlen(to) + 1, 1);
    memcpy(path, from, folder);
    strcpy(path + folder, to);
    return path;
}

char *output_new_file(const char *path)
{
    enum { MOST_LINKS = 40 }; /* as the kernel follows; another process may be making a loop */
    char *file = relative_to("", path), to[PATH_MAX];
    ssize_t n;
    for (int i = 0; i < MOST_LINKS && (n = readlink(file, to, sizeof to - 1)) >= 0; i++) {
        to[n] = '\0';
        char *next = relative_to(file, to);
        free(file);
        file = next;
    }
    return file;
}

char *output_target(const char *path)
{
    char *target = realpath(path, NULL);
    if (target != NULL) return target;
    int error = errno;
    struct stat facts;
    /* Under /dev/fd, an open file that was removed is there and has no path. */
    if (error != ENOENT || stat(path, &facts) == 0) {
        tool_error("%s: %s", path, strerror(error));
        return NULL;
    }
    return output_new_file(path);
}

static bool open_replacement(tool_output *output, const char *path, const struct stat *replaced)
{
    atexit(remove_partial);
    catch_signals();
    output->target = output_target(path);
    if (output->target == NULL) return false;
    output->fd = create_partial(output->target, replaced);
    output->written = partial;
    return output->fd >= 0 ||
           tool_error("%s: cannot create a temporary file beside it: %s", path, strerror(errno));
}

bool output_open(tool_output *output, const char *path)
{
    memset(output, 0, sizeof *output);
    output->buffer = tool_resize(NULL, BUFFER_BYTES, 1);
    output->name = path;
    if (is_standard(path)) {
        output->name = "standard output";
        output->fd = STDOUT_FILENO;
    } else {
        /* If the shell redirected it, "/dev/stdout" leads to a regular file, which must be written
         * at its current position and not replaced. */
        struct stat facts, standard;
        bool exists = stat(path, &facts) == 0;
        /* A path that stat() cannot read may be a device: it is not replaced. */
        if (!exists && errno != ENOENT) return tool_error("%s: %s", path, strerror(errno));
        if (exists && fstat(STDOUT_FILENO, &standard) == 0 && facts.st_dev == standard.st_dev &&
            facts.st_ino == standard.st_ino)
            output->fd = STDOUT_FILENO;
        else if (!exists || S_ISREG(facts.st_mode))
            return open_replacement(output, path, exists ? &facts : NULL);
        else if ((output->fd = open(path, O_WRONLY | O_CLOEXEC)) < 0)
            return tool_error("%s: %s", path, strerror(errno));
    }
    /* A file that is appended to (>>) cannot be patched at its start. */
    int flags = fcntl(output->fd, F_GETFL);
    bool appends = flags >= 0 && (flags & O_APPEND) != 0;
    output->start = appends ? -1 : lseek(output->fd, 0, SEEK_CUR);
    return true;
}

bool output_open_kept(tool_output *output, const char *target, const char *written)
{
    *output = (tool_output){.name = target, .written = written};
    output->buffer = tool_resize(NULL, BUFFER_BYTES, 1);
    output->target = tool_resize(NULL, strlen(target) + 1, 1);
    strcpy(output->target, target);
    output->fd = open(written, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    return output->fd >= 0 || tool_error("%s: %s", written, strerror(errno));
}

static bool write_failed(const tool_output *output)
{
    /* The reader has closed the pipe: it has seen enough, which is not worth a message. */
    return errno != EPIPE && tool_error("%s: %s", output->name, strerror(errno));
}

static bool write_all(tool_output *output, const char *bytes, size_t count)
{
    struct pollfd writable = {.fd = output->fd, .events = POLLOUT};
    while (count > 0) {
        ssize_t n = write(output->fd, bytes, count);
        if (n == 0) {
            errno = ENOSPC; /* a device that takes no more without an error */
            return write_failed(output);
        }
        if (n > 0) {
            bytes += n;
            count -= (size_t)n;
        } else if (errno == EAGAIN) {
            poll(&writable, 1, -1); /* another process set the pipe to non-blocking */
        } else if (errno != EINTR) {
            return write_failed(output);
        }
    }
    return true;
}

bool output_flush(tool_output *output)
{
    size_t count = output->used;
    output->used = 0;
    return write_all(output, output->buffer, count);
}

bool output_write(tool_output *output, const void *bytes, size_t count)
{
    if (count > BUFFER_BYTES - output->used && !output_flush(output)) return false;
    if (count > BUFFER_BYTES) return write_all(output, bytes, count);
    memcpy(output->buffer + output->used, bytes, count);
    output->used += count;
    return true;
}

bool output_patch(tool_output *output, const void *bytes, size_t count)
{
    if (!output_flush(output)) return false;
    off_t end = lseek(output->fd, 0, SEEK_CUR);
    if (end < 0 || lseek(output->fd, output->start, SEEK_SET) < 0) return write_failed(output);
    if (!write_all(output, bytes, count)) return false;
    return lseek(output->fd, end, SEEK_SET) >= 0 || write_failed(output);
}

bool output_rewind(tool_output *output, uint64_t bytes)
{
    output->used = 0;
    return (ftruncate(output->fd, (off_t)bytes) == 0 &&
            lseek(output->fd, (off_t)bytes, SEEK_SET) >= 0) ||
           write_failed(output);
}

ssize_t tool_read_at(int fd, void *out, size_t count, off_t offset)
{
    size_t used = 0;
    while (used < count) {
        ssize_t n = pread(fd, (char *)out + used, count - used, offset + (off_t)used);
        if (n == 0) break;
        if (n > 0) used += (size_t)n;
        else if (errno != EINTR) return -1;
    }
    return (ssize_t)used;
}

void tool_sync_folder(const char *target)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", target);
    char *slash = strrchr(folder, '/');
    if (slash == NULL)
        strcpy(folder, ".");
    else
        slash[slash == folder ? 1 : 0] = '\0';
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd);
    close(fd);
}

bool tool_sync_file(int fd)
{
    while (fsync(fd) != 0) {
        if (errno == EINVAL) return true; /* the file system does not support it */
        if (errno != EINTR) return false;
    }
    return true;
}

bool output_sync(tool_output *output)
{
    return output_flush(output) && (tool_sync_file(output->fd) || write_failed(output));
}

bool output_commit(tool_output *output)
{
    if (output->target != NULL ? !output_sync(output) : !output_flush(output)) return false;
    int fd = output->fd;
    output->fd = -1;
    if (fd > STDERR_FILENO && close(fd) != 0) return write_failed(output);
    if (output->target == NULL) return true;

    if (rename(output->written, output->target) != 0) return write_failed(output);
    partial_exists = 0;
    tool_sync_folder(output->target);
    return true;
}

void output_close(tool_output *output)
{
    if (output->fd > STDERR_FILENO) close(output->fd);
    remove_partial();
    free(output->target);
    free(output->buffer);
}
