/* test_cli_resume.c - embed encode --resume: what it continues, and what it rejects */
#include "resume_job.h"
#include "test_folder.h"

#include <sys/prctl.h>

static const char *const formats[] = {"npy", "text", "jsonl", "f32", "f16"};
#define FORMATS (sizeof formats / sizeof *formats)

/* ---- without a kill ------------------------------------------------------------------------ */

static void test_undisturbed(void **state)
{
    (void)state;
    for (size_t i = 0; i < FORMATS; i++) {
        resume_job job;
        make_job(&job, formats[i], JOB_LINES);
        program_result r = run_job(&job, true);
        assert_int_equal(r.status, 0);
        assert_string_equal(r.err, "");
        free_result(&r);
        check_whole(&job, "undisturbed");

        /* A second run does not write the file again. */
        struct stat before, after;
        assert_int_equal(stat(job.rows, &before), 0);
        r = run_job(&job, true);
        assert_int_equal(r.status, 0);
        assert_non_null(strstr(r.err, "rows: already complete\n"));
        free_result(&r);
        assert_int_equal(stat(job.rows, &after), 0);
        assert_int_equal(before.st_ino, after.st_ino);
        assert_int_equal(journal_lines(&job, "complete "), 1);
        end_job(&job);
    }
}

static void test_few_lines(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n", "the cat", "the cat\n", "the cat\nthe dog"};
    for (size_t i = 0; i < FORMATS * sizeof texts / sizeof *texts; i++) {
        resume_job job;
        make_job(&job, formats[i % FORMATS], 1);
        put_file(job.input, texts[i / FORMATS], strlen(texts[i / FORMATS]));
        expect(&job);
        finish_job(&job, "few lines");
        finish_job(&job, "few lines, again");
        /* The rows are complete but not renamed yet. */
        assert_int_equal(rename(job.rows, job.partial), 0);
        finish_job(&job, "few lines, not renamed");
        end_job(&job);
    }
}

/* A link's target is replaced, and its journal is beside the target. */
static void test_link(void **state)
{
    (void)state;
    resume_job job;
    make_job(&job, "npy", JOB_LINES);
    half_a_job(&job);
    resume_job named = job;
    snprintf(named.rows, sizeof named.rows, "%s", scratch("link"));
    assert_int_equal(symlink("rows", named.rows), 0);
    finish_job(&job, "before the link is used");
    program_result r = run_job(&named, true);
    assert_int_equal(r.status, 0);
    free_result(&r);
    unlink(named.rows);
    end_job(&job);
}

/* ---- rows ---------------------------------------------------------------------------------- */

static void change_byte(const char *path, long at)
{
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    fseek(file, at, at < 0 ? SEEK_END : SEEK_SET);
    int c = fgetc(file);
    fseek(file, -1, SEEK_CUR);
    fputc(c ^ 1, file);
    assert_int_equal(fclose(file), 0);
}

static void test_rows_damaged(void **state)
{
    (void)state;
    resume_job job;
    make_job(&job, "npy", JOB_LINES);
    const long first = 128 + 64L * 64 * 4, second = first + 64L * 64 * 4; /* ends of blocks */

    half_a_job(&job);
    change_byte(job.partial, 300);
    refuse_job(&job, "rows.partial: its rows do not match ");
    half_a_job(&job);
    assert_int_equal(truncate(job.partial, first - 1), 0);
    refuse_job(&job, "rows.partial: its rows do not match ");

    /* The rows of the journal's first line are there: */
    const long cuts[] = {first, first + 1, second - 1};
    for (size_t i = 0; i < 4; i++) {
        half_a_job(&job);
        if (i < 3) assert_int_equal(truncate(job.partial, cuts[i]), 0);
        else change_byte(job.partial, second - 5);
        program_result r = run_job(&job, true);
        assert_int_equal(r.status, 0);
        assert_non_null(strstr(r.err, "embed: warning: "));
        assert_non_null(strstr(r.err, "rows.partial: only the first 64 rows match "));
        free_result(&r);
        check_whole(&job, "rows that were damaged");
    }
    /* Rows beyond the last line of the journal are cut off. */
    half_a_job(&job);
    FILE *file = fopen(job.partial, "a");
    for (int i = 0; i < 300000; i++) fputc('x', file);
    assert_int_equal(fclose(file), 0);
    finish_job(&job, "rows nobody knows");
    end_job(&job);
}

