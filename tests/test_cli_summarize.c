/* test_cli_summarize.c - embed summarize: what the summaries are, and how they are written
 *
 * The reference's summaries of tests/vectors/bart-documents.txt are in tiny-bart.texts, under
 * the folder's own settings; their ids and scores, under those of each line of
 * bart-settings.txt, in tiny-bart.summaries and tiny-bart.scores.
 */
#include "run_program.h"
#include "test_folder.h"

#include <glob.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>

#define VECTORS   "tests/vectors/"
#define TINY_BART VECTORS "tiny-bart"
#define DOCUMENTS VECTORS "bart-documents.txt"
#define SUMMARIZE "embed", "summarize", "--threads", "1", "--dtype", "f32", "-m", TINY_BART

#define COUNT ((size_t)208) /* documents */
#define LONG  ((size_t)3)   /* the number of one that is longer than the model reads */

/* A file, and where each of its lines begins. */
struct lines {
    char *bytes;
    char **line; /* (count + 1): each ends before the next */
    size_t count;
};

static struct lines documents, texts, scores, ids;

static struct lines read_lines(const char *path)
{
    struct lines lines = {0};
    size_t length;
    lines.bytes = read_file(path, &length);
    lines.count = count_lines(lines.bytes);
    lines.line = calloc(lines.count + 1, sizeof *lines.line);
    assert_non_null(lines.line);
    lines.line[0] = lines.bytes;
    for (size_t i = 0; i < lines.count; i++)
        lines.line[i + 1] = strchr(lines.line[i], '\n') + 1;
    return lines;
}

static void free_lines(struct lines *lines)
{
    free(lines->line);
    free(lines->bytes);
}

/* Without its line end; valid until the fourth call after this. */
static const char *line_of(const struct lines *lines, size_t i)
{
    static char copies[4][8192];
    static unsigned next;
    char *copy = copies[next++ % 4];
    int length = (int)(lines->line[i + 1] - lines->line[i]) - 1;
    assert_true(i < lines->count && (size_t)length < sizeof copies[0]);
    sprintf(copy, "%.*s", length, lines->line[i]);
    return copy;
}

static int read_vectors(void **state)
{
    documents = read_lines(DOCUMENTS);
    texts = read_lines(VECTORS "tiny-bart.texts");
    scores = read_lines(VECTORS "tiny-bart.scores");
    ids = read_lines(VECTORS "tiny-bart.summaries");
    assert_int_equal(documents.count, COUNT);
    assert_int_equal(texts.count, COUNT);
    assert_int_equal(scores.count, ids.count);
    return make_scratch(state);
}

static int release_vectors(void **state)
{
    (void)state;
    free_lines(&documents);
    free_lines(&texts);
    free_lines(&scores);
    free_lines(&ids);
    return rmdir(scratch_folder); /* fails where a test or the program left a file */
}

/* Some of the documents were cut, and nothing else is said. */
static void check_cut(const program_result *r)
{
    if (r->status != 0 || count_lines(r->err) != 1 ||
        strncmp(r->err, "embed: warning: ", 16) != 0 ||
        strstr(r->err, " documents were longer than the limit and were cut; --long split") ==
            NULL)
        fail_msg("status %d: %s", r->status, r->err);
}

/* The output is the reference's summaries of the documents from `first` to `last`. */
static void check_summaries(const program_result *r, const struct lines *expected, size_t first,
                            size_t last)
{
    const char *line = r->out;
    assert_int_equal(count_lines(r->out), last - first + 1);
    for (size_t i = first; i <= last; i++) {
        const char *wanted = line_of(expected, i);
        size_t length = strcspn(line, "\n");
        if (length != strlen(wanted) || memcmp(line, wanted, length) != 0)
            fail_msg("document %zu: \"%.*s\", not \"%s\"", i, (int)length, line, wanted);
        line += length + 1;
    }
}

static program_result summarize_well(const char *document)
{
    return run_well(WORDS(SUMMARIZE), document, strlen(document));
}

/* ---- what the summaries are ----------------------------------------------------------------
 */

