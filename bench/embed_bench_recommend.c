/* embed_bench_recommend.c - what to set, from what was measured
 *
 * Chunk and instances are chosen by all points that have them in common, batch by the curve of the
 * chosen two; lengths count alike. Each is the smallest within a few percent of the best: the best
 * itself is the luckiest of many that are equally good, and another one in each run.
 */
#include "embed_bench_sweep.h"

#include <math.h>

#define LIBRARY_CHUNK_CPU 512 /* tokens, that libembed takes without being told */
#define LIBRARY_CHUNK_GPU 8448
#define AS_GOOD           0.97 /* of the best */
#define BEST_OF           3    /* the best is the mean of so many: one is luck */
/* A pool's instance waits for company for a sixteenth of what its last batch took, 500 us at most,
 * without being told. */
#define POOL_WAITS_SHARE  16
#define POOL_WAITS_MOST   500e-6

static const struct point *find(const struct sweep *sweep, size_t batch, size_t chunk,
                                size_t instances, const struct source *source)
{
    for (size_t i = 0; i < sweep->count; i++) {
        const struct point *point = &sweep->points[i];
        if (point->outcome == POINT_MEASURED && point->rounds > 0 && point->batch == batch &&
            point->chunk == chunk && point->instances == instances && point->source == source)
            return point;
    }
    return NULL;
}

/* ---- chunk and instances ------------------------------------------------------------------- */

/* How much faster points with chunk and instances a are than the same ones with b, in the mean; 0
 * where none have been measured with both. */
static double compare(const struct sweep *sweep, size_t chunk_a, size_t instances_a,
                      size_t chunk_b, size_t instances_b)
{
    const struct axis *batches = &sweep->settings->batch;
    double sum = 0, count = 0;
    for (size_t b = 0; b < batches->count; b++) {
        for (size_t s = 0; s < sweep->source_count; s++) {
            const struct source *source = &sweep->sources[s];
            const struct point *x = find(sweep, batches->values[b], chunk_a, instances_a, source);
            const struct point *y = find(sweep, batches->values[b], chunk_b, instances_b, source);
            if (x == NULL || y == NULL) continue;
            sum += log(x->result.rate / y->result.rate);
            count++;
        }
    }
    return count > 0 ? exp(sum / count) : 0;
}

/* The value of an axis that is as good as the best, `first` where that is, else the smallest. */
static size_t choose(const double *rates, const struct axis *axis, size_t first, size_t *best)
{
    *best = 0;
    for (size_t i = 0; i < axis->count; i++)
        if (rates[i] > rates[*best]) *best = i;
    for (size_t i = 0; i < axis->count; i++)
        if (axis->values[i] == first && rates[i] >= AS_GOOD * rates[*best]) return i;
    for (size_t i = 0; i < axis->count; i++)
        if (rates[i] >= AS_GOOD * rates[*best]) return i;
    return 0;
}

static void choose_chunk(struct recommendation *out, const struct sweep *sweep)
{
    const struct axis *chunks = &sweep->settings->chunks;
    size_t library = sweep->info.device == EMBED_DEVICE_CPU ? LIBRARY_CHUNK_CPU : LIBRARY_CHUNK_GPU;
    double rates[MOST_VALUES] = {0};
    size_t best, instances = sweep->settings->instances.values[0];
    for (size_t i = 0; i < chunks->count; i++)
        rates[i] = compare(sweep, chunks->values[i], instances, chunks->values[0], instances);
    size_t at = choose(rates, chunks, library, &best);
    out->chunk = chunks->values[at];
    const char *which = out->chunk == library ? "the library's own" : "the smallest";
    if (chunks->count == 1)
        snprintf(out->chunk_reason, sizeof out->chunk_reason, "no other was measured");
    else if (at == best)
        snprintf(out->chunk_reason, sizeof out->chunk_reason, "the fastest of %zu", chunks->count);
    else
        snprintf(out->chunk_reason, sizeof out->chunk_reason,
                 "%s within 3 %% of the fastest (%zu: %+.1f %%)", which, chunks->values[best],
                 100 * (rates[best] / rates[at] - 1));
}

static void choose_instances(struct recommendation *out, const struct sweep *sweep)
{
    const struct axis *axis = &sweep->settings->instances;
    double rates[MOST_VALUES] = {0};
    size_t best;
    for (size_t i = 0; i < axis->count; i++)
        rates[i] = compare(sweep, out->chunk, axis->values[i], out->chunk, axis->values[0]);
    size_t at = choose(rates, axis, 0, &best);
    out->instances = axis->values[at];
    if (axis->count == 1)
        snprintf(out->instances_reason, sizeof out->instances_reason, "no other was measured");
    else if (at == best)
        snprintf(out->instances_reason, sizeof out->instances_reason,
                 "no other number is faster, in the mean of all points");
    else
        snprintf(out->instances_reason, sizeof out->instances_reason,
                 "%zu are %.1f %% faster in the mean of all points: not worth their memory",
                 axis->values[best], 100 * (rates[best] / rates[at] - 1));
}

/* ---- batch --------------------------------------------------------------------------------- */

/* Rates of the chosen chunk and instances by batch, each as a share of the best of its length, in the
 * mean of all lengths that have it; 0 where there is none. */
