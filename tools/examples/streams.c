/* streams.c - four streams of work over several models, without locks of their own
 *
 *   usage: streams RESIDENT FOLDER...
 *
 * At most RESIDENT models are in memory at a time. Each stream asks the cache for the model that
 * its next text needs: the first to ask loads it, others wait for that load, and the least recently
 * used model makes room. A model in use is never dropped.
 */
#include <embed.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { STREAMS = 4, STEPS = 24, RUN = 4 };

struct stream {
    pthread_t thread;
    unsigned number;
    embed_cache *cache;
    char **folders;
    unsigned models;
    unsigned embedded;
};

static embed_status embed_one(embed_pool *pool, const embed_text *text)
{
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    embed_status status = embed_model_get_info(embed_pool_model(pool), &info);
    float *row = status == EMBED_OK ? malloc(info.width * sizeof *row) : NULL;
    if (row == NULL) return status == EMBED_OK ? EMBED_OUT_OF_MEMORY : status;
    status = embed_pool_encode(pool, text, 1, NULL, row, info.width, NULL);
    free(row); /* a program would use it here */
    return status;
}

/* Embeds RUN texts with one model, then with the next; each stream starts at a different one. */
static void *work(void *argument)
{
    struct stream *stream = argument;
    const embed_text text = EMBED_TEXT("one of many texts, each for one of several models");
    for (unsigned step = 0; step < STEPS; step++) {
        const char *folder = stream->folders[(stream->number + step / RUN) % stream->models];
        embed_pool *pool;
        embed_status status = embed_cache_acquire(stream->cache, folder, &pool);
        if (status == EMBED_OK) {
            status = embed_one(pool, &text);
            embed_cache_release(stream->cache, pool);
        }
        if (status != EMBED_OK) {
            fprintf(stderr, "stream %u: %s\n", stream->number, embed_error_message());
            return NULL;
        }
        stream->embedded++;
    }
    return NULL;
}

/* Returns how many texts were embedded. */
static unsigned run_streams(embed_cache *cache, char **folders, unsigned models)
{
    struct stream streams[STREAMS];
    unsigned embedded = 0;
    for (unsigned i = 0; i < STREAMS; i++) {
        streams[i] =
            (struct stream){.number = i, .cache = cache, .folders = folders, .models = models};
        if (pthread_create(&streams[i].thread, NULL, work, &streams[i])) abort();
    }
    for (unsigned i = 0; i < STREAMS; i++) {
        pthread_join(streams[i].thread, NULL);
        printf("stream %u: %u texts\n", i, streams[i].embedded);
        embedded += streams[i].embedded;
    }
    return embedded;
}

int main(int argc, char **argv)
{
    embed_cache *cache = NULL;
    embed_cache_options options = EMBED_CACHE_OPTIONS_INIT;
    embed_cache_metrics metrics = EMBED_CACHE_METRICS_INIT;
    if (argc < 3) {
        fprintf(stderr, "usage: streams RESIDENT FOLDER...\n");
        return 2;
    }
    options.max_models = (unsigned)strtoul(argv[1], NULL, 10);
    options.wait_milliseconds = 60000; /* for a stream to give a model back */
    if (embed_cache_create(&cache, &options)) {
        fprintf(stderr, "streams: %s\n", embed_error_message());
        return 1;
    }
    unsigned embedded = run_streams(cache, argv + 2, (unsigned)argc - 2);
    embed_cache_get_metrics(cache, &metrics);
    printf("models: %llu loads (%.3f s together), %llu times there already, %llu dropped\n",
           (unsigned long long)metrics.loads, metrics.load_seconds,
           (unsigned long long)metrics.hits, (unsigned long long)metrics.evictions);
    printf("%llu resident, %.1f MiB\n", (unsigned long long)metrics.resident,
           (double)metrics.resident_bytes / (1 << 20));
    embed_cache_destroy(cache);
    return embedded == STREAMS * STEPS ? 0 : 1;
}