/* The folder's own settings, from generation_config.json and from config.json. */
static void test_defaults_are_the_folders(void **state)
{
    (void)state;
    program_result r = run(WORDS(SUMMARIZE, DOCUMENTS), NULL, 0);
    check_cut(&r);
    check_summaries(&r, &texts, 0, COUNT - 1);
    free_result(&r);

    struct lines uneven = read_lines(VECTORS "tiny-bart-uneven.texts");
    r = run(WORDS(SUMMARIZE, "-m", VECTORS "tiny-bart-uneven", "-"), documents.bytes,
            strlen(documents.bytes));
    check_cut(&r);
    check_summaries(&r, &uneven, 0, COUNT - 1);
    free_result(&r);
    free_lines(&uneven);
}

/* The n-th line of JSON; the caller releases it. */
static json_t *json_line(const program_result *r, size_t n)
{
    const char *from = r->out;
    json_error_t error;
    for (size_t i = 0; i < n; i++) from = strchr(from, '\n') + 1;
    json_t *line =
        json_loadb(from, strcspn(from, "\n"), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (line == NULL) fail_msg("line %zu: %s", n, error.text);
    return line;
}

static const char *json_text(const json_t *line, const char *key)
{
    assert_true(json_is_string(json_object_get(line, key)));
    return json_string_value(json_object_get(line, key));
}

static json_int_t json_number(const json_t *line, const char *key)
{
    assert_true(json_is_integer(json_object_get(line, key)));
    return json_integer_value(json_object_get(line, key));
}

static void check_score(double score, size_t i)
{
    assert_true(fabs(score - strtod(scores.line[i], NULL)) <= 1e-4);
}

/* As long and as probable as summary number i of the reference, which has no score of greedy
 * ones. */
static void check_tokens(const json_t *line, size_t i, bool greedy)
{
    size_t n = 1;
    for (const char *c = ids.line[i]; *c != '\n'; c++) n += *c == ' ';
    assert_int_equal(json_number(line, "tokens"), n);
    if (!greedy) check_score(json_real_value(json_object_get(line, "score")), i);
}

/* {"n": 0, "article": "..."} for each document; freed by the caller. */
static char *documents_as_json(size_t *length)
{
    char *bytes = NULL;
    FILE *file = open_memstream(&bytes, length);
    for (size_t i = 0; i < COUNT; i++) {
        json_t *line = json_pack("{s:i, s:s}", "n", (int)i, "article", line_of(&documents, i));
        json_dumpf(line, file, 0);
        fputc('\n', file);
        json_decref(line);
    }
    assert_int_equal(fclose(file), 0);
    return bytes;
}

static void test_every_option(void **state)
{
    (void)state;
    FILE *settings = fopen(VECTORS "bart-settings.txt", "r");
    assert_non_null(settings);
    char beams[16], penalty[16], least[16], most[16], ngram[16], early[16];
    size_t length, first = 0;
    char *input = documents_as_json(&length);
    for (; fscanf(settings, "%15s %15s %15s %15s %15s %15s", beams, penalty, least, most, ngram,
                  early) == 6;
         first += COUNT) {
        program_result r =
            run(WORDS(SUMMARIZE, "--jsonl", "article", "--num-beams", beams, "--length-penalty",
                      penalty, "--min-length", least, "--max-length", most,
                      "--no-repeat-ngram-size", ngram, "--early-stopping", early),
                input, length);
        check_cut(&r);
        assert_int_equal(count_lines(r.out), COUNT);
        for (size_t i = 0; i < COUNT; i++) {
            json_t *line = json_line(&r, i);
            check_tokens(line, first + i, strcmp(beams, "1") == 0);
            json_decref(line);
        }
        free_result(&r);
    }
    fclose(settings);
    free(input);
    assert_int_equal(first, ids.count);
}

static void test_scores(void **state)
{
    (void)state;
    program_result r = run(WORDS(SUMMARIZE, "--scores", DOCUMENTS), NULL, 0);
    check_cut(&r);
    char *line = r.out;
    for (size_t i = 0; i < COUNT; i++) {
        char *end;
        check_score(strtod(line, &end), i);
        assert_int_equal(*end, '\t');
        size_t length = (size_t)(texts.line[i + 1] - texts.line[i]);
        assert_memory_equal(end + 1, texts.line[i], length);
        line = end + 1 + length;
    }
    assert_int_equal(*line, '\0');
    free_result(&r);
}

/* A summary does not depend on what is under way beside it. */
static void test_order_and_independence(void **state)
{
    (void)state;
    static const char *const at_a_time[] = {"1", "3", "40"};
    for (size_t i = 0; i < sizeof at_a_time / sizeof *at_a_time; i++) {
        program_result r =
            run(WORDS(SUMMARIZE, "--documents", at_a_time[i], DOCUMENTS), NULL, 0);
        check_cut(&r);
        check_summaries(&r, &texts, 0, COUNT - 1);
        free_result(&r);
    }
    program_result few = run(WORDS(SUMMARIZE, "--threads", "3"), documents.bytes,
                             (size_t)(documents.line[10] - documents.bytes));
    check_cut(&few);
    check_summaries(&few, &texts, 0, 9);
    free_result(&few);
    program_result one = summarize_well(line_of(&documents, 10));
    check_summaries(&one, &texts, 10, 10);
    free_result(&one);
}

/* ---- documents -----------------------------------------------------------------------------
 */

/* No line, no summary; an empty line has one: document 0 is such a line. */
static void test_empty_input_and_lines(void **state)
{
    (void)state;
    program_result r = summarize_well("");
    assert_int_equal(r.out_length, 0);
    free_result(&r);
    r = run_well(WORDS(SUMMARIZE, "--jsonl", "text"), NULL, 0);
    assert_int_equal(r.out_length, 0);
    free_result(&r);

    r = summarize_well("\n");
    check_summaries(&r, &texts, 0, 0);
    free_result(&r);
    r = summarize_well("\nStorm");
    check_summaries(&r, &texts, 0, 1);
    free_result(&r);
    r = run_well(WORDS(SUMMARIZE, "--document"), NULL, 0);
    check_summaries(&r, &texts, 0, 0);
    free_result(&r);
}

static void test_jsonl(void **state)
{
    (void)state;
    size_t length;
    char *input = documents_as_json(&length);
    program_result r = run(WORDS(SUMMARIZE, "--jsonl", "article"), input, length);
    check_cut(&r);
    assert_int_equal(count_lines(r.out), COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        json_t *line = json_line(&r, i);
        assert_string_equal(json_text(line, "summary"), line_of(&texts, i));
        check_tokens(line, i, false);
        assert_int_equal(json_number(line, "index"), i);
        assert_int_equal(json_number(line, "pieces"), 1);
        bool truncated = json_is_true(json_object_get(line, "truncated"));
        assert_true(truncated ? json_number(line, "source_tokens") == 128 : i != LONG);
        json_decref(line);
    }
    free(input);
    free_result(&r);

    r = run(WORDS(SUMMARIZE, "--jsonl", "article"), "{\"article\": \"x\"}\n{\"text\": \"x\"}\n",
            32);
    assert_int_equal(r.status, 1);
    assert_string_equal(r.err,
                        "embed: standard input: line 2: the field \"article\" is missing\n");
    free_result(&r);
}

/* All that there is, line ends and all, but for the last. */
static void test_whole_document(void **state)
{
    (void)state;
    char input[8192], wanted[8192];
    for (size_t i = 4; i < 10; i++) {
        snprintf(input, sizeof input, "%s\n", line_of(&documents, i));
        program_result r = run_well(WORDS(SUMMARIZE, "--document"), input, strlen(input));
        check_summaries(&r, &texts, i, i);
        free_result(&r);
    }
    static const char lines[] = "Mayor Harris said\nthe work\n\nwould cost\n";
    snprintf(input, sizeof input, "{\"t\": \"Mayor Harris said\\nthe work\\n\\nwould cost\"}");
    program_result r = run_well(WORDS(SUMMARIZE, "--jsonl", "t"), input, strlen(input));
    json_t *line = json_line(&r, 0);
    snprintf(wanted, sizeof wanted, "%s\n", json_text(line, "summary"));
    json_decref(line);
    free_result(&r);
    r = run_well(WORDS(SUMMARIZE, "--document"), lines, sizeof lines - 1);
    assert_string_equal(r.out, wanted);
    free_result(&r);
}

/* Cut by default; in pieces, each of which is summarized, where that is asked for. */
static void test_long_documents(void **state)
{
    (void)state;
    const char *document = line_of(&documents, LONG);
    program_result cut = run(WORDS(SUMMARIZE), document, strlen(document));
    check_cut(&cut);
    assert_memory_equal(cut.err, "embed: warning: 1 of 1 documents ", 33);
    check_summaries(&cut, &texts, LONG, LONG);
    program_result silent =
        run_well(WORDS(SUMMARIZE, "--log-level", "error"), document, strlen(document));
    assert_string_equal(silent.out, cut.out);
    free_result(&silent);
    free_result(&cut);

    char input[16384];
    snprintf(input, sizeof input, "{\"t\": \"%s\"}", document);
    program_result split =
        run_well(WORDS(SUMMARIZE, "--jsonl", "t", "--long", "split"), input, strlen(input));
    json_t *line = json_line(&split, 0);
    assert_true(json_number(line, "pieces") >= 3);
    assert_true(json_number(line, "source_tokens") > 256);
    assert_true(json_is_false(json_object_get(line, "truncated")));
    assert_true(strlen(json_text(line, "summary")) > 2 * strlen(line_of(&texts, LONG)));
    json_decref(line);
    free_result(&split);

    split = run_well(WORDS(SUMMARIZE, "--jsonl", "t", "--long=split", "--max-tokens", "64"),
                     input, strlen(input));
    line = json_line(&split, 0);
    assert_true(json_number(line, "pieces") >= 5);
    json_decref(line);
    free_result(&split);
}

/* A model whose lone spaces are line feeds: one line of output all the same, and JSON as it is.
 */
static void test_line_ends_in_summaries(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(TINY_BART);
    test_edit_file(folder, "tokenizer.json", "\"\u010A\":202", "\"\u0120\":202");
    test_edit_file(folder, "tokenizer.json", "\"\u0120\":224", "\"\u010A\":224");
#define WITH_LINE_ENDS "embed", "summarize", "-m", folder, "--dtype", "f32"
    program_result plain = run_well(WORDS(WITH_LINE_ENDS), "Storm\n", 6);
    program_result json =
        run_well(WORDS(WITH_LINE_ENDS, "--jsonl", "t"), "{\"t\": \"Storm\"}\n", 15);
    json_t *line = json_line(&json, 0);
    const char *summary = json_text(line, "summary");
    assert_non_null(strchr(summary, '\n'));
    assert_int_equal(plain.out_length, strlen(summary) + 1);
    for (size_t i = 0; i + 1 < plain.out_length; i++)
        assert_int_equal(plain.out[i], summary[i] == '\n' ? ' ' : summary[i]);
    assert_int_equal(plain.out[plain.out_length - 1], '\n');
    json_decref(line);
    free_result(&json);
    free_result(&plain);
    test_remove_folder(folder);
}

/* Makes the encoder's positions from the 40th on NaN. */
static void spoil_positions(const char *folder)
{
    static const char name[] = "\"model.encoder.embed_positions.weight\":";
    enum { FROM = 2 + 40, WIDTH = 64 };
    const uint16_t nan = 0x7E00; /* the weights are halves */
    char path[1024];
    size_t length;
    uint64_t header;
    unsigned long begin, end;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    char *bytes = test_read_file(path, &length);
    memcpy(&header, bytes, sizeof header);
    char *tensor = memmem(bytes, 8 + header, name, sizeof name - 1);
    assert_non_null(tensor);
    tensor = strstr(tensor, "\"data_offsets\":[");
    assert_int_equal(sscanf(tensor, "\"data_offsets\":[%lu,%lu]", &begin, &end), 2);
    assert_int_equal(end - begin, (128 + 2) * WIDTH * sizeof nan);
    for (size_t i = begin + FROM * WIDTH * sizeof nan; i < end; i += sizeof nan)
        memcpy(bytes + 8 + header + i, &nan, sizeof nan);
    test_write_file(folder, "model.safetensors", bytes, length);
    free(bytes);
}

/* Documents whose scores are not finite are told, and have an empty line: the others are
 * written. */
static void test_not_finite(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(TINY_BART), *path = scratch("summaries");
    spoil_positions(folder);
    char input[8192];
    snprintf(input, sizeof input, "Storm\n%s\nx\n", line_of(&documents, LONG));
    program_result r =
        run(WORDS("embed", "summarize", "-m", folder, "--dtype", "f32", "-o", path), input,
            strlen(input));
    assert_int_equal(r.status, 1);
    assert_non_null(
        strstr(r.err, "embed: warning: standard input: document 2: a score is not finite\n"));
    assert_non_null(strstr(
        r.err,
        "embed: standard input: 1 of 3 summaries are missing: their scores are not finite\n"));
    size_t length;
    char *written = read_file(path, &length), expected[1024];
    snprintf(expected, sizeof expected, "%s\n\n%s\n", line_of(&texts, 1), line_of(&texts, 4));
    assert_string_equal(written, expected);
    free(written);
    free_result(&r);
    unlink(path);
    test_remove_folder(folder);
}

/* ---- reading and writing -------------------------------------------------------------------
 */

static void test_output_file(void **state)
{
    (void)state;
    const char *path = scratch("summaries");
    size_t length;
    for (int i = 0; i < 2; i++) { /* new, and in the place of the old */
        program_result r = run_well(WORDS(SUMMARIZE, "-o", path), "\nStorm\n", 7);
        assert_int_equal(r.out_length, 0);
        free(r.out);
        r.out = read_file(path, &r.out_length);
        check_summaries(&r, &texts, 0, 1);
        free_result(&r);
    }
    /* What fails leaves the old one, and nothing beside it. */
    program_result r = run(WORDS(SUMMARIZE, "-o", path, "--jsonl", "t"), "x\n", 2);
    assert_int_equal(r.status, 1);
    free_result(&r);
    char *written = read_file(path, &length);
    assert_int_equal(count_lines(written), 2);
    free(written);
    assert_int_equal(unlink(path), 0);

    r = run(WORDS(SUMMARIZE, "-o", "/dev/full"), "\n", 1);
    assert_int_equal(r.status, 1);
    assert_string_equal(r.err, "embed: /dev/full: No space left on device\n");
    free_result(&r);
}

/* So many documents, which are one block. */
static FILE *many_documents(size_t count)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    for (size_t i = 0; i < count; i++)
        fprintf(file, "%s\n", line_of(&documents, i % (COUNT - 4) + 4));
    rewind(file);
    return file;
}