static void test_rows_missing(void **state)
{
    (void)state;
    resume_job job;
    make_job(&job, "npy", JOB_LINES);
    half_a_job(&job);
    unlink(job.partial);
    refuse_job(&job, "rows.journal: records rows, but neither ");
    put_file(job.rows, "old", 3);
    refuse_job(&job, "rows: does not match ");
    /* Rows without a journal are of no use. */
    half_a_job(&job);
    unlink(job.journal);
    finish_job(&job, "without a journal");
    /* Of a complete job every part is checked: header, rows, length. */
    const long places[] = {70, 1000, -1};
    for (size_t i = 0; i < 3; i++) {
        change_byte(job.rows, places[i]);
        refuse_job(&job, "rows: does not match ");
        change_byte(job.rows, places[i]);
    }
    assert_int_equal(truncate(job.rows, (long)job.length + 1), 0);
    refuse_job(&job, "rows: does not match ");
    assert_int_equal(truncate(job.rows, (long)job.length), 0);
    finish_job(&job, "complete");
    unlink(job.journal);
    refuse_job(&job, "rows: exists without a journal");
    assert_false(is_there(job.journal));
    put_file(job.journal, "", 0);
    refuse_job(&job, "journal is missing or empty");
    put_file(job.journal, "a diary\n", 8);
    refuse_job(&job, "belongs to a job with \"a diary\", but this one has \"embed journal 1\"");
    end_job(&job);
}

/* ---- input --------------------------------------------------------------------------------- */

static void test_changed_input(void **state)
{
    (void)state;
    resume_job job;
    make_job(&job, "jsonl", JOB_LINES);
    size_t length;
    char *text = read_file(job.input, &length);

    /* A change before the position that was reached. */
    half_a_job(&job);
    change_byte(job.input, 3);
    refuse_job(&job, "lines.txt: its first ");
    put_file(job.input, text, 1000);
    refuse_job(&job, "lines.txt: its first ");
    /* A change after it, and one at the end. */
    put_file(job.input, text, length);
    change_byte(job.input, (long)length - 20);
    expect(&job);
    finish_job(&job, "changed where it was not read");
    put_file(job.input, text, length);
    expect(&job);
    half_a_job(&job);
    FILE *file = fopen(job.input, "a");
    fputs("one more\nand one without an end", file);
    assert_int_equal(fclose(file), 0);
    expect(&job);
    finish_job(&job, "an input that has grown");
    /* For a complete job, longer input means another job. */
    file = fopen(job.input, "a");
    fputs(" grows", file);
    assert_int_equal(fclose(file), 0);
    refuse_job(&job, "lines.txt: has grown beyond the ");
    change_byte(job.input, 3);
    refuse_job(&job, "lines.txt: its first ");
    free(text);
    end_job(&job);
}

/* A last line without a line end is final only when the job is; it may grow until then. */
static void test_last_line_grows(void **state)
{
    (void)state;
    resume_job job;
    make_job(&job, "text", 120); /* so that its block is worth a checkpoint */
    FILE *file = fopen(job.input, "a");
    fputs("the dog", file);
    assert_int_equal(fclose(file), 0);
    size_t length;
    char *text = read_file(job.input, &length);
    for (unsigned n = 1; kill_job(&job, FAULT_SYNC, n, FAULT_KILL); n++) {
        bool complete = is_there(job.journal) && journal_lines(&job, "complete ") > 0;
        file = fopen(job.input, "a");
        fputs("s", file);
        assert_int_equal(fclose(file), 0);
        if (complete) {
            refuse_job(&job, "lines.txt: has grown beyond ");
        } else {
            expect(&job);
            finish_job(&job, "a last line that has grown");
        }
        clean_job(&job);
        put_file(job.input, text, length);
    }
    free(text);
    end_job(&job);
}

