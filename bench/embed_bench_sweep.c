/* embed_bench_sweep.c - embed-bench sweep: texts in a call, their length, chunks, instances
 *
 * Every combination of the axes is a point (embed_bench_point.c). All points are measured in rounds
 * (embed_bench_rounds.c), odd ones again (embed_bench_outliers.c); the recommendation follows from
 * the results (embed_bench_recommend.c).
 *
 * The share of the roof is the FLOP/s of linear layers and attention divided by what a loop in
 * registers reaches on as many threads, measured after each round of the same run
 * (embed_bench_roof.c). In INT8 it refers to the roof of INT8, although attention does not compute
 * in INT8. There is none for a GPU: embed.h offers no way to measure it; tests/gpu/run speed does
 * so by kernel.
 */
#include "embed_bench_sweep.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MOST_POINTS 4096

/* ---- options ------------------------------------------------------------------------------- */

static bool check_call(const struct settings *settings)
{
    const char *objection = settings->plot != NULL ? plot_objection() : NULL;
    bool good = true;
    if (settings->text != NULL && settings->lengths.count > 0) {
        wrong_call("sweep: takes --text or --tokens, not both");
        return false;
    }
    if (settings->rounds > MOST_ROUNDS) {
        wrong_call("sweep: --rounds takes an integer up to %d", MOST_ROUNDS);
        return false;
    }
    if (objection != NULL) {
        wrong_call("--plot %s: %s", settings->plot, objection);
        return false;
    }
    if (settings->profile != NULL) good = output_check("--profile", settings->profile);
    if (good && settings->csv != NULL) good = output_check("--csv", settings->csv);
    if (good && settings->plot != NULL) good = output_check("--plot", settings->plot);
    return good;
}

static void set_axis(struct axis *axis, size_t first, size_t last, size_t factor)
{
    if (axis->count > 0) return;
    for (; first <= last; first *= factor) axis->values[axis->count++] = first;
}

static size_t library_chunk(const struct settings *settings, const embed_model_info *info)
{
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    embed_memory memory = EMBED_MEMORY_INIT;
    options.device = info->device;
    options.device_index = info->device_index;
    options.dtype = info->dtype;
    options.threads = info->threads;
    if (embed_plan(settings->folder, &options, NULL, &memory) != EMBED_OK)
        die("%s", embed_error_message());
    return memory.batch_tokens;
}

/* Fills in the axes that were not given, now that the device is known. */
static void complete(struct settings *settings, const embed_model_info *info, size_t chunk)
{
    bool on_cpu = info->device == EMBED_DEVICE_CPU;
    set_axis(&settings->batch, 1, on_cpu ? 256 : 32768, 2);
    set_axis(&settings->instances, 1, 1, 2);
    set_axis(&settings->chunks, chunk, chunk, 2);
    if (settings->text != NULL || settings->lengths.count > 0) return;
    static const size_t lengths[] = {16, 32, 128};
    for (size_t i = 0; i < 3 && lengths[i] <= info->max_tokens; i++)
        settings->lengths.values[settings->lengths.count++] = lengths[i];
}

/* Checks the axes against the model; dies before anything is computed. */
static void check_axes(const struct settings *settings, const embed_model_info *info)
{
    for (size_t i = 0; i < settings->lengths.count; i++)
        if (settings->lengths.values[i] > info->max_tokens)
            die("--tokens %zu: the model reads at most %zu tokens", settings->lengths.values[i],
                info->max_tokens);
    if (settings->chunks.values[0] < info->max_tokens)
        die("--chunk %zu: an instance needs room for at least the model's longest text, "
            "%zu tokens", settings->chunks.values[0], info->max_tokens);
    if (settings->batch.count * settings->chunks.count * settings->instances.count *
            (settings->lengths.count > 0 ? settings->lengths.count : 1) > MOST_POINTS)
        die("more than %d points", MOST_POINTS);
}

