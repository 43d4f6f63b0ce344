/* embed_bench_point.c - measures one round of one point
 *
 * Each instance has a thread and embeds texts in calls of the point's size for the window of the
 * sweep, after a warm-up call that is not counted (on the CPU with only as many texts as touch all
 * its memory).
 *
 * Where the time goes. Tokenizing is timed separately, by embed_tokenize of the same texts in the
 * same pieces. On the CPU a call first tokenizes, then computes, and copies nothing: the rest is
 * computing. On a GPU tokenizing overlaps with computing, so the calls are repeated with ids
 * instead of texts; their time includes copying in, computing and copying out, which embed.h does
 * not report separately.
 *
 * Memory. On the CPU the peak is the process's resident high-water mark, reset before each round;
 * it includes the weights' file pages, texts and rows. On a GPU it is what embed_memory reports:
 * context, library, weights and all instances.
 */
#include "embed_bench_sweep.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct stream {
    pthread_t thread;
    embed_instance *instance;
    const struct point *point;
    const embed_text *texts; /* the source's texts or ids */
    size_t first;            /* index of the first one to use */
    float *rows;
    size_t width;
    double window;   /* seconds after which no call begins */
    double *seconds; /* (calls) */
    size_t calls, tokens;
    embed_status status;
    char message[160];
};

/* ---- load by other processes --------------------------------------------------------------- */

struct usage {
    double busy, all, own; /* processor seconds */
};

static struct usage read_usage(void)
{
    struct usage usage = {0};
    double part[8] = {0}, tick = 1.0 / (double)sysconf(_SC_CLK_TCK);
    struct rusage own;
    FILE *file = fopen("/proc/stat", "r");
    if (file == NULL) return usage;
    if (fscanf(file, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", part, part + 1, part + 2, part + 3,
               part + 4, part + 5, part + 6, part + 7) == 8) {
        for (int i = 0; i < 8; i++) usage.all += part[i] * tick;
        usage.busy = usage.all - (part[3] + part[4]) * tick; /* less idle and iowait */
    }
    fclose(file);
    getrusage(RUSAGE_SELF, &own);
    usage.own = (double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec) +
                1e-6 * (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec);
    return usage;
}

static void add_usage(struct point *point, struct usage before)
{
    struct usage after = read_usage();
    double others = after.busy - before.busy - (after.own - before.own);
    point->others_seconds += fmax(0, others);
    point->processor_seconds += after.all - before.all;
}

/* Resets the high-water mark. If that is not permitted, the mark covers the life of the process. */
static void reset_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file == NULL) return;
    fputs("5", file);
    fclose(file);
}

/* Returns the value of line `name` in /proc/self/status or /proc/meminfo in bytes, 0 if absent. */
static uint64_t read_kilobytes(const char *path, const char *name)
{
    char line[256];
    unsigned long long kilobytes = 0;
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0)
            kilobytes = strtoull(line + strlen(name), NULL, 10);
    }
    if (file != NULL) fclose(file);
    return (uint64_t)kilobytes << 10;
}

/* ---- streams ------------------------------------------------------------------------------- */

/* Encodes without a prompt, so that texts have the tokens that were counted. */
static embed_status encode(struct stream *stream, size_t at, size_t texts)
{
    embed_encode_options options = EMBED_ENCODE_OPTIONS_INIT;
    options.prompt_name = "";
    return embed_instance_encode(stream->instance, stream->texts + at, texts, &options,
                                 stream->rows, texts * stream->width, NULL);
}

static void keep_call(struct stream *stream, double seconds)
{
    if ((stream->calls & (stream->calls - 1)) == 0) { /* full: double it */
        size_t room = stream->calls > 0 ? 2 * stream->calls : 1;
        stream->seconds = realloc(stream->seconds, room * sizeof *stream->seconds);
        if (stream->seconds == NULL) die("out of memory");
    }
    stream->seconds[stream->calls++] = seconds;
}

static void *run_stream(void *argument)
{
    struct stream *stream = argument;
    const struct source *source = stream->point->source;
    size_t batch = stream->point->batch, at = stream->first % source->period;
    double start = now();
    do {
        double call = now();
        stream->status = encode(stream, at, batch);
        if (stream->status != EMBED_OK) {
            snprintf(stream->message, sizeof stream->message, "%s", embed_error_message());
            return NULL;
        }
        keep_call(stream, now() - call);
        stream->tokens += source_tokens(source, at, batch);
        at = (at + batch) % source->period;
    } while (now() < start + stream->window && sweep_signal() == 0);
    return NULL;
}

