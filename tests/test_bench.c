/* test_bench.c - embed-bench: its calls, its sweeps, what they write, and how a pool uses it
 *
 * Tests whether figures are consistent, not how fast anything is.
 */
#include "embed.h"

#include "run_command.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <time.h>

#define LINES "tests/vectors/tiny-lines.txt"
#define BENCH "embed-bench"

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static void must_hold(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) fail_msg("\"%s\" is not in: %s", part, text);
}

/* ---- CSV ----------------------------------------------------------------------------------- */

/* Returns a copy of line i, from 0, not counting comments; "" past the last. */
static const char *csv_line(const char *csv, size_t i)
{
    static char line[4096];
    for (; *csv != '\0'; csv += strcspn(csv, "\n") + 1) {
        if (*csv == '#' || i-- > 0) continue;
        snprintf(line, sizeof line, "%.*s", (int)strcspn(csv, "\n"), csv);
        return line;
    }
    return "";
}

static size_t csv_rows(const char *csv)
{
    size_t rows = 0;
    while (*csv_line(csv, rows + 1) != '\0') rows++;
    return rows;
}

/* Returns the text in a column of a row, from 0. Neither it nor the columns before it may be
 * quoted. */
static const char *csv_text(const char *csv, size_t row, const char *column)
{
    static char value[256];
    char header[4096];
    size_t at = 0;
    bool found = false;
    snprintf(header, sizeof header, "%s", csv_line(csv, 0));
    char *rest;
    for (char *name = strtok_r(header, ",", &rest); name != NULL && !found;
         name = strtok_r(NULL, ",", &rest), at += !found)
        found = strcmp(name, column) == 0;
    if (!found) fail_msg("no column %s in %s", column, csv_line(csv, 0));
    const char *line = csv_line(csv, row + 1);
    for (; at > 0; at--) line = strchr(line, ',') + 1;
    snprintf(value, sizeof value, "%.*s", (int)strcspn(line, ","), line);
    return value;
}

static double csv_number(const char *csv, size_t row, const char *column)
{
    return atof(csv_text(csv, row, column));
}

/* ---- calls --------------------------------------------------------------------------------- */

static void test_wrong_calls(void **state)
{
    (void)state;
    static const struct {
        const char *words[16], *says;
    } calls[] = {
        {{BENCH}, "usage: embed-bench COMMAND"},
        {{BENCH, "nonsense"}, "unknown command 'nonsense'"},
        {{BENCH, "help", "nonsense"}, "unknown command 'nonsense'"},
        {{BENCH, "sweep"}, "-m FOLDER is missing"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--batches", "8"}, "unknown option '--batches'"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--batch", "8..1"}, "the range goes backwards"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--batch", "0"}, "--batch takes integers from 1"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--batch", "0..8"}, "--batch takes integers from 1"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--batch", "8,"}, "not '8,'"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--tokens", "x"}, "not 'x'"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--instances", "65"}, "from 1 to 64"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--chunk", "16777217"}, "from 1 to 16777216"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--batch"}, "--batch needs LIST"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--seconds", "0"}, "a number of seconds, not '0'"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--seconds", "-1"}, "a number of seconds, not '-1'"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--rounds", "65"}, "up to 64"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--device", "gpu"}, "auto|cpu|cuda, not 'gpu'"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--text", LINES, "--tokens", "8"}, "not both"},
        {{BENCH, "sweep", "-m", TINY_BERT, "lines.txt"}, "unexpected 'lines.txt'"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--csv", "/no/folder/x.csv"},
         "/no/folder/x.csv: cannot be written"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--profile", "/no/folder/x.json"},
         "/no/folder/x.json: cannot be written"},
        {{BENCH, "throughput", "-m", TINY_BERT}, "FILE, or --texts and --tokens"},
        {{BENCH, "throughput", "-m", TINY_BERT, "--texts", "4"}, "FILE, or --texts and --tokens"},
        {{BENCH, "load", "-m", TINY_BERT}, "a file or folder is missing"},
        {{BENCH, "instances"}, "a file or folder is missing"},
        {{BENCH, "kernels", "avx9"}, "this processor has no instruction set 'avx9'"},
        {{BENCH, "summarize", "-m", "tests/vectors/tiny-bart", "--texts", "1", "--tokens", "8",
          "--new-tokens", "8"}, "--beams"},
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        program_result r = run(calls[i].words, "", 0);
        if (r.status != 2 || r.out_length != 0 || strstr(r.err, "usage: embed-bench ") == NULL)
            fail_msg("call %zu: status %d: %s%s", i, r.status, r.out, r.err);
        must_hold(r.err, calls[i].says);
        free_result(&r);
    }
}