static void make_points(struct sweep *sweep)
{
    const struct settings *settings = sweep->settings;
    sweep->points = allocate(sweep->source_count * settings->instances.count *
                                 settings->chunks.count * settings->batch.count,
                             sizeof *sweep->points);
    for (size_t s = 0; s < sweep->source_count; s++)
        for (size_t i = 0; i < settings->instances.count; i++)
            for (size_t c = 0; c < settings->chunks.count; c++)
                for (size_t b = 0; b < settings->batch.count; b++)
                    sweep->points[sweep->count++] =
                        (struct point){.batch = settings->batch.values[b],
                                       .chunk = settings->chunks.values[c],
                                       .instances = settings->instances.values[i],
                                       .source = &sweep->sources[s]};
}

/* ---- rows ---------------------------------------------------------------------------------- */

static void put_megabytes(struct table *table, const char *name, uint64_t bytes)
{
    if (bytes > 0) table_number(table, name, "%.1f", 1e-6 * (double)bytes);
    else table_none(table, name);
}

static void put_result(struct table *table, const struct sweep *sweep, const struct point *point)
{
    const struct result *result = &point->result;
    double tokens = result->rate * point->source->mean_tokens;
    table_number(table, "rounds", "%zu", result->rounds);
    table_number(table, "calls", "%zu", result->calls);
    table_number(table, "sentences_per_s", "%.1f", result->rate);
    table_number(table, "spread", "%.3f", result->spread);
    table_number(table, "tokens_per_s", "%.0f", tokens);
    table_number(table, "p50_ms", "%.3f", 1e3 * result->p50);
    table_number(table, "p95_ms", "%.3f", 1e3 * result->p95);
    table_number(table, "p99_ms", "%.3f", 1e3 * result->p99);
    if (point->source->tokens == 0)
        table_number(table, "tokenize_ms", "%.3f", 1e3 * result->tokenize);
    else table_none(table, "tokenize_ms");
    table_number(table, "compute_ms", "%.3f", 1e3 * result->compute);
    if (sweep->roof > 0)
        table_number(table, "share_of_roof", "%.3f",
                     tokens * point_flops_per_token(sweep, point) / sweep->roof);
    else table_none(table, "share_of_roof");
    table_number(table, "others_share", "%.3f", result->others);
}

static void put_row(struct table *table, const struct sweep *sweep, const struct point *point)
{
    static const char *const measured[] = {
        "rounds", "calls", "sentences_per_s", "spread", "tokens_per_s", "p50_ms", "p95_ms",
        "p99_ms", "tokenize_ms", "compute_ms", "share_of_roof", "others_share"};
    const char *slash = strrchr(sweep->settings->folder, '/');
    table_text(table, "model", slash != NULL && slash[1] != '\0' ? slash + 1
                                                                 : sweep->settings->folder);
    table_model(table, &sweep->info);
    table_text(table, "texts", point->source->tokens == 0 ? "text" : "ids");
    table_number(table, "tokens_per_text", "%.1f", point->source->mean_tokens);
    table_number(table, "batch", "%zu", point->batch);
    table_number(table, "instances", "%zu", point->instances);
    table_number(table, "chunk_tokens", "%zu", point->chunk);
    if (point->outcome == POINT_MEASURED) put_result(table, sweep, point);
    for (size_t i = 0; i < sizeof measured / sizeof *measured &&
                       point->outcome != POINT_MEASURED; i++)
        table_none(table, measured[i]);
    put_megabytes(table, "weights_mb", point->weights);
    put_megabytes(table, "own_mb", point->own);
    put_megabytes(table, "peak_mb", point->peak);
    table_text(table, "note", point->note);
    table_end_row(table);
}

/* "32: the smallest within ..." */
static void put_advice(struct table *table, const char *name, size_t value, const char *unit,
                       const char *reason)
{
    char text[256];
    snprintf(text, sizeof text, "%zu %s: %s", value, unit, reason);
    if (table != NULL) table_remark(table, name, text);
    else fprintf(stderr, "embed-bench: %s %s\n", name, text);
}

