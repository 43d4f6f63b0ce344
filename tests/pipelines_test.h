/* pipelines_test.h - compares the steps after the transformer, as described by many kinds of
 * folders, with rows of sentence-transformers, on the device and in the dtype of test_models.h */
#ifndef TESTS_PIPELINES_TEST_H
#define TESTS_PIPELINES_TEST_H

#include "test_models.h"

#include "test_folder.h"

#define PIPELINES VECTORS "pipeline/"

/* Makes a folder of tiny-bert's transformer and tokenizer and the files of pipeline/NAME. */
static inline const char *pipeline_folder(const char *name)
{
    static const char *const others[] = {"modules.json", "1_Pooling/config.json",
                                         "config_sentence_transformers.json",
                                         "sentence_bert_config.json", "vocab.txt"};
    const char *folder = test_copy_folder(VECTORS "tiny-bert");
    char path[1024];
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, others[i]);
        assert_int_equal(remove(path), 0);
    }
    snprintf(path, sizeof path, PIPELINES "%s", name);
    test_add_files(folder, path);
    return folder;
}

static const struct pipeline_case {
    const char *name;
    bool has_prompt;
    size_t width, max_tokens;
    embed_pooling pooling;
    bool normalizes;
    double scale; /* magnitude of the rows' components, relative to a row of norm 1 */
} pipeline_cases[] = {
    {"all-modes", false, 384, 64, EMBED_POOLING_SEVERAL, false, 30},
    {"no-mode", false, 64, 64, EMBED_POOLING_MEAN, false, 10},
    {"no-prompt", true, 256, 64, EMBED_POOLING_SEVERAL, false, 10},
    {"cut-prompt", true, 256, 7, EMBED_POOLING_SEVERAL, false, 10},
    {"dense-tanh", false, 49, 64, EMBED_POOLING_MEAN, true, 1},
    {"dense-twice", false, 33, 64, EMBED_POOLING_SEVERAL, true, 1},
    {"lowercase", false, 64, 20, EMBED_POOLING_MEAN, true, 1},
    {"new-files", true, 24, 30, EMBED_POOLING_SEVERAL, false, 1},
};

#define PIPELINE_CASES (sizeof pipeline_cases / sizeof *pipeline_cases)

static inline void check_pipelines(double cosine, double difference)
{
    for (size_t i = 0; i < PIPELINE_CASES; i++) {
        const struct pipeline_case *c = &pipeline_cases[i];
        const struct closeness close = {cosine, c->scale * difference};
        const char *folder = pipeline_folder(c->name);
        char file[256];
        snprintf(file, sizeof file, PIPELINES "%s.f32", c->name);
        check_rows(folder, PIPELINES "lines.txt", file, "", close);
        snprintf(file, sizeof file, PIPELINES "%s-query.f32", c->name);
        if (c->has_prompt) check_rows(folder, PIPELINES "lines.txt", file, "query", close);
        test_remove_folder(folder);
    }
}

#endif