/* What the children that have ended took of a processor. */
static double seconds_of_children(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_CHILDREN, &usage), 0);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* Summaries come while later ones are computed; and when nobody reads them, no more are: of
 * 4000 documents, with the first summary's reader gone, it takes less time than for 1000. */
static void test_streams_until_the_reader_goes(void **state)
{
    (void)state;
    double started = seconds_of_children();
    FILE *in = many_documents(1000);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    pid_t child = start_program(WORDS(SUMMARIZE), fileno(in), null, null, 0);
    assert_int_equal(wait_program(child, NULL), 0);
    double seconds = seconds_of_children() - started;
    fclose(in);
    close(null);

    for (int ignored = 0; ignored < 2; ignored++) {
        int out[2];
        FILE *err = tmpfile();
        in = many_documents(4000);
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        started = seconds_of_children();
        child = start_program(WORDS(SUMMARIZE), fileno(in), out[1], fileno(err), ignored);
        close(out[1]);
        char first[4];
        assert_int_equal(read(out[0], first, sizeof first), sizeof first);
        close(out[0]);
        assert_int_equal(wait_program(child, NULL), ignored ? 1 : 128 + SIGPIPE);
        assert_true(seconds_of_children() - started < seconds);
        size_t length;
        char *said = read_back(err, &length);
        assert_string_equal(said, "");
        free(said);
        fclose(in);
        fclose(err);
    }
}

