/* embed_progress.c - progress display on stderr */
#include "embed_tool.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define BAR_WIDTH 24

double tool_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void progress_start(tool_progress *progress, tool_progress_mode mode, const char *unit,
                    const line_reader *reader)
{
    bool terminal = isatty(STDERR_FILENO) == 1;
    *progress = (tool_progress){
        .shown = mode == PROGRESS_ALWAYS || (mode == PROGRESS_AUTO && terminal),
        .terminal = terminal,
        .unit = unit,
        .started = tool_seconds(),
        .first_bytes = reader->bytes,
        .bytes = reader->bytes,
        .total_bytes = reader->total_bytes,
    };
    progress->drawn = progress->started;
}

/* Writes "[=====       ]  42%  ". Returns the length. */
static size_t put_bar(char *out, size_t capacity, double share)
{
    char bar[BAR_WIDTH + 1];
    for (int i = 0; i < BAR_WIDTH; i++) bar[i] = i < (int)(share * BAR_WIDTH) ? '=' : ' ';
    bar[BAR_WIDTH] = '\0';
    return (size_t)snprintf(out, capacity, "[%s] %3d%%  ", bar, (int)(share * 100));
}

/* Redraws the line on a terminal; elsewhere (a log file) prints each state on a line of its own. */
static void draw(tool_progress *progress, double now, bool last)
{
    char text[256];
    size_t n = 0;
    double elapsed = now - progress->started + 1e-9;
    double share = 0, left = 0; /* left: bytes to do per byte done by this run */
    if (progress->total_bytes > 0) {
        share = (double)progress->bytes / (double)progress->total_bytes;
        if (share > 1) share = 1; /* the file has grown since */
        if (share < 1 && progress->bytes > progress->first_bytes)
            left = (double)(progress->total_bytes - progress->bytes) /
                   (double)(progress->bytes - progress->first_bytes);
        n = put_bar(text, sizeof text, share);
    }
    double rate = (double)progress->units / elapsed;
    n += (size_t)snprintf(text + n, sizeof text - n, "%ju %s  %.*f %s/s  %.0f tokens/s",
                          (uintmax_t)progress->units, progress->unit, rate < 10 ? 2 : 0, rate,
                          progress->unit, (double)progress->tokens / elapsed);
    unsigned long seconds = (unsigned long)elapsed;
    const char *what = "";
    if (!last && share > 0) {
        seconds = (unsigned long)(elapsed * left + 0.5);
        what = " left";
    }
    snprintf(text + n, sizeof text - n, "  %lu:%02lu%s", seconds / 60, seconds % 60, what);
    if (progress->terminal)
        fprintf(stderr, "\r%s\033[K%s", text, last ? "\n" : "");
    else
        fprintf(stderr, "%s\n", text);
    tool_bar_shown(progress->terminal && !last);
    progress->drawn = now;
}

void progress_add(tool_progress *progress, uint64_t units, uint64_t tokens, uint64_t bytes)
{
    progress->units += units;
    progress->tokens += tokens;
    progress->bytes = bytes;
    double now = tool_seconds();
    double interval = progress->terminal ? 0.2 : 10;
    if (progress->shown && now - progress->drawn >= interval) draw(progress, now, false);
}

void progress_finish(tool_progress *progress)
{
    if (progress->shown) draw(progress, tool_seconds(), true);
}
