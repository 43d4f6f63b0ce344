/* pool_generate_test.h - model, documents and summaries for the tests of pools that generate
 *
 * The expected summaries are an instance's, which test_summaries compares with the reference. A
 * failure ends the calling test.
 */
#ifndef TESTS_POOL_GENERATE_TEST_H
#define TESTS_POOL_GENERATE_TEST_H

#include "pool_test.h"

#include <math.h>
#include <string.h>

#define BART VECTORS "tiny-bart"

enum { DOCUMENTS = 40, KINDS = 4, FEW = 6 /* tokens of a short summary */ };

/* Kinds of options: the folder's own; two beams; one beam and few tokens; split, with all else
 * different. */
static embed_generate_options kinds[KINDS];
static embed_strings summaries[KINDS]; /* (DOCUMENTS) of each kind */

static inline void fill_kinds(void)
{
    for (int k = 0; k < KINDS; k++) {
        kinds[k] = (embed_generate_options)EMBED_GENERATE_OPTIONS_INIT;
        assert_int_equal(embed_model_get_generation(model, &kinds[k]), EMBED_OK);
    }
    kinds[1].num_beams = 2;
    kinds[1].max_length = 20;
    kinds[1].length_penalty = 0.5;
    kinds[2].num_beams = 1;
    kinds[2].min_length = 0;
    kinds[2].max_length = FEW;
    kinds[3].long_texts = EMBED_LONG_SPLIT;
    kinds[3].max_tokens = 48;
    kinds[3].min_length = 4;
    kinds[3].max_length = 24;
    kinds[3].no_repeat_ngram_size = 0;
    kinds[3].early_stopping = EMBED_STOP_NEVER;
}

/* Takes every fifth document, which covers all sorts. */
static inline void read_documents(void)
{
    lines = vector_lines_load(VECTORS "bart-documents.txt");
    texts = calloc(DOCUMENTS, sizeof *texts);
    assert_non_null(texts);
    assert_true(lines.count >= 5 * DOCUMENTS);
    for (size_t i = 0; i < DOCUMENTS; i++)
        texts[i] = (embed_text){lines.text[5 * i], NULL, lines.length[5 * i]};
}

/* In F32 on one thread: more is not worth it for a model this small. */
static inline embed_model *open_bart(const char *folder)
{
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    embed_model *opened = NULL;
    options.device = EMBED_DEVICE_CPU;
    options.dtype = EMBED_DTYPE_F32;
    options.threads = 1;
    if (embed_model_open(&opened, folder, &options) != EMBED_OK)
        fail_msg("%s", embed_error_message());
    return opened;
}

static inline int open_tiny_bart(void **state)
{
    (void)state;
    embed_instance *instance = NULL;
    model = open_bart(BART);
    read_documents();
    fill_kinds();
    assert_int_equal(embed_instance_create(&instance, model, NULL), EMBED_OK);
    for (int k = 0; k < KINDS; k++) {
        summaries[k] = (embed_strings)EMBED_STRINGS_INIT;
        assert_int_equal(
            embed_instance_generate(instance, texts, DOCUMENTS, &kinds[k], &summaries[k]), EMBED_OK);
    }
    embed_instance_destroy(instance);
    return 0;
}

static inline int close_tiny_bart(void **state)
{
    for (int k = 0; k < KINDS; k++) embed_strings_free(&summaries[k]);
    return close_tiny(state);
}

/* Compares the summary of document `i` under options k. Returns NULL, or what is wrong. */
static inline const char *check_summary(const embed_generated *got, int k, size_t i)
{
    const embed_generated *wanted = &summaries[k].items[i];
    if (got->status != EMBED_OK) return "no summary";
    if (got->length != wanted->length || memcmp(got->text, wanted->text, got->length + 1) != 0)
        return "another text";
    if (got->tokens != wanted->tokens || !(fabs(got->score - wanted->score) <= 1e-4))
        return "another score";
    if (got->source_tokens != wanted->source_tokens || got->pieces != wanted->pieces ||
        got->truncated != wanted->truncated || got->invalid_bytes != wanted->invalid_bytes)
        return "other facts of the source";
    return NULL;
}

static inline void assert_summaries(const embed_strings *got, int k, size_t first, size_t n)
{
    assert_int_equal(got->count, n);
    for (size_t i = 0; i < n; i++) {
        const char *wrong = check_summary(&got->items[i], k, first + i);
        if (wrong != NULL) fail_msg("options %d, document %zu: %s", k, first + i, wrong);
    }
}

#endif
