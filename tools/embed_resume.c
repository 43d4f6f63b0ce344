/* embed_resume.c - where a job continues: checks its journal against the rows and the input */
#include "embed_resume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES ((size_t)256 << 10)

/* Checkpoints take at most 1/CHECKPOINT_SHARE of the time: an fsync takes 0.1 ms to a second. */
#define CHECKPOINT_SHARE 20

static char *with_ending(const char *path, const char *ending)
{
    char *out = tool_resize(NULL, strlen(path) + strlen(ending) + 1, 1);
    return strcat(strcpy(out, path), ending);
}

static bool look_for(bool *there, const char *path)
{
    struct stat facts;
    *there = stat(path, &facts) == 0;
    return *there || errno == ENOENT || tool_error("%s: %s", path, strerror(errno));
}

bool resume_open(resume *r, const char *path)
{
    const line_reader *reader = r->reader;
    struct stat input, facts;
    if (fstat(reader->fd, &input) != 0) return tool_error("%s: %s", reader->name, strerror(errno));
    if (!S_ISREG(input.st_mode))
        return tool_error("%s: --resume needs a regular file, which can be reread",
                          reader->name);
    if (stat(path, &facts) == 0 && !S_ISREG(facts.st_mode))
        return tool_error("%s: --resume needs a regular file, which can be continued", path);
    r->target = output_target(path);
    if (r->target == NULL) return false;
    r->partial = with_ending(r->target, ".partial");
    if (is_input(reader, r->partial))
        return tool_error("%s: is the temporary file for the rows and cannot be the input",
                          reader->name);
    char *name = with_ending(r->target, ".journal");
    if (is_input(reader, name)) { /* an empty one would be removed with the job */
        free(name);
        return tool_error("%s: is the journal of the output and cannot be the input", reader->name);
    }
    return journal_open(&r->journal, name);
}

/* ---- rows ---------------------------------------------------------------------------------- */

/* Rows that are checked against the journal. */
typedef struct row_file {
    const char *name;
    int fd;
    uint64_t start; /* offset of the rows in the file */
    uint64_t size;  /* of the file */
    tool_hash hash;     /* of the rows confirmed so far */
    uint64_t lines;     /* read from the journal */
    uint64_t confirmed; /* how many of these, from the first on, the rows agree with */
} row_file;

static bool open_rows(row_file *file, const resume *r, int fd, const char *name)
{
    struct stat facts;
    char unused[NPY_HEADER];
    if (fstat(fd, &facts) != 0) return tool_error("%s: %s", name, strerror(errno));
    *file = (row_file){.name = name,
                       .fd = fd,
                       .start = rows_header(unused, r->format, 0, r->width),
                       .size = (uint64_t)facts.st_size};
    return true;
}

/* Continues the hash of the rows up to byte `end` of them, which the file has. */
static bool hash_rows(tool_hash *hash, const row_file *file, uint64_t end)
{
    char *buffer = tool_resize(NULL, READ_BYTES, 1);
    ssize_t n = 1;
    while (n > 0 && hash->bytes < end) {
        size_t count = end - hash->bytes < READ_BYTES ? (size_t)(end - hash->bytes) : READ_BYTES;
        n = tool_read_at(file->fd, buffer, count, (off_t)(file->start + hash->bytes));
        if (n > 0) hash_add(hash, buffer, (size_t)n);
    }
    free(buffer);
    return n >= 0 || tool_error("%s: %s", file->name, strerror(errno));
}

/* Returns whether a complete output has the right header, with the number of rows, and nothing
 * after its rows. */
static bool has_right_ends(const row_file *file, const resume *r, const checkpoint *c)
{
    char expected[NPY_HEADER], found[NPY_HEADER];
    size_t length = rows_header(expected, r->format, c->rows, r->width);
    return file->size == file->start + c->output_bytes &&
           tool_read_at(file->fd, found, length, 0) == (ssize_t)length &&
           memcmp(found, expected, length) == 0;
}

/* Sets *agree to whether the rows up to this line's checkpoint match its hash. If so, file->hash
 * advances to there. */
static bool confirm(row_file *file, const resume *r, const checkpoint *line, bool *agree)
{
    *agree = file->size >= file->start && line->output_bytes <= file->size - file->start &&
             line->output_bytes >= file->hash.bytes;
    if (!*agree) return true;
    tool_hash hash = file->hash;
    if (!hash_rows(&hash, file, line->output_bytes)) return false;
    *agree = hash_value(&hash) == line->output_hash &&
             (!line->complete || has_right_ends(file, r, line));
    if (*agree) file->hash = hash;
    return true;
}

/* Sets *at to the last line of the journal up to which the rows agree with every line. The journal
 * continues after that line. */
static bool match_rows(resume *r, checkpoint *at, row_file *file)
{
    checkpoint line;
    off_t end = r->journal.end;
    bool agree = true;
    int found;
    while ((found = journal_next(&r->journal, &line)) > 0) {
        file->lines++;
        if (agree && !confirm(file, r, &line, &agree)) return false;
        if (!agree) continue;
        *at = line;
        file->confirmed++;
        end = r->journal.end;
    }
    r->journal.end = end;
    return found == 0;
}

