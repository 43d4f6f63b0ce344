/* embed_journal.c - the progress of a job, as text beside its output
 *
 *     embed journal 1
 *     library 0.1.0
 *     ...                             the job's identity: embed_identity.c
 *     end
 *     after 4096 rows: input 61234 bytes 0123456789abcdef, output ... check fedcba9876543210
 *     ...
 *     complete 100000 rows: ...
 *
 * Lines are only ever appended. Each ends with a hash of the head and of itself: a line that was
 * cut, damaged or written by another job is ignored, and so is everything after it.
 */
#include "embed_resume.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_BYTES 512

static bool failed(const journal *j)
{
    return tool_error("%s: %s", j->path, strerror(errno));
}

/* Returns whether the path still leads to the open file: if it was removed since, other processes
 * would not see this file and its lock. */
static bool is_the_named_file(const journal *j, const struct stat *opened)
{
    struct stat named;
    return stat(j->path, &named) == 0 && named.st_dev == opened->st_dev &&
           named.st_ino == opened->st_ino;
}

bool journal_open(journal *j, char *path)
{
    *j = (journal){.path = path, .fd = -1};
    struct stat facts;
    j->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (j->fd < 0) return failed(j);
    /* The lock ends with the process, however that ends. A file system may have no locks. */
    if (flock(j->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return tool_error("%s: another process is running this job", path);
    if (fstat(j->fd, &facts) != 0) return failed(j);
    if (!S_ISREG(facts.st_mode)) return tool_error("%s: not a regular file", path);
    if (!is_the_named_file(j, &facts))
        return tool_error("%s: another process has just removed it", path);
    j->created = facts.st_size == 0;
    return true;
}

static bool append(journal *j, const char *bytes, size_t count)
{
    while (count > 0) {
        ssize_t n = pwrite(j->fd, bytes, count, j->end);
        if (n > 0) {
            j->end += n;
            bytes += n;
            count -= (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            if (n == 0) errno = ENOSPC;
            return failed(j);
        }
    }
    return true;
}

/* ---- the head ------------------------------------------------------------------------------ */

static uint64_t hash_of(const char *text, size_t length, uint64_t seed)
{
    tool_hash hash = {0};
    hash_add(&hash, &seed, sizeof seed);
    hash_add(&hash, text, length);
    return hash_value(&hash);
}

/* Reports the first line in which the two heads differ. Returns false. */
static bool tell_difference(const journal *j, const char *theirs, const char *ours)
{
    size_t line = 0;
    for (size_t i = 0; theirs[i] == ours[i] && ours[i] != '\0'; i++) {
        if (ours[i] == '\n') line = i + 1;
    }
    return tool_error("%s: belongs to a job with \"%.*s\", but this one has \"%.*s\"; remove it "
                      "to start over",
                      j->path, (int)strcspn(theirs + line, "\n"), theirs + line,
                      (int)strcspn(ours + line, "\n"), ours + line);
}

journal_state journal_read_head(journal *j, const char *head)
{
    size_t length = strlen(head);
    char *theirs = tool_zeroed(length + LINE_MAX_BYTES + 1);
    ssize_t n = tool_read_at(j->fd, theirs, length + LINE_MAX_BYTES, 0);
    journal_state state = JOURNAL_FAILED;
    if (n < 0) {
        failed(j);
    } else if ((size_t)n < length && memcmp(theirs, head, (size_t)n) == 0) {
        state = JOURNAL_NEW;
    } else if ((size_t)n < length || memcmp(theirs, head, length) != 0) {
        tell_difference(j, theirs, head);
    } else {
        state = JOURNAL_OF_THIS_JOB;
        j->end = (off_t)length;
        j->head = hash_of(head, length, 0);
    }
    free(theirs);
    return state;
}

bool journal_begin(journal *j, const char *head)
{
    size_t length = strlen(head);
    if (!journal_cut(j, 0) || !append(j, head, length)) return false;
    if (!tool_sync_file(j->fd)) return failed(j);
    tool_sync_folder(j->path);
    j->head = hash_of(head, length, 0);
    j->created = false;
    return true;
}

/* ---- lines --------------------------------------------------------------------------------- */

#define FORMAT                                                                                     \
    " %" PRIu64 " rows: input %" PRIu64 " bytes %016" PRIx64 ", output %" PRIu64                   \
    " bytes %016" PRIx64 ", truncated %" PRIu64 ", invalid %" PRIu64 ", not finite %" PRIu64       \
    ", check "
#define SCAN                                                                                       \
    " %" SCNu64 " rows: input %" SCNu64 " bytes %" SCNx64 ", output %" SCNu64                      \
    " bytes %" SCNx64 ", truncated %" SCNu64 ", invalid %" SCNu64 ", not finite %" SCNu64

/* Writes the line of a checkpoint to out[LINE_MAX_BYTES]. Returns its length. */
static size_t put_line(const journal *j, char *out, const checkpoint *c)
{
    int n = snprintf(out, LINE_MAX_BYTES, "%s" FORMAT, c->complete ? "complete" : "after", c->rows,
                     c->input_bytes, c->input_hash, c->output_bytes, c->output_hash, c->truncated,
                     c->invalid, c->not_finite);
    uint64_t check = hash_of(out, (size_t)n, j->head);
    return (size_t)n + (size_t)sprintf(out + n, "%016" PRIx64 "\n", check);
}

int journal_next(journal *j, checkpoint *line)
{
    char theirs[LINE_MAX_BYTES + 1] = {0}, again[LINE_MAX_BYTES], word[16];
    checkpoint c = {0};
    if (tool_read_at(j->fd, theirs, LINE_MAX_BYTES, j->end) < 0) {
        failed(j);
        return -1;
    }
    if (sscanf(theirs, "%15s" SCAN, word, &c.rows, &c.input_bytes, &c.input_hash, &c.output_bytes,
               &c.output_hash, &c.truncated, &c.invalid, &c.not_finite) != 9)
        return 0;
    /* sscanf is lenient: only a line that formats back to the same bytes is valid. */
    c.complete = strcmp(word, "complete") == 0;
    size_t length = put_line(j, again, &c);
    if (memcmp(theirs, again, length) != 0) return 0;
    j->end += (off_t)length;
    *line = c;
    return 1;
}

bool journal_cut(journal *j, off_t end)
{
    j->end = end;
    return ftruncate(j->fd, end) == 0 || failed(j);
}

bool journal_add(journal *j, const checkpoint *line)
{
    char text[LINE_MAX_BYTES];
    if (!append(j, text, put_line(j, text, line))) return false;
    return !line->complete || tool_sync_file(j->fd) || failed(j);
}

void journal_close(journal *j)
{
    if (j->created) unlink(j->path); /* the job never began */
    if (j->fd >= 0) close(j->fd);
    free(j->path);
}
