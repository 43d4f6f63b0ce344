/* embed_resume.h - the parts of embed encode --resume
 *
 * A job with --resume has two files beside its output NAME. NAME.partial holds the rows so far and
 * becomes NAME by rename(); NAME.journal records what the job is and how far it has come. If the
 * job is killed at any moment, the two hold what a later run needs to continue, and the final
 * output is the same to the byte.
 *
 * This rests on the order of writes:
 *   1. the journal's head is on the disk before NAME.partial exists: rows always have a journal;
 *   2. rows are on the disk (fsync) before the line that records them is added to the journal. The
 *      line itself is not synced: if a power cut loses it, the line before it is used, which is
 *      true as well;
 *   3. the line that says "complete" is on the disk before NAME.partial is renamed: a NAME without
 *      NAME.partial is known to be complete, and by its hash to be this job's.
 * A line that was cut by a kill lacks its check and is ignored. Rows after those of the last good
 * line are cut off and computed again.
 */
#ifndef TOOLS_EMBED_RESUME_H
#define TOOLS_EMBED_RESUME_H

#include "embed_tool.h"

/* The progress of a job at the end of a block. */
typedef struct checkpoint {
    uint64_t rows;
    uint64_t input_bytes;
    uint64_t input_hash;
    uint64_t output_bytes; /* of rows; a header is neither counted nor hashed */
    uint64_t output_hash;
    uint64_t truncated; /* number of texts; the next two likewise */
    uint64_t invalid;
    uint64_t not_finite;
    bool complete;
} checkpoint;

/* ---- the journal (embed_journal.c) --------------------------------------------------------- */

typedef struct journal {
    char *path;
    int fd;
    off_t end;     /* offset: the end of what has been read or written */
    uint64_t head; /* hash of the head, the seed of each line's check */
    bool created;  /* created (or found empty) by this run, and still empty */
} journal;

typedef enum journal_state {
    JOURNAL_FAILED,
    JOURNAL_NEW, /* empty, or holds only the beginning of this head */
    JOURNAL_OF_THIS_JOB
} journal_state;

/* Opens or creates the journal, locked for this process, and takes ownership of `path`.
 * journal_close may follow, even on failure. */
bool journal_open(journal *j, char *path);

/* Compares the journal's head with this job's `head`, which ends with a line end. Fails, after a
 * message, if they differ. */
journal_state journal_read_head(journal *j, const char *head);

/* Makes `head` the whole content of the journal; it is on the disk on return. */
bool journal_begin(journal *j, const char *head);

/* Reads the next line. Returns 1, or 0 if there is no further valid line, or -1 on failure. */
int journal_next(journal *j, checkpoint *line);

/* Truncates the journal to `end` bytes; the next line is appended there. */
bool journal_cut(journal *j, off_t end);

/* Appends a line. A "complete" line is on the disk on return. */
bool journal_add(journal *j, const checkpoint *line);

void journal_close(journal *j);

/* ---- the identity of a job (embed_identity.c) ---------------------------------------------- */

/* Returns lines that state everything the bytes of the rows depend on, except the input's text. The
 * caller frees it; NULL: failed. */
char *job_identity(embed_model *model, embed_instance *instance,
                   const embed_encode_options *options, const tool_settings *settings,
                   tool_format format, size_t width);

/* ---- continuing a job (embed_resume.c) ----------------------------------------------------- */

typedef struct resume {
    line_reader *reader; /* the job's; the next two likewise */
    tool_output *output;
    row_writer *writer;
    tool_format format;
    size_t width;
    journal journal;
    char *target;  /* NAME */
    char *partial; /* NAME.partial */
    double next;   /* when the next checkpoint is due */
} resume;

/* Locks the job's files for this process and checks that they are of a kind that can be resumed.
 * Called before the model is read. resume_close may follow, even on failure. */
bool resume_open(resume *r, const char *path);

/* Positions reader, output and writer where the job continues, and sets *at to the progress so far:
 * all zero if the job starts from the beginning. If at->complete is set, the output is complete and
 * nothing is left to do. */
bool resume_start(resume *r, checkpoint *at, const char *identity);

/* Records the progress in the journal, unless the last checkpoint was too recent. A complete one is
 * always recorded. */
bool resume_checkpoint(resume *r, const checkpoint *at);

void resume_close(resume *r);

#endif