/* Errors that show only with the model or a file: one line, exit status 1, and no file is made. */
static void test_wrong_models(void **state)
{
    (void)state;
    const char *csv = scratch("none.csv");
    const struct {
        const char *words[16], *says;
    } calls[] = {
        {{BENCH, "sweep", "-m", "no/such/model", "--csv", csv}, "no/such/model"},
        {{BENCH, "sweep", "-m", "tests/vectors/tiny-bart", "--csv", csv}, "writes summaries"},
        {{BENCH, "latency", "-m", "tests/vectors/tiny-bart"}, "writes summaries"},
        {{BENCH, "load", "-m", "no/such/model", LINES}, "no/such/model"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--tokens", "49", "--csv", csv}, "at most 48 tokens"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--chunk", "47", "--csv", csv}, "longest text, 48 tokens"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--text", "no/such/file", "--csv", csv}, "no/such/file"},
        {{BENCH, "sweep", "-m", TINY_BERT, "--text", "/dev/null", "--csv", csv}, "is empty"},
        {{BENCH, "summarize", "-m", TINY_BERT, "--texts", "1", "--tokens", "8", "--new-tokens",
          "9", "--beams", "1"}, "writes no summaries"},
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        program_result r = run(calls[i].words, "", 0);
        if (r.status != 1 || r.out_length != 0 || count_lines(r.err) != 1 ||
            strncmp(r.err, "embed-bench: ", 13) != 0)
            fail_msg("call %zu: status %d: %s%s", i, r.status, r.out, r.err);
        must_hold(r.err, calls[i].says);
        free_result(&r);
    }
    assert_false(exists(csv));
}

static void test_help(void **state)
{
    (void)state;
    static const char *const commands[] = {"sweep", "latency", "throughput", "load", "tokenizer",
                                           "kernels", "instances", "summarize"};
    program_result all = run_well(WORDS(BENCH, "help"), "", 0);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        program_result r = run_well(WORDS(BENCH, "help", commands[i]), "", 0);
        program_result same = run_well(WORDS(BENCH, commands[i], "--help"), "", 0);
        assert_string_equal(r.out, same.out);
        must_hold(all.out, commands[i]);
        must_hold(r.out, "--json");
        free_result(&r);
        free_result(&same);
    }
    free_result(&all);
    program_result version = run_well(WORDS(BENCH, "--version"), "", 0);
    must_hold(version.out, embed_version());
    free_result(&version);
}

/* ---- a sweep ------------------------------------------------------------------------------- */

static void check_row(const char *csv, size_t row)
{
    double rate = csv_number(csv, row, "sentences_per_s");
    double tokens = csv_number(csv, row, "tokens_per_text");
    double p50 = csv_number(csv, row, "p50_ms"), p99 = csv_number(csv, row, "p99_ms");
    double peak = csv_number(csv, row, "peak_mb");
    assert_true(rate > 0);
    assert_true(fabs(csv_number(csv, row, "tokens_per_s") / rate / tokens - 1) < 0.05);
    assert_true(p50 > 0 && p50 <= csv_number(csv, row, "p95_ms"));
    assert_true(csv_number(csv, row, "p95_ms") <= p99);
    assert_true(csv_number(csv, row, "spread") >= 0);
    assert_true(csv_number(csv, row, "calls") >= csv_number(csv, row, "rounds"));
    assert_true(csv_number(csv, row, "share_of_roof") >= 0);
    assert_true(csv_number(csv, row, "share_of_roof") < 1);
    assert_true(csv_number(csv, row, "others_share") <= 1);
    assert_true(peak > csv_number(csv, row, "weights_mb") + csv_number(csv, row, "own_mb"));
}

