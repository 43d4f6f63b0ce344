/* fault_run.h - runs built programs in which tests/fault_preload.so makes calls fail */
#ifndef TESTS_FAULT_RUN_H
#define TESTS_FAULT_RUN_H

#include "run_program.h"

#include "fault_plan.h"

#include <sys/mman.h>

/* The plan for the next runs; in memory shared with them. */
static struct fault_plan *plan;
static char plan_path[768];

/* Group setup and teardown for cmocka, including the scratch folder, which must be empty at the
 * end. */
static inline int make_plan(void **state)
{
    if (make_scratch(state) != 0) return -1;
    snprintf(plan_path, sizeof plan_path, "%s.plan", scratch_folder);
    int fd = open(plan_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof *plan) != 0) return -1;
    plan = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return plan != MAP_FAILED ? 0 : -1;
}

static inline int remove_plan(void **state)
{
    (void)state;
    munmap(plan, sizeof *plan);
    return unlink(plan_path) | rmdir(scratch_folder);
}

/* Makes programs started from now on follow the plan. */
static inline void start_faults(void)
{
    char preload[600];
    snprintf(preload, sizeof preload, "%s/tests/fault_preload.so", build_folder());
    if (access(preload, R_OK) != 0) fail_msg("%s is missing", preload);
    /* AddressSanitizer need not be loaded first: with it, fault_preload.so leaves the allocator
     * alone. */
    setenv("ASAN_OPTIONS", "quarantine_size_mb=1:verify_asan_link_order=0", 0);
    setenv("EMBED_FAULT_PLAN", plan_path, 1);
    setenv("LD_PRELOAD", preload, 1);
    alarm(60); /* ends a hang */
}

static inline void end_faults(void)
{
    alarm(0);
    unsetenv("LD_PRELOAD");
}

#endif
