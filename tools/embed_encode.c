/* embed_encode.c - embed encode: a row for each line
 *
 * Blocks of lines are read, encoded and written one after the other, so that memory does not
 * depend on the length of the file. A row does not depend on its block (see embed.h), which
 * leaves the blocks free to grow from 64 lines to what takes half a second: the first rows come
 * soon, and the bar moves.
 */
#include "embed_tool.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_BLOCK         64
#define BLOCK_SECONDS       0.25 /* a block that takes less is followed by a larger one */
#define WARNINGS_NOT_FINITE 10

typedef struct encoding {
    embed_model *model;
    embed_instance *instance;
    embed_encode_options options;
    size_t width; /* floats in a row */
    line_reader reader;
    jsonl_values values;
    tool_output output;
    row_writer writer;
    tool_progress progress;
    float *rows;
    size_t capacity; /* of rows, in floats */
    embed_item items[LINES_MAX];
    uint64_t truncated;
    uint64_t invalid; /* texts with bytes that are not UTF-8 */
    uint64_t not_finite;
} encoding;

static tool_format format_of(const tool_settings *settings)
{
    if (settings->format != FORMAT_BY_NAME) return (tool_format)settings->format;
    size_t length = settings->output != NULL ? strlen(settings->output) : 0;
    bool npy = length >= 4 && strcmp(settings->output + length - 4, ".npy") == 0;
    return npy ? FORMAT_NPY : FORMAT_TEXT;
}

static bool prepare(encoding *e, const tool_settings *settings)
{
    e->options = (embed_encode_options)EMBED_ENCODE_OPTIONS_INIT;
    e->options.max_tokens = settings->max_tokens;
    e->options.normalize = settings->no_normalize ? EMBED_OFF : EMBED_AS_MODEL;
    e->options.dimensions = settings->dimensions;
    e->options.prompt_name = settings->prompt;

    /* The files first: whoever mistypes a name need not wait for the weights. */
    const char *input = settings->operand_count > 0 ? settings->operands[0] : NULL;
    if (!lines_open(&e->reader, input) || !output_open(&e->output, settings->output) ||
        !tool_open_model(&e->model, &e->instance, settings) ||
        !tool_row_width(&e->width, e->model, settings))
        return false;
    /* Without texts only the options are checked: the first line may be long in coming. */
    if (embed_instance_encode(e->instance, NULL, 0, &e->options, NULL, 0, NULL) != EMBED_OK)
        return tool_error("%s", embed_error_message());
    return rows_start(&e->writer, &e->output, format_of(settings), e->width);
}

static void count_item(encoding *e, size_t i)
{
    const embed_item *item = &e->items[i];
    e->truncated += item->truncated != 0;
    e->invalid += item->invalid_bytes > 0;
    if (item->status == EMBED_OK) return;
    if (++e->not_finite <= WARNINGS_NOT_FINITE)
        tool_log(EMBED_LOG_WARNING, "%s: line %ju: the embedding is not finite", e->reader.name,
                 (uintmax_t)(e->reader.first + i + 1));
}

/* One block: from e->reader.texts to the output. */
static bool encode_block(encoding *e)
{
    size_t count = e->reader.count, floats = count * e->width;
    if (floats > e->capacity) {
        e->rows = tool_resize(e->rows, floats, sizeof *e->rows);
        e->capacity = floats;
    }
    embed_status status = embed_instance_encode(e->instance, e->reader.texts, count,
                                                &e->options, e->rows, e->capacity, e->items);
    if (status != EMBED_OK && status != EMBED_NOT_FINITE)
        return tool_error("%s", embed_error_message());

    uint64_t tokens = 0;
    for (size_t i = 0; i < count; i++) {
        count_item(e, i);
        tokens += e->items[i].tokens;
        if (!rows_write(&e->writer, e->rows + i * e->width, &e->items[i])) return false;
    }
    progress_add(&e->progress, &e->reader, tokens);
    return true;
}

static bool encode_lines(encoding *e, const tool_settings *settings)
{
    size_t block = FIRST_BLOCK;
    progress_start(&e->progress, (tool_progress_mode)settings->progress);
    for (;;) {
        if (!lines_next(&e->reader, block)) return false;
        if (e->reader.count == 0) break;
        if (settings->jsonl_field != NULL &&
            !jsonl_extract(&e->values, &e->reader, settings->jsonl_field))
            return false;
        double started = tool_seconds();
        if (!encode_block(e)) return false;
        jsonl_release(&e->values);
        /* Who reads a pipe gets the rows as they are made; a file can wait for a full buffer.
         */
        if (e->output.start < 0 && !output_flush(&e->output)) return false;
        if (tool_seconds() - started < BLOCK_SECONDS && block < LINES_MAX) block *= 2;
    }
    progress_finish(&e->progress, &e->reader);
    return rows_finish(&e->writer) && output_commit(&e->output);
}

static void report(const encoding *e)
{
    if (e->truncated > 0)
        tool_log(EMBED_LOG_INFO, "%ju of %ju texts were longer than the limit and were cut",
                 (uintmax_t)e->truncated, (uintmax_t)e->writer.rows);
    if (e->invalid > 0)
        tool_log(EMBED_LOG_INFO, "%ju of %ju texts had bytes that are not UTF-8",
                 (uintmax_t)e->invalid, (uintmax_t)e->writer.rows);
    if (e->not_finite > 0)
        tool_error("%s: %ju of %ju embeddings are not finite", e->reader.name,
                   (uintmax_t)e->not_finite, (uintmax_t)e->writer.rows);
}

int command_encode(const tool_settings *settings)
{
    encoding *e = tool_resize(NULL, 1, sizeof *e); /* too large for the stack */
    memset(e, 0, sizeof *e);
    e->reader.fd = e->output.fd = -1;
    bool done = prepare(e, settings) && encode_lines(e, settings);
    if (done) report(e);

    jsonl_release(&e->values);
    rows_close(&e->writer);
    output_close(&e->output);
    lines_close(&e->reader);
    embed_instance_destroy(e->instance);
    embed_model_close(e->model);
    free(e->rows);
    bool finite = e->not_finite == 0;
    free(e);
    return done && finite ? EXIT_SUCCESS : EXIT_FAILURE;
}