/* Ended by a signal, it leaves no file at all. */
static void test_interrupted(void **state)
{
    (void)state;
    const char *path = scratch("summaries"), *partial = scratch("summaries.partial-*");
    FILE *in = many_documents(4000), *err = tmpfile();
    glob_t found = {0};
    pid_t child = start_program(WORDS(SUMMARIZE, "-o", path, "--progress", "always"),
                                fileno(in), fileno(err), fileno(err), 0);
    alarm(60);
    while (glob(partial, 0, NULL, &found) == GLOB_NOMATCH) usleep(1000);
    alarm(0);
    globfree(&found);
    assert_int_equal(kill(child, SIGINT), 0);
    assert_int_equal(wait_program(child, NULL), 128 + SIGINT);
    fclose(in);
    fclose(err);
}

/* Somebody who types gets an answer to each line. */
static void test_answers_while_input_is_open(void **state)
{
    (void)state;
    char expected[512];
    snprintf(expected, sizeof expected, "%s\n", line_of(&texts, 1));
    check_answers(WORDS(SUMMARIZE), "Storm\n", expected);
}

/* Memory does not depend on the number of documents. */
static void test_constant_memory(void **state)
{
    (void)state;
    enum { LINE = 4000, LINES = 9000 }; /* 36 MB */
    char *input = malloc((size_t)LINE * LINES);
    assert_non_null(input);
    memset(input, '.', (size_t)LINE * LINES);
    for (size_t i = 1; i <= LINES; i++) input[i * LINE - 1] = '\n';
    const char *const *words =
        WORDS(SUMMARIZE, "--max-tokens", "4", "--num-beams", "1", "--min-length", "0",
              "--max-length", "3", "--log-level", "error", "-o", "/dev/null");
    program_result some = run_well(words, input, (size_t)LINE * LINES / 3);
    program_result all = run_well(words, input, (size_t)LINE * LINES);
    if (all.peak_kib > some.peak_kib + 6 * 1024)
        fail_msg("%ld KiB for a third, %ld KiB for all", some.peak_kib, all.peak_kib);
    free_result(&some);
    free_result(&all);
    free(input);
}

