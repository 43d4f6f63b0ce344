/* embed_tool.h - what the files of the command line tool share
 *
 * A function that can fail says why in one line on stderr and returns false; its callers only
 * clean up, and the command returns 1.
 */
#ifndef TOOLS_EMBED_TOOL_H
#define TOOLS_EMBED_TOOL_H

#include <embed.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define EXIT_WRONG_CALL   2
#define EXIT_NO_REFERENCE 3 /* of verify: nothing is known of this model */

/* ---- what the command line says (embed_options.c) ------------------------------------------
 */

typedef enum tool_format {
    FORMAT_BY_NAME = 0, /* npy for an output named .npy, else text */
    FORMAT_NPY,
    FORMAT_TEXT,
    FORMAT_JSONL,
    FORMAT_F32,
    FORMAT_F16
} tool_format;

typedef enum tool_progress_mode {
    PROGRESS_AUTO = 0,
    PROGRESS_ALWAYS,
    PROGRESS_NEVER
} tool_progress_mode;

/* Numbers of which 0 is one to ask for. */
typedef struct tool_count {
    bool given;
    size_t value;
} tool_count;

typedef struct tool_real {
    bool given;
    double value;
} tool_real;

/* All zero: the defaults. Numbers are 0 where not given. */
typedef struct tool_settings {
    const char *model;
    const char *output;
    const char *jsonl_field;
    const char *prompt;
    const char *metadata;
    const char *reference;
    int format;    /* tool_format */
    int progress;  /* tool_progress_mode */
    int log_level; /* embed_log_level; 0: warnings */
    int dtype;     /* embed_dtype */
    embed_device device;
    int device_index;
    size_t threads;
    size_t batch_tokens;
    size_t max_tokens;
    size_t dimensions;
    size_t device_memory; /* bytes; 0: not asked */
    size_t documents;
    size_t num_beams;
    size_t max_length;
    tool_count min_length;
    tool_count no_repeat_ngram_size;
    tool_real length_penalty;
    int early_stopping; /* embed_early_stopping + 1; 0: not given */
    int long_texts;     /* embed_long_text */
    bool document;
    bool scores;
    bool no_normalize;
    bool resume;
    bool json;
    bool help;
    char **operands; /* what is no option; points into argv */
    size_t operand_count;
} tool_settings;

/* Which commands take an option: a bit each. */
enum {
    TAKEN_BY_ENCODE = 1,
    TAKEN_BY_TOKENIZE = 2,
    TAKEN_BY_SIMILARITY = 4,
    TAKEN_BY_INFO = 8,
    TAKEN_BY_DEVICES = 16,
    TAKEN_BY_SUMMARIZE = 32,
    TAKEN_BY_VERIFY = 64
};

typedef struct tool_command {
    const char *name;
    int (*run)(const tool_settings *); /* returns the exit status */
    unsigned bit;
    const char *usage;   /* what follows "embed NAME" */
    const char *summary; /* one line for the list of commands */
    const char *details; /* a paragraph for `embed help NAME` */
    const char *example;
    size_t max_operands;
} tool_command;

/* Reads what follows the command's name. False: the call was wrong, and has been told so. */
bool options_parse(tool_settings *settings, const tool_command *command, int count,
                   char **words);

/* The option that sets the library's argument name[0..length); NULL: none does. */
const char *option_of_argument(const char *name, size_t length);

/* One line for each option of the command, on stdout. */
void options_print(const tool_command *command);

/* "f32", ...: as --dtype takes it; "npy", ...: as --format does. */
const char *dtype_word(embed_dtype dtype);
const char *format_word(tool_format format);

/* ---- messages and other chores (embed_common.c) --------------------------------------------
 */

/* "embed: ...": the first one that comes; what follows from it is not told. Returns false, so that
 * callers can `return tool_error(...)`. */
bool tool_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The library's error, about options where they were the cause. Returns false. */
bool tool_library_error(void);

/* A warning, where there are any. */
void tool_tell_truncated(uint64_t truncated, uint64_t texts);

/* Bytes of the control character (U+0000 to U+001F, U+007F to U+009F) at text[0..length); 0: it is
 * none. */
size_t control_bytes(const char *text, size_t length);

