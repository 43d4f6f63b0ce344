/* embed_lines.c - a file as blocks of lines, in memory that only a long line makes grow
 *
 * Lines end with '\n' and nothing else: '\r' and NUL are text. A last line without '\n' counts.
 */
#include "embed_tool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_BYTES ((size_t)4 << 20) /* a block ends with the line that reaches this */
#define READ_BYTES  ((size_t)256 << 10)

bool lines_open(line_reader *reader, const char *path)
{
    bool standard = path == NULL || strcmp(path, "-") == 0;
    memset(reader, 0, sizeof *reader);
    reader->name = standard ? "standard input" : path;
    reader->fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (reader->fd < 0) return tool_error("%s: %s", path, strerror(errno));

    struct stat facts;
    if (fstat(reader->fd, &facts) != 0)
        return tool_error("%s: %s", reader->name, strerror(errno));
    if (S_ISDIR(facts.st_mode)) return tool_error("%s: %s", reader->name, strerror(EISDIR));
    if (S_ISREG(facts.st_mode)) {
        off_t position = lseek(reader->fd, 0, SEEK_CUR);
        if (position >= 0 && position < facts.st_size)
            reader->total_bytes = (uint64_t)(facts.st_size - position);
    }
    return true;
}

/* Appends what one read gives to the buffer. */
static bool fill(line_reader *reader)
{
    if (reader->capacity - reader->end < READ_BYTES) {
        reader->capacity = 2 * reader->capacity + READ_BYTES;
        reader->buffer = tool_resize(reader->buffer, reader->capacity, 1);
    }
    struct pollfd readable = {.fd = reader->fd, .events = POLLIN};
    for (;;) {
        ssize_t n = read(reader->fd, reader->buffer + reader->end, READ_BYTES);
        if (n >= 0) {
            reader->end += (size_t)n;
            reader->ended = n == 0;
            return true;
        }
        if (errno == EAGAIN)
            poll(&readable, 1, -1); /* somebody left the pipe in non-blocking mode */
        else if (errno != EINTR)
            return tool_error("%s: %s", reader->name, strerror(errno));
    }
}

/* Somebody who types, or a slow program, gets the rows of the lines so far before the next. */
static bool would_wait(const line_reader *reader)
{
    struct pollfd readable = {.fd = reader->fd, .events = POLLIN};
    return poll(&readable, 1, 0) == 0;
}

/* Drops what was given out once it is the larger part: each byte moves at most once. */
static void compact(line_reader *reader)
{
    size_t left = reader->end - reader->start;
    if (reader->start < left) return;
    if (left > 0) memmove(reader->buffer, reader->buffer + reader->start, left);
    reader->start = 0;
    reader->end = left;
}

bool lines_next(line_reader *reader, size_t max)
{
    compact(reader);
    reader->first += reader->count;
    reader->count = 0;
    /* The buffer may move while the block grows: lengths first, pointers last. */
    size_t n = 0, next = reader->start, scanned = next;
    while (n < max && next - reader->start < BLOCK_BYTES) {
        const char *newline = NULL;
        if (scanned < reader->end)
            newline = memchr(reader->buffer + scanned, '\n', reader->end - scanned);
        if (newline != NULL) {
            size_t end = (size_t)(newline - reader->buffer);
            reader->texts[n++].length = end - next;
            next = scanned = end + 1;
            continue;
        }
        scanned = reader->end;
        if (reader->ended) {
            if (next < reader->end) reader->texts[n++].length = reader->end - next;
            next = reader->end;
            break;
        }
        if (n > 0 && would_wait(reader)) break;
        if (!fill(reader)) return false;
    }

    const char *data = reader->buffer + reader->start;
    for (size_t i = 0; i < n; i++) {
        reader->texts[i].data = data;
        reader->texts[i].ids = NULL;
        data += reader->texts[i].length + 1;
    }
    reader->bytes += next - reader->start;
    reader->start = next;
    reader->count = n;
    return true;
}

void lines_close(line_reader *reader)
{
    if (reader->fd > STDIN_FILENO) close(reader->fd);
    free(reader->buffer);
}
