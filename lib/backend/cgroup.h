/* cgroup.h - the limits that control groups, such as a container's, set for this process */
#ifndef LIB_BACKEND_CGROUP_H
#define LIB_BACKEND_CGROUP_H

#include <stdint.h>

struct cgroup_limits {
    unsigned processors; /* that it may keep busy; UINT_MAX: no limit */
    uint64_t bytes;      /* that it can still allocate; UINT64_MAX: no limit */
};

/* Returns the tightest limits of the process's groups, version 1 or 2, and of all groups above
 * them. `root` is the folder that contains proc and sys: "" except in tests. A file that cannot be
 * read sets no limit. */
struct cgroup_limits cgroup_read_limits(const char *root);

#endif
