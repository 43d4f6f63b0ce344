/* pool_bench.c - pool-bench: many small callers of one model, three ways
 *
 *   pool-bench -m FOLDER [--device auto|cpu|cuda] [--workers N] [--seconds S] FILE
 *
 * The lines of FILE are embedded by
 *   one call   all lines in one embed_instance_encode: what the machine can do;
 *   pool       N threads, each with requests of K lines, through one pool (K = 1, 4, 16);
 *   models     N processes, each with a model and an instance of its own, one line at a time: what
 *              such a service does without a pool.
 * Prints CSV with a header line. Resident memory is the processes' proportional share, weights
 * included, from /proc/PID/smaps_rollup.
 */
#include <embed.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_WORKERS = 64, MOST_SAMPLES = 1 << 20 };

static embed_model_options model_options = EMBED_MODEL_OPTIONS_INIT;
static const char *folder;
static unsigned workers = 8;
static double duration = 5;
static embed_text *texts;
static size_t count, width;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "pool-bench: %s\n", what);
    exit(1);
}

static void check(embed_status status)
{
    if (status != EMBED_OK) die(embed_error_message());
}

static float *rows_for(size_t n)
{
    float *rows = malloc(n * width * sizeof *rows);
    if (rows == NULL) die("out of memory");
    return rows;
}

/* Kilobytes that a process has to itself, and its share of what it has in common with others. */
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

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_row(const char *way, unsigned callers, size_t in_request, double rate,
                      double roof, double *latencies, size_t n, size_t kilobytes)
{
    qsort(latencies, n, sizeof *latencies, by_value);
    double p50 = n > 0 ? latencies[n / 2] : 0, p99 = n > 0 ? latencies[n - 1 - n / 100] : 0;
    printf("%s,%u,%zu,%.1f,%.3f,%.2f,%.2f,%zu\n", way, callers, in_request, rate, rate / roof,
           1e3 * p50, 1e3 * p99, kilobytes);
    fflush(stdout);
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

static void run_pool(embed_model *model, size_t in_request, double roof)
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
        all[i].latencies = malloc(MOST_SAMPLES * sizeof(double));
        if (all[i].latencies == NULL) die("out of memory");
        if (pthread_create(&all[i].thread, NULL, run_worker, &all[i]) != 0) die("no thread");
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
    print_row("pool", workers, in_request, rate, roof, latencies, samples, kilobytes);
}

/* ---- a model for each ---------------------------------------------------------------------- */

struct shared {
    atomic_uint ready;
    atomic_bool begins, ends;
    struct {
        atomic_size_t done;
        double latency; /* their sum */
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
    pause(); /* its memory is looked at */
}

/* Before this process has a model open: a child may use the library only then. */
static double run_processes(size_t *kilobytes, double *latency)
{
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t children[MOST_WORKERS];
    if (shared == MAP_FAILED) die("out of memory");
    for (unsigned i = 0; i < workers; i++) {
        children[i] = fork();
        if (children[i] < 0) die("no process");
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

/* ---- the program --------------------------------------------------------------------------- */

static void read_lines(const char *path)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    if (file == NULL) die("FILE cannot be read");
    while ((length = getline(&line, &room, file)) >= 0) {
        if (length > 0 && line[length - 1] == '\n') length--;
        texts = realloc(texts, (count + 1) * sizeof *texts);
        char *copy = strndup(line, (size_t)length);
        if (texts == NULL || copy == NULL) die("out of memory");
        texts[count++] = (embed_text){copy, NULL, (size_t)length};
    }
    free(line);
    fclose(file);
    if (count < 64) die("FILE has fewer than 64 lines");
}

static void take_arguments(int argc, char **argv)
{
    static const char *const devices[] = {"auto", "cpu", "cuda"};
    const char *file = NULL;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        bool takes_value = true;
        if (strcmp(argv[i], "-m") == 0) folder = value;
        else if (strcmp(argv[i], "--workers") == 0) workers = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--seconds") == 0) duration = strtod(value, NULL);
        else if (strcmp(argv[i], "--device") == 0)
            while (model_options.device < 3 && strcmp(devices[model_options.device], value) != 0)
                model_options.device++;
        else file = argv[i], takes_value = false;
        i += takes_value;
    }
    if (folder == NULL || file == NULL || workers < 1 || workers > MOST_WORKERS ||
        !(duration > 0) || model_options.device > 2) {
        fputs("usage: pool-bench -m FOLDER [--device auto|cpu|cuda] [--workers N] [--seconds S] FILE\n",
              stderr);
        exit(2);
    }
    read_lines(file);
}

int main(int argc, char **argv)
{
    take_arguments(argc, argv);
    width = 4096; /* until a model says */
    size_t kilobytes = 0;
    double latency = 0, separate = run_processes(&kilobytes, &latency);

    embed_model *model = NULL;
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    check(embed_model_open(&model, folder, &model_options));
    check(embed_model_get_info(model, &info));
    width = info.width;
    double roof = run_one_call(model);
    puts("way,callers,texts_per_request,sentences_per_s,share_of_one_call,p50_ms,p99_ms,resident_kb");
    print_row("one call", 1, count, roof, roof, NULL, 0, resident_kilobytes(getpid()));
    for (size_t in_request = 1; in_request <= 16; in_request *= 4) run_pool(model, in_request, roof);
    print_row("models", workers, 1, separate, roof, &latency, 1, kilobytes);
    embed_model_close(model);
    return 0;
}
