/* embed_bench_sweep.h - declarations shared by the parts of embed-bench sweep
 *
 * A point is one combination of the axes. It is measured in rounds, each for a fixed time. Points
 * see different lines of a file in that time, so the rate in texts is the rate in tokens divided by
 * the mean length of all lines.
 */
#ifndef BENCH_EMBED_BENCH_SWEEP_H
#define BENCH_EMBED_BENCH_SWEEP_H

#include "embed_bench.h"

#define MOST_ROUNDS 64

/* Texts of one length, or the lines of a file in random order. The first `period` texts are
 * repeated after the last, as far as the largest call reaches. */
struct source {
    size_t tokens; /* of each text; 0 for real texts */
    size_t period, count;
    embed_text *texts;
    embed_text *ids;     /* the same, tokenized */
    size_t *first_token; /* (count + 1) tokens before each text */
    double mean_tokens;
    double rate; /* texts per second in a first try */
    int32_t *all_ids;
};

enum outcome { POINT_WAITS, POINT_MEASURED, POINT_DOES_NOT_FIT, POINT_TAKES_TOO_LONG };

/* Medians over the rounds. Times are seconds per call. */
struct result {
    size_t rounds, calls;
    double rate, spread; /* texts per second; (75th - 25th percentile) / median */
    double p50, p95, p99;
    double tokenize, compute; /* tokenize is 0 if texts were given as ids */
    double others;            /* share of the processors used by other processes */
};

struct point {
    size_t batch, instances, chunk;
    const struct source *source;
    enum outcome outcome;
    char note[240];
    double seconds; /* of a round: predicted, later those of the last one */
    double rates[MOST_ROUNDS], tokenize[MOST_ROUNDS], compute[MOST_ROUNDS];
    size_t rounds;
    double *calls; /* (call_count) seconds of each call */
    size_t call_count;
    double others_seconds, processor_seconds;
    uint64_t weights, own, peak;
    bool checked, is_odd; /* compared with its neighbours */
    struct result result;
};

struct sweep {
    const struct settings *settings;
    size_t library_chunk; /* the library's default, in tokens */
    embed_model *model;
    embed_model_info info;
    struct lines lines;
    struct source *sources;
    size_t source_count;
    struct point *points;
    size_t count, rounds;
    double began, window; /* start time; seconds of a point in a round */
    double roof;          /* FLOP/s; 0 if unknown */
    struct table table;
};

struct recommendation {
    bool found;
    size_t batch, batch_tokens, chunk, instances, delay_microseconds;
    size_t largest_tokens; /* of any call measured with that chunk and number of instances */
    uint64_t peak;
    char batch_reason[200], chunk_reason[200], instances_reason[200], delay_reason[200];
};

/* Creates the texts of all requested lengths (embed_bench_source.c). */
void sources_make(struct sweep *sweep);
void sources_free(struct sweep *sweep);
size_t source_tokens(const struct source *source, size_t first, size_t count);

/* Measures one round of a point and adds the results to it, or notes why it cannot be measured
 * (embed_bench_point.c). */
void point_measure(const struct sweep *sweep, struct point *point);
/* Computes the medians of what was measured. */
void point_conclude(struct point *point);
double point_flops_per_token(const struct sweep *sweep, const struct point *point);

/* Run all rounds of all points; return early if interrupted (embed_bench_rounds.c). */
void rounds_plan(struct sweep *sweep);
void rounds_run(struct sweep *sweep);
void rounds_again(struct sweep *sweep, struct point *const *points, size_t count);

/* Returns the signal that asked to stop, or 0. */
int sweep_signal(void);

/* Measures points again that are far off their neighbours, and notes which stage caused it
 * (embed_bench_outliers.c). */
void outliers_check(struct sweep *sweep);

void recommend(struct recommendation *recommendation, const struct sweep *sweep);
/* Writes the profile of the model. Returns false after reporting an error. */
bool profile_write(const char *path, const struct sweep *sweep,
                   const struct recommendation *recommendation);

/* Returns NULL if gnuplot is installed, otherwise an error message. */
const char *plot_objection(void);
bool plot_write(const char *path, const struct sweep *sweep);

/* Write a file that appears under its name only when complete (embed_bench_output.c). All output
 * functions report their errors. */
FILE *output_begin(const char *path);
bool output_commit(FILE *file, const char *path);
/* The same for a file that another program writes: output_name gives the temporary name to use,
 * output_rename publishes the complete file, output_drop deletes it. */
bool output_name(char *out, size_t capacity, const char *path);
bool output_rename(const char *path);
void output_drop(const char *path);
/* Checks that a file of that name can be created. */
bool output_check(const char *option, const char *path);

#endif