static void test_sweep(void **state)
{
    (void)state;
    const char *csv = scratch("sweep.csv"), *profile = scratch("sweep.json");
    program_result r = run(WORDS(BENCH, "sweep", "-m", TINY_BERT, "--threads", "1", "--device",
                                 "cpu", "--batch", "1,4,16", "--text", LINES, "--rounds", "3",
                                 "--seconds", "4", "--csv", csv, "--profile", profile), "", 0);
    if (r.status != 0) fail_msg("status %d: %s", r.status, r.err);
    assert_int_equal(r.out_length, 0);
    must_hold(r.err, "3 of 3 points, 3 rounds, about ");
    must_hold(r.err, "recommended batch ");
    must_hold(r.err, "recommended delay ");
    free_result(&r);

    size_t length;
    char *text = read_file(csv, &length);
    if (strncmp(text, "# CPU ", 6) != 0) fail_msg("no machine in %s", text);
    must_hold(text, "libembed ");
    must_hold(text, ", commit ");
    must_hold(text, "# command: embed-bench sweep -m ");
    assert_int_equal(csv_rows(text), 3);
    static const char *const batches[] = {"1", "4", "16"};
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(csv_text(text, i, "batch"), batches[i]);
        assert_string_equal(csv_text(text, i, "texts"), "text");
        assert_true(csv_number(text, i, "tokenize_ms") > 0);
        check_row(text, i);
    }
    free(text);
    assert_true(exists(profile));
}

/* Texts given as ids; lengths, chunks and instances; JSON. */
static void test_axes(void **state)
{
    (void)state;
    program_result r = run(WORDS(BENCH, "sweep", "-m", TINY_BERT, "--threads", "1", "--device",
                                 "cpu", "--batch", "2..4", "--tokens", "8,16", "--instances",
                                 "1,2", "--chunk", "64", "--rounds", "2", "--seconds", "4",
                                 "--json"), "", 0);
    if (r.status != 0) fail_msg("status %d: %s", r.status, r.err);
    size_t rows = 0, machines = 0;
    for (char *line = r.out; *line != '\0'; line += strcspn(line, "\n") + 1) {
        json_error_t error;
        json_t *object = json_loadb(line, strcspn(line, "\n"), 0, &error);
        if (object == NULL) fail_msg("%s: %.*s", error.text, (int)strcspn(line, "\n"), line);
        machines += json_object_get(object, "machine") != NULL;
        if (json_object_get(object, "sentences_per_s") != NULL) {
            double tokens = json_number_value(json_object_get(object, "tokens_per_text"));
            assert_true(tokens == (rows < 4 ? 8 : 16));
            assert_int_equal(json_integer_value(json_object_get(object, "instances")),
                             rows % 4 < 2 ? 1 : 2);
            assert_int_equal(json_integer_value(json_object_get(object, "batch")),
                             rows % 2 == 0 ? 2 : 4);
            assert_true(json_is_null(json_object_get(object, "tokenize_ms")));
            assert_true(json_number_value(json_object_get(object, "sentences_per_s")) > 0);
            rows++;
        }
        json_decref(object);
    }
    assert_int_equal(machines, 1);
    assert_int_equal(rows, 8);
    free_result(&r);
}

/* What does not fit is reported; the rest is measured. */
static void test_does_not_fit(void **state)
{
    (void)state;
    program_result r = run(WORDS(BENCH, "sweep", "-m", TINY_BERT, "--threads", "1", "--device",
                                 "cpu", "--batch", "1", "--tokens", "8", "--instances", "64",
                                 "--chunk", "512,16777216", "--rounds", "1"), "", 0);
    if (r.status != 0) fail_msg("status %d: %s", r.status, r.err);
    assert_int_equal(csv_rows(r.out), 2);
    assert_true(csv_number(r.out, 0, "sentences_per_s") > 0);
    assert_string_equal(csv_text(r.out, 1, "sentences_per_s"), "");
    must_hold(csv_line(r.out, 2), "does not fit: there is memory for ");
    must_hold(r.err, "recommended chunk 512 ");
    free_result(&r);
}

