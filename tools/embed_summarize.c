/* embed_summarize.c - embed summarize: a summary for each document
 *
 * Documents are read in blocks of up to about 4 MiB, so memory use does not depend on the length of
 * the file. The library works on several documents of a block at a time and calls back as each one
 * ends. A summary that is next in the order of the file is written at once; the others are held
 * back until then.
 */
#include "embed_tool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARNINGS_NOT_FINITE 10

/* A document's line of output. */
typedef struct output_line {
    char *bytes; /* NULL: not finished, or already written */
    size_t length;
} output_line;

typedef struct summarizing {
    const tool_settings *settings;
    embed_model *model;
    embed_instance *instance;
    embed_generate_options options;
    line_reader reader;
    tool_output output;
    tool_progress progress;
    line_block *block;
    uint64_t block_start; /* bytes of the file before it */
    jsonl_values *values;
    output_line *lines; /* (LINES_MAX), one per document of the block */
    size_t next;        /* index in the block of the next line to write */
    size_t done;        /* documents of the block */
    uint64_t documents; /* done; the next three count some of these */
    uint64_t truncated;
    uint64_t invalid;
    uint64_t not_finite;
    bool failed; /* writing failed */
} summarizing;

/* ---- lines of output ----------------------------------------------------------------------- */

/* Returns the summary on one line: line feeds and carriage returns become spaces. */
static output_line plain_line(const embed_generated *summary, bool with_score)
{
    enum { SCORE_BYTES = 32 };
    char *bytes = tool_resize(NULL, summary->length + SCORE_BYTES, 1);
    size_t n = with_score ? (size_t)sprintf(bytes, "%.6g\t", summary->score) : 0;
    for (size_t i = 0; i < summary->length; i++) {
        char c = summary->text[i];
        bytes[n++] = c == '\n' || c == '\r' ? ' ' : c;
    }
    bytes[n++] = '\n';
    return (output_line){bytes, n};
}

/* Writes the text as a JSON string: at most 6 bytes for each of its bytes, plus the quotes. Returns
 * the end. */
static char *put_json_string(char *out, const char *text, size_t length)
{
    *out++ = '"';
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20) {
            out += sprintf(out, "\\u%04x", c);
        } else {
            if (c == '"' || c == '\\') *out++ = '\\';
            *out++ = (char)c;
        }
    }
    *out++ = '"';
    return out;
}

static output_line json_line(const embed_generated *summary, uint64_t index)
{
    enum { MARGIN = 256 }; /* for everything but the text */
    char *bytes = tool_resize(NULL, MARGIN + 6 * summary->length, 1), *p = bytes;
    p += sprintf(p, "{\"index\":%ju,\"summary\":", (uintmax_t)index);
    if (summary->status == EMBED_OK)
        p = put_json_string(p, summary->text, summary->length);
    else
        p += sprintf(p, "null");
    p += isfinite(summary->score) ? sprintf(p, ",\"score\":%.6g", summary->score)
                                  : sprintf(p, ",\"score\":null"); /* JSON has no NaN */
    p += sprintf(p, ",\"tokens\":%zu,\"source_tokens\":%zu,\"pieces\":%zu,\"truncated\":%s}\n",
                 summary->tokens, summary->source_tokens, summary->pieces,
                 summary->truncated ? "true" : "false");
    return (output_line){bytes, (size_t)(p - bytes)};
}

/* ---- the work ------------------------------------------------------------------------------ */

static void count_summary(summarizing *s, const embed_generated *summary, uint64_t number)
{
    s->documents++;
    s->done++;
    s->truncated += summary->truncated != 0;
    s->invalid += summary->invalid_bytes > 0;
    if (summary->status == EMBED_OK) return;
    if (++s->not_finite <= WARNINGS_NOT_FINITE)
        tool_log(EMBED_LOG_WARNING, "%s: document %ju: a score is not finite", s->reader.name,
                 (uintmax_t)number);
}

/* Writes all lines that do not wait for an earlier document's. */
static bool write_lines(summarizing *s)
{
    bool written = true;
    for (; s->next < s->block->count && s->lines[s->next].bytes != NULL; s->next++) {
        output_line *line = &s->lines[s->next];
        written = written && output_write(&s->output, line->bytes, line->length);
        free(line->bytes);
        line->bytes = NULL;
    }
    return written && output_flush(&s->output);
}

/* Called by the library when a summary ends. Returns 0 to cancel the rest. */
static int on_summary(void *user, size_t i, const embed_generated *summary)
{
    summarizing *s = user;
    const line_block *block = s->block;
    uint64_t index = block->first + i;
    s->lines[i] = s->settings->jsonl_field != NULL ? json_line(summary, index)
                                                   : plain_line(summary, s->settings->scores);
    count_summary(s, summary, index + 1);
    s->failed = !write_lines(s);
    if (s->failed) return 0; /* the rest of the block may take hours */
    uint64_t block_bytes = block->bytes - s->block_start;
    progress_add(&s->progress, 1, summary->tokens,
                 s->block_start + block_bytes * s->done / block->count);
    return 1;
}

/* Reads the next block of documents; its count is 0 at the end. */
static bool read_block(summarizing *s)
{
    const char *field = s->settings->jsonl_field;
    s->block_start = s->reader.bytes;
    s->next = 0;
    s->done = 0;
    if (s->settings->document) {
        s->block->count = 0;
        return s->documents > 0 || lines_rest(&s->reader, s->block);
    }
    jsonl_release(s->values);
    return lines_next(&s->reader, s->block, LINES_MAX) &&
           (field == NULL || jsonl_extract(s->values, s->block, field, s->reader.name));
}

