/* embed_tool.h - declarations shared by the files of the command line tool
 *
 * A function that can fail reports why in one line on stderr and returns false; its callers only
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
#define EXIT_NO_REFERENCE 3 /* of verify: no reference for this model */

/* ---- the command line (embed_options.c) ---------------------------------------------------- */

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

/* A number for which 0 is a valid choice. */
typedef struct tool_count {
    bool given;
    size_t value;
} tool_count;

typedef struct tool_real {
    bool given;
    double value;
} tool_real;

/* All zero: the defaults. Numbers that are not given are 0. */
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
    size_t device_memory; /* bytes; 0: not given */
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
    char **operands; /* arguments that are not options; points into argv */
    size_t operand_count;
} tool_settings;

/* One bit per command, for the set of commands that take an option. */
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

/* Parses the `count` arguments after the command's name. Returns false, after a message, if they
 * are wrong. */
bool options_parse(tool_settings *settings, const tool_command *command, int count,
                   char **words);

/* Returns the option that sets the library's argument name[0..length), or NULL if none does. */
const char *option_of_argument(const char *name, size_t length);

/* Prints one line for each option of the command to stdout. */
void options_print(const tool_command *command);

/* Return the word that --dtype ("f32", ...) or --format ("npy", ...) takes. */
const char *dtype_word(embed_dtype dtype);
const char *format_word(tool_format format);

/* ---- messages and other chores (embed_common.c) -------------------------------------------- */

/* Prints "embed: ...", for the process's first error only: later ones follow from it. Returns
 * false, so that callers can `return tool_error(...)`. */
bool tool_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Reports the library's error as tool_error does, with the names of arguments replaced by those of
 * the options that set them. Returns false. */
bool tool_library_error(void);

/* Logs a warning if truncated > 0. */
void tool_tell_truncated(uint64_t truncated, uint64_t texts);

/* Returns the number of bytes of the control character (U+0000 to U+001F, U+007F to U+009F) at
 * text[0..length), or 0 if there is none. */
size_t control_bytes(const char *text, size_t length);

/* Prints a file's text to stdout, with control characters as '?'. */
void tool_print_safely(const char *text);

