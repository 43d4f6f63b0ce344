/* embed_bench_plot.c - plots a sweep with gnuplot
 *
 * Three panels above a common x axis: rate, latency, memory. The axis is texts in a call or, if
 * only one number of these was measured, tokens in a chunk or instances. Each combination of the
 * other axes is a line.
 */
#include "embed_bench_sweep.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    MOST_LINES = 64,
    FEW_LINES = 4, /* their names fit inside a panel */
    NAME_HEIGHT = 18
};

const char *plot_objection(void)
{
    const char *path = getenv("PATH");
    char name[4096];
    while (path != NULL && *path != '\0') {
        size_t length = strcspn(path, ":");
        snprintf(name, sizeof name, "%.*s/gnuplot", (int)length, path);
        if (length > 0 && access(name, X_OK) == 0) return NULL;
        path += length + (path[length] == ':');
    }
    return "gnuplot is not installed (Debian: apt-get install gnuplot-nox)";
}

/* ---- axis and lines ------------------------------------------------------------------------ */

enum x_axis { BY_BATCH, BY_CHUNK, BY_INSTANCES };

static enum x_axis choose_axis(const struct settings *settings)
{
    if (settings->batch.count > 1) return BY_BATCH;
    if (settings->chunks.count > 1) return BY_CHUNK;
    return settings->instances.count > 1 ? BY_INSTANCES : BY_BATCH;
}

static size_t x_of(const struct point *point, enum x_axis axis)
{
    return axis == BY_BATCH ? point->batch : axis == BY_CHUNK ? point->chunk : point->instances;
}

static bool same_line(const struct point *a, const struct point *b, enum x_axis axis)
{
    return a->source == b->source && (axis == BY_BATCH || a->batch == b->batch) &&
           (axis == BY_CHUNK || a->chunk == b->chunk) &&
           (axis == BY_INSTANCES || a->instances == b->instances);
}

/* Writes a name for the line: the values that vary among lines. */
static void put_title(FILE *out, const struct sweep *sweep, const struct point *point,
                      enum x_axis axis)
{
    const struct settings *settings = sweep->settings;
    bool by_chunk = settings->chunks.count > 1 && axis != BY_CHUNK;
    bool by_instances = settings->instances.count > 1 && axis != BY_INSTANCES;
    const char *between = "";
    if (sweep->source_count > 1 || (!by_chunk && !by_instances)) {
        if (point->source->tokens > 0) fprintf(out, "%zu tokens", point->source->tokens);
        else fprintf(out, "lines of %.0f tokens in the mean", point->source->mean_tokens);
        between = ", ";
    }
    if (by_instances) {
        fprintf(out, "%s%zu instance%s", between, point->instances,
                point->instances > 1 ? "s" : "");
        between = ", ";
    }
    if (by_chunk) fprintf(out, "%schunks of %zu", between, point->chunk);
}

/* ---- the script ---------------------------------------------------------------------------- */

/* Writes each line of the plot as data block $lineN with the columns x, rate, lowest and highest
 * rate, median and 99th percentile of latency, peak memory. Returns the number of lines. */
static size_t put_data(FILE *out, const struct sweep *sweep, const struct point **firsts,
                       enum x_axis axis)
{
    size_t lines = 0;
    for (size_t i = 0; i < sweep->count && lines < MOST_LINES; i++) {
        const struct point *first = &sweep->points[i];
        bool known = first->outcome != POINT_MEASURED || first->rounds == 0;
        for (size_t l = 0; l < lines && !known; l++) known = same_line(firsts[l], first, axis);
        if (known) continue;
        fprintf(out, "$line%zu << END\n", lines);
        for (size_t j = i; j < sweep->count; j++) {
            const struct point *point = &sweep->points[j];
            double sorted[MOST_ROUNDS];
            if (point->outcome != POINT_MEASURED || point->rounds == 0 ||
                !same_line(first, point, axis))
                continue;
            memcpy(sorted, point->rates, point->rounds * sizeof *sorted);
            fprintf(out, "%zu %.3f %.3f %.3f %.5f %.5f %.3f\n", x_of(point, axis),
                    point->result.rate,
                    percentile(sorted, point->rounds, 0), percentile(sorted, point->rounds, 1),
                    1e3 * point->result.p50, 1e3 * point->result.p99, 1e-6 * (double)point->peak);
        }
        fputs("END\n", out);
        firsts[lines++] = first;
    }
    return lines;
}

static void put_lines(FILE *out, const struct sweep *sweep, const struct point *const *firsts,
                      size_t lines, const char *columns, const char *style,
                      const enum x_axis *named)
{
    for (size_t l = 0; l < lines; l++) {
        fprintf(out, "%s$line%zu using %s %s linecolor %zu ", l > 0 ? ", " : "plot ", l, columns,
                style, l + 1);
        if (named == NULL) {
            fputs("notitle", out);
            continue;
        }
        fputs("title \"", out);
        put_title(out, sweep, firsts[l], *named);
        fputs("\"", out);
    }
}

/* Writes text escaped for a double-quoted gnuplot string. */
static void put_quoted(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') fputc('\\', out);
        if ((unsigned char)*text >= 0x20) fputc(*text, out);
    }
}