/* ---- input --------------------------------------------------------------------------------- */

/* Checks that the input begins with the bytes that the rows were made from, and that the input of a
 * complete output has nothing after them. */
static bool match_input(const resume *r, const checkpoint *at)
{
    line_reader *reader = r->reader;
    if (!lines_skip(reader, at->input_bytes, at->rows)) return false;
    if (reader->bytes != at->input_bytes || hash_value(&reader->hash) != at->input_hash)
        return tool_error("%s: its first %ju bytes differ from those that %s was made from; remove "
                          "%s to start over",
                          reader->name, (uintmax_t)at->input_bytes, r->target, r->journal.path);
    if (at->complete && reader->total_bytes != at->input_bytes)
        return tool_error("%s: has grown beyond the %ju bytes that %s was made from; remove %s and "
                          "%s to start over",
                          reader->name, (uintmax_t)at->input_bytes, r->target, r->target,
                          r->journal.path);
    return true;
}

/* ---- start --------------------------------------------------------------------------------- */

/* Starts the job from the first line, with an empty NAME.partial. */
static bool begin(resume *r)
{
    if (!output_open_kept(r->output, r->target, r->partial) || !output_rewind(r->output, 0))
        return false;
    tool_sync_folder(r->partial);
    return rows_start(r->writer, r->output, r->format, r->width);
}

/* Continues when there is no NAME.partial; there may be a NAME. */
static bool start_without_rows(resume *r, checkpoint *at)
{
    int fd = open(r->target, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT) return tool_error("%s: %s", r->target, strerror(errno));
    if (fd < 0) {
        int found = journal_next(&r->journal, at);
        if (found > 0)
            tool_error("%s: records rows, but neither %s nor %s exists; remove it to start over",
                       r->journal.path, r->target, r->partial);
        return found == 0 && begin(r); /* no journal line: ended before its first row */
    }
    row_file file;
    bool matched = open_rows(&file, r, fd, r->target) && match_rows(r, at, &file);
    close(fd);
    if (!matched) return false;
    if (file.lines == 0) return begin(r);
    return at->complete ? match_input(r, at)
                        : tool_error("%s: does not match %s; remove both to start over",
                                     r->target, r->journal.path);
}

/* Continues at *at, where the journal and the open NAME.partial agree. */
static bool go_on(resume *r, const checkpoint *at, const row_file *file)
{
    if (!match_input(r, at) || !journal_cut(&r->journal, r->journal.end)) return false;
    if (at->complete) return output_commit(r->output);
    if (file->confirmed < file->lines)
        tool_log(EMBED_LOG_WARNING, "%s: only the first %ju rows match %s; recomputing the rest",
                 r->partial, (uintmax_t)at->rows, r->journal.path);
    tool_log(EMBED_LOG_INFO, "%s: resuming after %ju rows", r->target, (uintmax_t)at->rows);
    rows_go_on(r->writer, r->output, r->format, r->width, at->rows, &file->hash);
    return output_rewind(r->output, file->start + at->output_bytes);
}

static bool start_with_rows(resume *r, checkpoint *at)
{
    row_file file;
    if (!output_open_kept(r->output, r->target, r->partial) ||
        !open_rows(&file, r, r->output->fd, r->partial) || !match_rows(r, at, &file))
        return false;
    if (file.lines == 0)
        return output_rewind(r->output, 0) &&
               rows_start(r->writer, r->output, r->format, r->width);
    if (file.confirmed == 0)
        return tool_error("%s: its rows do not match %s; remove both to start over", r->partial,
                          r->journal.path);
    return go_on(r, at, &file);
}

bool resume_start(resume *r, checkpoint *at, const char *identity)
{
    *at = (checkpoint){0};
    bool has_rows, has_output;
    if (!look_for(&has_rows, r->partial) || !look_for(&has_output, r->target)) return false;
    switch (journal_read_head(&r->journal, identity)) {
    case JOURNAL_FAILED: return false;
    case JOURNAL_OF_THIS_JOB: return has_rows ? start_with_rows(r, at) : start_without_rows(r, at);
    case JOURNAL_NEW: break;
    }
    /* A journal whose head was cut has no rows yet. */
    if (has_rows && !r->journal.created)
        return tool_error("%s: is truncated, so %s cannot be resumed; remove both to start over",
                          r->journal.path, r->partial);
    if (has_output)
        return tool_error("%s: exists without a journal (%s is missing or empty); remove it or "
                          "leave out --resume",
                          r->target, r->journal.path);
    return journal_begin(&r->journal, identity) && begin(r);
}

bool resume_checkpoint(resume *r, const checkpoint *at)
{
    double started = tool_seconds();
    if (!at->complete && started < r->next) return true;
    if (!output_sync(r->output) || !journal_add(&r->journal, at)) return false;
    double ended = tool_seconds();
    r->next = ended + CHECKPOINT_SHARE * (ended - started);
    return true;
}

void resume_close(resume *r)
{
    journal_close(&r->journal);
    free(r->target);
    free(r->partial);
}
