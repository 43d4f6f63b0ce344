/* test_cli_kills.c - embed encode --resume, ended by SIGKILL and by failures: nothing is ever lost
 *
 * The job is killed at each system call that changes files, before it and with half of its data
 * written; twice in a row; at random times; and each call fails in turn. Afterwards the same
 * command runs to completion each time, and the output must have the bytes of an undisturbed run.
 */
#include "resume_job.h"

#include <errno.h>
#include <time.h>

#define CHANGES                                                                                  \
    (FAULT_CREATE | FAULT_WRITE | FAULT_TRUNCATE | FAULT_SYNC | FAULT_RENAME | FAULT_CLOSE)
#define RANDOM_KILLS 12

/* If the job was interrupted, nothing may look like the result. */
static void check_not_whole(const resume_job *job, unsigned n)
{
    if (is_there(job->rows)) check_whole(job, "killed after the end");
    else if (is_there(job->partial) && !is_there(job->journal))
        fail_msg("call %u: rows without a journal", n);
}

static void kill_at_each_call(const char *format, int how)
{
    resume_job job;
    make_job(&job, format, JOB_LINES);
    unsigned n = 1;
    for (; clean_job(&job), kill_job(&job, CHANGES, n, how); n++) {
        char when[64];
        snprintf(when, sizeof when, "killed at call %u (kind %u)", n, plan->call);
        check_not_whole(&job, n);
        finish_job(&job, when);
    }
    print_message("%s: killed at each of %u calls\n", format, n - 1);
    assert_true(n > 20);
    end_job(&job);
}

static void test_killed_before_each_call(void **state)
{
    (void)state;
    kill_at_each_call("npy", FAULT_KILL);
    kill_at_each_call("jsonl", FAULT_KILL);
}

static void test_killed_within_each_write(void **state)
{
    (void)state;
    kill_at_each_call("npy", FAULT_TORN);
    kill_at_each_call("text", FAULT_TORN);
}

/* Killed half-way, and again at each call of the resumed run. */
static void test_killed_twice(void **state)
{
    (void)state;
    resume_job job;
    make_job(&job, "f16", JOB_LINES);
    unsigned n = 1;
    for (; half_a_job(&job), kill_job(&job, CHANGES, n, n % 2 ? FAULT_KILL : FAULT_TORN); n++) {
        check_not_whole(&job, n);
        finish_job(&job, "killed twice");
    }
    assert_true(n > 10);
    end_job(&job);
}

/* ---- at random times ----------------------------------------------------------------------- */

static uint32_t random_state = 20240607;

static uint32_t random_below(uint32_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % limit;
}

/* Lets the job run for this long and kills it. Returns false if it had ended. */
static bool kill_after(const resume_job *job, uint32_t microseconds)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    pid_t child = start_program(WORDS("embed", "encode", "--threads", "2", "-m", job->model,
                                      "--format", job->format, "-o", job->rows, "--resume",
                                      job->input),
                                null, null, 2, 0);
    close(null);
    struct timespec pause = {.tv_sec = microseconds / 1000000,
                             .tv_nsec = (long)(microseconds % 1000000) * 1000};
    nanosleep(&pause, NULL);
    kill(child, SIGKILL);
    int status = wait_program(child, NULL);
    if (status != 0 && status != 128 + SIGKILL) fail_msg("status %d", status);
    return status != 0;
}

static void test_killed_at_random_times(void **state)
{
    (void)state;
    resume_job job;
    print_message("seed %u\n", random_state);
    struct timespec start, end;
    make_job(&job, "npy", 20000);
    clock_gettime(CLOCK_MONOTONIC, &start);
    expect(&job);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double whole = 1e6 * (double)(end.tv_sec - start.tv_sec) +
                   1e-3 * (double)(end.tv_nsec - start.tv_nsec);
    /* Together the runs last about as long as the job, and each repeats a part of it. */
    uint32_t longest = (uint32_t)(2 * whole / RANDOM_KILLS) + 1000;
    unsigned kills = 0, ended = 0, gone_on = 0;
    while (kills < RANDOM_KILLS) {
        bool killed = kill_after(&job, random_below(longest) + 1);
        kills += killed;
        check_not_whole(&job, kills);
        if (killed && is_there(job.journal)) gone_on += journal_lines(&job, "after ") > 0;
        if (killed) continue;
        check_whole(&job, "ended before the kill");
        clean_job(&job);
        ended++;
    }
    finish_job(&job, "killed at random times");
    print_message("%u kills within %.0f ms each, %u of them after rows were done; ended %u times "
                  "before\n",
                  kills, 1e-3 * longest, gone_on, ended);
    end_job(&job);
}

/* ---- calls that fail ----------------------------------------------------------------------- */