/* A batch that alone exceeds the time is left out. */
static void test_takes_too_long(void **state)
{
    (void)state;
    program_result r = run(WORDS(BENCH, "sweep", "-m", TINY_BERT, "--threads", "1", "--device",
                                 "cpu", "--batch", "1,1048576", "--tokens", "48", "--rounds", "2",
                                 "--seconds", "2"), "", 0);
    if (r.status != 0) fail_msg("status %d: %s", r.status, r.err);
    must_hold(r.err, "1 of 2 points");
    must_hold(csv_line(r.out, 2), "takes too long: about ");
    must_hold(r.err, "recommended batch 1 ");
    free_result(&r);
}

static void test_interrupted(void **state)
{
    (void)state;
    const char *csv = scratch("interrupted.csv"), *profile = scratch("interrupted.json");
    FILE *err = tmpfile();
    assert_non_null(err);
    pid_t child = start_program(
        WORDS(BENCH, "sweep", "-m", TINY_BERT, "--threads", "1", "--device", "cpu", "--batch",
              "1,2", "--tokens", "8", "--rounds", "64", "--seconds", "60", "--csv", csv, "--profile",
              profile), 0, fileno(err), fileno(err), 0);
    struct stat facts = {0};
    for (int i = 0; i < 600 && facts.st_size == 0; i++) { /* the prediction, then points */
        usleep(100000);
        assert_int_equal(fstat(fileno(err), &facts), 0);
    }
    sleep(3);
    time_t asked = time(NULL);
    kill(child, SIGINT);
    assert_int_equal(wait_program(child, NULL), 130);
    assert_true(time(NULL) - asked < 20); /* one call and the files; all points would take 50 s */
    fclose(err);
    size_t length;
    char *text = read_file(csv, &length);
    assert_true(csv_rows(text) >= 1);
    assert_true(csv_number(text, 0, "sentences_per_s") > 0);
    free(text);
    assert_true(exists(profile));
}

/* ---- the profile --------------------------------------------------------------------------- */

enum { TEXTS = 64, BATCH = 8 };

static void write_profile(const char *path)
{
    program_result r = run(WORDS(BENCH, "sweep", "-m", TINY_BERT, "--threads", "1", "--device",
                                 "cpu", "--batch", "8", "--tokens", "16", "--chunk", "256",
                                 "--rounds", "1", "--seconds", "2", "--profile", path), "", 0);
    if (r.status != 0) fail_msg("status %d: %s", r.status, r.err);
    free_result(&r);
}

static embed_model *open_tiny_bert(void)
{
    embed_model *model = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CPU;
    options.threads = 1;
    assert_int_equal(embed_model_open(&model, TINY_BERT, &options), EMBED_OK);
    return model;
}

/* 64 texts of 16 ids at once make batches of 8. */
static void test_pool_takes_it(void **state)
{
    (void)state;
    const char *path = scratch("pool.json");
    write_profile(path);
    embed_model *model = open_tiny_bert();
    embed_pool *pool = NULL;
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    embed_metrics metrics = EMBED_METRICS_INIT;
    options.profile = path;
    if (embed_pool_create(&pool, &model, 1, &options) != EMBED_OK)
        fail_msg("%s", embed_error_message());
    int32_t ids[16];
    embed_text texts[TEXTS];
    embed_item items[TEXTS];
    static float rows[TEXTS * 64];
    for (int i = 0; i < 16; i++) ids[i] = 100 + i;
    for (int i = 0; i < TEXTS; i++) texts[i] = (embed_text){NULL, ids, 16};
    assert_int_equal(embed_pool_encode(pool, texts, TEXTS, NULL, rows, TEXTS * 64, items),
                     EMBED_OK);
    unsigned largest = 0;
    for (int i = 0; i < TEXTS; i++)
        if (items[i].batch_texts > largest) largest = items[i].batch_texts;
    assert_int_equal(largest, BATCH);
    assert_int_equal(embed_pool_get_metrics(pool, &metrics), EMBED_OK);
    assert_int_equal(metrics.instance_batch_tokens, BATCH * 16);
    assert_int_equal(metrics.instances, 1);
    embed_pool_destroy(pool);
    embed_model_close(model);
}