static void batch_curve(double *curve, const struct sweep *sweep, const struct recommendation *out)
{
    const struct axis *batches = &sweep->settings->batch;
    double counts[MOST_VALUES] = {0};
    for (size_t b = 0; b < batches->count; b++) curve[b] = 0;
    for (size_t s = 0; s < sweep->source_count; s++) {
        const struct source *source = &sweep->sources[s];
        double rates[MOST_VALUES] = {0}, sorted[MOST_VALUES] = {0}, best = 0;
        size_t count = 0;
        for (size_t b = 0; b < batches->count; b++) {
            const struct point *point =
                find(sweep, batches->values[b], out->chunk, out->instances, source);
            rates[b] = point != NULL ? point->result.rate : 0;
            if (point != NULL) sorted[count++] = rates[b];
        }
        if (count == 0) continue;
        percentile(sorted, count, 1);
        size_t few = count < BEST_OF ? count : BEST_OF;
        for (size_t i = count - few; i < count; i++) best += sorted[i] / (double)few;
        for (size_t b = 0; b < batches->count; b++) {
            if (rates[b] > 0) counts[b]++;
            curve[b] += rates[b] / best;
        }
    }
    for (size_t b = 0; b < batches->count; b++) curve[b] = counts[b] > 0 ? curve[b] / counts[b] : 0;
}

/* Of all lengths: the most tokens that a call of so many texts has had. */
static size_t most_tokens(const struct sweep *sweep, const struct recommendation *out, size_t batch)
{
    size_t most = 0;
    for (size_t s = 0; s < sweep->source_count; s++) {
        const struct source *source = &sweep->sources[s];
        const struct point *point = find(sweep, batch, out->chunk, out->instances, source);
        for (size_t i = 0; point != NULL && i < source->period; i++) {
            size_t tokens = source_tokens(source, i, batch);
            if (tokens > most) most = tokens;
        }
    }
    return most;
}

static void choose_batch(struct recommendation *out, const struct sweep *sweep)
{
    const struct axis *batches = &sweep->settings->batch;
    double curve[MOST_VALUES], best = 0;
    batch_curve(curve, sweep, out);
    for (size_t b = 0; b < batches->count; b++) {
        size_t tokens = most_tokens(sweep, out, batches->values[b]);
        if (tokens > out->largest_tokens) out->largest_tokens = tokens;
        best = fmax(best, curve[b]);
    }
    size_t at = 0;
    while (at < batches->count && curve[at] < AS_GOOD && curve[at] < best) at++;
    out->batch = batches->values[at];
    out->batch_tokens = most_tokens(sweep, out, out->batch);
    snprintf(out->batch_reason, sizeof out->batch_reason,
             "the smallest within 3 %% of the best (%.1f %% of the mean of the best %d)",
             100 * curve[at], BEST_OF);
}

/* ---- delay --------------------------------------------------------------------------------- */

/* What a call takes besides its texts: of the smallest, by what texts take in the recommended one. In
 * the mean of all lengths. */
static double call_overhead(const struct sweep *sweep, const struct recommendation *out,
                            double *batch_seconds)
{
    double sum = 0, count = 0;
    *batch_seconds = 0;
    for (size_t s = 0; s < sweep->source_count; s++) {
        const struct source *source = &sweep->sources[s];
        const struct point *small = find(sweep, sweep->settings->batch.values[0], out->chunk,
                                         out->instances, source);
        const struct point *point = find(sweep, out->batch, out->chunk, out->instances, source);
        if (small == NULL || point == NULL) continue;
        sum += (double)small->batch / small->result.rate - (double)small->batch / point->result.rate;
        *batch_seconds += (double)point->batch / point->result.rate;
        count++;
    }
    if (count > 0) *batch_seconds *= (double)out->instances / count;
    return count > 0 ? fmax(0, sum * (double)out->instances / count) : 0;
}

/* To wait as long as a call costs besides its texts: longer costs more than it saves. In steps of 1, 2
 * and 5. */
static void choose_delay(struct recommendation *out, const struct sweep *sweep)
{
    static const size_t steps[] = {5000, 2000, 1000, 500, 200, 100, 50, 20, 10};
    double batch_seconds, overhead = call_overhead(sweep, out, &batch_seconds);
    double own = fmin(batch_seconds / POOL_WAITS_SHARE, POOL_WAITS_MOST);
    for (size_t i = 0; i < sizeof steps / sizeof *steps && overhead > own; i++) {
        if (1e6 * overhead < (double)steps[i]) continue;
        out->delay_microseconds = steps[i];
        break;
    }
    if (out->delay_microseconds == 0)
        snprintf(out->delay_reason, sizeof out->delay_reason,
                 "a call costs %.0f us besides its texts, and a pool waits for %.0f us by itself",
                 1e6 * overhead, 1e6 * own);
    else
        snprintf(out->delay_reason, sizeof out->delay_reason,
                 "a call costs %.0f us besides its texts: to wait longer costs more than it saves",
                 1e6 * overhead);
}

void recommend(struct recommendation *out, const struct sweep *sweep)
{
    *out = (struct recommendation){0};
    for (size_t i = 0; i < sweep->count; i++)
        if (sweep->points[i].outcome == POINT_MEASURED && sweep->points[i].rounds > 0)
            out->found = true;
    if (!out->found) return;
    choose_chunk(out, sweep);
    choose_instances(out, sweep);
    choose_batch(out, sweep);
    choose_delay(out, sweep);
    for (size_t i = 0; i < sweep->count; i++) {
        const struct point *point = &sweep->points[i];
        if (point->batch == out->batch && point->chunk == out->chunk &&
            point->instances == out->instances && point->peak > out->peak)
            out->peak = point->peak;
    }
}
