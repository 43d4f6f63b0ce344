/* embed_bench_load.c - embed-bench load: many small callers of one model, three ways
 *
 * The lines of FILE are embedded by
 *   one call   all lines in one embed_instance_encode: the limit of the machine;
 *   pool       N threads, each with requests of K lines, through one pool (K = 1, 4, 16);
 *   models     N processes, each with its own model and instance, one line at a time: a service
 *              without a pool.
 * Resident memory is the proportional set size of the processes, weights included, from
 * /proc/PID/smaps_rollup.
 */
#include "embed_bench.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_WORKERS = 64, MOST_SAMPLES = 1 << 20 };

static embed_model_options model_options = EMBED_MODEL_OPTIONS_INIT;
static const char *folder;
static unsigned workers;
static double duration;
static const embed_text *texts;
static size_t count, width;

static float *rows_for(size_t n)
{
    return allocate(n * width, sizeof(float));
}

/* Returns the private kilobytes of a process plus its share of the memory it shares with others. */
static size_t resident_kilobytes(pid_t pid)
{
    char path[64], line[256];
    size_t kilobytes = 0;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "Pss: %zu kB", &kilobytes) == 1) break;
    if (file != NULL) fclose(file);
    return kilobytes;
}

static void print_row(struct table *table, const char *way, unsigned callers, size_t in_request,
                      double rate, double roof, double *latencies, size_t n, size_t kilobytes)
{
    table_text(table, "way", way);
    table_number(table, "callers", "%u", callers);
    table_number(table, "texts_per_request", "%zu", in_request);
    table_number(table, "sentences_per_s", "%.1f", rate);
    table_number(table, "share_of_one_call", "%.3f", rate / roof);
    table_number(table, "p50_ms", "%.2f", n > 0 ? 1e3 * percentile(latencies, n, 0.5) : 0);
    table_number(table, "p99_ms", "%.2f", n > 0 ? 1e3 * percentile(latencies, n, 0.99) : 0);
    table_number(table, "resident_kb", "%zu", kilobytes);
    table_end_row(table);
}

/* ---- one call ------------------------------------------------------------------------------ */

static double run_one_call(embed_model *model)
{
    embed_instance *instance = NULL;
    check(embed_instance_create(&instance, model, NULL));
    float *rows = rows_for(count);
    check(embed_instance_encode(instance, texts, count, NULL, rows, count * width, NULL));
    double begin = now();
    size_t done = 0;
    while (now() < begin + duration) {
        check(embed_instance_encode(instance, texts, count, NULL, rows, count * width, NULL));
        done += count;
    }
    double rate = (double)done / (now() - begin);
    free(rows);
    embed_instance_destroy(instance);
    return rate;
}

/* ---- a pool -------------------------------------------------------------------------------- */

struct worker {
    pthread_t thread;
    embed_pool *pool;
    unsigned rank;
    size_t in_request, done, samples;
    double end, *latencies;
};

static void *run_worker(void *argument)
{
    struct worker *worker = argument;
    float *rows = rows_for(worker->in_request);
    size_t at = worker->rank * count / workers;
    while (now() < worker->end) {
        double begin = now();
        if (at + worker->in_request > count) at = 0;
        check(embed_pool_encode(worker->pool, texts + at, worker->in_request, NULL, rows,
                                worker->in_request * width, NULL));
        at += worker->in_request;
        worker->done += worker->in_request;
        if (worker->samples < MOST_SAMPLES) worker->latencies[worker->samples++] = now() - begin;
    }
    free(rows);
    return NULL;
}

static void run_pool(struct table *table, embed_model *model, size_t in_request, double roof)
{
    static struct worker all[MOST_WORKERS];
    static double latencies[MOST_SAMPLES];
    embed_pool *pool = NULL;
    check(embed_pool_create(&pool, &model, 1, NULL));
    double begin = now();
    size_t done = 0, samples = 0;
    for (unsigned i = 0; i < workers; i++) {
        all[i] = (struct worker){.pool = pool, .rank = i, .in_request = in_request,
                                 .end = begin + duration};
        all[i].latencies = allocate(MOST_SAMPLES, sizeof(double));
        if (pthread_create(&all[i].thread, NULL, run_worker, &all[i]) != 0)
            die("cannot start a thread");
    }
    size_t kilobytes = 0;
    for (unsigned i = 0; i < workers; i++) {
        pthread_join(all[i].thread, NULL);
        if (i == 0) kilobytes = resident_kilobytes(getpid());
        done += all[i].done;
        for (size_t s = 0; s < all[i].samples && samples < MOST_SAMPLES; s++)
            latencies[samples++] = all[i].latencies[s];
        free(all[i].latencies);
    }
    double rate = (double)done / (now() - begin);
    embed_pool_destroy(pool);
    print_row(table, "pool", workers, in_request, rate, roof, latencies, samples, kilobytes);
}

