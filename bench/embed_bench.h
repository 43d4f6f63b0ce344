/* embed_bench.h - what the parts of embed-bench share
 *
 * A measurement that cannot go on ends the program: die() says why in one line, and exit status 1.
 * What is wrong with a call is told before anything is opened, with exit status 2 and the usage
 * line.
 */
#ifndef BENCH_EMBED_BENCH_H
#define BENCH_EMBED_BENCH_H

#include <embed.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define EXIT_WRONG_CALL 2

/* ---- what the command line says (embed_bench_options.c) ------------------------------------ */

#define MOST_VALUES 64

/* Different numbers, the smallest first: "8", "16,32,128", "1..1024". */
struct axis {
    size_t values[MOST_VALUES];
    size_t count; /* 0: not given */
};

/* All zero: not given. */
struct settings {
    const char *folder;
    embed_device device;
    embed_dtype dtype;
    size_t threads, rounds;
    size_t batch_tokens, max_tokens;
    size_t texts, tokens;     /* in place of a file */
    size_t new_tokens, beams; /* of summaries */
    size_t workers;
    double seconds;
    struct axis batch, lengths, instances, chunks; /* of a sweep */
    const char *text, *profile, *csv, *plot;
    bool json, help;
    char **operands; /* what is no option */
    size_t operand_count;
    const char *command_line;
};

/* Which commands take an option: a bit each. */
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

/* Reads what follows the command's name. False: the call was wrong, and has been told so. */
bool options_parse(struct settings *settings, const struct command *command, int count,
                   char **words);
void options_print(const struct command *command);
const char *dtype_name(embed_dtype dtype);

/* ---- chores (embed_bench_common.c) --------------------------------------------------------- */

double now(void); /* seconds, of a clock that only goes forward */
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* "embed-bench: ..." on stderr; returns EXIT_WRONG_CALL. */
int wrong_call(const char *format, ...) __attribute__((format(printf, 1, 2)));
void check(embed_status status);
void *allocate(size_t count, size_t size); /* zeros */
double percentile(double *values, size_t count, double share); /* sorts them */

/* The model, of which *info tells. `generates`: whether the command needs one that does. */
embed_model *open_model(const struct settings *settings, bool generates, embed_model_info *info);

/* The lines of a file, the last one with or without its end; at least one. */
struct lines {
    char *bytes;
    embed_text *texts;
    size_t count, text_bytes; /* the latter without line ends */
};

struct lines read_lines(const char *path);
void free_lines(struct lines *lines);

/* Any ids do: the work depends on their number only. Below 1000 are BERT's special tokens. */
int32_t any_id(size_t i, const embed_model_info *info);

/* ---- rows (embed_bench_table.c) ------------------------------------------------------------ */

#define MOST_COLUMNS 40

/* CSV: a comment with the machine, a header, rows. JSON: the machine and each row an object on a
 * line of its own. Columns are named as the first row is written. */
struct table {
    FILE *out;
    bool json, has_header;
    size_t count; /* of this row's columns */
    char names[MOST_COLUMNS][40];
    char values[MOST_COLUMNS][200];
    bool is_text[MOST_COLUMNS];
};

void table_start(struct table *table, FILE *out, bool json);
/* "# NAME: VALUE", before the first row, or a member of an object of its own. */
void table_remark(struct table *table, const char *name, const char *value);
void table_text(struct table *table, const char *name, const char *value);
void table_number(struct table *table, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void table_none(struct table *table, const char *name); /* not known */
void table_end_row(struct table *table);
void table_model(struct table *table, const embed_model_info *info); /* device to dtype */

/* ---- the machine --------------------------------------------------------------------------- */

/* "CPU ..., cores ..., instruction sets ..., GPU ..., driver ..., libembed ..., commit ...". */
void machine_line(char *out, size_t capacity); /* (embed_bench_machine.c) */

/* FLOP per second of multiply-adds in registers, or of what takes their place in BF16 and INT8, on
 * so many threads at a time (embed_bench_roof.c); 0 where the instruction set is not known. */
double roof_flops(const char *instruction_set, unsigned threads);

/* Bytes a second that so many threads read, from a block that no cache holds: one pass over it
 * (embed_bench_bandwidth.c). */
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
