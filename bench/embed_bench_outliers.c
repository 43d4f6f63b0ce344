/* embed_bench_outliers.c - finds points that are far off their neighbours
 *
 * Along the batch axis the time of a call is nearly linear: a fixed part plus a part for each text.
 * A point whose rate is more than a fifth off the line between its neighbours is measured again
 * together with them. At the upper end the rate is compared with the neighbour's, at the lower end
 * with that of a call as long as the neighbour's; only slower rates count there. The worst point
 * comes first, because it makes its neighbours look odd. A point that stays odd is no longer used
 * as a neighbour.
 */
#include "embed_bench_sweep.h"

#include <math.h>
#include <string.h>

#define FAR 0.20

/* Returns the nearest measured point along the batch axis, smaller (side -1) or larger (side 1), or
 * NULL. Skips odd points. */
static struct point *neighbour(const struct sweep *sweep, const struct point *point, int side)
{
    struct point *found = NULL;
    for (size_t i = 0; i < sweep->count; i++) {
        struct point *other = &sweep->points[i];
        bool larger = other->batch > point->batch;
        if (other->outcome != POINT_MEASURED || other->is_odd || other->source != point->source ||
            other->chunk != point->chunk || other->instances != point->instances ||
            other->batch == point->batch || larger != (side > 0))
            continue;
        if (found == NULL || (larger ? other->batch < found->batch : other->batch > found->batch))
            found = other;
    }
    return found;
}

static double call_seconds(const struct point *point)
{
    return (double)(point->batch * point->instances) / point->result.rate;
}

/* Returns the rate expected from the neighbours, or 0 if there is none. */
static double expected_rate(const struct point *point, const struct point *smaller,
                            const struct point *larger)
{
    double b = (double)point->batch, texts = b * (double)point->instances;
    if (smaller != NULL && larger != NULL) {
        double b0 = (double)smaller->batch, t0 = call_seconds(smaller);
        double b1 = (double)larger->batch, t1 = call_seconds(larger);
        return texts / (t0 + (t1 - t0) * (b - b0) / (b1 - b0));
    }
    if (smaller != NULL) return smaller->result.rate; /* or more */
    if (larger != NULL && call_seconds(point) > call_seconds(larger))
        return texts / call_seconds(larger);
    return 0;
}

/* Returns how far the rate is off: 0.3 is 30 % faster than expected. At an end of the axis only a
 * slower rate counts. */
static double deviation(const struct sweep *sweep, const struct point *point)
{
    const struct point *smaller = neighbour(sweep, point, -1), *larger = neighbour(sweep, point, 1);
    double expected = expected_rate(point, smaller, larger);
    double off = expected > 0 ? point->result.rate / expected - 1 : 0;
    return (smaller == NULL || larger == NULL) && off > 0 ? 0 : off;
}

/* Returns the seconds of a stage per text; stage 0 is tokenizing, 1 is computing. */
static double stage_of(const struct point *point, int stage)
{
    const struct result *result = &point->result;
    double seconds = stage == 0 ? result->tokenize : result->compute;
    return seconds / (double)(point->batch * point->instances);
}

/* Writes which stage differs most from the neighbours, and by how much. */
static void name_stage(char *out, size_t capacity, const struct sweep *sweep,
                       const struct point *point)
{
    const struct point *sides[2] = {neighbour(sweep, point, -1), neighbour(sweep, point, 1)};
    static const char *const names[] = {"tokenizing", "computing"};
    double most = -1, more = 0, others = 0;
    int worst = 1, count = 0;
    for (int s = 0; s < 2; s++) {
        double mean = 0;
        count = 0;
        others = 0;
        for (int i = 0; i < 2; i++) {
            if (sides[i] == NULL) continue;
            mean += stage_of(sides[i], s);
            others += sides[i]->result.others;
            count++;
        }
        mean /= count;
        others /= count;
        double difference = stage_of(point, s) - mean;
        if (fabs(difference) <= most) continue;
        most = fabs(difference);
        worst = s;
        more = mean > 0 ? difference / mean : 0;
    }
    snprintf(out, capacity, "%s takes %.0f %% %s a text; other processes had %.0f %% of the "
             "processors, at its neighbours %.0f %%", names[worst], 100 * fabs(more),
             more > 0 ? "longer" : "less", 100 * point->result.others, 100 * others);
}

static bool is_time_left(const struct sweep *sweep, struct point *const *points, size_t count)
{
    double seconds = 0, given = sweep->settings->seconds;
    for (size_t i = 0; i < count; i++) seconds += points[i]->seconds * (double)sweep->rounds;
    return given <= 0 || now() - sweep->began + seconds <= given;
}

static void check_point(struct sweep *sweep, struct point *point)
{
    double first = deviation(sweep, point), again = first;
    const char *outcome = "no time is left to measure it again";
    char stage[160];
    struct point *points[3];
    size_t count = 0;
    name_stage(stage, sizeof stage, sweep, point);
    for (int side = -1; side <= 1; side++) {
        struct point *one = side == 0 ? point : neighbour(sweep, point, side);
        if (one != NULL) points[count++] = one;
    }
    if (is_time_left(sweep, points, count)) {
        fprintf(stderr, "embed-bench: %zu texts a call: %+.0f %% off its neighbours, measured "
                "again\n", point->batch, 100 * first);
        rounds_again(sweep, points, count);
        if (sweep_signal() != 0) return;
        again = deviation(sweep, point);
        outcome = fabs(again) > FAR ? "and so again" : "at first and not again";
        if (fabs(again) > FAR) name_stage(stage, sizeof stage, sweep, point);
    }
    point->is_odd = fabs(again) > FAR;
    snprintf(point->note, sizeof point->note, "%+.0f %% off its neighbours, %s: %s", 100 * first,
             outcome, stage);
}

void outliers_check(struct sweep *sweep)
{
    while (sweep_signal() == 0) {
        struct point *worst = NULL;
        double most = FAR;
        for (size_t i = 0; i < sweep->count; i++) {
            struct point *point = &sweep->points[i];
            if (point->outcome != POINT_MEASURED || point->checked) continue;
            double off = fabs(deviation(sweep, point));
            if (off <= most) continue;
            most = off;
            worst = point;
        }
        if (worst == NULL) return;
        worst->checked = true;
        check_point(sweep, worst);
    }
}
