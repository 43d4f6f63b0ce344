/* shared_model.c - eight workers share one model, whose weights are in memory once
 *
 *   usage: shared_model FOLDER
 *
 * Each worker embeds small requests of its own, as a server's threads do, and waits for the rows.
 * The pool computes queued requests together in batches: the more workers wait, the larger the
 * batches.
 */
#include <embed.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { WORKERS = 8, REQUESTS = 50, TEXTS = 4 };

struct worker {
    pthread_t thread;
    unsigned number;
    embed_pool *pool;
    size_t width;
    unsigned embedded;
};

/* Makes texts that differ from request to request. They point into `lines`. */
static void make_texts(embed_text texts[TEXTS], char lines[TEXTS][64], unsigned worker,
                       unsigned request)
{
    for (unsigned i = 0; i < TEXTS; i++) {
        int length = snprintf(lines[i], sizeof lines[i], "text %u of request %u of worker %u", i,
                              request, worker);
        texts[i] = (embed_text){lines[i], NULL, (size_t)length};
    }
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    char lines[TEXTS][64];
    embed_text texts[TEXTS];
    float *rows = malloc(TEXTS * worker->width * sizeof *rows);
    for (unsigned i = 0; i < REQUESTS && rows != NULL; i++) {
        make_texts(texts, lines, worker->number, i);
        if (embed_pool_encode(worker->pool, texts, TEXTS, NULL, rows, TEXTS * worker->width,
                              NULL)) {
            fprintf(stderr, "worker %u: %s\n", worker->number, embed_error_message());
            break;
        }
        worker->embedded += TEXTS; /* a server would send the rows here */
    }
    free(rows);
    return NULL;
}

/* Returns how many texts were embedded. */
static unsigned run_workers(embed_pool *pool, size_t width)
{
    struct worker workers[WORKERS];
    unsigned embedded = 0;
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.number = i, .pool = pool, .width = width};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i])) abort();
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        pthread_join(workers[i].thread, NULL);
        embedded += workers[i].embedded;
    }
    return embedded;
}

static void report(const embed_metrics *metrics)
{
    const double MiB = 1 << 20, weights = (double)metrics->weight_bytes / MiB,
                 own = (double)metrics->instance_bytes / MiB;
    printf("%llu texts in %llu batches, %.1f to a batch\n", (unsigned long long)metrics->texts,
           (unsigned long long)metrics->batches,
           metrics->batch_texts.sum / (double)metrics->batches);
    printf("a request took %.2f ms (median), %.2f ms (95%% took less)\n",
           metrics->latency_microseconds.p50 / 1e3, metrics->latency_microseconds.p95 / 1e3);
    printf("memory: weights %.1f MiB, once; %u instance(s) %.1f MiB\n", weights, metrics->instances,
           own);
    printf("%d models of their own would take %.1f MiB\n", WORKERS,
           WORKERS * (weights + own / metrics->instances));
}

int main(int argc, char **argv)
{
    embed_model *model = NULL;
    embed_pool *pool = NULL;
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    embed_metrics metrics = EMBED_METRICS_INIT;
    if (argc != 2) {
        fprintf(stderr, "usage: shared_model FOLDER\n");
        return 2;
    }
    if (embed_model_open(&model, argv[1], NULL) || embed_model_get_info(model, &info) ||
        embed_pool_create(&pool, &model, 1, NULL)) {
        fprintf(stderr, "shared_model: %s\n", embed_error_message());
        return 1;
    }
    unsigned embedded = run_workers(pool, info.width);
    embed_pool_get_metrics(pool, &metrics);
    report(&metrics);
    embed_pool_destroy(pool);
    embed_model_close(model);
    return embedded == WORKERS * REQUESTS * TEXTS ? 0 : 1;
}