static void test_progress(void **state)
{
    (void)state;
    program_result r =
        run(WORDS(SUMMARIZE, "--progress", "always"), documents.bytes, strlen(documents.bytes));
    assert_int_equal(r.status, 0);
    check_summaries(&r, &texts, 0, COUNT - 1);
    assert_non_null(strstr(r.err, " 100%  208 documents  "));
    assert_non_null(strstr(r.err, " documents/s  "));
    free_result(&r);
    r = run_well(WORDS(SUMMARIZE, "--progress", "never"), "x\n", 2);
    free_result(&r);
}

/* ---- wrong calls, values and models --------------------------------------------------------
 */

static void test_wrong_calls(void **state)
{
    (void)state;
    const char *const *const calls[] = {
        WORDS("embed", "summarize"),
        WORDS(SUMMARIZE, "a", "b"),
        WORDS(SUMMARIZE, "--document", "--jsonl", "t"),
        WORDS(SUMMARIZE, "--prompt", "x"),
        WORDS(SUMMARIZE, "--format", "jsonl"),
        WORDS(SUMMARIZE, "--resume"),
        WORDS(SUMMARIZE, "--scores=1"),
        WORDS(SUMMARIZE, "--documents", "0"),
        WORDS(SUMMARIZE, "--num-beams", "0"),
        WORDS(SUMMARIZE, "--num-beams", "4294967296"),
        WORDS(SUMMARIZE, "--num-beams", "four"),
        WORDS(SUMMARIZE, "--max-length", "0"),
        WORDS(SUMMARIZE, "--min-length", "-1"),
        WORDS(SUMMARIZE, "--min-length"),
        WORDS(SUMMARIZE, "--no-repeat-ngram-size", "1.5"),
        WORDS(SUMMARIZE, "--length-penalty", "nan"),
        WORDS(SUMMARIZE, "--length-penalty", "inf"),
        WORDS(SUMMARIZE, "--length-penalty", "1e999"),
        WORDS(SUMMARIZE, "--length-penalty", "0x1"),
        WORDS(SUMMARIZE, "--length-penalty", " 1"),
        WORDS(SUMMARIZE, "--length-penalty", "1,5"),
        WORDS(SUMMARIZE, "--length-penalty", "-"),
        WORDS(SUMMARIZE, "--length-penalty="),
        WORDS(SUMMARIZE, "--early-stopping", "yes"),
        WORDS(SUMMARIZE, "--early-stopping", "True"),
        WORDS(SUMMARIZE, "--long", "join"),
        WORDS("embed", "encode", "-m", TINY_BERT, "--num-beams", "4"),
    };
    check_wrong_calls(calls, sizeof calls / sizeof *calls);
}

