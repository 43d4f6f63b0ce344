/* embed_resume.h - what embed encode --resume is made of
 *
 * A job with --resume has two files beside its output NAME. NAME.partial holds the rows so far and
 * becomes NAME by rename(); NAME.journal says what job it is and how far it has come. Killed at any
 * moment, the two hold what a later run needs to go on, and the output has the same bytes then.
 *
 * The order of writes that this rests on:
 *   1. the journal's head is on the disk before there is a NAME.partial: rows have a journal;
 *   2. rows are on the disk (fsync) before the journal has the line that tells of them. That line
 *      is not waited for: where a power cut takes it, the one before it counts, which is true too;
 *   3. the line that says "complete" is on the disk before NAME.partial is renamed: a NAME without
 *      NAME.partial is known to be whole, and by its hash to be this one.
 * A line that was cut by a kill lacks its check, and does not count. Rows after those that the last
 * good line tells of are cut off, and computed again.
 */
#ifndef TOOLS_EMBED_RESUME_H
#define TOOLS_EMBED_RESUME_H

#include "embed_tool.h"

/* How far a job has come, after some of its blocks. */
typedef struct checkpoint {
    uint64_t rows;
    uint64_t input_bytes;
    uint64_t input_hash;
    uint64_t output_bytes; /* of rows: what stands before them is not counted, nor hashed */
    uint64_t output_hash;
    uint64_t truncated; /* texts, as the following */
    uint64_t invalid;
    uint64_t not_finite;
    bool complete;
} checkpoint;

/* ---- the journal (embed_journal.c) --------------------------------------------------------- */

typedef struct journal {
    char *path;
    int fd;
    off_t end;     /* of what has been read or written of it */
    uint64_t head; /* its hash: each line's check begins with it */
    bool created;  /* by this run, and empty so far */
} journal;

typedef enum journal_state {
    JOURNAL_FAILED,
    JOURNAL_NEW, /* nothing is in it, or only the beginning of this head */
    JOURNAL_OF_THIS_JOB
} journal_state;

/* Opens or creates it, for this process alone. Takes `path`. journal_close may follow either way. */
bool journal_open(journal *j, char *path);

/* Compares its head with this job's, which ends with a line end. */
journal_state journal_read_head(journal *j, const char *head);

/* Puts this head into it and nothing else; on the disk on return. */
bool journal_begin(journal *j, const char *head);

/* 1: the next line; 0: there is none, or none that is whole; -1: failed. */
int journal_next(journal *j, checkpoint *line);

/* Cuts it after the byte `end`, where the next line goes. */
bool journal_cut(journal *j, off_t end);

/* Appends a line; one that says "complete" is on the disk on return. */
bool journal_add(journal *j, const checkpoint *line);

void journal_close(journal *j);

/* ---- what a job is (embed_identity.c) ------------------------------------------------------ */

/* Lines on which the bytes of every row depend, the text of the input aside. The caller frees it;
 * NULL: failed. */
char *job_identity(embed_model *model, embed_instance *instance,
                   const embed_encode_options *options, const tool_settings *settings,
                   tool_format format, size_t width);

/* ---- where a job goes on (embed_resume.c) -------------------------------------------------- */

typedef struct resume {
    line_reader *reader; /* the job's, as the following */
    tool_output *output;
    row_writer *writer;
    tool_format format;
    size_t width;
    journal journal;
    char *target;  /* NAME */
    char *partial; /* NAME.partial */
    double next;   /* when the next checkpoint is due */
} resume;

/* Takes the job's files for this process, and checks that they can be gone on with: before the
 * model is read. resume_close may follow either way. */
bool resume_open(resume *r, const char *path);

/* Sets reader, output and writer to where the job goes on: to the beginning where *at is all zero
 * on return. Where at->complete is set, the output is whole and nothing is left to do. */
bool resume_start(resume *r, checkpoint *at, const char *identity);

/* The job has come this far. Not every call is worth a checkpoint; a complete one is. */
bool resume_checkpoint(resume *r, const checkpoint *at);

void resume_close(resume *r);

#endif
