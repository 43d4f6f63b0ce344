/* embed_bench_output.c - files that appear under their names when they are whole */
#include "embed_bench_sweep.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static bool put_name(char *out, size_t capacity, const char *path)
{
    int length = snprintf(out, capacity, "%s.partial-%ld", path, (long)getpid());
    if (length > 0 && (size_t)length < capacity) return true;
    wrong_call("%s: the name is too long", path);
    return false;
}

static bool tell(const char *path)
{
    wrong_call("%s: cannot be written: %s", path, strerror(errno));
    return false;
}

FILE *output_begin(const char *path)
{
    char name[4096];
    if (!put_name(name, sizeof name, path)) return NULL;
    FILE *file = fopen(name, "w");
    if (file == NULL) tell(path);
    return file;
}

bool output_commit(FILE *file, const char *path)
{
    char name[4096];
    if (!put_name(name, sizeof name, path)) return false;
    bool written = fflush(file) == 0 && !ferror(file) && fsync(fileno(file)) == 0;
    if (fclose(file) == 0 && written && rename(name, path) == 0) return true;
    tell(path);
    unlink(name);
    return false;
}

bool output_check(const char *option, const char *path)
{
    char name[4096];
    if (!put_name(name, sizeof name, path)) return false;
    FILE *file = fopen(name, "w");
    if (file == NULL) {
        wrong_call("%s %s: cannot be written: %s", option, path, strerror(errno));
        return false;
    }
    fclose(file);
    unlink(name);
    return true;
}