/* A profile with one changed value is rejected. */
static void test_changed_is_refused(void **state)
{
    (void)state;
    static const char *const keys[] = {"library_version", "device", "dtype", "width"};
    const char *as_written = scratch("written.json"), *path = scratch("changed.json");
    embed_model *model = open_tiny_bert();
    write_profile(as_written);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_error_t error;
        embed_pool *pool = NULL;
        embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
        json_t *profile = json_load_file(as_written, 0, &error);
        if (profile == NULL) fail_msg("%s", error.text);
        bool is_text = json_is_string(json_object_get(profile, keys[i]));
        json_object_set_new(profile, keys[i], is_text ? json_string("other") : json_integer(7));
        assert_int_equal(json_dump_file(profile, path, 0), 0);
        json_decref(profile);
        options.profile = path;
        assert_int_equal(embed_pool_create(&pool, &model, 1, &options), EMBED_UNSUPPORTED);
        must_hold(embed_error_message(), keys[i]);
    }
    embed_model_close(model);
}

/* ---- the plot ------------------------------------------------------------------------------ */

static char *old_path;

/* Sets PATH for this test. */
static void set_path(const char *path)
{
    old_path = strdup(getenv("PATH"));
    assert_non_null(old_path);
    setenv("PATH", path, 1);
}

static int restore_path(void **state)
{
    (void)state;
    if (old_path != NULL) setenv("PATH", old_path, 1);
    free(old_path);
    old_path = NULL;
    return 0;
}

static program_result run_plot(const char *picture)
{
    return run(WORDS(BENCH, "sweep", "-m", TINY_BERT, "--threads", "1", "--device", "cpu",
                     "--batch", "1,2", "--tokens", "8,16", "--rounds", "1", "--seconds", "2",
                     "--plot", picture), "", 0);
}

static void write_gnuplot(const char *script)
{
    const char *path = scratch("gnuplot");
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(script, file);
    fclose(file);
    assert_int_equal(chmod(path, 0755), 0);
}

static void test_no_gnuplot(void **state)
{
    (void)state;
    set_path("/nonexistent");
    program_result r = run_plot(scratch("none.svg"));
    assert_int_equal(r.status, 2);
    assert_int_equal(r.out_length, 0);
    must_hold(r.err, "gnuplot is not installed");
    assert_false(exists(scratch("none.svg")));
    free_result(&r);
}

/* A gnuplot that records its input and draws nothing. */
static void test_script(void **state)
{
    (void)state;
    char path[1024];
    snprintf(path, sizeof path, "%s:%s", scratch_folder, getenv("PATH"));
    write_gnuplot("#!/bin/sh\ncat >\"${0%/*}/script\"\n"
                  "out=$(sed -n 's/^set output \"\\(.*\\)\"$/\\1/p' \"${0%/*}/script\")\n"
                  "echo '<svg/>' >\"$out\"\n");
    set_path(path);
    program_result r = run_plot(scratch("stand-in.svg"));
    if (r.status != 0) fail_msg("status %d: %s", r.status, r.err);
    free_result(&r);
    size_t length;
    char *script = read_file(scratch("script"), &length);
    must_hold(script, "set ylabel 'sentences/s'");
    must_hold(script, "set ylabel 'latency of a call, ms'");
    must_hold(script, "set ylabel 'peak memory, MB'");
    must_hold(script, "set xlabel 'texts in a call'");
    must_hold(script, "title \"8 tokens\"");
    must_hold(script, "title \"16 tokens\"");
    must_hold(script, "tiny-bert, ");
    free(script);
    assert_true(exists(scratch("stand-in.svg")));
}

