/* fault_plan.h - which system calls are to fail, and how: shared by a test and fault_preload.c */
#ifndef TESTS_FAULT_PLAN_H
#define TESTS_FAULT_PLAN_H

#include <stdatomic.h>

/* Kinds of calls: a bit each. */
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

/* In place of an errno. */
#define FAULT_SHORT (-1) /* half the bytes */
#define FAULT_KILL  (-2) /* SIGKILL before the call; until then no fsync is made, which takes long */
#define FAULT_TORN  (-3) /* the same; what was to be written is there by half */

struct fault_plan {
    unsigned calls; /* the kinds that count, and fail */
    unsigned nth;   /* the first call that fails, from 1; 0: none, and none is counted */
    unsigned times; /* how many fail */
    int error;
    atomic_uint count;  /* calls so far */
    atomic_uint failed; /* of these */
    unsigned call;      /* the kind of the first that failed */
};

#endif