static void test_line_repaired(void **state)
{
    (void)state;
    resume_job job;
    make_job(&job, "f32", JOB_LINES);
    FILE *file = fopen(job.input, "w");
    assert_non_null(file);
    for (int i = 0; i < 300; i++) fprintf(file, "{\"text\": \"the cat %d\"}\n", i);
    assert_int_equal(fclose(file), 0);
    job.option = "--jsonl";
    job.value = "text";
    expect(&job);
    size_t length;
    char *text = read_file(job.input, &length);
    text[length - 10] = '\n';
    put_file(job.input, text, length);
    refuse_job(&job, "lines.txt: line 300: not JSON: ");
    assert_true(is_there(job.partial));
    assert_true(journal_lines(&job, "after ") >= 1);
    text[length - 10] = '2';
    put_file(job.input, text, length);
    expect(&job);
    finish_job(&job, "a line that was repaired");
    free(text);
    end_job(&job);
}

/* ---- the job ------------------------------------------------------------------------------- */

static void test_changed_job(void **state)
{
    (void)state;
    static const struct {
        const char *option, *value, *says;
    } changes[] = {
        {"--dimensions", "8", "\"dimensions 64\", but this one has \"dimensions 8\""},
        {"--max-tokens", "5", "but this one has \"max-tokens 5\""},
        {"--no-normalize", NULL, "\"normalize on\", but this one has \"normalize off\""},
        {"--format", "f16", "\"format f32\", but this one has \"format f16\""},
        {"--jsonl", "a\"\n\x01", "\"jsonl no\", but this one has \"jsonl \"a\\x22\\x0a\\x01\"\""},
        {"--prompt", "", "\"prompt the model's\", but this one has \"prompt \"\"\""},
    };
    resume_job job;
    make_job(&job, "f32", JOB_LINES);
    half_a_job(&job);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        job.option = changes[i].option;
        job.value = changes[i].value;
        refuse_job(&job, changes[i].says);
    }
    job.option = job.value = NULL;
    if (getenv("EMBED_CPU_ISA") == NULL) {
        setenv("EMBED_CPU_ISA", "scalar", 1);
        refuse_job(&job, "but this one has \"device cpu scalar\"");
        unsetenv("EMBED_CPU_ISA");
    }
    /* Options that change no row. */
    job.option = "--batch-tokens";
    job.value = "50";
    finish_job(&job, "other batches");
    end_job(&job);
}

/* The same model except for one weight. */
static void test_changed_weights(void **state)
{
    (void)state;
    enum { FROM_END = -45566 }; /* a bias of the last layer; what follows is unused */
    const char *folder = test_copy_folder(TINY_BERT);
    char weights[1024];
    snprintf(weights, sizeof weights, "%s/model.safetensors", folder);
    resume_job job;
    make_job(&job, "f32", JOB_LINES);
    job.model = folder;
    half_a_job(&job);
    change_byte(weights, FROM_END);
    refuse_job(&job, "belongs to a job with \"embedder ");
    change_byte(weights, FROM_END);
    job.model = TINY_BERT; /* the same weights in another place */
    finish_job(&job, "another folder");
    test_remove_folder(folder);
    end_job(&job);
}

/* Embeddings that are not finite, before and after the kill, are reported together. */
static void test_not_finite(void **state)
{
    (void)state;
    enum { THE = 422, WORD_EMBEDDINGS = 17408, WIDTH = 64 }; /* in the file's data */
    const char *folder = test_copy_folder(TINY_BERT);
    char weights[1024];
    snprintf(weights, sizeof weights, "%s/model.safetensors", folder);
    FILE *file = fopen(weights, "r+");
    assert_non_null(file);
    uint64_t header;
    uint32_t nan = 0x7FC00000;
    assert_int_equal(fread(&header, sizeof header, 1, file), 1);
    fseek(file, (long)(8 + header + WORD_EMBEDDINGS + THE * WIDTH * sizeof(float)), SEEK_SET);
    assert_int_equal(fwrite(&nan, sizeof nan, 1, file), 1);
    assert_int_equal(fclose(file), 0);

    resume_job job;
    make_job(&job, "jsonl", 1);
    file = fopen(job.input, "w");
    for (int i = 0; i < JOB_LINES; i++) fputs(i % 40 == 0 ? "the\n" : "a\n", file);
    assert_int_equal(fclose(file), 0);
    job.model = folder;
    bool half = false;
    for (int i = 0; i < 50 && !half; i++) {
        clean_job(&job);
        *plan = (struct fault_plan){
            .calls = FAULT_SYNC, .nth = 6, .times = 1, .error = FAULT_KILL};
        program_result r = run_with_plan(&job);
        half = r.status == 128 + SIGKILL && journal_lines(&job, "after ") >= 2;
        free_result(&r);
    }
    assert_true(half);
    for (int i = 0; i < 2; i++) {
        program_result r = run_job(&job, true);
        assert_int_equal(r.status, 1);
        assert_non_null(strstr(r.err, "lines.txt: 10 of 400 embeddings are not finite\n"));
        free_result(&r);
        assert_true(is_there(job.rows));
    }
    test_remove_folder(folder);
    end_job(&job);
}

