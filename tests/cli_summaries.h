/* cli_summaries.h - the reference's summaries, for the tests of embed summarize
 *
 * tiny-bart.texts has the reference's summaries of tests/vectors/bart-documents.txt under the
 * folder's own settings. tiny-bart.summaries and tiny-bart.scores have ids and scores under the
 * settings of each line of bart-settings.txt.
 */
#ifndef TESTS_CLI_SUMMARIES_H
#define TESTS_CLI_SUMMARIES_H

#include "run_program.h"
#include "test_vectors.h"

#include <jansson.h>

#define TINY_BART VECTORS "tiny-bart"
#define DOCUMENTS VECTORS "bart-documents.txt"
#define SUMMARIZE "embed", "summarize", "--threads", "1", "--dtype", "f32", "-m", TINY_BART
#define COUNT     ((size_t)208) /* documents */
#define LONG      ((size_t)3)   /* index of a document that is longer than the model's limit */

static struct vector_lines documents, texts;

/* Group setup and teardown for cmocka, including the scratch folder, which must be empty at the
 * end. */
static inline int read_summaries(void **state)
{
    documents = vector_lines_load(DOCUMENTS);
    texts = vector_lines_load(VECTORS "tiny-bart.texts");
    assert_int_equal(documents.count, COUNT);
    assert_int_equal(texts.count, COUNT);
    return make_scratch(state);
}

static inline int release_summaries(void **state)
{
    (void)state;
    vector_lines_free(&documents);
    vector_lines_free(&texts);
    return rmdir(scratch_folder);
}

/* Returns line i without its line end; valid until the fourth call after this. */
static inline const char *line_of(const struct vector_lines *lines, size_t i)
{
    static char copies[4][8192];
    static unsigned next;
    char *copy = copies[next++ % 4];
    assert_true(i < lines->count && lines->length[i] < sizeof copies[0]);
    sprintf(copy, "%.*s", (int)lines->length[i], lines->text[i]);
    return copy;
}

/* Checks for success with one line on stderr: the warning that some documents were cut. */
static inline void check_cut(const program_result *r)
{
    if (r->status != 0 || count_lines(r->err) != 1 ||
        strncmp(r->err, "embed: warning: ", 16) != 0 ||
        strstr(r->err, " documents were longer than the limit and were cut; --long split") ==
            NULL)
        fail_msg("status %d: %s", r->status, r->err);
}

/* Checks that the output is the reference's summaries of documents `first` to `last`, inclusive. */
static inline void check_summaries(const program_result *r, const struct vector_lines *expected,
                                   size_t first, size_t last)
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

static inline program_result summarize_well(const char *document)
{
    return run_well(WORDS(SUMMARIZE), document, strlen(document));
}

/* Parses output line n, counted from 0, as JSON; the caller releases it. */
static inline json_t *json_line(const program_result *r, size_t n)
{
    const char *from = r->out;
    json_error_t error;
    for (size_t i = 0; i < n; i++) from = strchr(from, '\n') + 1;
    json_t *line =
        json_loadb(from, strcspn(from, "\n"), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (line == NULL) fail_msg("line %zu: %s", n, error.text);
    return line;
}

static inline const char *json_text(const json_t *line, const char *key)
{
    assert_true(json_is_string(json_object_get(line, key)));
    return json_string_value(json_object_get(line, key));
}

static inline json_int_t json_number(const json_t *line, const char *key)
{
    assert_true(json_is_integer(json_object_get(line, key)));
    return json_integer_value(json_object_get(line, key));
}

#endif