static void put_heading(FILE *out, const struct sweep *sweep)
{
    const char *slash = strrchr(sweep->settings->folder, '/');
    const embed_model_info *info = &sweep->info;
    fputs("set multiplot layout 3,1 title \"", out);
    put_quoted(out, slash != NULL && slash[1] != '\0' ? slash + 1 : sweep->settings->folder);
    fprintf(out, ", %s, ", dtype_name(info->dtype));
    put_quoted(out, info->device_name);
    if (info->device == EMBED_DEVICE_CPU)
        fprintf(out, ", %u thread%s", info->threads, info->threads > 1 ? "s" : "");
    fputs("\" noenhanced\n", out);
}

#define POINTS "linewidth 2 pointtype 7 pointsize 0.5"

/* Plots rates with error bars from the lowest to the highest round. */
static void put_rates(FILE *out, const struct sweep *sweep, const struct point *const *firsts,
                      size_t lines, enum x_axis axis)
{
    double most = 0;
    for (size_t i = 0; i < sweep->count; i++)
        if (sweep->points[i].result.rate > most) most = sweep->points[i].result.rate;
    fprintf(out, "set yrange [0:*]\nset format y '%s'\nset ylabel 'sentences/s'\n",
            most < 10 ? "%g" : "%.0f");
    put_lines(out, sweep, firsts, lines, "1:2:3:4", "with yerrorlines " POINTS, &axis);
}

static void put_latencies(FILE *out, const struct sweep *sweep, const struct point *const *firsts,
                          size_t lines)
{
    fputs("\nset key inside vertical maxcols 1 width 0 bottom right font ',14'\n"
          "set logscale y\nset yrange [*:*]\nset format y '%g'\n"
          "set ylabel 'latency of a call, ms'\n", out);
    put_lines(out, sweep, firsts, lines, "1:5", "with linespoints " POINTS, NULL);
    fputs(", NaN with lines linewidth 2 linecolor 'black' title 'median', "
          "NaN with lines linewidth 1 dashtype 2 linecolor 'black' title '99th percentile'", out);
    for (size_t l = 0; l < lines; l++)
        fprintf(out, ", $line%zu using 1:6 with lines linewidth 1 dashtype 2 linecolor %zu notitle",
                l, l + 1);
}

static void put_memory(FILE *out, const struct sweep *sweep, const struct point *const *firsts,
                       size_t lines, enum x_axis axis)
{
    static const char *const names[] = {"texts in a call", "tokens in a chunk", "instances"};
    fputs("\nunset logscale y\nset yrange [0:*]\nunset key\n", out);
    fprintf(out, "set ylabel '%s, MB'\nset xlabel '%s'\n",
            sweep->info.device == EMBED_DEVICE_CPU ? "peak memory" : "GPU memory", names[axis]);
    put_lines(out, sweep, firsts, lines, "1:7", "with linespoints " POINTS, NULL);
}

/* Sets an x range if there is only one value of x: gnuplot makes none from that. */
static void put_range(FILE *out, const struct sweep *sweep, enum x_axis axis)
{
    size_t least = SIZE_MAX, most = 0;
    for (size_t i = 0; i < sweep->count; i++) {
        if (sweep->points[i].outcome != POINT_MEASURED) continue;
        size_t x = x_of(&sweep->points[i], axis);
        if (x < least) least = x;
        if (x > most) most = x;
    }
    if (least == most) fprintf(out, "set xrange [%g:%zu]\n", (double)least / 2, 2 * most);
}

static void put_script(FILE *out, const struct sweep *sweep, const char *path)
{
    const struct point *firsts[MOST_LINES];
    enum x_axis axis = choose_axis(sweep->settings);
    size_t lines = put_data(out, sweep, firsts, axis);
    bool above = lines > FEW_LINES; /* many names go above the panel, in two columns */
    size_t height = 900 + (above ? 3 * NAME_HEIGHT * ((lines + 1) / 2) : 0);
    fprintf(out, "set terminal svg size 800,%zu font 'sans-serif,14' background 'white'\n", height);
    fputs("set output \"", out);
    put_quoted(out, path);
    fputs("\"\n", out);
    put_heading(out, sweep);
    put_range(out, sweep, axis);
    fputs("set logscale x 2\nset grid\nset border 3\nset tics nomirror out\n"
          "set lmargin 11\nset rmargin 3\nset xtics format '%.0f'\n"
          "set offsets graph 0.03, graph 0.03, 0, 0\n"
          "set key noenhanced bottom right samplen 2\n", out);
    if (above) fputs("set key above horizontal maxcols 2 width -6 font ',12'\n", out);
    put_rates(out, sweep, firsts, lines, axis);
    put_latencies(out, sweep, firsts, lines);
    put_memory(out, sweep, firsts, lines, axis);
    fputs("\nunset multiplot\nset output\n", out);
}

bool plot_write(const char *path, const struct sweep *sweep)
{
    char name[4096];
    signal(SIGPIPE, SIG_IGN);
    if (!output_name(name, sizeof name, path)) return false;
    FILE *gnuplot = popen("gnuplot", "w");
    if (gnuplot == NULL) {
        wrong_call("cannot start gnuplot");
        return false;
    }
    put_script(gnuplot, sweep, name);
    int status = pclose(gnuplot);
    if (status == 0) return output_rename(path);
    output_drop(path);
    wrong_call("%s: gnuplot could not draw it: exit status %d", path,
               WIFEXITED(status) ? WEXITSTATUS(status) : status);
    return false;
}
