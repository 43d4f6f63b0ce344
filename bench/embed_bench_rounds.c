/* embed_bench_rounds.c - runs all points of a sweep in rounds, within the given time
 *
 * Rounds measure every point once, in alternating order, so that a machine that becomes slower or
 * faster with time, such as a shared one, affects all points alike.
 */
#include "embed_bench_sweep.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    DEFAULT_ROUNDS = 5,
    FIRST_TEXTS = 64,      /* in the first try, which predicts times */
    FIRST_ON_A_GPU = 1024, /* the same on a GPU, where a small call says little */
    BAR_WIDTH = 24
};
#define DEFAULT_SECONDS 0.5 /* of a point in a round, at least; more if a call takes longer */
#define MOST_SECONDS    4.0
#define LEAST_SECONDS   0.03
#define USABLE          0.85 /* share of the given time to plan; the rest absorbs overruns */

static volatile sig_atomic_t caught;

static void on_signal(int number)
{
    caught = number;
}

int sweep_signal(void)
{
    return caught;
}

/* A second signal of the same kind ends the program at once. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* ---- how long it will take ----------------------------------------------------------------- */

static void try_source(const struct sweep *sweep, struct source *source)
{
    embed_instance *instance = NULL;
    size_t texts = sweep->info.device == EMBED_DEVICE_CPU ? FIRST_TEXTS : FIRST_ON_A_GPU;
    double best = INFINITY;
    if (texts > source->count) texts = source->count;
    float *rows = allocate(texts * sweep->info.width, sizeof *rows);
    check(embed_instance_create(&instance, sweep->model, NULL));
    for (int i = 0; i < 2; i++) {
        double start = now();
        check(embed_instance_encode(instance, source->ids, texts, NULL, rows,
                                    texts * sweep->info.width, NULL));
        best = fmin(best, now() - start);
    }
    source->rate = (double)texts / best;
    embed_instance_destroy(instance);
    free(rows);
}

/* Predicts the seconds of all rounds if each point is measured for `window` seconds per round. */
static double plan(struct sweep *sweep, double window)
{
    bool on_cpu = sweep->info.device == EMBED_DEVICE_CPU;
    double sum = 0;
    sweep->window = window;
    for (size_t i = 0; i < sweep->count; i++) {
        struct point *point = &sweep->points[i];
        bool real = point->source->tokens == 0;
        double call = (double)(point->batch * point->instances) / point->source->rate;
        point->seconds = fmax(window, call);
        if (on_cpu) point->seconds *= real ? 1.1 : 1; /* tokenizing */
        else point->seconds = (real ? 2 : 1) * point->seconds + call; /* ids, and warm-up */
        if (point->outcome == POINT_WAITS) sum += point->seconds;
    }
    return sum * (double)sweep->rounds;
}

/* Leaves out the longest points until the rest fit or only one is left. Returns the seconds of the
 * rest. */
static double leave_out(struct sweep *sweep, double all, double given)
{
    for (size_t left = sweep->count; all > given && left > 1; left--) {
        struct point *longest = &sweep->points[0];
        for (size_t i = 0; i < sweep->count; i++) {
            struct point *point = &sweep->points[i];
            if (point->outcome != POINT_WAITS) continue;
            if (longest->outcome != POINT_WAITS || point->seconds >= longest->seconds)
                longest = point;
        }
        longest->outcome = POINT_TAKES_TOO_LONG;
        snprintf(longest->note, sizeof longest->note,
                 "takes too long: about %.1f s a round, of %g s for all", longest->seconds,
                 sweep->settings->seconds);
        all -= longest->seconds * (double)sweep->rounds;
    }
    return all;
}