/* Reports the library's error. In "text 0: why", the number counts from the block's first document
 * and is replaced by the document's number in the file. */
static bool text_error(const summarizing *s)
{
    size_t i;
    int why = 0;
    const char *message = embed_error_message();
    if (sscanf(message, "text %zu: %n", &i, &why) != 1 || why == 0) return tool_library_error();
    return tool_error("%s: document %ju: %s", s->reader.name,
                      (uintmax_t)(s->block->first + i + 1), message + why);
}

static bool summarize_block(summarizing *s)
{
    embed_strings strings = EMBED_STRINGS_INIT;
    embed_status status = embed_instance_generate(s->instance, s->block->texts, s->block->count,
                                                  &s->options, &strings);
    embed_strings_free(&strings);
    if (s->failed) return false; /* already reported */
    if (status != EMBED_OK && status != EMBED_NOT_FINITE)
        return text_error(s);
    return true;
}

static bool summarize_all(summarizing *s)
{
    progress_start(&s->progress, (tool_progress_mode)s->settings->progress, "documents",
                   &s->reader);
    for (;;) {
        if (!read_block(s)) return false;
        if (s->block->count == 0) break;
        if (!summarize_block(s)) return false;
    }
    progress_finish(&s->progress);
    return output_commit(&s->output);
}

/* ---- the command --------------------------------------------------------------------------- */

/* Sets the options: the folder's settings, overridden by the command line's. */
static bool set_options(summarizing *s)
{
    const tool_settings *settings = s->settings;
    embed_generate_options *options = &s->options;
    *options = (embed_generate_options)EMBED_GENERATE_OPTIONS_INIT;
    if (embed_model_get_generation(s->model, options) != EMBED_OK)
        return tool_library_error();
    options->max_tokens = settings->max_tokens;
    options->long_texts = (embed_long_text)settings->long_texts;
    if (settings->num_beams > 0) options->num_beams = (unsigned)settings->num_beams;
    if (settings->min_length.given) options->min_length = settings->min_length.value;
    if (settings->max_length > 0) options->max_length = settings->max_length;
    if (settings->length_penalty.given)
        options->length_penalty = settings->length_penalty.value;
    if (settings->no_repeat_ngram_size.given)
        options->no_repeat_ngram_size = settings->no_repeat_ngram_size.value;
    if (settings->early_stopping > 0)
        options->early_stopping = (embed_early_stopping)(settings->early_stopping - 1);
    options->done = on_summary;
    options->user = s;
    return true;
}

/* Opens the files before the model, so that a mistyped name is reported without waiting for it. */
static bool open_all(summarizing *s)
{
    const tool_settings *settings = s->settings;
    embed_strings none = EMBED_STRINGS_INIT;
    if (!lines_open(&s->reader, settings->operand_count > 0 ? settings->operands[0] : NULL) ||
        !files_are_distinct(&s->reader, settings->output, NULL) ||
        !output_open(&s->output, settings->output) || !tool_open_model(&s->model, settings) ||
        !set_options(s) || !tool_create_instance(&s->instance, s->model, settings))
        return false;
    /* Without texts this only checks the options: the first document may be a long time coming. */
    if (embed_instance_generate(s->instance, NULL, 0, &s->options, &none) != EMBED_OK)
        return tool_library_error();
    embed_strings_free(&none);
    s->block = tool_zeroed(sizeof *s->block);
    s->values = tool_zeroed(sizeof *s->values);
    s->lines = tool_zeroed(LINES_MAX * sizeof *s->lines);
    return true;
}

static void report(const summarizing *s)
{
    if (s->truncated > 0)
        tool_log(EMBED_LOG_WARNING,
                 "%ju of %ju documents were longer than the limit and were cut; --long split "
                 "summarizes all of them",
                 (uintmax_t)s->truncated, (uintmax_t)s->documents);
    if (s->invalid > 0)
        tool_log(EMBED_LOG_INFO, "%ju of %ju documents had bytes that are not UTF-8",
                 (uintmax_t)s->invalid, (uintmax_t)s->documents);
    if (s->not_finite > 0)
        tool_error("%s: %ju of %ju summaries are missing: their scores are not finite",
                   s->reader.name, (uintmax_t)s->not_finite, (uintmax_t)s->documents);
}

/* Releases everything, including lines held back when a failure ended the run. */
static void release(summarizing *s)
{
    for (size_t i = 0; s->lines != NULL && i < LINES_MAX; i++) free(s->lines[i].bytes);
    free(s->lines);
    if (s->values != NULL) jsonl_release(s->values);
    free(s->values);
    if (s->block != NULL) lines_release(s->block);
    free(s->block);
    output_close(&s->output);
    lines_close(&s->reader);
    embed_instance_destroy(s->instance);
    embed_model_close(s->model);
}

int command_summarize(const tool_settings *settings)
{
    if (settings->document && settings->jsonl_field != NULL) {
        tool_error("summarize: --document and --jsonl cannot be combined");
        return EXIT_WRONG_CALL;
    }
    summarizing s = {.settings = settings, .reader = {.fd = -1}, .output = {.fd = -1}};
    bool done = open_all(&s) && summarize_all(&s);
    if (done) report(&s);
    done = done && s.not_finite == 0;
    release(&s);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
