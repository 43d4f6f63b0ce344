/* summaries_test.h - the summaries in tests/vectors, and comparisons of a model's with them
 *
 * tests/vectors/README.md describes the files. A failure ends the calling test.
 */
#ifndef TESTS_SUMMARIES_TEST_H
#define TESTS_SUMMARIES_TEST_H

#include "base/text_buffer.h"
#include "model/model.h"
#include "test_models.h"

enum { MOST_SETTINGS = 16, MOST_BEAMS_ASKED = 6, LONGEST_ASKED = 96 };

/* The summary by transformers of a document under some settings. */
struct expected_summary {
    const int32_t *ids; /* including the start token and the end token */
    size_t count;
    double score;  /* 0 with one beam */
    double margin; /* to another summary, in log-probability; 0.05 means that or more */
};

struct summary_vectors {
    const char *folder;
    struct vector_lines documents;
    size_t settings_count;
    embed_generate_options settings[MOST_SETTINGS]; /* without those that depend on the model */
    struct vector_ids ids;
    double *scores; /* (settings, documents, 3): score, margin, gap */
};

static inline void settings_load(struct summary_vectors *vectors)
{
    struct vector_lines lines = vector_lines_load(VECTORS "bart-settings.txt");
    static const char *const words[] = {"false", "true", "never"};
    assert_in_range(lines.count, 1, MOST_SETTINGS);
    vectors->settings_count = lines.count;
    for (size_t i = 0; i < lines.count; i++) {
        embed_generate_options *s = &vectors->settings[i];
        char word[8];
        *s = (embed_generate_options)EMBED_GENERATE_OPTIONS_INIT;
        assert_int_equal(sscanf(lines.text[i], "%u %lf %zu %zu %zu %7s", &s->num_beams,
                                &s->length_penalty, &s->min_length, &s->max_length,
                                &s->no_repeat_ngram_size, word),
                         6);
        unsigned k = 0;
        while (k < 3 && strcmp(word, words[k]) != 0) k++;
        assert_in_range(k, EMBED_STOP_BY_HEURISTIC, EMBED_STOP_NEVER);
        s->early_stopping = (embed_early_stopping)k;
    }
    vector_lines_free(&lines);
}

/* Loads the vectors of the folder `name` in tests/vectors. */
static inline struct summary_vectors summary_vectors_load(const char *name)
{
    static char folder[128];
    char path[160];
    struct summary_vectors vectors = {.folder = folder};
    snprintf(folder, sizeof folder, VECTORS "%s", name);
    vectors.documents = vector_lines_load(VECTORS "bart-documents.txt");
    settings_load(&vectors);
    size_t count = vectors.settings_count * vectors.documents.count;
    snprintf(path, sizeof path, "%s.summaries", folder);
    vectors.ids = vector_ids_load(path);
    assert_int_equal(vectors.ids.count, count);

    snprintf(path, sizeof path, "%s.scores", folder);
    struct vector_lines lines = vector_lines_load(path);
    assert_int_equal(lines.count, count);
    vectors.scores = calloc(3 * count, sizeof *vectors.scores);
    assert_non_null(vectors.scores);
    for (size_t i = 0; i < count; i++) {
        double *three = vectors.scores + 3 * i;
        assert_int_equal(sscanf(lines.text[i], "%lf %lf %lf", three, three + 1, three + 2), 3);
    }
    vector_lines_free(&lines);
    return vectors;
}

static inline void summary_vectors_free(struct summary_vectors *vectors)
{
    vector_lines_free(&vectors->documents);
    vector_ids_free(&vectors->ids);
    free(vectors->scores);
}

static inline struct expected_summary expected_summary(const struct summary_vectors *vectors,
                                                       size_t setting, size_t document)
{
    size_t i = setting * vectors->documents.count + document;
    const struct vector_ids *ids = &vectors->ids;
    return (struct expected_summary){ids->ids + ids->offsets[i],
                                     ids->offsets[i + 1] - ids->offsets[i],
                                     vectors->scores[3 * i], vectors->scores[3 * i + 1]};
}

