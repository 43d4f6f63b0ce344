/* embed_bench_tokenizer.c - embed-bench tokenizer: how fast texts become token ids
 *
 * One row for each file, whose lines are the texts; the result is the best of the rounds. A round
 * is one call of embed_tokenize for all lines, so it starts with an empty word cache. MB/s count
 * text without line ends; one thread by default.
 */
#include "embed_bench.h"

static void measure(struct table *table, const struct settings *settings, size_t rounds,
                    const embed_model *model, const char *path)
{
    struct lines lines = read_lines(path);
    embed_tokenize_options options = EMBED_TOKENIZE_OPTIONS_INIT;
    options.max_tokens = settings->max_tokens;
    double best = 0;
    size_t tokens = 0;
    for (size_t r = 0; r < rounds; r++) {
        embed_tokens out = EMBED_TOKENS_INIT;
        double start = now();
        check(embed_tokenize(model, lines.texts, lines.count, &options, &out));
        double seconds = now() - start;
        if (r == 0 || seconds < best) best = seconds;
        tokens = out.offsets[lines.count];
        embed_tokens_free(&out);
    }
    table_text(table, "file", path);
    table_number(table, "threads", "%zu", settings->threads);
    table_number(table, "texts", "%zu", lines.count);
    table_number(table, "bytes", "%zu", lines.text_bytes);
    table_number(table, "tokens", "%zu", tokens);
    table_number(table, "rounds", "%zu", rounds);
    table_number(table, "mb_per_s", "%.1f", 1e-6 * (double)lines.text_bytes / best);
    table_number(table, "mtokens_per_s", "%.2f", 1e-6 * (double)tokens / best);
    table_end_row(table);
    free_lines(&lines);
}

int command_tokenizer(const struct settings *given)
{
    struct settings settings = *given;
    embed_model *model = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    struct table table;
    if (settings.threads == 0) settings.threads = 1;
    options.device = EMBED_DEVICE_CPU;
    options.threads = (unsigned)settings.threads;
    check(embed_model_open(&model, settings.folder, &options));
    table_start(&table, stdout, settings.json);
    for (size_t i = 0; i < settings.operand_count; i++)
        measure(&table, &settings, settings.rounds > 0 ? settings.rounds : 30, model,
                settings.operands[i]);
    embed_model_close(model);
    return 0;
}
