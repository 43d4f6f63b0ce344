/* embed_bench_recommend.c - recommends settings from the measurements
 *
 * Chunk and instances are chosen by comparing all points that differ only in them, the batch from
 * the curve for these two; all lengths have equal weight. Each is the smallest value within a few
 * percent of the best, for chunks the library's default if that is: the best itself is the luckiest
 * of many equally good ones, and a different one in each run.
 */
#include "embed_bench_sweep.h"

#include <math.h>

#define AS_GOOD          0.97 /* share of the best that counts as equally good */
#define BEST_OF          3    /* the best is a mean of this many points: one alone is luck */
/* By default, an instance of a pool waits for more texts for a sixteenth of its last batch's time,
 * at most 500 us. */
#define POOL_WAITS_SHARE 16
#define POOL_WAITS_MOST  500e-6

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

/* Returns the geometric mean of the speedup of points with chunk and instances a over the same
 * points with b, or 0 if no point was measured with both. */
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

/* Returns a measured point or NULL. Points that do not fit or take too long have no rate. */
static const struct point *any_measured(const struct sweep *sweep)
{
    for (size_t i = 0; i < sweep->count; i++)
        if (sweep->points[i].outcome == POINT_MEASURED && sweep->points[i].rounds > 0)
            return &sweep->points[i];
    return NULL;
}

static size_t count_measured(const double *rates, const struct axis *axis)
{
    size_t count = 0;
    for (size_t i = 0; i < axis->count; i++) count += rates[i] > 0;
    return count;
}

/* Returns the index of the value to use: `first` if it is as good as the best, otherwise the
 * smallest that is. Sets *best to the index of the best. */
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
    size_t library = sweep->library_chunk;
    double rates[MOST_VALUES] = {0};
    const struct point *base = any_measured(sweep);
    size_t best;
    for (size_t i = 0; i < chunks->count; i++)
        rates[i] =
            compare(sweep, chunks->values[i], base->instances, base->chunk, base->instances);
    size_t at = choose(rates, chunks, library, &best);
    out->chunk = chunks->values[at];
    const char *which = out->chunk == library ? "the library's own" : "the smallest";
    size_t measured = count_measured(rates, chunks);
    if (measured == 1)
        snprintf(out->chunk_reason, sizeof out->chunk_reason, "no other was measured");
    else if (at == best)
        snprintf(out->chunk_reason, sizeof out->chunk_reason, "the fastest of %zu", measured);
    else
        snprintf(out->chunk_reason, sizeof out->chunk_reason,
                 "%s within 3 %% of the fastest (%zu: %+.1f %%)", which, chunks->values[best],
                 100 * (rates[best] / rates[at] - 1));
}