#define FILES                                                                                    \
    (FAULT_OPEN | FAULT_CLOSE | FAULT_READ | FAULT_STAT | FAULT_SEEK | FAULT_PIPE | CHANGES)
#define ALWAYS 0xFFFFFFFFu
#define LAST   20 /* the last calls, which all fail */
#define SAMPLE 8  /* at least this many of the others; EMBED_FAULTS=all: all of them */

static const struct fault {
    const char *name;
    int error;
    unsigned calls, times;
    bool retried; /* the program must succeed */
} faults[] = {
    {"EIO once", EIO, FILES, 1, false},
    {"EIO from then on", EIO, FILES, ALWAYS, false},
    {"ENOSPC once", ENOSPC, CHANGES & ~(unsigned)FAULT_CLOSE, 1, false},
    {"ENOSPC from then on", ENOSPC, CHANGES & ~(unsigned)FAULT_CLOSE, ALWAYS, false},
    {"EROFS from then on", EROFS, FAULT_CREATE, ALWAYS, false},
    {"EINTR three times", EINTR, FAULT_READ | FAULT_WRITE | FAULT_SYNC | FAULT_POLL, 3, true},
    {"short counts from then on", FAULT_SHORT, FAULT_READ | FAULT_WRITE, ALWAYS, true},
    {"no thread, once", EAGAIN, FAULT_THREAD, 1, false},
    {"no memory, once", ENOMEM, FAULT_MEMORY, 1, false},
    {"no memory from then on", ENOMEM, FAULT_MEMORY, ALWAYS, false},
};

/* The job as half_a_job leaves it, or nothing. */
typedef struct half {
    char *journal, *rows;
    size_t journal_length, rows_length;
} half;

static void put_half(const resume_job *job, const half *h)
{
    clean_job(job);
    if (h == NULL) return;
    put_file(job->journal, h->journal, h->journal_length);
    put_file(job->partial, h->rows, h->rows_length);
}

/* Runs once with the n-th call failing, and once to completion. Returns false if there were fewer
 * calls. */
static bool fail_and_finish(const resume_job *job, const half *h, const struct fault *fault,
                            unsigned n)
{
    put_half(job, h);
    *plan = (struct fault_plan){
        .calls = fault->calls, .nth = n, .times = fault->times, .error = fault->error};
    program_result r = run_with_plan(job);
    bool one_line = count_lines(r.err) == 1 && strncmp(r.err, "embed: ", 7) == 0 &&
                    r.err_length > 12;
    bool right = r.status == 0 ? r.err_length == 0 : r.status == 1 && !fault->retried && one_line;
    if (!right)
        fail_msg("%s, call %u (kind %u): status %d: \"%s\"", fault->name, n, plan->call, r.status,
                 r.err);
    if (r.status == 0) check_whole(job, fault->name);
    check_not_whole(job, n);
    free_result(&r);
    bool failed = plan->failed > 0;
    finish_job(job, fault->name);
    return failed;
}

static unsigned torture(const resume_job *job, const half *h)
{
    const char *wish = getenv("EMBED_FAULTS");
    bool all = wish != NULL && strcmp(wish, "all") == 0;
    unsigned points = 0;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        fail_and_finish(job, h, &faults[i], ALWAYS); /* counts the calls; none fails */
        unsigned calls = plan->count, last = calls > LAST ? calls - LAST : 0;
        unsigned step = all || last < SAMPLE ? 1 : last / SAMPLE;
        for (unsigned n = 1; n <= calls; n += n + step <= last ? step : 1) {
            fail_and_finish(job, h, &faults[i], n);
            points++;
        }
    }
    return points;
}

static void test_each_call_fails(void **state)
{
    (void)state;
    resume_job job;
    make_job(&job, "npy", 150);
    print_message("a new job: %u injection points\n", torture(&job, NULL));
    end_job(&job);
}

static void test_each_call_fails_going_on(void **state)
{
    (void)state;
    resume_job job;
    half h;
    make_job(&job, "text", JOB_LINES);
    half_a_job(&job);
    h.journal = read_file(job.journal, &h.journal_length);
    h.rows = read_file(job.partial, &h.rows_length);
    print_message("resuming: %u injection points\n", torture(&job, &h));
    free(h.journal);
    free(h.rows);
    end_job(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_before_each_call),
        cmocka_unit_test(test_killed_within_each_write),
        cmocka_unit_test(test_killed_twice),
        cmocka_unit_test(test_killed_at_random_times),
        cmocka_unit_test(test_each_call_fails),
        cmocka_unit_test(test_each_call_fails_going_on),
    };
    return cmocka_run_group_tests_name("embed encode --resume, killed", tests, make_plan,
                                       remove_plan);
}