void rounds_plan(struct sweep *sweep)
{
    double given = sweep->settings->seconds, window = given > 0 ? MOST_SECONDS : DEFAULT_SECONDS;
    size_t waiting = 0;
    sweep->rounds = sweep->settings->rounds > 0 ? sweep->settings->rounds : DEFAULT_ROUNDS;
    for (size_t i = 0; i < sweep->source_count; i++) try_source(sweep, &sweep->sources[i]);
    double all = plan(sweep, window);
    if (given > 0) {
        double usable = USABLE * (given - (now() - sweep->began));
        while (all > usable && window > LEAST_SECONDS) all = plan(sweep, window /= 1.25);
        all = leave_out(sweep, all, usable);
    }
    for (size_t i = 0; i < sweep->count; i++) waiting += sweep->points[i].outcome == POINT_WAITS;
    fprintf(stderr, "embed-bench: %zu of %zu points, %zu rounds, about %.0f s\n", waiting,
            sweep->count, sweep->rounds, all);
}

/* ---- progress ------------------------------------------------------------------------------ */

static bool is_open(const struct point *point)
{
    return point->outcome == POINT_WAITS || point->outcome == POINT_MEASURED;
}

/* Draws the progress bar after `done` points of round `round`. Predicts the time left from the last
 * time of each point. */
static void draw(const struct sweep *sweep, size_t round, size_t done, const char *end)
{
    static double drawn;
    double whole = 0, left = 0, time = now();
    if (!isatty(STDERR_FILENO) || (time - drawn < 0.2 && *end == '\0')) return;
    drawn = time;
    for (size_t i = 0; i < sweep->count; i++)
        if (is_open(&sweep->points[i])) whole += sweep->points[i].seconds;
    left = whole * ((double)(sweep->rounds - round) - (double)done / (double)sweep->count);
    if (left < 0) left = 0;
    double elapsed = time - sweep->began, share = elapsed / (elapsed + left);
    char bar[BAR_WIDTH + 1] = "";
    for (int i = 0; i < BAR_WIDTH; i++) bar[i] = i < (int)(share * BAR_WIDTH) ? '=' : ' ';
    fprintf(stderr, "\r[%s] round %zu of %zu, point %zu of %zu, %.0f s, %.0f s left\033[K%s", bar,
            round + 1, sweep->rounds, done, sweep->count, elapsed, left, end);
}

/* ---- rounds -------------------------------------------------------------------------------- */

static void run_round(struct sweep *sweep, size_t round)
{
    for (size_t i = 0; i < sweep->count && sweep_signal() == 0; i++) {
        struct point *point = &sweep->points[round % 2 == 0 ? i : sweep->count - 1 - i];
        if (is_open(point)) point_measure(sweep, point);
        draw(sweep, round, i + 1, "");
    }
    if (sweep->info.device == EMBED_DEVICE_CPU && sweep_signal() == 0)
        sweep->roof = fmax(sweep->roof, roof_flops(sweep->info.instruction_set,
                                                   sweep->info.threads));
}

void rounds_run(struct sweep *sweep)
{
    double given = sweep->settings->seconds;
    catch_signals();
    for (size_t r = 0; r < sweep->rounds && sweep_signal() == 0; r++) {
        double start = now();
        run_round(sweep, r);
        double took = now() - start;
        if (given > 0 && r + 1 < sweep->rounds && now() - sweep->began + took > given) {
            fprintf(stderr, "\nembed-bench: %zu rounds instead of %zu: they take longer than "
                    "predicted\n", r + 1, sweep->rounds);
            sweep->rounds = r + 1;
        }
    }
    if (sweep->rounds > 0) draw(sweep, sweep->rounds - 1, sweep->count, "\n");
    for (size_t i = 0; i < sweep->count; i++) point_conclude(&sweep->points[i]);
}

void rounds_again(struct sweep *sweep, struct point *const *points, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(points[i]->calls);
        points[i]->calls = NULL;
        points[i]->rounds = points[i]->call_count = 0;
        points[i]->others_seconds = points[i]->processor_seconds = 0;
    }
    for (size_t r = 0; r < sweep->rounds && sweep_signal() == 0; r++)
        for (size_t i = 0; i < count && sweep_signal() == 0; i++) point_measure(sweep, points[i]);
    for (size_t i = 0; i < count; i++)
        if (points[i]->rounds > 0) point_conclude(points[i]);
}
