/* test_cli_summarize.c - embed summarize: its summaries, for every kind of document */
#include "cli_summaries.h"
#include "test_folder.h"

static struct vector_lines scores, ids;

static int read_vectors(void **state)
{
    scores = vector_lines_load(VECTORS "tiny-bart.scores");
    ids = vector_lines_load(VECTORS "tiny-bart.summaries");
    assert_int_equal(scores.count, ids.count);
    return read_summaries(state);
}

static int release_vectors(void **state)
{
    vector_lines_free(&scores);
    vector_lines_free(&ids);
    return release_summaries(state);
}

/* ---- summaries ----------------------------------------------------------------------------- */

/* The folder's own settings, from generation_config.json or config.json. */
static void test_defaults_are_the_folders(void **state)
{
    (void)state;
    program_result r = run(WORDS(SUMMARIZE, DOCUMENTS), NULL, 0);
    check_cut(&r);
    check_summaries(&r, &texts, 0, COUNT - 1);
    free_result(&r);

    struct vector_lines uneven = vector_lines_load(VECTORS "tiny-bart-uneven.texts");
    r = run(WORDS(SUMMARIZE, "-m", VECTORS "tiny-bart-uneven", "-"), documents.bytes,
            strlen(documents.bytes));
    check_cut(&r);
    check_summaries(&r, &uneven, 0, COUNT - 1);
    free_result(&r);
    vector_lines_free(&uneven);
}

static void check_score(double score, size_t i)
{
    assert_true(fabs(score - strtod(scores.text[i], NULL)) <= 1e-4);
}

/* Checks that length and score are those of summary i of the reference, which has no scores for
 * greedy search. */
static void check_tokens(const json_t *line, size_t i, bool greedy)
{
    size_t n = 1;
    for (const char *c = ids.text[i]; *c != '\n'; c++) n += *c == ' ';
    assert_int_equal(json_number(line, "tokens"), n);
    if (!greedy) check_score(json_real_value(json_object_get(line, "score")), i);
}

/* Returns {"n": 0, "article": "..."} for each document; the caller frees it. */
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
        assert_memory_equal(end + 1, texts.text[i], texts.length[i] + 1);
        line = end + 1 + texts.length[i] + 1;
    }
    assert_int_equal(*line, '\0');
    free_result(&r);
}

/* A summary does not depend on what is in flight at the same time. */
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
                             (size_t)(documents.text[10] - documents.bytes));
    check_cut(&few);
    check_summaries(&few, &texts, 0, 9);
    free_result(&few);
    program_result one = summarize_well(line_of(&documents, 10));
    check_summaries(&one, &texts, 10, 10);
    free_result(&one);
}

/* ---- documents -----------------------------------------------------------------------------
 */

/* No line, no summary. An empty line has one: document 0 is such a line. */
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

/* The whole input, line ends included, except the last. */
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

/* Cut by default; summarized in pieces on request. */
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

/* With a model whose single spaces are line feeds: still one line of output, and JSON unchanged. */
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

/* Sets the encoder's positions from the 40th on to NaN. */
static void spoil_positions(const char *folder)
{
    static const char name[] = "\"model.encoder.embed_positions.weight\":";
    enum { FROM = 2 + 40, WIDTH = 64 };
    const uint16_t nan = 0x7E00; /* the weights are FP16 */
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

/* Documents whose scores are not finite are reported and get an empty line; the others are
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
    };
    return cmocka_run_group_tests_name("embed summarize", tests, read_vectors, release_vectors);
}
