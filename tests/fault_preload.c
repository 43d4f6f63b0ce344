/* fault_preload.c - system calls that fail where a test wants them to
 *
 * Stands in front of the C library: as build/tests/fault_preload.so, named by LD_PRELOAD, for the
 * programs (whose plan is in the file that EMBED_FAULT_PLAN names), or included by a test, for the
 * library (whose plan is fault_plan itself).
 *
 * Calls that stdio makes within the C library are not seen; those that open its files are.
 */
#include "fault_plan.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHOWN __attribute__((visibility("default")))

#ifdef FAULTS_IN_PROCESS
static struct fault_plan own_plan;
static struct fault_plan *fault_plan = &own_plan;
#else
static struct fault_plan *fault_plan;

__attribute__((constructor)) static void find_plan(void)
{
    const char *path = getenv("EMBED_FAULT_PLAN");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *plan = mmap(NULL, sizeof *fault_plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (plan != MAP_FAILED) fault_plan = plan;
}
#endif

/* The errno this call is to fail with, FAULT_SHORT, or 0: it is to be made as it is. */
static int fault_of(unsigned call)
{
    struct fault_plan *plan = fault_plan;
    if (plan == NULL || plan->nth == 0 || (plan->calls & call) == 0) return 0;
    unsigned number = atomic_fetch_add(&plan->count, 1) + 1;
    if (number < plan->nth || number - plan->nth >= plan->times) return 0;
    atomic_fetch_add(&plan->failed, 1);
    if (number == plan->nth) plan->call = call;
    if (plan->error == FAULT_KILL || (plan->error == FAULT_TORN && call != FAULT_WRITE))
        kill(getpid(), SIGKILL);
    return plan->error;
}

static int kills(void)
{
    return fault_plan != NULL &&
           (fault_plan->error == FAULT_KILL || fault_plan->error == FAULT_TORN);
}

/* True, and errno set, where this call is to fail. */
static int fails(unsigned call)
{
    int error = fault_of(call);
    if (error > 0) errno = error;
    return error > 0;
}

/* As fails; and *count halved where it is to be short. */
static int fails_or_short(unsigned call, size_t *count)
{
    int error = fault_of(call);
    if (error == FAULT_SHORT) *count = (*count + 1) / 2;
    if (error > 0) errno = error;
    return error > 0;
}

/* The next definition of the function, which is the C library's or a sanitizer's. */
#define REAL(type, name) ((type)dlsym(RTLD_NEXT, name))

SHOWN int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    if (fails((flags & O_CREAT) != 0 ? FAULT_CREATE : FAULT_OPEN)) return -1;
    return REAL(int (*)(const char *, int, ...), "open")(path, flags, mode);
}

/* The descriptor is gone either way, as on Linux. */
SHOWN int close(int fd)
{
    int failed = fault_of(FAULT_CLOSE);
    int result = REAL(int (*)(int), "close")(fd);
    if (failed <= 0) return result;
    errno = failed;
    return -1;
}

SHOWN ssize_t read(int fd, void *out, size_t count)
{
    if (fails_or_short(FAULT_READ, &count)) return -1;
    return REAL(ssize_t(*)(int, void *, size_t), "read")(fd, out, count);
}

SHOWN ssize_t pread(int fd, void *out, size_t count, off_t offset)
{
    if (fails_or_short(FAULT_READ, &count)) return -1;
    return REAL(ssize_t(*)(int, void *, size_t, off_t), "pread")(fd, out, count, offset);
}

/* What a write is to do, its *count perhaps less; true: fail. With FAULT_TORN `torn` is set. */
static int write_fails(size_t *count, int *torn)
{
    int error = fault_of(FAULT_WRITE);
    if (error == FAULT_SHORT || error == FAULT_TORN) *count = (*count + 1) / 2;
    if (error > 0) errno = error;
    *torn = error == FAULT_TORN;
    return error > 0;
}

SHOWN ssize_t write(int fd, const void *bytes, size_t count)
{
    int torn;
    if (write_fails(&count, &torn)) return -1;
    ssize_t n = REAL(ssize_t(*)(int, const void *, size_t), "write")(fd, bytes, count);
    if (torn) kill(getpid(), SIGKILL);
    return n;
}