/* ---- a model for each ---------------------------------------------------------------------- */

struct shared {
    atomic_uint ready;
    atomic_bool begins, ends;
    struct {
        atomic_size_t done;
        double latency; /* seconds of all calls together */
    } process[MOST_WORKERS];
};

static void run_process(struct shared *shared, unsigned rank)
{
    embed_model *model = NULL;
    embed_instance *instance = NULL;
    check(embed_model_open(&model, folder, &model_options));
    check(embed_instance_create(&instance, model, NULL));
    float *row = rows_for(1);
    check(embed_instance_encode(instance, texts, 1, NULL, row, width, NULL));
    atomic_fetch_add(&shared->ready, 1);
    while (!atomic_load(&shared->begins)) usleep(1000);
    for (size_t at = rank * count / workers; !atomic_load(&shared->ends); at = (at + 1) % count) {
        double begin = now();
        check(embed_instance_encode(instance, texts + at, 1, NULL, row, width, NULL));
        shared->process[rank].latency += now() - begin;
        atomic_fetch_add(&shared->process[rank].done, 1);
    }
    pause(); /* until the parent has read its memory and kills it */
}

/* Must run before this process opens a model: otherwise a forked child may not use the library. */
static double run_processes(size_t *kilobytes, double *latency)
{
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t children[MOST_WORKERS];
    if (shared == MAP_FAILED) die("out of memory");
    for (unsigned i = 0; i < workers; i++) {
        children[i] = fork();
        if (children[i] < 0) die("cannot start a process");
        if (children[i] == 0) run_process(shared, i);
    }
    while (atomic_load(&shared->ready) < workers) usleep(1000);
    double begin = now();
    atomic_store(&shared->begins, true);
    usleep((useconds_t)(1e6 * duration));
    atomic_store(&shared->ends, true);
    double took = now() - begin;
    size_t done = 0;
    for (unsigned i = 0; i < workers; i++) {
        done += atomic_load(&shared->process[i].done);
        *latency += shared->process[i].latency;
        *kilobytes += resident_kilobytes(children[i]);
    }
    *latency /= (double)done;
    for (unsigned i = 0; i < workers; i++) {
        kill(children[i], SIGKILL);
        waitpid(children[i], NULL, 0);
    }
    munmap(shared, sizeof *shared);
    return (double)done / took;
}

/* ---- the command --------------------------------------------------------------------------- */

static void run_all(struct table *table)
{
    width = 4096; /* until a model is open */
    size_t kilobytes = 0;
    double latency = 0, separate = run_processes(&kilobytes, &latency);

    embed_model *model = NULL;
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    check(embed_model_open(&model, folder, &model_options));
    check(embed_model_get_info(model, &info));
    width = info.width;
    double roof = run_one_call(model);
    table_start(table, stdout, table->json);
    print_row(table, "one call", 1, count, roof, roof, NULL, 0, resident_kilobytes(getpid()));
    for (size_t in_request = 1; in_request <= 16; in_request *= 4)
        run_pool(table, model, in_request, roof);
    print_row(table, "models", workers, 1, separate, roof, &latency, 1, kilobytes);
    embed_model_close(model);
}

int command_load(const struct settings *settings)
{
    struct lines lines = read_lines(settings->operands[0]);
    struct table table = {.json = settings->json};
    embed_memory plan = EMBED_MEMORY_INIT;
    if (lines.count < 64) die("%s: has fewer than 64 lines", settings->operands[0]);
    folder = settings->folder;
    model_options.device = settings->device;
    model_options.dtype = settings->dtype;
    model_options.threads = (unsigned)settings->threads;
    workers = settings->workers > 0 ? (unsigned)settings->workers : 8;
    duration = settings->seconds > 0 ? settings->seconds : 5;
    texts = lines.texts;
    count = lines.count;
    /* The children wait for each other: one that failed to open the model would hang the rest. */
    check(embed_plan(folder, &model_options, NULL, &plan));
    if (plan.kv > 0) die("%s: the model writes summaries, and gives no embeddings", folder);
    run_all(&table);
    free_lines(&lines);
    return 0;
}
