/* pool_test.h - the tiny model, its texts and rows, and a clock for the tests of pools
 *
 * A failure ends the calling test.
 */
#ifndef TESTS_POOL_TEST_H
#define TESTS_POOL_TEST_H

#include "test_models.h"

#include <time.h>

#define TINY VECTORS "tiny-bert"

enum { WIDTH = 64 };

static embed_model *model;
static struct vector_lines lines;
static embed_text *texts;
static float *expected; /* (lines.count, WIDTH) */

static inline double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline embed_pool *create_pool(embed_model **models, size_t n,
                                      const embed_pool_options *options)
{
    embed_pool *pool = NULL;
    if (embed_pool_create(&pool, models, n, options) != EMBED_OK)
        fail_msg("%s", embed_error_message());
    return pool;
}

/* Creates a pool of `model`. */
static inline embed_pool *create(const embed_pool_options *options)
{
    return create_pool(&model, 1, options);
}

static inline embed_metrics metrics_of(const embed_pool *pool)
{
    embed_metrics metrics = EMBED_METRICS_INIT;
    assert_int_equal(embed_pool_get_metrics(pool, &metrics), EMBED_OK);
    return metrics;
}

/* ---- group setup and teardown -------------------------------------------------------------- */

static inline int read_texts(void **state)
{
    (void)state;
    lines = vector_lines_load(VECTORS "tiny-lines.txt");
    texts = texts_of(&lines);
    return 0;
}

/* Opens the model on the CPU and computes the expected rows with an instance. */
static inline int open_tiny(void **state)
{
    read_texts(state);
    struct opened opened = open_model(TINY, 0, 0);
    expected = encode(&opened, texts, lines.count, NULL);
    embed_instance_destroy(opened.instance);
    model = opened.model;
    return opened.width == WIDTH ? 0 : -1;
}

static inline int close_tiny(void **state)
{
    (void)state;
    free(expected);
    free(texts);
    vector_lines_free(&lines);
    embed_model_close(model);
    return 0;
}

#endif
