/* embed_bench_latency.c - embed-bench latency: one text at a time
 *
 * Texts are given as ids, without tokenizing. The first call of each length is not counted.
 */
#include "embed_bench.h"

#include <stdlib.h>

enum { MOST_TOKENS = 512 };

/* Tokens of a text, special tokens included. */
static const size_t lengths[] = {3, 12, 34, 128, 256, MOST_TOKENS};

static void measure(struct table *table, embed_instance *instance, const embed_model_info *info,
                    const embed_text *text, float *row, double *times, size_t rounds)
{
    check(embed_instance_encode(instance, text, 1, NULL, row, info->width, NULL));
    for (size_t r = 0; r < rounds; r++) {
        double start = now();
        check(embed_instance_encode(instance, text, 1, NULL, row, info->width, NULL));
        times[r] = now() - start;
    }
    table_model(table, info);
    table_number(table, "tokens", "%zu", text->length);
    table_number(table, "rounds", "%zu", rounds);
    table_number(table, "median_ms", "%.4f", 1e3 * percentile(times, rounds, 0.5));
    table_number(table, "p99_ms", "%.4f", 1e3 * percentile(times, rounds, 0.99));
    table_end_row(table);
}

int command_latency(const struct settings *settings)
{
    embed_model_info info;
    embed_model *model = open_model(settings, false, &info);
    embed_instance *instance = NULL;
    embed_instance_options options = EMBED_INSTANCE_OPTIONS_INIT;
    options.batch_tokens = settings->batch_tokens;
    check(embed_instance_create(&instance, model, &options));

    size_t rounds = settings->rounds > 0 ? settings->rounds : 200;
    float *row = allocate(info.width, sizeof *row);
    double *times = allocate(rounds, sizeof *times);
    int32_t ids[MOST_TOKENS];
    struct table table;
    for (size_t i = 0; i < MOST_TOKENS; i++) ids[i] = any_id(i, &info);
    table_start(&table, stdout, settings->json);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths && lengths[i] <= info.max_tokens; i++) {
        embed_text text = {NULL, ids, lengths[i]};
        measure(&table, instance, &info, &text, row, times, rounds);
    }
    free(row);
    free(times);
    embed_instance_destroy(instance);
    embed_model_close(model);
    return 0;
}
