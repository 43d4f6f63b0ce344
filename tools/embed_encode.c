/* embed_encode.c - embed encode: a row for each line
 *
 * Blocks of lines are read, encoded and written by one thread each (embed_pipeline.c), so memory
 * use does not depend on the length of the file. A row does not depend on its block (see embed.h),
 * so blocks can grow from 64 lines to about half a second of work: the first rows come soon, and
 * the progress bar keeps moving.
 */
#include "embed_resume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_BLOCK         64
#define BLOCK_SECONDS       0.25 /* if a full block takes less, the next are twice as large */
#define WARNINGS_NOT_FINITE 10

/* The unit of work that the stages pass on. */
typedef struct encode_block {
    line_block lines;
    jsonl_values values;
    float *rows;
    size_t capacity; /* of rows, in floats */
    embed_item items[LINES_MAX];
} encode_block;

typedef struct encoding {
    const tool_settings *settings;
    embed_model *model;
    embed_instance *instance;
    embed_encode_options options;
    size_t width; /* floats in a row */
    line_reader reader;
    tool_output output;
    row_writer writer;
    tool_progress progress;
    encode_block *blocks[PIPELINE_BLOCKS];
    atomic_size_t wanted; /* lines in the next block, at most */
    atomic_int stop;      /* the other end of reader.stop; -1: closed */
    checkpoint done;      /* what has been written so far */
    resume resume;        /* used only with --resume */
    struct json_t *metadata; /* used only with --metadata; else NULL */
} encoding;

static tool_format format_of(const tool_settings *settings)
{
    if (settings->format != FORMAT_BY_NAME) return (tool_format)settings->format;
    size_t length = settings->output != NULL ? strlen(settings->output) : 0;
    bool npy = length >= 4 && strcmp(settings->output + length - 4, ".npy") == 0;
    return npy ? FORMAT_NPY : FORMAT_TEXT;
}

/* Warns if the output's name ends in another format's name, which would mislead readers. */
static void check_ending(const tool_settings *settings)
{
    const char *dot = is_standard(settings->output) ? NULL : strrchr(settings->output, '.');
    tool_format written = format_of(settings);
    for (int named = FORMAT_NPY; dot != NULL && named <= FORMAT_F16; named++) {
        if (named != (int)written && strcmp(dot + 1, format_word((tool_format)named)) == 0)
            tool_log(EMBED_LOG_WARNING, "%s: rows are written as %s despite the name; see --format",
                     settings->output, format_word(written));
    }
}

/* Called before the model is opened, so that a mistyped name is reported without that wait. */
static bool open_files(encoding *e)
{
    const tool_settings *settings = e->settings;
    if (!lines_open(&e->reader, settings->operand_count > 0 ? settings->operands[0] : NULL) ||
        !files_are_distinct(&e->reader, settings->output, settings->metadata))
        return false;
    if (!settings->resume) return output_open(&e->output, settings->output);
    return resume_open(&e->resume, settings->output) &&
           files_are_distinct(&e->reader, e->resume.partial, settings->metadata) &&
           files_are_distinct(&e->reader, e->resume.journal.path, settings->metadata);
}

static bool open_model(encoding *e)
{
    const tool_settings *settings = e->settings;
    e->options = (embed_encode_options)EMBED_ENCODE_OPTIONS_INIT;
    e->options.max_tokens = settings->max_tokens;
    e->options.normalize = settings->no_normalize ? EMBED_OFF : EMBED_AS_MODEL;
    e->options.dimensions = settings->dimensions;
    e->options.prompt_name = settings->prompt;
    if (!tool_open_model(&e->model, settings) ||
        !tool_create_instance(&e->instance, e->model, settings) ||
        !tool_row_width(&e->width, e->model, settings))
        return false;
    /* Without texts this only checks the options: the first line may be a long time coming. */
    return embed_instance_encode(e->instance, NULL, 0, &e->options, NULL, 0, NULL) == EMBED_OK ||
           tool_library_error();
}

/* Positions the output where the rows continue with --resume, else at its start. */
static bool start_rows(encoding *e)
{
    tool_format format = format_of(e->settings);
    if (!e->settings->resume) return rows_start(&e->writer, &e->output, format, e->width);
    char *identity =
        job_identity(e->model, e->instance, &e->options, e->settings, format, e->width);
    e->resume.format = format;
    e->resume.width = e->width;
    bool started = identity != NULL && resume_start(&e->resume, &e->done, identity);
    free(identity);
    return started;
}

/* ---- the stages ---------------------------------------------------------------------------- */

static stage_result read_block(void *job, size_t number)
{
    encoding *e = job;
    encode_block *block = e->blocks[number];
    const char *field = e->settings->jsonl_field;
    jsonl_release(&block->values);
    if (!lines_next(&e->reader, &block->lines, atomic_load(&e->wanted))) return STAGE_FAILS;
    if (block->lines.count == 0) return STAGE_ENDS;
    if (field != NULL && !jsonl_extract(&block->values, &block->lines, field, e->reader.name))
        return STAGE_FAILS;
    return STAGE_GOES_ON;
}

static stage_result compute_block(void *job, size_t number)
{
    encoding *e = job;
    encode_block *block = e->blocks[number];
    size_t count = block->lines.count, floats = count * e->width;
    if (floats > block->capacity) {
        block->rows = tool_resize(block->rows, floats, sizeof *block->rows);
        block->capacity = floats;
    }
    double started = tool_seconds();
    embed_status status = embed_instance_encode(e->instance, block->lines.texts, count, &e->options,
                                                block->rows, floats, block->items);
    if (status != EMBED_OK && status != EMBED_NOT_FINITE) {
        tool_library_error();
        return STAGE_FAILS;
    }
    size_t wanted = atomic_load(&e->wanted);
    if (tool_seconds() - started < BLOCK_SECONDS && count == wanted && wanted < LINES_MAX)
        atomic_store(&e->wanted, 2 * wanted);
    return STAGE_GOES_ON;
}