/* Prints "embed: ..." at any log level, for a message that is not an error. */
void tool_notice(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints "embed: warning: ..." if the level is enabled. */
void tool_log(embed_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Enables log levels up to `level` (0: warnings), for the library's log too. */
void tool_log_start(int level);

/* Says whether the progress bar is on the terminal's last line; messages then clear it first. */
void tool_bar_shown(bool shown);

/* Size of the buffer for a message, NUL included. */
#define TOOL_MESSAGE_MAX 2048

/* Redirects this thread's errors to message[TOOL_MESSAGE_MAX], or back to stderr if it is NULL. */
void tool_hold_errors(char *message);

/* As realloc for count * size bytes. If memory is short, the program exits with a message. */
void *tool_resize(void *old, size_t count, size_t size);

/* As calloc, with the same handling of failure. */
void *tool_zeroed(size_t bytes);

/* A 64-bit hash of a byte stream that is added in pieces; two streams collide with probability
 * 2^-64. All zero: empty. */
typedef struct tool_hash {
    uint64_t state;
    uint64_t bytes;
    uint64_t part; /* the last bytes % 8 bytes, not in `state` yet */
} tool_hash;

void hash_add(tool_hash *hash, const void *bytes, size_t count);
uint64_t hash_value(const tool_hash *hash);

/* Flushes stdout. Returns false if any output to it failed, with a message unless its reader is
 * gone. */
bool tool_flush_stdout(void);

/* Sets *model to NULL on failure. */
bool tool_open_model(embed_model **model, const tool_settings *settings);
bool tool_create_instance(embed_instance **instance, embed_model *model,
                          const tool_settings *settings);

/* Sets *width to the number of floats in a row: the model's width, or --dimensions if given. */
bool tool_row_width(size_t *width, const embed_model *model, const tool_settings *settings);

/* ---- lines of a file (embed_lines.c) ------------------------------------------------------- */

#define LINES_MAX 4096 /* lines in a block */

/* Lines that were read together. The block owns its buffer, so another can be read meanwhile. */
typedef struct line_block {
    embed_text texts[LINES_MAX];
    size_t count;   /* 0: end of file */
    uint64_t first; /* number of its first line, from 0 */
    uint64_t bytes; /* of the file up to the block's end, line ends included */
    uint64_t hash;  /* of those bytes */
    bool whole;     /* its last line has a line end */
    char *buffer;
    size_t capacity;
} line_block;

typedef struct line_reader {
    const char *name; /* for messages */
    int fd;
    int stop; /* a pipe, closed at the other end when no more lines are wanted; -1: none */
    bool ended;
    char *buffer; /* buffer[start..end) has been read but belongs to no block yet */
    size_t start;
    size_t end;
    uint64_t lines; /* in the blocks so far; `bytes` likewise */
    uint64_t bytes;
    tool_hash hash;
    uint64_t total_bytes; /* in the file; 0: unknown */
} line_reader;

/* Opens the file; path NULL or "-" is standard input. lines_close may follow, even on failure. */
bool lines_open(line_reader *reader, const char *path);

/* Reads the next block of up to `max` lines (at most LINES_MAX). Texts do not include the '\n'. */
bool lines_next(line_reader *reader, line_block *block, size_t max);

/* Reads the rest of the file as one text, without its final '\n'. */
bool lines_rest(line_reader *reader, line_block *block);

/* Skips `bytes` bytes, which are `lines` lines, from the start of the file, and hashes them. If the
 * file is shorter, reader->bytes is its length. */
bool lines_skip(line_reader *reader, uint64_t bytes, uint64_t lines);

void lines_close(line_reader *reader);
void lines_release(line_block *block);

/* ---- a field of JSON lines (embed_jsonl.c) ------------------------------------------------- */

/* Owns the strings that a block's texts point to. All zero: empty. */
typedef struct jsonl_values {
    struct json_t *strings[LINES_MAX];
    size_t count;
} jsonl_values;

/* Replaces each text of the block, a JSON object, with the object's string `field`. `file` is for
 * messages. */
bool jsonl_extract(jsonl_values *values, line_block *block, const char *field, const char *file);
void jsonl_release(jsonl_values *values);

/* ---- output (embed_output.c) --------------------------------------------------------------- */

/* An output of rows. A regular file is written under another name in the same folder and renamed at
 * the end, so that a file of the given name is always complete. */
typedef struct tool_output {
    const char *name; /* for messages */
    int fd;
    char *target;        /* NULL: the output is written in place */
    const char *written; /* the file that becomes the target */
    off_t start;  /* offset in the file where the output begins; -1: cannot seek back */
    char *buffer;
    size_t used;
} tool_output;

/* Opens the output; path NULL or "-" is standard output. */
bool output_open(tool_output *output, const char *path);

/* Returns the path with links resolved, so that a link's target is replaced and not the link
 * itself. The caller frees it. NULL: failed. */
char *output_target(const char *path);

/* Returns where writing to `path`, at which there is no file, creates one: elsewhere if it is a
 * link to a file that does not exist. The caller frees it. */
char *output_new_file(const char *path);

/* Opens an output that is written to the file `written` and renamed to `target` at the end.
 * `written` is never removed. */
bool output_open_kept(tool_output *output, const char *target, const char *written);

/* Truncates such a file to `bytes` bytes and continues writing there. */
bool output_rewind(tool_output *output, uint64_t bytes);

bool output_write(tool_output *output, const void *bytes, size_t count);

bool output_flush(tool_output *output);

/* Flushes the output, then overwrites its first `count` bytes. */
bool output_patch(tool_output *output, const void *bytes, size_t count);

/* Flushes the output and forces it to the disk. */
bool output_sync(tool_output *output);

/* Completes the output: flushes and closes it. A file that is written under another name is first
 * forced to the disk, then renamed, durably. */
bool output_commit(tool_output *output);

/* Releases the output. Without output_commit before, a file of the given name is neither created
 * nor changed, unless it is written in place. */
void output_close(tool_output *output);

/* Reads up to `count` bytes at `offset`; fewer only at the end of the file. Returns their number,
 * or -1 with errno set. */
ssize_t tool_read_at(int fd, void *out, size_t count, off_t offset);

/* fsync of a file, and of the folder that holds the file `path`, which makes a new name in it
 * durable. File systems that cannot do so are not an error. */
bool tool_sync_file(int fd);
void tool_sync_folder(const char *path);

/* ---- file identity (embed_distinct.c) ------------------------------------------------------ */

/* Returns whether a file argument means standard input or output: NULL or "-". */
bool is_standard(const char *path);

/* Returns whether the file at `path` is the reader's input. Always false for devices and pipes. */
bool is_input(const line_reader *reader, const char *path);

/* Returns whether the input, the output and the metadata (NULL: none) are different files; if not,
 * after an error message. */
bool files_are_distinct(const line_reader *reader, const char *output, const char *metadata);

/* ---- rows (embed_rows.c) and the numbers in them (embed_float.c) --------------------------- */

/* Bytes in the header of an npy file: room for any number of rows, and a multiple of 64. */
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
/* As rows_start, but continues after `rows` rows, whose bytes are in `hash`. */
void rows_go_on(row_writer *writer, tool_output *output, tool_format format, size_t width,
                uint64_t rows, const tool_hash *hash);

/* Writes the header for `rows` rows to out[NPY_HEADER]. Returns its length; 0: the format has
 * none. */
size_t rows_header(char *out, tool_format format, uint64_t rows, size_t width);

bool rows_write(row_writer *writer, const float *row, const embed_item *item);
bool rows_finish(row_writer *writer); /* after the last row */
void rows_close(row_writer *writer);

/* ---- metadata (embed_metadata.c) ----------------------------------------------------------- */

/* Describes what produces the rows. Returns NULL on failure; release with metadata_release. */
struct json_t *metadata_describe(embed_model *model, const tool_settings *settings,
                                 tool_format format, size_t width);
/* Adds the number of rows and writes the line to `path`. A file is replaced as a whole or not at
 * all. */
bool metadata_write(struct json_t *facts, const char *path, uint64_t rows);
void metadata_release(struct json_t *facts); /* NULL is fine */

#define FLOAT_TEXT_MAX 16

/* Writes what printf's "%.9g" gives, without a NUL. Returns the length, below FLOAT_TEXT_MAX. */
size_t float_text(char *out, float value);

/* Returns the bits of the nearest IEEE half, ties to even. */
uint16_t float_half(float value);

/* ---- concurrent stages of a job (embed_pipeline.c) ----------------------------------------- */

/* Blocks in circulation: one being read, one computed and one written. */
#define PIPELINE_BLOCKS 3
#define PIPELINE_STAGES 3

typedef enum stage_result {
    STAGE_GOES_ON,
    STAGE_ENDS, /* first stage only: no more input; this block is empty */
    STAGE_FAILS
} stage_result;

typedef struct pipeline {
    void *job;
    /* Each stage gets blocks 0, 1, 2, 0, ... in turn, after the stage before it is done with
     * them. */
    stage_result (*stages[PIPELINE_STAGES])(void *job, size_t block);
    /* Called on any thread when a stage fails: ends the first stage's wait for input. */
    void (*stop)(void *job);
} pipeline;

/* Runs the second stage on this thread and the others on threads of their own, until the first
 * stage ends and the others have finished its blocks, or one fails. On failure, later stages still
 * process the blocks before it, as if one thread did everything. */
bool pipeline_run(const pipeline *work);

/* ---- progress (embed_progress.c) ----------------------------------------------------------- */

typedef struct tool_progress {
    bool shown;
    bool terminal;
    const char *unit; /* what is counted: "lines" */
    double started;   /* seconds */
    double drawn;
    uint64_t units;
    uint64_t tokens;
    uint64_t first_bytes; /* of the file, done by an earlier run */
    uint64_t bytes;       /* done so far; total_bytes: in the file, 0 if unknown */
    uint64_t total_bytes;
} tool_progress;

double tool_seconds(void); /* a monotonic clock */

/* Starts the progress display; `reader` is positioned where the work begins. */
void progress_start(tool_progress *progress, tool_progress_mode mode, const char *unit,
                    const line_reader *reader);
/* Adds the units and tokens just done; `bytes` bytes of the file are now done in total. */
void progress_add(tool_progress *progress, uint64_t units, uint64_t tokens, uint64_t bytes);
void progress_finish(tool_progress *progress);

/* ---- commands ------------------------------------------------------------------------------ */

int command_encode(const tool_settings *settings);
int command_summarize(const tool_settings *settings);
int command_tokenize(const tool_settings *settings);
int command_similarity(const tool_settings *settings);
int command_info(const tool_settings *settings);
int command_verify(const tool_settings *settings);
int command_devices(const tool_settings *settings);

#endif
