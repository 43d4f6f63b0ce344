/* embed_bench_sweep.h - what the parts of embed-bench sweep share
 *
 * A point is one combination of the axes. It is measured in rounds, for so many seconds in each.
 * Which lines of a file come in that time differs from point to point: a rate of texts is that of
 * tokens, by the mean length of all lines.
 */
#ifndef BENCH_EMBED_BENCH_SWEEP_H
#define BENCH_EMBED_BENCH_SWEEP_H

#include "embed_bench.h"

#define MOST_ROUNDS 64

/* Texts of one length, or the lines of a file in an order of chance; after the last the first comes
 * again, as far as the largest call reaches. */
struct source {
    size_t tokens; /* of each; 0: real texts */
    size_t period, count;
    embed_text *texts;
    embed_text *ids;     /* the same, tokenized */
    size_t *first_token; /* (count + 1): tokens before each */
    double mean_tokens;
    double rate; /* texts a second, from a first try */
    int32_t *all_ids;
};

enum outcome { POINT_WAITS, POINT_MEASURED, POINT_DOES_NOT_FIT, POINT_TAKES_TOO_LONG };

/* Medians over the rounds. Seconds are those of a call. */
struct result {
    size_t rounds, calls;
    double rate, spread; /* texts a second; (75th - 25th percentile) / median */
    double p50, p95, p99;
    double tokenize, compute; /* tokenize 0: texts were given as ids */
    double others;            /* share of the processors that other processes had */
};

struct point {
    size_t batch, instances, chunk;
    const struct source *source;
    enum outcome outcome;
    char note[240];
    double seconds; /* that a round takes: predicted, then as the last one did */
    double rates[MOST_ROUNDS], tokenize[MOST_ROUNDS], compute[MOST_ROUNDS];
    size_t rounds;
    double *calls; /* the times of all */
    size_t call_count;
    double others_seconds, processor_seconds;
    uint64_t weights, own, peak;
    bool checked, is_odd; /* against its neighbours */
    struct result result;
};

struct sweep {
    const struct settings *settings;
    size_t library_chunk; /* tokens of a chunk that the library takes without being told */
    embed_model *model;
    embed_model_info info;
    struct lines lines;
    struct source *sources;
    size_t source_count;
    struct point *points;
    size_t count, rounds;
    double began, window; /* seconds of a point in a round */
    double roof;          /* FLOP/s; 0: not known */
    struct table table;
};

struct recommendation {
    bool found;
    size_t batch, batch_tokens, chunk, instances, delay_microseconds;
    size_t largest_tokens; /* of a call, with that chunk and as many instances */
    uint64_t peak;
    char batch_reason[200], chunk_reason[200], instances_reason[200], delay_reason[200];
};

/* The texts of all lengths that are asked for (embed_bench_source.c). */
void sources_make(struct sweep *sweep);
void sources_free(struct sweep *sweep);
size_t source_tokens(const struct source *source, size_t first, size_t count);

/* One round of a point: adds to it what was measured, or says why it cannot be
 * (embed_bench_point.c). */
void point_measure(const struct sweep *sweep, struct point *point);
/* Of what was measured, the medians. */
void point_conclude(struct point *point);
double point_flops_per_token(const struct sweep *sweep, const struct point *point);

/* All rounds of all points (embed_bench_rounds.c). Returns early where it is interrupted. */
void rounds_plan(struct sweep *sweep);
void rounds_run(struct sweep *sweep);
void rounds_again(struct sweep *sweep, struct point *const *points, size_t count);

/* The signal that asked to stop, or 0. */
int sweep_signal(void);

/* Measures points again that are far off their neighbours, and says which stage did it
 * (embed_bench_outliers.c). */
void outliers_check(struct sweep *sweep);

void recommend(struct recommendation *recommendation, const struct sweep *sweep);
/* Writes the profile of the model: false where that fails, after saying why. */
bool profile_write(const char *path, const struct sweep *sweep,
                   const struct recommendation *recommendation);

/* NULL where there is gnuplot, else what to say. */
const char *plot_objection(void);
bool plot_write(const char *path, const struct sweep *sweep);

/* A file that appears under its name when it is whole (embed_bench_output.c). On failure they say
 * why. */
FILE *output_begin(const char *path);
bool output_commit(FILE *file, const char *path);
/* The same for one that another program writes: under which name; then it is whole, or nothing. */
bool output_name(char *out, size_t capacity, const char *path);
bool output_rename(const char *path);
void output_drop(const char *path);
/* Whether a file of that name could be made. */
bool output_check(const char *option, const char *path);

#endif
