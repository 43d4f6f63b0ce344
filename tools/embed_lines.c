/* embed_lines.c - reads a file as blocks of lines; only a long line makes the buffers grow
 *
 * Only '\n' ends a line: '\r' and NUL are text. A last line without '\n' counts.
 */
#include "embed_tool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_BYTES ((size_t)4 << 20) /* a block ends with the line that brings it to this size */
#define READ_BYTES  ((size_t)256 << 10)

bool lines_open(line_reader *reader, const char *path)
{
    bool standard = is_standard(path);
    *reader = (line_reader){.stop = -1};
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

/* Waits for input, such as typed lines. Returns false if no more is wanted. */
static bool wait_for_input(const line_reader *reader)
{
    if (reader->stop < 0) return true;
    struct pollfd events[] = {{.fd = reader->fd, .events = POLLIN}, {.fd = reader->stop}};
    while (poll(events, 2, -1) < 0) {
        if (errno != EINTR) break; /* read() then waits, and reports any error */
    }
    return events[1].revents == 0;
}

/* Reads once into the empty buffer. Returns false on failure, or if no more is wanted. */
static bool fill(line_reader *reader)
{
    if (reader->buffer == NULL) reader->buffer = tool_resize(NULL, READ_BYTES, 1);
    struct pollfd readable = {.fd = reader->fd, .events = POLLIN};
    while (wait_for_input(reader)) {
        ssize_t n = read(reader->fd, reader->buffer, READ_BYTES);
        if (n >= 0) {
            reader->start = 0;
            reader->end = (size_t)n;
            reader->ended = n == 0;
            return true;
        }
        if (errno == EAGAIN)
            poll(&readable, 1, -1); /* another process set the pipe to non-blocking */
        else if (errno != EINTR)
            return tool_error("%s: %s", reader->name, strerror(errno));
    }
    return false;
}

/* Returns whether reading would wait. A block then ends early, so that someone who types, or a slow
 * program, gets the rows of the lines so far before sending the next. */
static bool would_wait(const line_reader *reader)
{
    struct pollfd readable = {.fd = reader->fd, .events = POLLIN};
    return poll(&readable, 1, 0) == 0;
}

/* Appends `count` bytes that were read to the block, which has `used` bytes. */
static void take(line_reader *reader, line_block *block, size_t used, size_t count)
{
    if (used + count > block->capacity) {
        block->capacity = 2 * (used + count);
        block->buffer = tool_resize(block->buffer, block->capacity, 1);
    }
    memcpy(block->buffer + used, reader->buffer + reader->start, count);
    reader->start += count;
}

/* Moves the beginning of a line, which belongs to the next block, back to the empty buffer. */
static void give_back(line_reader *reader, const line_block *block, size_t from, size_t count)
{
    if (count > READ_BYTES) reader->buffer = tool_resize(reader->buffer, count, 1);
    memcpy(reader->buffer, block->buffer + from, count);
    reader->start = 0;
    reader->end = count;
}

/* Frees a buffer that one long line made grow. */
static void shrink(line_block *block)
{
    if (block->capacity <= 4 * BLOCK_BYTES) return;
    lines_release(block);
    block->buffer = NULL;
    block->capacity = 0;
}

/* Counts and hashes the block, which holds n texts and `used` bytes of the file. */
static void count_block(line_reader *reader, line_block *block, size_t n, size_t used)
{
    hash_add(&reader->hash, block->buffer, used);
    block->count = n;
    block->first = reader->lines;
    block->bytes = reader->bytes += used;
    block->hash = hash_value(&reader->hash);
    reader->lines += n;
}

bool lines_next(line_reader *reader, line_block *block, size_t max)
{
    shrink(block);
    /* The buffer may move while the block grows, so pointers are set at the end. */
    size_t n = 0, used = 0, line = 0;
    block->whole = true;
    while (n < max && line < BLOCK_BYTES) {
        size_t left = reader->end - reader->start;
        if (left == 0) {
            if (reader->ended) break;
            if (n > 0 && would_wait(reader)) {
                give_back(reader, block, line, used - line);
                used = line;
                break;
            }
            if (!fill(reader)) return false;
            continue;
        }
        const char *from = reader->buffer + reader->start, *newline = memchr(from, '\n', left);
        size_t count = newline != NULL ? (size_t)(newline - from) + 1 : left;
        take(reader, block, used, count);
        used += count;
        if (newline == NULL) continue;
        block->texts[n++].length = used - 1 - line;
        line = used;
    }
    if (line < used) {
        block->texts[n++].length = used - line;
        block->whole = false;
    }

    const char *data = block->buffer;
    for (size_t i = 0; i < n; i++) {
        block->texts[i].data = data;
        block->texts[i].ids = NULL;
        data += block->texts[i].length + 1;
    }
    count_block(reader, block, n, used);
    return true;
}

bool lines_rest(line_reader *reader, line_block *block)
{
    size_t used = 0;
    while (reader->start < reader->end || !reader->ended) {
        size_t left = reader->end - reader->start;
        if (left > 0) take(reader, block, used, left);
        else if (!fill(reader)) return false;
        used += left;
    }
    block->whole = used > 0 && block->buffer[used - 1] == '\n';
    block->texts[0] = (embed_text){block->buffer, NULL, used - (size_t)block->whole};
    count_block(reader, block, 1, used);
    return true;
}

bool lines_skip(line_reader *reader, uint64_t bytes, uint64_t lines)
{
    reader->lines = lines;
    while (reader->bytes < bytes) {
        if (reader->start == reader->end && (reader->ended || !fill(reader))) break;
        size_t count = reader->end - reader->start;
        if (count > bytes - reader->bytes) count = (size_t)(bytes - reader->bytes);
        hash_add(&reader->hash, reader->buffer + reader->start, count);
        reader->start += count;
        reader->bytes += count;
    }
    return reader->ended || reader->bytes == bytes;
}

void lines_close(line_reader *reader)
{
    if (reader->fd > STDIN_FILENO) close(reader->fd);
    free(reader->buffer);
}

void lines_release(line_block *block)
{
    free(block->buffer);
}
