/* emulated_fault_test.h - runs work in which the n-th CUDA call fails, in a process of its own
 * because a lost device stays lost
 */
#ifndef TESTS_EMULATED_FAULT_TEST_H
#define TESTS_EMULATED_FAULT_TEST_H

#include "emulated_test.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the process reports. */
struct finding {
    char wrong[512]; /* "": nothing */
    char call[64];   /* the one that failed; "": none */
    uint64_t on_cpu; /* texts computed there */
};

struct fault {
    unsigned long n;
    int code;
    bool forever; /* all calls after the n-th fail too */
};

/* Runs `work` in a child process, which is killed after `seconds`. Returns whether there was an
 * n-th call; adds to *on_cpu. */
static inline bool run_with_fault(const struct fault *fault, unsigned seconds,
                                  void (*work)(const struct fault *, struct finding *),
                                  uint64_t *on_cpu)
{
    struct finding *finding =
        mmap(NULL, sizeof *finding, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(finding, MAP_FAILED);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(seconds);
        work(fault, finding);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("call %lu, code %d: the process ended with %#x", fault->n, fault->code,
                 (unsigned)status);
    if (*finding->wrong != '\0')
        fail_msg("call %lu, %s, code %d: %s", fault->n, finding->call, fault->code, finding->wrong);
    bool has_failed = *finding->call != '\0';
    *on_cpu += finding->on_cpu;
    munmap(finding, sizeof *finding);
    return has_failed;
}

#endif
