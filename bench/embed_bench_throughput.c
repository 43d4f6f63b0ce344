/* embed_bench_throughput.c - embed-bench throughput: many texts in one call
 *
 * All lines of a file, tokenizing included, or a number of texts with a number of ids each. The
 * first call is not counted; the result is the median of the others.
 */
#include "embed_bench.h"

#include <stdlib.h>

struct work {
    struct lines lines;
    int32_t *ids;
    embed_text *texts;
    size_t count;
};

/* The texts share the ids of one. */
static void repeat_ids(struct work *work, const struct settings *settings,
                       const embed_model_info *info)
{
    work->count = settings->texts;
    work->ids = allocate(settings->tokens, sizeof *work->ids);
    work->texts = allocate(work->count, sizeof *work->texts);
    for (size_t i = 0; i < settings->tokens; i++) work->ids[i] = any_id(i, info);
    for (size_t i = 0; i < work->count; i++)
        work->texts[i] = (embed_text){NULL, work->ids, settings->tokens};
}

static void print_row(const struct settings *settings, const embed_model_info *info,
                      const struct work *work, size_t tokens, size_t rounds, double seconds)
{
    struct table table;
    table_start(&table, stdout, settings->json);
    table_model(&table, info);
    if (settings->batch_tokens > 0)
        table_number(&table, "batch_tokens", "%zu", settings->batch_tokens);
    else table_none(&table, "batch_tokens");
    table_number(&table, "texts", "%zu", work->count);
    table_number(&table, "tokens", "%zu", tokens);
    table_number(&table, "rounds", "%zu", rounds);
    table_number(&table, "texts_per_s", "%.1f", (double)work->count / seconds);
    table_number(&table, "tokens_per_s", "%.0f", (double)tokens / seconds);
    table_end_row(&table);
}

static void measure(const struct settings *settings, const struct work *work,
                    embed_instance *instance, const embed_model_info *info)
{
    size_t rounds = settings->rounds > 0 ? settings->rounds : 5, tokens = 0;
    size_t capacity = work->count * info->width;
    float *rows = allocate(capacity, sizeof *rows);
    embed_item *items = allocate(work->count, sizeof *items);
    double *times = allocate(rounds, sizeof *times);
    check(embed_instance_encode(instance, work->texts, work->count, NULL, rows, capacity, items));
    for (size_t i = 0; i < work->count; i++) tokens += items[i].tokens;
    for (size_t r = 0; r < rounds; r++) {
        double start = now();
        check(
            embed_instance_encode(instance, work->texts, work->count, NULL, rows, capacity, NULL));
        times[r] = now() - start;
    }
    print_row(settings, info, work, tokens, rounds, percentile(times, rounds, 0.5));
    free(rows);
    free(items);
    free(times);
}

int command_throughput(const struct settings *settings)
{
    bool has_file = settings->operand_count > 0, has_ids = settings->texts > 0;
    if (has_file == has_ids || has_ids != (settings->tokens > 0))
        return wrong_call("throughput: takes FILE, or --texts and --tokens");
    struct work work = {0};
    embed_model_info info;
    if (has_file) {
        work.lines = read_lines(settings->operands[0]);
        work.texts = work.lines.texts;
        work.count = work.lines.count;
    }
    embed_model *model = open_model(settings, false, &info);
    embed_instance *instance = NULL;
    embed_instance_options options = EMBED_INSTANCE_OPTIONS_INIT;
    options.batch_tokens = settings->batch_tokens;
    check(embed_instance_create(&instance, model, &options));
    if (has_ids) repeat_ids(&work, settings, &info);
    measure(settings, &work, instance, &info);
    if (has_ids) free(work.texts);
    free(work.ids);
    free_lines(&work.lines);
    embed_instance_destroy(instance);
    embed_model_close(model);
    return 0;
}
