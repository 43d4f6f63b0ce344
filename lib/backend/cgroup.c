/* cgroup.c - the limits that control groups, such as a container's, set for this process
 *
 * /proc/self/cgroup has a line for each hierarchy: "0::/a/b" for version 2, "4:cpu,cpuacct:/a/b"
 * for one of version 1. The files are in folder /a/b below the hierarchy's mount. A container may
 * see its own group as that mount and yet read the host's path for it, so folders that do not exist
 * are skipped, and the mount itself is always read.
 */
#include "backend/cgroup.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Reads the beginning of folder/name. Returns false if it is empty or cannot be read. */
static bool read_beginning(char *text, size_t capacity, const char *folder, const char *name)
{
    char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "re");
    if (file == NULL) return false;
    size_t length = fread(text, 1, capacity - 1, file);
    fclose(file);
    text[length] = '\0';
    return length > 0;
}

/* Returns false for "max" and -1, which mean no limit. */
static bool read_number(unsigned long long *number, const char *folder, const char *name)
{
    char text[64];
    return read_beginning(text, sizeof text, folder, name) && text[0] != '-' &&
           sscanf(text, "%llu", number) == 1;
}

/* ---- processors ---------------------------------------------------------------------------- */

/* Rounds up: rounding down would leave a fraction of a processor idle. */
static void limit_processors(struct cgroup_limits *limits, unsigned long long quota,
                             unsigned long long period)
{
    if (quota == 0 || period == 0) return;
    unsigned long long count = (quota - 1) / period + 1;
    if (count < limits->processors) limits->processors = (unsigned)count;
}

static void read_cpu_v1(struct cgroup_limits *limits, const char *folder)
{
    unsigned long long quota, period;
    if (read_number(&quota, folder, "cpu.cfs_quota_us") &&
        read_number(&period, folder, "cpu.cfs_period_us"))
        limit_processors(limits, quota, period);
}

/* ---- memory -------------------------------------------------------------------------------- */

/* Returns the bytes of file pages not used lately: the kernel reclaims them before memory runs
 * out. */
static unsigned long long inactive_bytes(const char *folder, const char *name)
{
    char text[4096];
    unsigned long long bytes;
    if (!read_beginning(text, sizeof text, folder, "memory.stat")) return 0;
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        size_t length = strlen(name);
        if (strncmp(line, name, length) == 0 && sscanf(line + length, " %llu", &bytes) == 1)
            return bytes;
    }
    return 0;
}

static void read_memory(struct cgroup_limits *limits, const char *folder, const char *most,
                        const char *now, const char *inactive)
{
    unsigned long long all, used;
    if (!read_number(&all, folder, most) || !read_number(&used, folder, now)) return;
    unsigned long long spare = inactive_bytes(folder, inactive);
    used -= spare < used ? spare : used;
    unsigned long long left = used < all ? all - used : 0;
    if (left < limits->bytes) limits->bytes = left;
}

static void read_memory_v1(struct cgroup_limits *limits, const char *folder)
{
    read_memory(limits, folder, "memory.limit_in_bytes", "memory.usage_in_bytes",
                "total_inactive_file");
}

static void read_v2(struct cgroup_limits *limits, const char *folder)
{
    char text[64];
    unsigned long long quota, period;
    if (read_beginning(text, sizeof text, folder, "cpu.max") &&
        sscanf(text, "%llu %llu", &quota, &period) == 2)
        limit_processors(limits, quota, period);
    read_memory(limits, folder, "memory.max", "memory.current", "inactive_file");
}

/* ---- groups -------------------------------------------------------------------------------- */

/* Reads the limits of the group at `path` below the hierarchy's mount, and of all those above
 * it. */
static void read_groups(struct cgroup_limits *limits, const char *root, const char *mount,
                        const char *path, void (*read)(struct cgroup_limits *, const char *))
{
    char folder[2 * PATH_MAX];
    size_t top = (size_t)snprintf(folder, sizeof folder, "%s/sys/fs/cgroup%s", root, mount);
    size_t length = top + (size_t)snprintf(folder + top, sizeof folder - top, "%s", path);
    for (; length > top; length--) {
        bool is_end = folder[length] == '\0' || folder[length] == '/';
        if (!is_end || folder[length - 1] == '/') continue;
        folder[length] = '\0';
        read(limits, folder);
    }
    folder[top] = '\0';
    read(limits, folder);
}

static bool has_controller(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = list; (at = strstr(at, name)) != NULL; at += length)
        if ((at == list || at[-1] == ',') && (at[length] == ',' || at[length] == '\0')) return true;
    return false;
}

struct cgroup_limits cgroup_read_limits(const char *root)
{
    struct cgroup_limits limits = {UINT_MAX, UINT64_MAX};
    char path[PATH_MAX], line[PATH_MAX];
    if (strlen(root) >= PATH_MAX / 2) return limits;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    if (file == NULL) return limits;
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (group == NULL) continue;
        *controllers++ = *group++ = '\0';
        if (*controllers == '\0') read_groups(&limits, root, "", group, read_v2);
        if (has_controller(controllers, "cpu"))
            read_groups(&limits, root, "/cpu", group, read_cpu_v1);
        if (has_controller(controllers, "memory"))
            read_groups(&limits, root, "/memory", group, read_memory_v1);
    }
    fclose(file);
    return limits;
}
