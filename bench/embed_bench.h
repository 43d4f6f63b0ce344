/* embed_bench.h - declarations shared by the parts of embed-bench
 *
 * A measurement that fails ends the program: die() prints the reason in one line and exits with
 * status 1. Usage errors are reported before anything is opened, with the usage line and exit
 * status 2.
 */
#ifndef BENCH_EMBED_BENCH_H
#define BENCH_EMBED_BENCH_H

#include <embed.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define EXIT_WRONG_CALL 2

/* ---- the command line (embed_bench_options.c) ---------------------------------------------- */

#define MOST_VALUES 64

/* Distinct numbers in ascending order, from "8", "16,32,128" or "1..1024". */
struct axis {
    size_t values[MOST_VALUES];
    size_t count; /* 0 if not given */
};

/* A field is zero if its option was not given. */
struct settings {
    const char *folder;
    embed_device device;
    embed_dtype dtype;
    size_t threads, rounds;
    size_t batch_tokens, max_tokens;
    size_t texts, tokens;     /* instead of a file */
    size_t new_tokens, beams; /* of summaries */
    size_t workers;
    double seconds;
    struct axis batch, lengths, instances, chunks; /* of a sweep */
    const char *text, *profile, *csv, *plot;
    bool json, help;
    char **operands; /* words that are not options */
    size_t operand_count;
    const char *command_line;
};

/* The commands that take an option, one bit each. */
enum {
    OF_SWEEP = 1,
    OF_LATENCY = 2,
    OF_THROUGHPUT = 4,
    OF_LOAD = 8,
    OF_TOKENIZER = 16,
    OF_KERNELS = 32,
    OF_INSTANCES = 64,
    OF_SUMMARIZE = 128
};

struct command {
    const char *name;
    int (*run)(const struct settings *); /* returns the exit status */
    unsigned bit;
    const char *usage;   /* what follows "embed-bench NAME" */
    const char *summary; /* one line for the list of commands */
    const char *details;
    const char *example;
    size_t least_operands, most_operands;
};

/* Parses the words after the command's name. Returns false after reporting a usage error. */
bool options_parse(struct settings *settings, const struct command *command, int count,
                   char **words);
void options_print(const struct command *command);
const char *dtype_name(embed_dtype dtype);

/* ---- chores (embed_bench_common.c) --------------------------------------------------------- */

double now(void); /* seconds of a monotonic clock */
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* Prints "embed-bench: ..." to stderr and returns EXIT_WRONG_CALL. */
int wrong_call(const char *format, ...) __attribute__((format(printf, 1, 2)));
void check(embed_status status);
void *allocate(size_t count, size_t size); /* zeroed; dies if out of memory */
double percentile(double *values, size_t count, double share); /* sorts values */

/* Opens the model and fills *info. Dies if the model generates and `generates` is false, or the
 * other way round. */
embed_model *open_model(const struct settings *settings, bool generates, embed_model_info *info);

/* The lines of a file, at least one; the last line end is optional. */
struct lines {
    char *bytes;
    embed_text *texts;
    size_t count, text_bytes; /* text_bytes excludes line ends */
};

struct lines read_lines(const char *path);
void free_lines(struct lines *lines);

/* Returns an arbitrary id for position i: the work depends only on the number of ids. Avoids ids
 * below 1000, where BERT's special tokens are. */
int32_t any_id(size_t i, const embed_model_info *info);

/* ---- rows (embed_bench_table.c) ------------------------------------------------------------ */

#define MOST_COLUMNS 40

/* CSV: a comment with the machine, a header, rows. JSON: the machine and each row are objects on
 * lines of their own. The first row defines the names of the columns. */
struct table {
    FILE *out;
    bool json, has_header;
    size_t count; /* columns of the current row so far */
    char names[MOST_COLUMNS][40];
    char values[MOST_COLUMNS][200];
    bool is_text[MOST_COLUMNS];
};

void table_start(struct table *table, FILE *out, bool json);
/* Writes "# NAME: VALUE", before the first row, or in JSON an object with this one member. */
void table_remark(struct table *table, const char *name, const char *value);
void table_text(struct table *table, const char *name, const char *value);
void table_number(struct table *table, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void table_none(struct table *table, const char *name); /* no value */
void table_end_row(struct table *table);
/* Adds the columns device, instruction_set, threads and dtype. */
void table_model(struct table *table, const embed_model_info *info);

/* ---- the machine --------------------------------------------------------------------------- */

/* Writes "CPU ..., cores ..., instruction sets ..., GPU ..., driver ..., libembed ..., commit ..."
 * (embed_bench_machine.c). */
void machine_line(char *out, size_t capacity);

/* Returns the FLOP per second of multiply-adds in registers, or in BF16 and INT8 of dot products,
 * on `threads` threads at once; 0 if the instruction set is unknown (embed_bench_roof.c). */
double roof_flops(const char *instruction_set, unsigned threads);

/* Returns the bytes per second that `threads` threads read in one pass over a block larger than any
 * cache (embed_bench_bandwidth.c). */
double read_bandwidth(unsigned threads);

/* ---- commands ------------------------------------------------------------------------------ */

int command_sweep(const struct settings *settings);
int command_latency(const struct settings *settings);
int command_throughput(const struct settings *settings);
int command_load(const struct settings *settings);
int command_tokenizer(const struct settings *settings);
int command_kernels(const struct settings *settings);
int command_instances(const struct settings *settings);
int command_summarize(const struct settings *settings);

#endif