/* Opens a model of the vectors with an instance that is large enough for all settings. */
static inline struct opened open_for_summaries(const char *folder, unsigned threads,
                                               size_t documents)
{
    struct opened opened = {0};
    embed_model_options options = tested;
    embed_instance_options instance_options = EMBED_INSTANCE_OPTIONS_INIT;
    options.threads = threads;
    instance_options.documents = documents;
    instance_options.num_beams = MOST_BEAMS_ASKED;
    instance_options.max_length = LONGEST_ASKED;
    if (embed_model_open(&opened.model, folder, &options) != EMBED_OK ||
        embed_instance_create(&opened.instance, opened.model, &instance_options) != EMBED_OK)
        fail_msg("%s: %s", folder, embed_error_message());
    return opened;
}

static inline embed_strings summarize(const struct opened *opened, const embed_text *texts,
                                      size_t n, const embed_generate_options *options)
{
    embed_strings out = EMBED_STRINGS_INIT;
    if (embed_instance_generate(opened->instance, texts, n, options, &out) != EMBED_OK)
        fail_msg("%s", embed_error_message());
    assert_int_equal(out.count, n);
    return out;
}

/* Returns whether the summary has the text and the number of tokens of the reference's. */
static inline bool is_same_summary(const struct opened *opened, const embed_generated *got,
                                   const struct expected_summary *expected)
{
    struct text_buffer text = {0};
    assert_int_equal(
        tokenizer_decode(opened->model->tokenizer, expected->ids, expected->count, true, &text),
        EMBED_OK);
    bool same = got->status == EMBED_OK && got->tokens == expected->count &&
                got->length == text.length && got->text[got->length] == '\0' &&
                (text.length == 0 || memcmp(got->text, text.data, text.length) == 0);
    text_buffer_free(&text);
    return same;
}

/* ---- cancelled by `done` ------------------------------------------------------------------- */

struct caller_off {
    size_t calls, last; /* the call that cancels */
};

static inline int call_off(void *user, size_t i, const embed_generated *summary)
{
    struct caller_off *caller = user;
    (void)i;
    (void)summary;
    return ++caller->calls < caller->last;
}

/* Generates from n texts; `done` cancels at its call number `last`, with other texts in flight. */
static inline void check_one_called_off(const struct opened *opened, const embed_text *texts,
                                        size_t n, const embed_generate_options *settings,
                                        size_t last)
{
    struct caller_off caller = {0, last};
    embed_generate_options options = *settings;
    embed_generated mine;
    embed_strings out = {sizeof out, &mine, 7};
    options.done = call_off;
    options.user = &caller;
    assert_int_equal(embed_instance_generate(opened->instance, texts, n, &options, &out),
                     EMBED_CANCELLED);
    assert_string_equal(embed_error_message(),
                        "the generation was cancelled by its `done` callback");
    assert_int_equal(caller.calls, last);
    assert_true(out.items == &mine && out.count == 7);
}

/* Checks that after a cancellation the instance gives the same summaries as before, also with more
 * or fewer beams than the dropped texts had, and with a slot left free that one of them was in. */
static inline void check_called_off(const char *name, size_t documents, size_t n)
{
    size_t few = documents - 1;
    struct summary_vectors vectors = summary_vectors_load(name);
    struct opened opened = open_for_summaries(vectors.folder, 1, documents);
    embed_text *texts = texts_of(&vectors.documents);
    embed_generate_options settings[] = {vectors.settings[0], vectors.settings[0]};
    settings[1].num_beams = 1;
    settings[1].min_length = 0; /* the first ends long before the next three */
    assert_true(settings[0].num_beams > 1);
    check_one_called_off(&opened, texts, n, &settings[1], 1); /* memory for beams still unused */
    embed_strings wanted[] = {summarize(&opened, texts, few, &settings[0]),
                              summarize(&opened, texts, few, &settings[1])};
    for (size_t last = 1; last <= n; last += last < 4 ? 1 : 10) {
        check_one_called_off(&opened, texts, n, &settings[0], last);
        embed_strings out = summarize(&opened, texts, few, &settings[last % 2]);
        for (size_t i = 0; i < few; i++) {
            assert_string_equal(out.items[i].text, wanted[last % 2].items[i].text);
            assert_true(out.items[i].score == wanted[last % 2].items[i].score);
        }
        embed_strings_free(&out);
    }
    for (size_t i = 0; i < 2; i++) embed_strings_free(&wanted[i]);
    free(texts);
    close_model(&opened);
    summary_vectors_free(&vectors);
}

#endif
