/* embed_bench_output.c - output files that appear under their names only when complete
 *
 * Anything but a regular file, such as /dev/stdout, is written in place.
 */
#include "embed_bench_sweep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool tell(const char *path)
{
    wrong_call("%s: cannot be written: %s", path, strerror(errno));
    return false;
}

/* Resolves symbolic links, so that the target is replaced rather than the link. */
static bool find_target(char *out, size_t capacity, const char *path)
{
    char *real = realpath(path, NULL);
    int length = snprintf(out, capacity, "%s", real != NULL ? real : path);
    free(real);
    if (length > 0 && (size_t)length < capacity) return true;
    errno = ENAMETOOLONG;
    return tell(path);
}

bool output_name(char *out, size_t capacity, const char *path)
{
    struct stat facts;
    char target[4096];
    if (!find_target(target, sizeof target, path)) return false;
    bool in_place = stat(target, &facts) == 0 && !S_ISREG(facts.st_mode);
    int length = in_place ? snprintf(out, capacity, "%s", target)
                          : snprintf(out, capacity, "%s.partial-%ld", target, (long)getpid());
    if (length > 0 && (size_t)length < capacity) return true;
    errno = ENAMETOOLONG;
    return tell(path);
}

FILE *output_begin(const char *path)
{
    char name[4096];
    if (!output_name(name, sizeof name, path)) return NULL;
    FILE *file = fopen(name, "w");
    if (file == NULL) tell(path);
    return file;
}

bool output_rename(const char *path)
{
    char name[4096], target[4096];
    if (!output_name(name, sizeof name, path) || !find_target(target, sizeof target, path))
        return false;
    if (strcmp(name, target) == 0 || rename(name, target) == 0) return true;
    tell(path);
    unlink(name);
    return false;
}

bool output_commit(FILE *file, const char *path)
{
    bool written = fflush(file) == 0 && !ferror(file);
    if (fclose(file) == 0 && written) return output_rename(path);
    tell(path);
    output_drop(path);
    return false;
}

void output_drop(const char *path)
{
    char name[4096], target[4096];
    if (output_name(name, sizeof name, path) && find_target(target, sizeof target, path) &&
        strcmp(name, target) != 0)
        unlink(name);
}

bool output_check(const char *option, const char *path)
{
    char name[4096];
    if (!output_name(name, sizeof name, path)) return false;
    FILE *file = fopen(name, "a");
    if (file == NULL) {
        wrong_call("%s %s: cannot be written: %s", option, path, strerror(errno));
        return false;
    }
    fclose(file);
    output_drop(path);
    return true;
}
