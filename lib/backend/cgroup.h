/* cgroup.h - what the control groups of this process allow it, as those of a container do */
#ifndef LIB_BACKEND_CGROUP_H
#define LIB_BACKEND_CGROUP_H

#include <stdint.h>

struct cgroup_limits {
    unsigned processors; /* as many as it may keep busy; UINT_MAX: no limit */
    uint64_t bytes;      /* that it can still take; UINT64_MAX: no limit */
};

/* The least of what its groups, version 1 or 2, and all those above them say. `root` is the folder that
 * proc and sys are in: "" but in tests. What cannot be read is no limit. */
struct cgroup_limits cgroup_read_limits(const char *root);

#endif
