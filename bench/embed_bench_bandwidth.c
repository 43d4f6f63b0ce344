/* embed_bench_bandwidth.c - measures how fast this machine reads memory
 *
 * A plain loop over 1 GiB, split among the threads. It bounds a generation step, which reads all
 * weights of the decoder. The largest known third-level cache has 384 MiB.
 */
#include "embed_bench.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BLOCK_BYTES  ((size_t)1 << 30)
#define PAGE         ((size_t)2 << 20) /* huge: the page tables of small pages cost a tenth */
#define MOST_THREADS 256

typedef uint64_t line __attribute__((vector_size(64))); /* a cache line */

struct part {
    pthread_t thread;
    const line *lines;
    size_t count;
    line sum; /* keeps the compiler from dropping reads */
};

static void *read_part(void *argument)
{
    struct part *part = argument;
    line a = {0}, b = {0}, c = {0}, d = {0};
    for (size_t i = 0; i < part->count; i += 4) {
        a += part->lines[i];
        b += part->lines[i + 1];
        c += part->lines[i + 2];
        d += part->lines[i + 3];
    }
    part->sum = a + b + c + d;
    return NULL;
}

/* Returns the block, allocated once and never freed. It is written to, because untouched pages all
 * map to the same zero page. */
static const char *block(void)
{
    static char *bytes;
    if (bytes != NULL) return bytes;
    bytes = aligned_alloc(PAGE, BLOCK_BYTES);
    if (bytes == NULL) die("out of memory");
    madvise(bytes, BLOCK_BYTES, MADV_HUGEPAGE);
    memset(bytes, 1, BLOCK_BYTES);
    return bytes;
}

double read_bandwidth(unsigned threads)
{
    struct part parts[MOST_THREADS];
    if (threads == 0) threads = 1;
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    size_t count = BLOCK_BYTES / sizeof(line) / threads / 4 * 4;
    const line *lines = (const line *)(const void *)block();

    double start = now();
    for (unsigned t = 0; t < threads; t++) {
        parts[t].lines = lines + t * count;
        parts[t].count = count;
        if (pthread_create(&parts[t].thread, NULL, read_part, &parts[t]) != 0)
            die("cannot start a thread");
    }
    for (unsigned t = 0; t < threads; t++) pthread_join(parts[t].thread, NULL);
    return (double)(threads * count * sizeof(line)) / (now() - start);
}