/* "embed: ...": what must be known and is no error. */
void tool_notice(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "embed: warning: ...", where the level is wanted. */
void tool_log(embed_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Which levels are wanted, of the library's log too. 0: up to warnings. */
void tool_log_start(int level);

/* A bar stands on the terminal's last line: messages must clear it first. */
void tool_bar_shown(bool shown);

/* The text of an error, in place of stderr. */
#define TOOL_MESSAGE_MAX 2048

/* Errors of this thread go to message[TOOL_MESSAGE_MAX]; NULL: to stderr again. */
void tool_hold_errors(char *message);

/* As realloc for count * size bytes; the program ends with a message where there are none. */
void *tool_resize(void *old, size_t count, size_t size);

/* The same for a new block of zeros. */
void *tool_zeroed(size_t bytes);

/* Bytes as a number: different ones have different numbers, but for one case in 2^64. In pieces as
 * they come. All zero: no bytes yet. */
typedef struct tool_hash {
    uint64_t state;
    uint64_t bytes;
    uint64_t part; /* of the next eight bytes, what there is */
} tool_hash;

void hash_add(tool_hash *hash, const void *bytes, size_t count);
uint64_t hash_value(const tool_hash *hash);

/* Writes what stdio still holds for stdout, and tells whether all of it was taken. */
bool tool_flush_stdout(void);

/* On failure *model is NULL. */
bool tool_open_model(embed_model **model, const tool_settings *settings);
bool tool_create_instance(embed_instance **instance, embed_model *model,
                          const tool_settings *settings);

/* Floats in a row: the model's width, or what --dimensions leaves of it. */
bool tool_row_width(size_t *width, const embed_model *model, const tool_settings *settings);

/* ---- lines of a file (embed_lines.c) -------------------------------------------------------
 */

#define LINES_MAX 4096 /* lines in a block */

/* Lines that were read together, in a buffer of their own: another block may be read meanwhile. */
typedef struct line_block {
    embed_text texts[LINES_MAX];
    size_t count;   /* 0: the file has ended */
    uint64_t first; /* number of its first line, from 0 */
    uint64_t bytes; /* of the file, up to the block's end, line ends included */
    uint64_t hash;  /* of these */
    bool whole;     /* its last line has a line end */
    char *buffer;
    size_t capacity;
} line_block;

typedef struct line_reader {
    const char *name; /* for messages */
    int fd;
    int stop; /* a pipe whose other end is closed when no more lines are wanted; -1: none */
    bool ended;
    char *buffer; /* buffer[start..end) has been read, and is of no block yet */
    size_t start;
    size_t end;
    uint64_t lines; /* in blocks so far, and their bytes */
    uint64_t bytes;
    tool_hash hash;
    uint64_t total_bytes; /* in the file; 0: not known */
} line_reader;

/* path NULL or "-": standard input. lines_close may follow in either case. */
bool lines_open(line_reader *reader, const char *path);

/* Reads the next block, of up to `max` lines (at most LINES_MAX), without their '\n'. */
bool lines_next(line_reader *reader, line_block *block, size_t max);

/* Reads all that is left as one text, without its last '\n'. */
bool lines_rest(line_reader *reader, line_block *block);

/* Passes over that many bytes and lines of the file, which begins there. Where the file ends
 * before, reader->bytes says where. */
bool lines_skip(line_reader *reader, uint64_t bytes, uint64_t lines);

void lines_close(line_reader *reader);
void lines_release(line_block *block);

/* ---- a field of JSON lines (embed_jsonl.c) -------------------------------------------------
 */

/* Holds the strings that a block's texts point to. All zero: none. */
typedef struct jsonl_values {
    struct json_t *strings[LINES_MAX];
    size_t count;
} jsonl_values;

/* Replaces each text of the block, a JSON object, by its string `field`. */
bool jsonl_extract(jsonl_values *values, line_block *block, const char *field, const char *file);
void jsonl_release(jsonl_values *values);

/* ---- output (embed_output.c) ---------------------------------------------------------------
 */

/* Where rows go. A regular file is written under another name in the same folder and renamed at
 * the end, so that a file of the given name is always whole. */
typedef struct tool_output {
    const char *name; /* for messages */
    int fd;
    char *target;        /* NULL: written in place */
    const char *written; /* the file that becomes the target */
    off_t start;  /* where in the file the output begins; -1: cannot be rewound */
    char *buffer;
    size_t used;
} tool_output;

/* path NULL or "-": standard output. */
bool output_open(tool_output *output, const char *path);

/* The file that a path leads to: what a link points to is replaced, not the link. NULL: failed. */
char *output_target(const char *path);

/* An output that becomes `target` from the file `written`, which stays whatever happens. */
bool output_open_kept(tool_output *output, const char *target, const char *written);

/* Goes on after that many bytes of such a file, and cuts it there. */
bool output_rewind(tool_output *output, uint64_t bytes);

bool output_write(tool_output *output, const void *bytes, size_t count);

bool output_flush(tool_output *output);

/* Overwrites the output's first bytes; everything written before is flushed. */
bool output_patch(tool_output *output, const void *bytes, size_t count);

/* What was written is on the disk. */
bool output_sync(tool_output *output);

/* All is written: makes the file whole, durable and visible under its name. */
bool output_commit(tool_output *output);

/* Frees what is held; without output_commit before, nothing of the given name is left or
 * changed. */
void output_close(tool_output *output);

/* As many of the bytes from `offset` on as there are, up to `count`; -1: failed, as errno says. */
ssize_t tool_read_at(int fd, void *out, size_t count, off_t offset);

/* fsync, for a file and for the folder that holds one: a new name in it is then on the disk. Some
 * file systems cannot promise the latter, which is no error. */
bool tool_sync_file(int fd);
void tool_sync_folder(const char *path);

/* ---- which files (embed_distinct.c) --------------------------------------------------------
 */

/* NULL or "-", where a file is named: standard input or output. */
bool is_standard(const char *path);

/* Whether the file at `path` is what is read. Devices and pipes never are. */
bool is_input(const line_reader *reader, const char *path);

/* Whether no two of what is read, the output and the metadata (NULL: none) are one file. */
bool files_are_distinct(const line_reader *reader, const char *output, const char *metadata);

/* ---- rows (embed_rows.c) and the numbers in them (embed_float.c) ---------------------------
 */

/* The header of an npy file: room for any number of rows, and a multiple of 64 bytes. */
#define NPY_HEADER 128

typedef struct row_writer {
    tool_output *output;
    tool_format format;
    size_t width; /* floats in a row */
    uint64_t rows;
    tool_hash hash; /* of the rows' bytes */
    char *scratch; /* one row, formatted */
} row_writer;

bool rows_start(row_writer *writer, tool_output *output, tool_format format, size_t width);
/* After `rows` rows, whose bytes have been hashed. */
void rows_go_on(row_writer *writer, tool_output *output, tool_format format, size_t width,
                uint64_t rows, const tool_hash *hash);

/* What stands before so many rows, into out[NPY_HEADER]; returns its length. */
size_t rows_header(char *out, tool_format format, uint64_t rows, size_t width);

bool rows_write(row_writer *writer, const float *row, const embed_item *item);
bool rows_finish(row_writer *writer); /* after the last row */
void rows_close(row_writer *writer);

/* ---- what made the rows (embed_metadata.c) -------------------------------------------------
 */

/* NULL: failed. */
struct json_t *metadata_describe(embed_model *model, const tool_settings *settings,
                                 tool_format format, size_t width);
/* As a file that is whole or not there. */
bool metadata_write(struct json_t *facts, const char *path, uint64_t rows);
void metadata_release(struct json_t *facts); /* NULL is fine */

#define FLOAT_TEXT_MAX 16

/* What printf's "%.9g" gives, without its NUL; returns the length, below FLOAT_TEXT_MAX. */
size_t float_text(char *out, float value);

/* The nearest IEEE half, ties to even. */
uint16_t float_half(float value);

/* ---- stages of a job that work at the same time (embed_pipeline.c) -------------------------
 */

/* Blocks that go round: one read, one computed and one written at a time. */
#define PIPELINE_BLOCKS 3
#define PIPELINE_STAGES 3

typedef enum stage_result {
    STAGE_GOES_ON,
    STAGE_ENDS, /* the first stage: there is nothing more, and nothing in this block */
    STAGE_FAILS
} stage_result;

typedef struct pipeline {
    void *job;
    /* Each gets blocks 0, 1, 2, 0, ... in turn, and the next stage gets them after it. */
    stage_result (*stages[PIPELINE_STAGES])(void *job, size_t block);
    /* Called when a stage fails, by any thread: ends a wait of the first for more to read. */
    void (*stop)(void *job);
} pipeline;

/* The second stage on this thread, the others on threads of their own, until the first ends and the
 * others have followed, or one fails: then those after it still do what is before the failure, as
 * if one thread did everything. */
bool pipeline_run(const pipeline *work);

/* ---- progress (embed_progress.c) -----------------------------------------------------------
 */

typedef struct tool_progress {
    bool shown;
    bool terminal;
    const char *unit; /* what is counted: "lines" */
    double started;   /* seconds */
    double drawn;
    uint64_t units;
    uint64_t tokens;
    uint64_t first_bytes; /* of the file, that were done before */
    uint64_t bytes;       /* that are done now, and in all; 0: not known */
    uint64_t total_bytes;
} tool_progress;

double tool_seconds(void); /* a clock that only goes forward */

/* `reader` stands where the work begins. */
void progress_start(tool_progress *progress, tool_progress_mode mode, const char *unit,
                    const line_reader *reader);
/* So many more are done, and of the file, all before that byte. */
void progress_add(tool_progress *progress, uint64_t units, uint64_t tokens, uint64_t bytes);
void progress_finish(tool_progress *progress);

/* ---- commands ------------------------------------------------------------------------------
 */

int command_encode(const tool_settings *settings);
int command_summarize(const tool_settings *settings);
int command_tokenize(const tool_settings *settings);
int command_similarity(const tool_settings *settings);
int command_info(const tool_settings *settings);
int command_verify(const tool_settings *settings);
int command_devices(const tool_settings *settings);

#endif