/* Runs all streams and returns the seconds until the last has ended, 0 if one failed. */
static double run_streams(struct stream *streams, size_t count)
{
    for (size_t i = 0; i < count; i++) streams[i].calls = streams[i].tokens = 0;
    double start = now();
    for (size_t i = 1; i < count; i++) {
        if (pthread_create(&streams[i].thread, NULL, run_stream, &streams[i]) != 0)
            die("cannot start a thread");
    }
    run_stream(&streams[0]);
    for (size_t i = 1; i < count; i++) pthread_join(streams[i].thread, NULL);
    double seconds = now() - start;
    for (size_t i = 0; i < count; i++) {
        if (streams[i].status != EMBED_OK) return 0;
    }
    return seconds;
}

/* ---- memory -------------------------------------------------------------------------------- */

static void does_not_fit(struct point *point, const char *why)
{
    point->outcome = POINT_DOES_NOT_FIT;
    snprintf(point->note, sizeof point->note, "does not fit: %s", why);
}

static bool fits(const struct sweep *sweep, struct point *point,
                 const embed_instance_options *options)
{
    char why[160];
    size_t count = 0;
    uint64_t rows = (uint64_t)point->instances * point->batch * sweep->info.width * sizeof(float);
    uint64_t available = read_kilobytes("/proc/meminfo", "MemAvailable:");
    check(embed_instances_that_fit(sweep->model, options, 0, &count));
    if (count < point->instances) {
        snprintf(why, sizeof why, "there is memory for %zu instances", count);
        does_not_fit(point, why);
        return false;
    }
    if (available > 0 && rows + point->own > available / 10 * 9) {
        snprintf(why, sizeof why, "rows take %ju MB, of memory %ju MB are left",
                 (uintmax_t)(rows / 1000000), (uintmax_t)(available / 1000000));
        does_not_fit(point, why);
        return false;
    }
    return true;
}

static bool make_streams(const struct sweep *sweep, struct point *point, struct stream *streams)
{
    embed_instance_options options = EMBED_INSTANCE_OPTIONS_INIT;
    embed_memory memory = EMBED_MEMORY_INIT;
    /* Each round starts at a different text, the same for all points of the round. */
    size_t first = point->rounds * point->source->period / sweep->rounds;
    options.batch_tokens = point->chunk;
    if (!fits(sweep, point, &options)) return false;
    for (size_t i = 0; i < point->instances; i++) {
        struct stream *stream = &streams[i];
        *stream = (struct stream){.point = point, .texts = point->source->texts,
                                  .first = first + i * point->source->period / point->instances,
                                  .window = sweep->window, .width = sweep->info.width};
        if (embed_instance_create(&stream->instance, sweep->model, &options) != EMBED_OK) {
            does_not_fit(point, embed_error_message());
            return false;
        }
        stream->rows = malloc(point->batch * stream->width * sizeof *stream->rows);
        if (stream->rows == NULL) {
            does_not_fit(point, "out of memory for the rows");
            return false;
        }
    }
    check(embed_instance_get_memory(streams[0].instance, &memory));
    point->weights = memory.weights;
    point->own = memory.own * point->instances;
    point->peak = memory.context + memory.library + memory.weights + point->own;
    return true;
}

/* ---- measuring ----------------------------------------------------------------------------- */

static void warm_up(const struct sweep *sweep, struct stream *stream)
{
    const struct point *point = stream->point;
    size_t texts = point->batch;
    if (sweep->info.device == EMBED_DEVICE_CPU) {
        double all = (double)(sweep->info.threads * point->chunk) / point->source->mean_tokens;
        if (all + 1 < (double)texts) texts = (size_t)all + 1;
    }
    stream->status = encode(stream, 0, texts);
    if (stream->status != EMBED_OK)
        snprintf(stream->message, sizeof stream->message, "%s", embed_error_message());
}

/* Tokenizes the texts of the stream's calls again, for at most a quarter of the window. Returns
 * seconds per token. */
static double time_tokenizing(const struct sweep *sweep, const struct stream *stream)
{
    const struct source *source = stream->point->source;
    embed_tokenize_options options = EMBED_TOKENIZE_OPTIONS_INIT;
    size_t batch = stream->point->batch, at = stream->first % source->period, tokens = 0, calls = 0;
    double start = now();
    options.max_tokens = sweep->info.max_tokens;
    do {
        embed_tokens out = EMBED_TOKENS_INIT;
        check(embed_tokenize(sweep->model, source->texts + at, batch, &options, &out));
        embed_tokens_free(&out);
        tokens += source_tokens(source, at, batch);
        at = (at + batch) % source->period;
    } while (++calls < stream->calls && now() < start + stream->window / 4);
    return (now() - start) / (double)tokens;
}

/* Repeats the calls with ids. Returns seconds per token of all instances, 0 on failure. */
static double time_ids(struct point *point, struct stream *streams)
{
    size_t tokens = 0;
    for (size_t i = 0; i < point->instances; i++) streams[i].texts = point->source->ids;
    double seconds = run_streams(streams, point->instances);
    for (size_t i = 0; i < point->instances; i++) tokens += streams[i].tokens;
    return seconds / (double)tokens;
}