/* ---- folders where resuming is impossible -------------------------------------------------- */

static void test_not_resumable(void **state)
{
    (void)state;
    resume_job job;
    make_job(&job, "f32", 10);
    const char *const *calls[] = {
        WORDS("embed", "encode", "-m", TINY_BERT, "--resume", job.input),
        WORDS("embed", "encode", "-m", TINY_BERT, "--resume", "-o", "-", job.input),
        WORDS("embed", "encode", "-m", TINY_BERT, "--resume", "-o", job.rows),
        WORDS("embed", "encode", "-m", TINY_BERT, "--resume", "-o", job.rows, "-"),
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        program_result r = run(calls[i], "a\n", 2);
        assert_int_equal(r.status, 2);
        assert_int_equal(count_lines(r.err), 2);
        assert_non_null(strstr(r.err, "embed: encode: --resume needs an input FILE and -o "));
        free_result(&r);
    }
    resume_job other = job;
    strcpy(other.rows, "/dev/null");
    refuse_job(&other, "/dev/null: --resume needs a regular file, which can be continued");
    other = job;
    strcpy(other.input, "/dev/null");
    refuse_job(&other, "/dev/null: --resume needs a regular file, which can be reread");
    strcpy(other.input, job.partial);
    put_file(job.partial, "a\n", 2);
    refuse_job(&other, "rows.partial: is the temporary file for the rows and cannot be the input");
    unlink(job.partial);
    /* An empty input is not taken for a new journal, which would be removed. */
    strcpy(other.input, job.journal);
    put_file(job.journal, "", 0);
    refuse_job(&other, "rows.journal: is the journal of the output and cannot be the input");
    assert_true(is_there(job.journal));
    unlink(job.journal);
    other = job;
    other.model = "no/such/folder";
    refuse_job(&other, "no/such/folder");
    assert_false(is_there(job.journal));
    assert_false(is_there(job.rows));
    end_job(&job);
}

/* Drops the capability that lets root ignore file permissions, CAP_DAC_OVERRIDE
 * (linux/capability.h). */
static void test_read_only_folder(void **state)
{
    (void)state;
    resume_job job;
    make_job(&job, "f32", 10);
    assert_int_equal(chmod(scratch_folder, 0555), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (geteuid() == 0 && prctl(PR_CAPBSET_DROP, 1, 0, 0, 0) != 0) _exit(126);
        if (freopen(plan_path, "r", stdin) == NULL) _exit(126);
        FILE *err = fopen("/dev/null", "w");
        if (err == NULL || dup2(fileno(err), 2) < 0) _exit(126);
        become_program(WORDS("embed", "encode", "-m", TINY_BERT, "--resume", "-o", job.rows,
                             job.input));
    }
    int status = wait_program(child, NULL);
    assert_int_equal(chmod(scratch_folder, 0700), 0);
    if (status == 126) print_message("root cannot give up its capabilities here\n");
    else assert_int_equal(status, 1);
    assert_false(is_there(job.journal));
    assert_false(is_there(job.partial));
    resume_job other = job;
    strcpy(other.rows, "no/such/folder/rows");
    refuse_job(&other, "no/such/folder/rows.journal: No such file or directory");
    end_job(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_undisturbed),
        cmocka_unit_test(test_few_lines),
        cmocka_unit_test(test_link),
        cmocka_unit_test(test_rows_damaged),
        cmocka_unit_test(test_rows_missing),
        cmocka_unit_test(test_changed_input),
        cmocka_unit_test(test_last_line_grows),
        cmocka_unit_test(test_line_repaired),
        cmocka_unit_test(test_changed_job),
        cmocka_unit_test(test_changed_weights),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_not_resumable),
        cmocka_unit_test(test_read_only_folder),
    };
    return cmocka_run_group_tests_name("embed encode --resume", tests, make_plan, remove_plan);
}
