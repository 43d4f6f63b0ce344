/* fault_plan.h - which system calls fail, and how: shared by tests and fault_preload.c */
#ifndef TESTS_FAULT_PLAN_H
#define TESTS_FAULT_PLAN_H

#include <stdatomic.h>

/* Kinds of calls, one bit each. */
enum {
    FAULT_OPEN = 1,
    FAULT_CREATE = 2, /* open with O_CREAT */
    FAULT_CLOSE = 4,
    FAULT_READ = 8, /* read and pread */
    FAULT_WRITE = 16, /* write and pwrite */
    FAULT_STAT = 32, /* stat, lstat, fstat, fstatat, realpath */
    FAULT_SEEK = 64,
    FAULT_SYNC = 128,
    FAULT_RENAME = 256,
    FAULT_POLL = 512,
    FAULT_THREAD = 1024,
    FAULT_MEMORY = 2048,
    FAULT_TRUNCATE = 4096,
    FAULT_PIPE = 8192
};

/* In place of an errno value. */
#define FAULT_SHORT (-1) /* only half of the bytes */
#define FAULT_KILL  (-2) /* SIGKILL before the call; skips earlier fsyncs, which are slow */
#define FAULT_TORN  (-3) /* the same, but half of the bytes are written first */

struct fault_plan {
    unsigned calls; /* kinds that are counted and fail */
    unsigned nth;   /* the first call that fails, from 1; 0: none, and calls are not counted */
    unsigned times; /* how many fail */
    int error;
    atomic_uint count;  /* calls so far */
    atomic_uint failed; /* failed ones among them */
    unsigned call;      /* kind of the first that failed */
};

#endif
