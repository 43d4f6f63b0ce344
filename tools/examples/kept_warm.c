/* kept_warm.c - several models kept ready, so that no request waits for a load
 *
 *   usage: kept_warm FOLDER...
 *
 * Pins each model, so that it is loaded and warmed up now and never dropped, and checks what a
 * service relies on: loading takes less than 5 s, embedding one text less than 100 ms (the median
 * of 11), and rows are finite. The exit status is 1 if a check fails.
 */
#include <embed.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TIMES = 11 };

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int all_finite(const float *row, size_t width)
{
    for (size_t i = 0; i < width; i++)
        if (!isfinite(row[i])) return 0;
    return 1;
}

/* Measures the median time to embed one text. The library itself returns EMBED_NOT_FINITE for NaN
 * or infinity; the check here shows that none slips through. */
static embed_status time_one(embed_pool *pool, double *median)
{
    const embed_text text = EMBED_TEXT("a question that somebody waits for the answer to");
    double times[TIMES];
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    embed_status status = embed_model_get_info(embed_pool_model(pool), &info);
    float *row = malloc(info.width * sizeof *row);
    if (row == NULL) return EMBED_OUT_OF_MEMORY;
    for (int i = 0; i < TIMES && status == EMBED_OK; i++) {
        double start = seconds();
        status = embed_pool_encode(pool, &text, 1, NULL, row, info.width, NULL);
        times[i] = seconds() - start;
        if (status == EMBED_OK && !all_finite(row, info.width)) status = EMBED_NOT_FINITE;
    }
    free(row);
    if (status != EMBED_OK) return status;
    qsort(times, TIMES, sizeof *times, compare);
    *median = times[TIMES / 2];
    return EMBED_OK;
}

/* Returns whether the model meets the limits. */
static int check(embed_cache *cache, const char *folder)
{
    embed_pool *pool = NULL;
    double start = seconds(), median = 0;
    embed_status status = embed_cache_pin(cache, folder);
    double load = seconds() - start;
    if (status == EMBED_OK) status = embed_cache_acquire(cache, folder, &pool); /* at once */
    if (status == EMBED_OK) {
        status = time_one(pool, &median);
        embed_cache_release(cache, pool);
    }
    if (status != EMBED_OK) {
        fprintf(stderr, "%s: %s: %s\n", folder, embed_status_string(status), embed_error_message());
        return 0;
    }
    int holds = load < 5 && median < 0.1;
    printf("%-40s loaded in %.3f s, one text in %.2f ms: %s\n", folder, load, 1e3 * median,
           holds ? "ok" : "TOO SLOW");
    return holds;
}

int main(int argc, char **argv)
{
    embed_cache *cache = NULL;
    embed_cache_metrics metrics = EMBED_CACHE_METRICS_INIT;
    int ok = argc > 1;
    if (!ok) {
        fprintf(stderr, "usage: kept_warm FOLDER...\n");
        return 2;
    }
    if (embed_cache_create(&cache, NULL)) {
        fprintf(stderr, "kept_warm: %s\n", embed_error_message());
        return 1;
    }
    for (int i = 1; i < argc; i++) ok &= check(cache, argv[i]);
    embed_cache_get_metrics(cache, &metrics);
    printf("%llu models kept, %.1f MiB\n", (unsigned long long)metrics.pinned,
           (double)metrics.resident_bytes / (1 << 20));
    embed_cache_destroy(cache);
    return ok ? 0 : 1;
}
