/* test_cli_journal.c - embed encode --resume when its journal is truncated, damaged or in use */
#include "resume_job.h"

#include <sys/file.h>

/* A truncated journal is rejected, or the job continues from what is left of it. */
static void test_journal_cut(void **state)
{
    (void)state;
    resume_job job;
    make_job(&job, "text", JOB_LINES);
    half_a_job(&job);
    size_t length, rows_length, resumed = 0, refused = 0;
    char *journal = read_file(job.journal, &length), *rows = read_file(job.partial, &rows_length);
    size_t head = (size_t)(strstr(journal, "\nafter ") + 1 - journal);
    /* Up to the end of its first line, one byte at a time. */
    size_t end = head + strcspn(journal + head, "\n") + 2;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    const size_t step = 13;
#else
    const size_t step = 1;
#endif
    for (size_t cut = 0; cut <= end; cut += step) {
        clean_job(&job);
        put_file(job.journal, journal, cut);
        put_file(job.partial, rows, rows_length);
        if (cut == 0 || cut >= head) {
            char when[64];
            snprintf(when, sizeof when, "journal cut at %zu", cut);
            finish_job(&job, when);
            resumed++;
        } else {
            refuse_job(&job, "rows.journal: is truncated");
            /* Without rows, nothing can be lost. */
            if (cut % 50 == 1) {
                unlink(job.partial);
                finish_job(&job, "a new job that was cut");
            }
            refused++;
        }
    }
    print_message("%zu cuts refused, %zu resumed\n", refused, resumed);
    assert_true(resumed > 2 && refused > 2);
    free(journal);
    free(rows);
    end_job(&job);
}

/* A changed byte: in the head, it makes another job; in a line, the line is ignored. */
static void test_journal_damaged(void **state)
{
    (void)state;
    resume_job job;
    make_job(&job, "f16", JOB_LINES);
    half_a_job(&job);
    size_t length, rows_length;
    char *journal = read_file(job.journal, &length), *rows = read_file(job.partial, &rows_length);
    size_t head = (size_t)(strstr(journal, "\nafter ") + 1 - journal);
    for (size_t i = 0; i < length; i += 17) {
        clean_job(&job);
        journal[i] ^= 1;
        put_file(job.journal, journal, length);
        put_file(job.partial, rows, rows_length);
        journal[i] ^= 1;
        if (i < head) refuse_job(&job, "rows.journal: belongs to a job with ");
        else finish_job(&job, "a damaged line");
    }
    /* What follows the last good line is cut off. */
    half_a_job(&job);
    FILE *file = fopen(job.journal, "a");
    for (int i = 0; i < 5000; i++) fputs("x\n", file);
    assert_int_equal(fclose(file), 0);
    finish_job(&job, "a journal with a tail");

    /* A well-formed line of another job: its checksum does not fit this head. */
    char *other = strdup(journal);
    assert_non_null(other);
    clean_job(&job);
    job.option = "--max-tokens";
    job.value = "7";
    half_a_job(&job);
    free(other);
    other = read_file(job.journal, &length);
    job.option = job.value = NULL;
    clean_job(&job);
    file = fopen(job.journal, "w");
    assert_non_null(file);
    fprintf(file, "%.*s%s", (int)head, journal, strstr(other, "\nafter ") + 1);
    assert_int_equal(fclose(file), 0);
    put_file(job.partial, rows, rows_length);
    finish_job(&job, "lines of another job");
    free(other);
    free(journal);
    free(rows);
    end_job(&job);
}

static void test_journal_locked(void **state)
{
    (void)state;
    resume_job job;
    make_job(&job, "f32", JOB_LINES);
    half_a_job(&job);
    int fd = open(job.journal, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    refuse_job(&job, "rows.journal: another process is running this job");
    close(fd);
    finish_job(&job, "after the other process");
    end_job(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_journal_cut),
        cmocka_unit_test(test_journal_damaged),
        cmocka_unit_test(test_journal_locked),
    };
    return cmocka_run_group_tests_name("journal of embed encode --resume", tests, make_plan,
                                       remove_plan);
}
