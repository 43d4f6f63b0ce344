/* fill_gpu.c - as many instances as the free memory holds, behind one queue
 *
 *   usage: fill_gpu FOLDER [MOST]
 *
 * On a GPU the pool creates as many instances as fit, up to MOST (16); on a CPU it creates one, or
 * up to MOST if given. A batch is computed when it has BATCH_TEXTS texts, or when its oldest text
 * has waited MAX_DELAY microseconds. The queue holds QUEUE requests: submitting more waits for
 * room; without wait_for_room it would return EMBED_BUSY.
 */
#include <embed.h>
#include <stdio.h>
#include <stdlib.h>

enum { REQUESTS = 400, BATCH_TEXTS = 32, MAX_DELAY = 2000, QUEUE = 64 };

static const embed_text texts[] = {EMBED_TEXT("a short text"),
                                   EMBED_TEXT("and one that is a good deal longer than the first")};

/* Prints what an instance takes and how many fit in the memory that is free now. */
static embed_status report_room(const embed_model *model, const embed_model_info *info,
                                const char *folder)
{
    embed_memory plan = EMBED_MEMORY_INIT;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    size_t fit;
    options.device = info->device;
    options.device_index = info->device_index;
    options.dtype = info->dtype;
    options.threads = info->threads;
    embed_status status = embed_plan(folder, &options, NULL, &plan);
    if (status == EMBED_OK) status = embed_instances_that_fit(model, NULL, (size_t)256 << 20, &fit);
    if (status != EMBED_OK) return status;
    printf("%s: weights %.1f MiB, an instance %.1f MiB; %zu instances fit beside 256 MiB free\n",
           info->device_name, (double)plan.weights / (1 << 20), (double)plan.own / (1 << 20), fit);
    return EMBED_OK;
}

/* Submits request i, whose row is row i of `rows`; it may be read after waiting for the ticket. */
static embed_status submit(embed_pool *pool, size_t i, float *rows, size_t width,
                           embed_ticket **ticket)
{
    embed_request request = EMBED_REQUEST_INIT;
    request.texts = &texts[i % 2];
    request.n = 1;
    request.out = rows + i * width;
    request.capacity = width;
    request.wait_for_room = 1;
    return embed_pool_submit(pool, &request, ticket);
}

/* Submits all requests, then waits for each. Returns how many succeeded. */
static unsigned run(embed_pool *pool, float *rows, size_t width)
{
    static embed_ticket *tickets[REQUESTS];
    unsigned completed = 0;
    for (size_t i = 0; i < REQUESTS; i++) {
        if (submit(pool, i, rows, width, &tickets[i]))
            fprintf(stderr, "request %zu was not accepted: %s\n", i, embed_error_message());
    }
    for (size_t i = 0; i < REQUESTS; i++) {
        if (tickets[i] == NULL) continue;
        if (embed_ticket_wait(tickets[i], EMBED_WAIT_FOREVER) == EMBED_OK) completed++;
        else fprintf(stderr, "request %zu: %s\n", i, embed_error_message());
        embed_ticket_free(tickets[i]);
    }
    return completed;
}

static void print_metrics(const embed_pool *pool)
{
    static char text[1 << 16];
    embed_metrics metrics = EMBED_METRICS_INIT;
    size_t length;
    embed_pool_get_metrics(pool, &metrics);
    printf("%u instances: %.1f MiB, and %.1f MiB of weights\n", metrics.instances,
           (double)metrics.instance_bytes / (1 << 20), (double)metrics.weight_bytes / (1 << 20));
    if (embed_metrics_text(&metrics, "model=\"demo\"", text, sizeof text, &length) == EMBED_OK)
        fputs(text, stdout);
}

int main(int argc, char **argv)
{
    embed_model *model = NULL;
    embed_pool *pool = NULL;
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    embed_pool_options options = EMBED_POOL_OPTIONS_INIT;
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: fill_gpu FOLDER [MOST]\n");
        return 2;
    }
    if (embed_model_open(&model, argv[1], NULL) || embed_model_get_info(model, &info) ||
        report_room(model, &info, argv[1])) {
        fprintf(stderr, "fill_gpu: %s\n", embed_error_message());
        return 1;
    }
    if (info.device == EMBED_DEVICE_CUDA) options.max_instances = 16;
    if (argc == 3) options.max_instances = (unsigned)strtoul(argv[2], NULL, 10);
    options.warm_up_passes = 2; /* full batches per instance, before the first request */
    options.batch_texts = BATCH_TEXTS;
    options.max_delay_microseconds = MAX_DELAY;
    options.queue_requests = QUEUE;
    float *rows = malloc(REQUESTS * info.width * sizeof *rows);
    unsigned completed = 0;
    if (rows == NULL || embed_pool_create(&pool, &model, 1, &options)) {
        fprintf(stderr, "fill_gpu: %s\n", rows == NULL ? "out of memory" : embed_error_message());
    } else {
        completed = run(pool, rows, info.width);
        print_metrics(pool);
        printf("%u of %d requests completed\n", completed, REQUESTS);
    }
    embed_pool_destroy(pool);
    embed_model_close(model);
    free(rows);
    return completed == REQUESTS ? 0 : 1;
}