static void put_recommendation(struct table *table, const struct recommendation *advice)
{
    if (!advice->found) return;
    put_advice(table, "recommended batch", advice->batch, "texts", advice->batch_reason);
    put_advice(table, "recommended chunk", advice->chunk, "tokens", advice->chunk_reason);
    put_advice(table, "recommended instances", advice->instances, "of the model",
               advice->instances_reason);
    put_advice(table, "recommended delay", advice->delay_microseconds, "us", advice->delay_reason);
}

#define BUSY 0.1 /* share of the processors used by others */

static void warn_of_others(struct table *table, const struct sweep *sweep)
{
    char text[160];
    double others = 0, all = 0;
    for (size_t i = 0; i < sweep->count; i++) {
        others += sweep->points[i].others_seconds;
        all += sweep->points[i].processor_seconds;
    }
    if (all <= 0 || others / all <= BUSY) return;
    snprintf(text, sizeof text, "other processes used %.0f %% of the processors meanwhile: these "
             "figures are not what the machine can do", 100 * others / all);
    if (table != NULL) table_remark(table, "warning", text);
    else fprintf(stderr, "embed-bench: warning: %s\n", text);
}

static void put_table(FILE *out, bool json, const struct sweep *sweep,
                      const struct recommendation *advice)
{
    struct table table;
    char roof[64];
    table_start(&table, out, json);
    table_remark(&table, "command", sweep->settings->command_line);
    if (sweep->roof > 0) {
        snprintf(roof, sizeof roof, "%.1f GFLOP/s, %s, threads %u", 1e-9 * sweep->roof,
                 sweep->info.instruction_set, sweep->info.threads);
        table_remark(&table, "roof", roof);
    }
    warn_of_others(&table, sweep);
    put_recommendation(&table, advice);
    for (size_t i = 0; i < sweep->count; i++)
        if (sweep->points[i].outcome != POINT_WAITS) put_row(&table, sweep, &sweep->points[i]);
}

/* Writes all requested outputs of what was measured. Returns false if one fails. */
static bool write_all(const struct sweep *sweep)
{
    const struct settings *settings = sweep->settings;
    struct recommendation advice;
    bool good = true;
    recommend(&advice, sweep);
    put_recommendation(NULL, &advice);
    warn_of_others(NULL, sweep);
    if (settings->csv != NULL) {
        FILE *file = output_begin(settings->csv);
        if (file != NULL) put_table(file, false, sweep, &advice);
        good = file != NULL && output_commit(file, settings->csv);
    }
    if (settings->json || settings->csv == NULL) put_table(stdout, settings->json, sweep, &advice);
    if (!advice.found) {
        wrong_call("nothing was measured, so no profile or plot is written");
        return false;
    }
    if (settings->profile != NULL) good = profile_write(settings->profile, sweep, &advice) && good;
    if (settings->plot != NULL) good = plot_write(settings->plot, sweep) && good;
    return good;
}

/* ---- the command --------------------------------------------------------------------------- */

static void close_sweep(struct sweep *sweep)
{
    for (size_t i = 0; i < sweep->count; i++) free(sweep->points[i].calls);
    free(sweep->points);
    sources_free(sweep);
    free_lines(&sweep->lines);
    embed_model_close(sweep->model);
}

int command_sweep(const struct settings *given)
{
    struct settings settings = *given;
    struct sweep sweep = {.settings = &settings, .began = now()};
    if (!check_call(&settings)) return EXIT_WRONG_CALL;
    if (settings.text != NULL) sweep.lines = read_lines(settings.text);
    sweep.model = open_model(&settings, false, &sweep.info);
    sweep.library_chunk = library_chunk(&settings, &sweep.info);
    complete(&settings, &sweep.info, sweep.library_chunk);
    check_axes(&settings, &sweep.info);
    sources_make(&sweep);
    make_points(&sweep);
    rounds_plan(&sweep);
    rounds_run(&sweep);
    outliers_check(&sweep);
    bool good = write_all(&sweep);
    close_sweep(&sweep);
    if (sweep_signal() != 0) return 128 + sweep_signal();
    return good ? 0 : 1;
}
