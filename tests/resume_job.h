/* resume_job.h - an embed encode --resume job that tests interrupt and inspect */
#ifndef TESTS_RESUME_JOB_H
#define TESTS_RESUME_JOB_H

#include "fault_run.h"

#include <stdbool.h>

#define JOB_LINES 400 /* more than six blocks of 64 */

typedef struct resume_job {
    const char *model;
    const char *format;
    const char *option, *value; /* one more option; NULL: none */
    char input[600], rows[600], partial[620], journal[620];
    char *expected; /* what a run without --resume writes */
    size_t length;
} resume_job;

static inline void put_file(const char *path, const void *bytes, size_t length)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static inline bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

static inline program_result run_job(const resume_job *job, bool resume)
{
    const char *words[16] = {"embed", "encode",   "--threads", "1",  "-m",
                             job->model, "--format", job->format, "-o", job->rows,
                             job->input};
    size_t n = 11;
    if (resume) words[n++] = "--resume";
    if (job->option != NULL) words[n++] = job->option;
    if (job->value != NULL) words[n++] = job->value;
    alarm(60); /* ends a hang */
    program_result r = run(words, NULL, 0);
    alarm(0);
    return r;
}

static inline void clean_job(const resume_job *job)
{
    unlink(job->rows);
    unlink(job->partial);
    unlink(job->journal);
}

/* Computes the output expected for the current input. */
static inline void expect(resume_job *job)
{
    program_result r = run_job(job, false);
    if (r.status != 0) fail_msg("status %d: %s", r.status, r.err);
    free_result(&r);
    free(job->expected);
    job->expected = read_file(job->rows, &job->length);
    unlink(job->rows);
}

/* Makes lines of different lengths, some of them empty and some with bytes that are not UTF-8. */
static inline char *make_lines(size_t count, size_t *length)
{
    char *text = malloc(count * 128), *p = text;
    assert_non_null(text);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = i % 7; k > 0; k--) p += sprintf(p, "w%zu the cat ", i * k % 97);
        if (i % 11 == 5) *p++ = '\xFF';
        *p++ = '\n';
    }
    *length = (size_t)(p - text);
    return text;
}

static inline void make_job(resume_job *job, const char *format, size_t lines)
{
    *job = (resume_job){.model = TINY_BERT, .format = format};
    snprintf(job->input, sizeof job->input, "%s", scratch("lines.txt"));
    snprintf(job->rows, sizeof job->rows, "%s", scratch("rows"));
    snprintf(job->partial, sizeof job->partial, "%s.partial", job->rows);
    snprintf(job->journal, sizeof job->journal, "%s.journal", job->rows);
    size_t length;
    char *text = make_lines(lines, &length);
    put_file(job->input, text, length);
    free(text);
    expect(job);
}

static inline void end_job(resume_job *job)
{
    clean_job(job);
    unlink(job->input);
    free(job->expected);
}

/* Runs the job under *plan. */
static inline program_result run_with_plan(const resume_job *job)
{
    start_faults();
    program_result r = run_job(job, true);
    end_faults();
    return r;
}

/* Kills the job before its n-th such call, or during it (FAULT_TORN). Returns false if the job
 * ended before that. */
static inline bool kill_job(const resume_job *job, unsigned calls, unsigned n, int how)
{
    *plan = (struct fault_plan){.calls = calls, .nth = n, .times = 1, .error = how};
    program_result r = run_with_plan(job);
    bool killed = r.status == 128 + SIGKILL;
    if (!killed && r.status != 0) fail_msg("call %u: status %d: %s", n, r.status, r.err);
    free_result(&r);
    return killed;
}

static inline size_t journal_lines(const resume_job *job, const char *word)
{
    size_t length, n = 0;
    char *text = read_file(job->journal, &length);
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++) n += at[-1] == '\n';
    free(text);
    return n;
}

/* Returns whether the journal ends like that of a complete job. */
static inline bool journal_ends(const resume_job *job)
{
    size_t length;
    char *text = read_file(job->journal, &length);
    const char *last = strstr(text, "\ncomplete ");
    bool ends = last != NULL && strchr(last + 1, '\n') == text + length - 1;
    free(text);
    return ends;
}

/* Checks that the output is there and right, and that only the journal is left beside it. */
static inline void check_whole(const resume_job *job, const char *when)
{
    size_t length;
    char *rows = read_file(job->rows, &length);
    if (length != job->length || memcmp(rows, job->expected, length) != 0)
        fail_msg("%s, %s: %zu bytes, not those %zu of an undisturbed run", job->format, when,
                 length, job->length);
    free(rows);
    if (is_there(job->partial)) fail_msg("%s: .partial is left", when);
    if (!journal_ends(job)) fail_msg("%s: the journal does not end with the job", when);
}

/* Runs the same command undisturbed, and checks the output. */
static inline void finish_job(const resume_job *job, const char *when)
{
    program_result r = run_job(job, true);
    if (r.status != 0) fail_msg("%s: status %d: %s", when, r.status, r.err);
    free_result(&r);
    check_whole(job, when);
}

/* Runs the job, which must fail with one line that contains `says`. */
static inline void refuse_job(const resume_job *job, const char *says)
{
    program_result r = run_job(job, true);
    if (r.status != 1 || count_lines(r.err) != 1 || strncmp(r.err, "embed: ", 7) != 0 ||
        strstr(r.err, says) == NULL)
        fail_msg("status %d: \"%s\" does not say \"%s\"", r.status, r.err, says);
    free_result(&r);
}

/* Leaves a killed job with at least two lines in its journal, and rows after those. The calls
 * before the sixth are syncs of the journal, its folder and the rows' folder. */
static inline void half_a_job(const resume_job *job)
{
    for (int i = 0; i < 50; i++) {
        clean_job(job);
        if (kill_job(job, FAULT_SYNC, 6, FAULT_KILL) && journal_lines(job, "after ") >= 2) return;
    }
    fail_msg("the job cannot be ended half-way");
}

#endif
