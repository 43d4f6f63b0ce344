/* embed_bench.h - what the parts of embed-bench share */
#ifndef BENCH_EMBED_BENCH_H
#define BENCH_EMBED_BENCH_H

#include <embed.h>

struct settings {
    const char *command, *folder, *file;
    embed_device device;
    embed_dtype dtype;
    unsigned threads, rounds;
    size_t batch_tokens;      /* 0: chosen for the device */
    size_t texts, tokens;     /* in place of a file */
    size_t new_tokens, beams; /* of summaries */
};

double now(void);
void die(const char *what);
void check(embed_status status);
double percentile(double *values, size_t count, double share);
const char *dtype_name(embed_dtype dtype);

/* Time of generating summaries of random documents; the model must generate. */
void summarize(const struct settings *settings, embed_model *model, const embed_model_info *info);

/* Bytes a second that so many threads read, from a block that no cache holds: one pass over it. */
double read_bandwidth(unsigned threads);

#endif