static void keep_calls(struct point *point, const struct stream *streams)
{
    for (size_t i = 0; i < point->instances; i++) {
        size_t more = streams[i].calls;
        point->calls =
            realloc(point->calls, (point->call_count + more) * sizeof *point->calls);
        if (point->calls == NULL) die("out of memory");
        memcpy(point->calls + point->call_count, streams[i].seconds, more * sizeof(double));
        point->call_count += more;
    }
}

/* Notes the failure of a stream in the point; any failure but out of memory ends the program. */
static void note_failure(struct point *point, const struct stream *streams)
{
    for (size_t i = 0; i < point->instances; i++) {
        if (streams[i].status == EMBED_OK) continue;
        if (streams[i].status != EMBED_OUT_OF_MEMORY) die("%s", streams[i].message);
        does_not_fit(point, streams[i].message);
        return;
    }
}

static void measure(const struct sweep *sweep, struct point *point, struct stream *streams)
{
    size_t r = point->rounds, tokens = 0;
    for (size_t i = 0; i < point->instances; i++) {
        warm_up(sweep, &streams[i]);
        if (streams[i].status != EMBED_OK) return;
    }
    struct usage before = read_usage();
    double seconds = run_streams(streams, point->instances);
    add_usage(point, before);
    if (seconds <= 0 || sweep_signal() != 0) return;
    for (size_t i = 0; i < point->instances; i++) tokens += streams[i].tokens;
    keep_calls(point, streams);

    bool real = point->source->tokens == 0, on_cpu = sweep->info.device == EMBED_DEVICE_CPU;
    double call_tokens = (double)point->batch * point->source->mean_tokens;
    double call = seconds * (double)point->instances / (double)tokens; /* per token, one instance */
    double tokenize = real ? time_tokenizing(sweep, &streams[0]) : 0, compute = call - tokenize;
    if (real && !on_cpu) compute = time_ids(point, streams) * (double)point->instances;
    if (sweep_signal() != 0) return;
    point->rates[r] = (double)tokens / seconds / point->source->mean_tokens;
    point->tokenize[r] = tokenize * call_tokens;
    point->compute[r] = fmax(0, compute) * call_tokens;
    point->rounds = r + 1;
    point->outcome = POINT_MEASURED;
}

void point_measure(const struct sweep *sweep, struct point *point)
{
    struct stream *streams = allocate(point->instances, sizeof *streams);
    double start = now();
    reset_peak();
    if (make_streams(sweep, point, streams)) {
        measure(sweep, point, streams);
        note_failure(point, streams);
        if (sweep->info.device == EMBED_DEVICE_CPU)
            point->peak = read_kilobytes("/proc/self/status", "VmHWM:");
    }
    for (size_t i = 0; i < point->instances; i++) {
        embed_instance_destroy(streams[i].instance);
        free(streams[i].rows);
        free(streams[i].seconds);
    }
    free(streams);
    point->seconds = now() - start;
}

/* ---- results ------------------------------------------------------------------------------- */

void point_conclude(struct point *point)
{
    struct result *result = &point->result;
    double sorted[MOST_ROUNDS];
    if (point->outcome != POINT_MEASURED) return;
    size_t bytes = point->rounds * sizeof *sorted;
    result->rounds = point->rounds;
    result->calls = point->call_count;
    result->rate = percentile(memcpy(sorted, point->rates, bytes), point->rounds, 0.5);
    result->spread = (percentile(sorted, point->rounds, 0.75) -
                      percentile(sorted, point->rounds, 0.25)) / result->rate;
    result->tokenize = percentile(memcpy(sorted, point->tokenize, bytes), point->rounds, 0.5);
    result->compute = percentile(memcpy(sorted, point->compute, bytes), point->rounds, 0.5);
    result->p50 = percentile(point->calls, point->call_count, 0.5);
    result->p95 = percentile(point->calls, point->call_count, 0.95);
    result->p99 = percentile(point->calls, point->call_count, 0.99);
    result->others = point->processor_seconds > 0
                         ? point->others_seconds / point->processor_seconds
                         : 0;
}

/* Counts linear layers and attention, in which a token attends to all tokens of its text. */
double point_flops_per_token(const struct sweep *sweep, const struct point *point)
{
    const embed_model_info *info = &sweep->info;
    const struct source *source = point->source;
    double C = (double)info->width, F = (double)info->feed_forward, looks = 0;
    for (size_t i = 0; i < source->period; i++)
        looks += (double)source->ids[i].length * (double)source->ids[i].length;
    looks /= (double)source->first_token[source->period];
    return (double)info->layers * (2 * (4 * C * C + 2 * C * F) + 4 * looks * C);
}