static void test_impossible_values(void **state)
{
    (void)state;
    check_failure(WORDS(SUMMARIZE, "--max-tokens", "129"), "129");
    check_failure(WORDS(SUMMARIZE, "--max-tokens", "1"), "max_tokens is 1");
    check_failure(WORDS(SUMMARIZE, "--max-length", "1000000"), "1000000");
    check_failure(WORDS(SUMMARIZE, "--max-length", "1"), "max_length is 1");
    check_failure(WORDS(SUMMARIZE, "--min-length", "49"), "49");
    check_failure(WORDS(SUMMARIZE, "--num-beams", "100000"), "100000");
    check_failure(WORDS(SUMMARIZE, "--documents", "18446744073709551615"), "18446744073709551615");
    check_failure(WORDS(SUMMARIZE, "--threads", "1025"), "1024");
    check_failure(WORDS(SUMMARIZE, "--device", "cuda:99"), "cuda");
    check_failure(WORDS(SUMMARIZE, "no/such/file"), "no/such/file: No such file");
    check_failure(WORDS(SUMMARIZE, "-o", "no/such/folder/out"), "no/such/folder/out: ");
}

/* Each command says by the library's sentence which kind of model it needs. */
static void test_wrong_models(void **state)
{
    (void)state;
    check_failure(WORDS("embed", "summarize", "-m", "/no/such/folder"), "/no/such/folder");
    check_failure(WORDS("embed", "summarize", "-m", TINY_BERT),
                  "tiny-bert: a bert model gives embeddings, and writes no summaries");
    check_failure(WORDS("embed", "encode", "-m", TINY_BART), "embed");
    check_failure(WORDS("embed", "similarity", "-m", TINY_BART, "a", "b"), "embed");
}