static void count_item(encoding *e, const embed_item *item, uint64_t line)
{
    e->done.truncated += item->truncated != 0;
    e->done.invalid += item->invalid_bytes > 0;
    if (item->status == EMBED_OK) return;
    if (++e->done.not_finite <= WARNINGS_NOT_FINITE)
        tool_log(EMBED_LOG_WARNING, "%s: line %ju: the embedding is not finite", e->reader.name,
                 (uintmax_t)line);
}

static void note_done(encoding *e, const line_block *block)
{
    e->done.rows = e->writer.rows;
    e->done.input_bytes = block->bytes;
    e->done.input_hash = block->hash;
    e->done.output_bytes = e->writer.hash.bytes;
    e->done.output_hash = hash_value(&e->writer.hash);
}

static stage_result write_block(void *job, size_t number)
{
    encoding *e = job;
    const encode_block *block = e->blocks[number];
    uint64_t tokens = 0;
    for (size_t i = 0; i < block->lines.count; i++) {
        count_item(e, &block->items[i], block->lines.first + i + 1);
        tokens += block->items[i].tokens;
        if (!rows_write(&e->writer, block->rows + i * e->width, &block->items[i]))
            return STAGE_FAILS;
    }
    /* The reader of a pipe gets each block's rows at once; a file can wait for a full buffer. */
    if (e->output.start < 0 && !output_flush(&e->output)) return STAGE_FAILS;
    note_done(e, &block->lines);
    /* Checkpoint only after whole lines: a last line without a line feed may still grow. */
    if (e->settings->resume && block->lines.whole && !resume_checkpoint(&e->resume, &e->done))
        return STAGE_FAILS;
    progress_add(&e->progress, block->lines.count, tokens, block->lines.bytes);
    return STAGE_GOES_ON;
}

static void stop_reading(void *job)
{
    encoding *e = job;
    int end = atomic_exchange(&e->stop, -1);
    if (end >= 0) close(end);
}

static bool encode_lines(encoding *e)
{
    const pipeline work = {e, {read_block, compute_block, write_block}, stop_reading};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return tool_error("cannot create a pipe: %s", strerror(errno));
    e->reader.stop = ends[0];
    atomic_store(&e->stop, ends[1]);
    atomic_store(&e->wanted, FIRST_BLOCK);
    for (size_t i = 0; i < PIPELINE_BLOCKS; i++) e->blocks[i] = tool_zeroed(sizeof *e->blocks[i]);

    progress_start(&e->progress, (tool_progress_mode)e->settings->progress, "lines", &e->reader);
    bool done = pipeline_run(&work);
    stop_reading(e);
    close(ends[0]);
    if (!done) return false;
    progress_finish(&e->progress);
    e->done.complete = true;
    return rows_finish(&e->writer) &&
           (!e->settings->resume || resume_checkpoint(&e->resume, &e->done)) &&
           output_commit(&e->output);
}

static void release_blocks(encoding *e)
{
    for (size_t i = 0; i < PIPELINE_BLOCKS; i++) {
        encode_block *block = e->blocks[i];
        if (block == NULL) continue;
        jsonl_release(&block->values);
        lines_release(&block->lines);
        free(block->rows);
        free(block);
    }
}

/* ---- the command --------------------------------------------------------------------------- */

static void report(const encoding *e)
{
    const checkpoint *done = &e->done;
    tool_tell_truncated(done->truncated, done->rows);
    if (done->invalid > 0)
        tool_log(EMBED_LOG_INFO, "%ju of %ju texts had bytes that are not UTF-8",
                 (uintmax_t)done->invalid, (uintmax_t)done->rows);
    if (done->not_finite > 0)
        tool_error("%s: %ju of %ju embeddings are not finite", e->reader.name,
                   (uintmax_t)done->not_finite, (uintmax_t)done->rows);
}

static bool encode(encoding *e)
{
    if (!open_files(e) || !open_model(e) || !start_rows(e)) return false;
    const char *metadata = e->settings->metadata;
    if (metadata != NULL) {
        e->metadata = metadata_describe(e->model, e->settings, format_of(e->settings), e->width);
        if (e->metadata == NULL) return false;
    }
    if (e->done.complete)
        tool_notice("%s: already complete", e->settings->output);
    else if (!encode_lines(e))
        return false;
    report(e);
    if (metadata != NULL && !metadata_write(e->metadata, metadata, e->done.rows)) return false;
    return e->done.not_finite == 0;
}

int command_encode(const tool_settings *settings)
{
    encoding e = {.settings = settings, .reader = {.fd = -1}, .output = {.fd = -1}};
    e.resume = (resume){.reader = &e.reader,
                        .output = &e.output,
                        .writer = &e.writer,
                        .journal = {.fd = -1}};
    if (settings->resume && (is_standard(settings->output) || settings->operand_count == 0 ||
                             is_standard(settings->operands[0]))) {
        tool_error("encode: --resume needs an input FILE and -o FILE; standard input and standard "
                   "output cannot be resumed");
        return EXIT_WRONG_CALL;
    }
    check_ending(settings);
    bool done = encode(&e);
    metadata_release(e.metadata);
    release_blocks(&e);
    rows_close(&e.writer);
    output_close(&e.output);
    if (settings->resume) resume_close(&e.resume);
    lines_close(&e.reader);
    embed_instance_destroy(e.instance);
    embed_model_close(e.model);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