static void choose_instances(struct recommendation *out, const struct sweep *sweep)
{
    const struct axis *axis = &sweep->settings->instances;
    double rates[MOST_VALUES] = {0};
    size_t best, base = any_measured(sweep)->instances;
    for (size_t i = 0; i < axis->count; i++)
        rates[i] = compare(sweep, out->chunk, axis->values[i], out->chunk, base);
    size_t at = choose(rates, axis, 0, &best);
    out->instances = axis->values[at];
    if (count_measured(rates, axis) == 1)
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

/* Sets curve[] to the points of one length with the chosen chunk and instances, by batch, NULL if
 * not measured. Returns the number of points found. */
static size_t find_curve(const struct point **curve, const struct sweep *sweep,
                         const struct recommendation *out, const struct source *source)
{
    const struct axis *batches = &sweep->settings->batch;
    size_t count = 0;
    for (size_t b = 0; b < batches->count; b++) {
        curve[b] = find(sweep, batches->values[b], out->chunk, out->instances, source);
        count += curve[b] != NULL;
    }
    return count;
}

/* Returns the lowest rate among the best BEST_OF. */
static double best_few(const struct point *const *curve, size_t count, size_t batches)
{
    double sorted[MOST_VALUES] = {0};
    size_t found = 0;
    for (size_t b = 0; b < batches; b++)
        if (curve[b] != NULL) sorted[found++] = curve[b]->result.rate;
    percentile(sorted, found, 1);
    return sorted[count > BEST_OF ? count - BEST_OF : 0];
}

/* Returns the median over the rounds of a point's rate as a share of the best few's mean in the
 * same round: a slow minute of the machine affects both. */
static double share_of_best(const struct point *point, const struct point *const *curve,
                            double least, size_t batches)
{
    double shares[MOST_ROUNDS] = {0};
    for (size_t r = 0; r < point->rounds; r++) {
        double sum = 0, count = 0;
        for (size_t b = 0; b < batches; b++) {
            if (curve[b] == NULL || curve[b]->result.rate < least || r >= curve[b]->rounds)
                continue;
            sum += curve[b]->rates[r];
            count++;
        }
        shares[r] = count > 0 ? point->rates[r] * count / sum : 1;
    }
    return percentile(shares, point->rounds, 0.5);
}

/* Sets shares[] by batch to the share of the best, as a mean over the lengths measured; 0 if
 * none. */
static void batch_curve(double *shares, const struct sweep *sweep, const struct recommendation *out)
{
    size_t batches = sweep->settings->batch.count;
    double counts[MOST_VALUES] = {0};
    for (size_t b = 0; b < batches; b++) shares[b] = 0;
    for (size_t s = 0; s < sweep->source_count; s++) {
        const struct point *curve[MOST_VALUES] = {0};
        size_t count = find_curve(curve, sweep, out, &sweep->sources[s]);
        if (count == 0) continue;
        double least = best_few(curve, count, batches);
        for (size_t b = 0; b < batches; b++) {
            if (curve[b] == NULL) continue;
            shares[b] += share_of_best(curve[b], curve, least, batches);
            counts[b]++;
        }
    }
    for (size_t b = 0; b < batches; b++) shares[b] = counts[b] > 0 ? shares[b] / counts[b] : 0;
}

/* Returns the most tokens that a call of `batch` texts had, over all lengths. */
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
    double shares[MOST_VALUES], best = 0;
    size_t measured = 0;
    char before[64] = "";
    batch_curve(shares, sweep, out);
    for (size_t b = 0; b < batches->count; b++) {
        measured += shares[b] > 0;
        size_t tokens = most_tokens(sweep, out, batches->values[b]);
        if (tokens > out->largest_tokens) out->largest_tokens = tokens;
        best = fmax(best, shares[b]);
    }
    size_t at = 0;
    while (shares[at] < AS_GOOD && shares[at] < best) at++;
    out->batch = batches->values[at];
    out->batch_tokens = most_tokens(sweep, out, out->batch);
    if (measured == 1) {
        snprintf(out->batch_reason, sizeof out->batch_reason, "no other was measured");
        return;
    }
    if (at > 0 && shares[at - 1] > 0)
        snprintf(before, sizeof before, "; %zu: %.1f %%", batches->values[at - 1],
                 100 * shares[at - 1]);
    snprintf(out->batch_reason, sizeof out->batch_reason,
             "the smallest within 3 %% of the best (%.1f %% of the mean of the best %zu%s)",
             100 * shares[at], measured < BEST_OF ? measured : (size_t)BEST_OF, before);
}

/* ---- delay --------------------------------------------------------------------------------- */

/* Returns the fixed seconds of a call, as a mean over all lengths: the time of the smallest call
 * less the time that its texts take in the recommended one. Sets *batch_seconds to the time of the
 * recommended call. */
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
        sum += (double)small->batch * (1 / small->result.rate - 1 / point->result.rate);
        *batch_seconds += (double)point->batch / point->result.rate;
        count++;
    }
    if (count > 0) *batch_seconds *= (double)out->instances / count;
    return count > 0 ? fmax(0, sum * (double)out->instances / count) : 0;
}

/* Chooses a delay no longer than the fixed cost of a call, beyond which waiting costs more than it
 * saves, in steps of 1, 2 and 5. The delay is 0 if a pool waits that long by default. */
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
    out->found = any_measured(sweep) != NULL;
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