/* ---- the other commands --------------------------------------------------------------------
 */

static void test_info(void **state)
{
    (void)state;
    json_error_t error;
    program_result r = run_well(
        WORDS("embed", "info", "-m", TINY_BART, "--json", "--device-memory", "24G"), NULL, 0);
    json_t *info = json_loadb(r.out, r.out_length, JSON_REJECT_DUPLICATES, &error);
    if (info == NULL) fail_msg("%s: %s", error.text, r.out);
    static const struct {
        const char *key;
        json_int_t value;
    } wanted[] = {{"layers", 2},        {"decoder_layers", 2},
                  {"decoder_heads", 2}, {"decoder_feed_forward", 96},
                  {"num_beams", 4},     {"min_length", 16},
                  {"max_length", 48},   {"no_repeat_ngram_size", 3},
                  {"max_tokens", 128}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        assert_int_equal(json_number(info, wanted[i].key), wanted[i].value);
    assert_true(json_is_true(json_object_get(info, "generates")));
    assert_string_equal(json_string_value(json_object_get(info, "family")), "bart");
    assert_string_equal(json_string_value(json_object_get(info, "early_stopping")), "true");
    assert_true(json_real_value(json_object_get(info, "length_penalty")) == 2);
    assert_null(json_object_get(info, "pooling"));
    assert_true(json_number(info, "kv_bytes") > 0);
    assert_true(json_number(info, "kv_bytes") < json_number(info, "instance_bytes"));
    assert_int_equal(
        json_number(info, "gpu_instance_bytes"),
        json_number(info, "gpu_activation_bytes") + json_number(info, "gpu_workspace_bytes") +
            json_number(info, "gpu_graph_bytes") + json_number(info, "gpu_kv_bytes"));
    assert_true(json_number(info, "gpu_instances") > 0);
    json_decref(info);
    free_result(&r);

    r = run_well(WORDS("embed", "info", "-m", TINY_BART), NULL, 0);
    assert_non_null(strstr(r.out, "\nkv bytes             "));
    free_result(&r);
}

static void test_tokenize(void **state)
{
    (void)state;
    program_result r = run_well(WORDS("embed", "tokenize", "-m", TINY_BART), "\nStorm\n", 7);
    assert_memory_equal(r.out, "0 2\n0 ", 6);
    assert_int_equal(count_lines(r.out), 2);
    free_result(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_the_folders),
        cmocka_unit_test(test_every_option),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_order_and_independence),
        cmocka_unit_test(test_empty_input_and_lines),
        cmocka_unit_test(test_jsonl),
        cmocka_unit_test(test_whole_document),
        cmocka_unit_test(test_long_documents),
        cmocka_unit_test(test_line_ends_in_summaries),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_output_file),
        cmocka_unit_test(test_streams_until_the_reader_goes),
        cmocka_unit_test(test_interrupted),
        cmocka_unit_test(test_answers_while_input_is_open),
        cmocka_unit_test(test_constant_memory),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_wrong_calls),
        cmocka_unit_test(test_impossible_values),
        cmocka_unit_test(test_wrong_models),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_tokenize),
    };
    return cmocka_run_group_tests_name("embed summarize", tests, read_vectors, release_vectors);
}