SHOWN ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset)
{
    int torn;
    if (write_fails(&count, &torn)) return -1;
    ssize_t n = REAL(ssize_t(*)(int, const void *, size_t, off_t), "pwrite")(fd, bytes, count,
                                                                             offset);
    if (torn) kill(getpid(), SIGKILL);
    return n;
}

SHOWN int ftruncate(int fd, off_t length)
{
    if (fails(FAULT_TRUNCATE)) return -1;
    return REAL(int (*)(int, off_t), "ftruncate")(fd, length);
}

SHOWN int pipe2(int ends[2], int flags)
{
    if (fails(FAULT_PIPE)) return -1;
    return REAL(int (*)(int *, int), "pipe2")(ends, flags);
}

SHOWN int stat(const char *path, struct stat *facts)
{
    if (fails(FAULT_STAT)) return -1;
    return REAL(int (*)(const char *, struct stat *), "stat")(path, facts);
}

SHOWN int lstat(const char *path, struct stat *facts)
{
    if (fails(FAULT_STAT)) return -1;
    return REAL(int (*)(const char *, struct stat *), "lstat")(path, facts);
}

SHOWN int fstat(int fd, struct stat *facts)
{
    if (fails(FAULT_STAT)) return -1;
    return REAL(int (*)(int, struct stat *), "fstat")(fd, facts);
}

SHOWN int fstatat(int folder, const char *path, struct stat *facts, int flags)
{
    if (fails(FAULT_STAT)) return -1;
    return REAL(int (*)(int, const char *, struct stat *, int), "fstatat")(folder, path, facts,
                                                                          flags);
}

SHOWN off_t lseek(int fd, off_t offset, int from)
{
    if (fails(FAULT_SEEK)) return -1;
    return REAL(off_t(*)(int, off_t, int), "lseek")(fd, offset, from);
}

SHOWN int fsync(int fd)
{
    if (fails(FAULT_SYNC)) return -1;
    if (kills()) return 0;
    return REAL(int (*)(int), "fsync")(fd);
}

SHOWN int rename(const char *from, const char *to)
{
    if (fails(FAULT_RENAME)) return -1;
    return REAL(int (*)(const char *, const char *), "rename")(from, to);
}

SHOWN char *realpath(const char *restrict path, char *restrict out)
{
    if (fails(FAULT_STAT)) return NULL;
    return REAL(char *(*)(const char *, char *), "realpath")(path, out);
}

SHOWN FILE *fopen(const char *restrict path, const char *restrict mode)
{
    if (fails(FAULT_OPEN)) return NULL;
    return REAL(FILE * (*)(const char *, const char *), "fopen")(path, mode);
}

SHOWN int poll(struct pollfd *fds, nfds_t count, int timeout)
{
    if (fails(FAULT_POLL)) return -1;
    return REAL(int (*)(struct pollfd *, nfds_t, int), "poll")(fds, count, timeout);
}

SHOWN int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes,
                         void *(*function)(void *), void *restrict argument)
{
    int error = fault_of(FAULT_THREAD);
    if (error > 0) return error;
    return REAL(int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *),
                "pthread_create")(thread, attributes, function, argument);
}

/* ---- memory ------------------------------------------------------------------------------
 * Not within a test, whose library asks for memory through lib/base/memory.c, which
 * test_out_of_memory.c replaces; and not where a sanitizer has an allocator of its own. */
#if !defined(FAULTS_IN_PROCESS) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

/* dlsym allocates; these it has always had. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

SHOWN void *malloc(size_t bytes)
{
    return fails(FAULT_MEMORY) ? NULL : __libc_malloc(bytes);
}

SHOWN void *calloc(size_t count, size_t bytes)
{
    return fails(FAULT_MEMORY) ? NULL : __libc_calloc(count, bytes);
}

SHOWN void *realloc(void *old, size_t bytes)
{
    return fails(FAULT_MEMORY) ? NULL : __libc_realloc(old, bytes);
}

SHOWN int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    if (fault_of(FAULT_MEMORY) > 0) return ENOMEM;
    *out = __libc_memalign(alignment, bytes);
    return *out != NULL ? 0 : ENOMEM;
}

#endif