static void test_gnuplot_fails(void **state)
{
    (void)state;
    char path[1024];
    snprintf(path, sizeof path, "%s:%s", scratch_folder, getenv("PATH"));
    write_gnuplot("#!/bin/sh\nexit 3\n");
    set_path(path);
    program_result r = run_plot(scratch("failed.svg"));
    assert_int_equal(r.status, 1);
    must_hold(r.err, "exit status 3");
    assert_int_equal(csv_rows(r.out), 4); /* the figures are not lost */
    assert_false(exists(scratch("failed.svg")));
    free_result(&r);
}

static void test_gnuplot_draws(void **state)
{
    (void)state;
    if (system("command -v gnuplot >/dev/null") != 0) {
        print_message("gnuplot is not installed\n");
        skip();
    }
    program_result r = run_plot(scratch("drawn.svg"));
    if (r.status != 0) fail_msg("status %d: %s", r.status, r.err);
    assert_null(strstr(r.err, "warning: Did"));
    free_result(&r);
    size_t length;
    char *picture = read_file(scratch("drawn.svg"), &length);
    must_hold(picture, "<svg");
    must_hold(picture, "sentences/s");
    must_hold(picture, "</svg>");
    free(picture);
}

/* ---- the other commands -------------------------------------------------------------------- */

static void check_command(const char *const *words, size_t rows, const char *column)
{
    program_result r = run_well(words, "", 0);
    if (strncmp(r.out, "# CPU ", 6) != 0) fail_msg("no machine in %s", r.out);
    if (csv_rows(r.out) != rows) fail_msg("%zu rows: %s", csv_rows(r.out), r.out);
    for (size_t i = 0; i < rows; i++) assert_true(csv_number(r.out, i, column) > 0);
    free_result(&r);
}

static void test_other_commands(void **state)
{
    (void)state;
    check_command(WORDS(BENCH, "latency", "-m", TINY_BERT, "--threads", "1", "--rounds", "3"), 3,
                  "median_ms");
    check_command(WORDS(BENCH, "throughput", "-m", TINY_BERT, "--rounds", "1", LINES), 1,
                  "texts_per_s");
    check_command(WORDS(BENCH, "throughput", "-m", TINY_BERT, "--rounds", "1", "--texts", "8",
                        "--tokens", "16"), 1, "tokens_per_s");
    check_command(WORDS(BENCH, "tokenizer", "-m", TINY_BERT, "--rounds", "1", LINES), 1,
                  "mb_per_s");
    check_command(WORDS(BENCH, "instances", TINY_BERT, "tests/vectors/tiny-bart"), 4 + 16,
                  "instances");
    check_command(WORDS(BENCH, "summarize", "-m", "tests/vectors/tiny-bart", "--threads", "1",
                        "--texts", "2", "--tokens", "16", "--new-tokens", "10", "--beams", "2",
                        "--rounds", "1"), 1, "seconds");
    check_command(WORDS(BENCH, "load", "-m", TINY_BERT, "--threads", "1", "--workers", "2",
                        "--seconds", "0.2", "tests/vectors/lines.txt"), 5, "sentences_per_s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_calls),
        cmocka_unit_test(test_wrong_models),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_axes),
        cmocka_unit_test(test_does_not_fit),
        cmocka_unit_test(test_takes_too_long),
        cmocka_unit_test(test_interrupted),
        cmocka_unit_test(test_pool_takes_it),
        cmocka_unit_test(test_changed_is_refused),
        cmocka_unit_test_teardown(test_no_gnuplot, restore_path),
        cmocka_unit_test_teardown(test_script, restore_path),
        cmocka_unit_test_teardown(test_gnuplot_fails, restore_path),
        cmocka_unit_test(test_gnuplot_draws),
        cmocka_unit_test(test_other_commands),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
