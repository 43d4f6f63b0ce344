/* embed_bench_kernels.c - embed-bench kernels: error and time of each CPU kernel on one core
 *
 * Difference from the naive kernel, microseconds, GFLOP/s, and share of the core's own roof, which
 * is timed in the same run. Times are the best of many, which excludes other processes' influence.
 */
#include "embed_bench.h"
#include "kernels/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct target {
    const struct cpu_kernels *kernels;
    double flops; /* roof */
    struct table *table;
};

/* ---- timing -------------------------------------------------------------------------------- */

/* Sets best to the shortest time of body, repeated for about a fifth of a second. */
#define BEST_TIME(best, body)                                                                    \
    do {                                                                                         \
        best = INFINITY;                                                                         \
        for (double first = now(), t; now() - first < 0.2;) {                                    \
            t = now();                                                                           \
            body;                                                                                \
            t = now() - t;                                                                       \
            if (t < best) best = t;                                                              \
        }                                                                                        \
    } while (0)

static void *memory(size_t bytes)
{
    void *block = aligned_alloc(64, (bytes + 1023) / 64 * 64);
    if (block == NULL) die("out of memory");
    return memset(block, 0, (bytes + 1023) / 64 * 64);
}

/* Returns multiples of 2^-8 in [-1/2, 1/2), which are exact in any format. */
static float *random_floats(size_t count)
{
    float *floats = memory(count * sizeof *floats);
    for (size_t i = 0; i < count; i++) floats[i] = (float)(rand() % 256 - 128) / 256;
    return floats;
}

static void *elements(const struct cpu_kernels *k, const float *floats, size_t count)
{
    void *block = memory(count * k->element_bytes);
    k->store(block, floats, count);
    return block;
}

static float element_value(const struct cpu_kernels *k, const void *block, size_t i)
{
    if (k->element_bytes == sizeof(float)) return ((const float *)block)[i];
    uint32_t bits = (uint32_t)((const uint16_t *)block)[i] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double largest_difference(const struct cpu_kernels *k, const void *got,
                                 const float *expected, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++)
        largest = fmax(largest, fabs((double)element_value(k, got, i) - expected[i]));
    return largest;
}

#define NO_DIFFERENCE (-1.0)

/* If seconds is 0, `flop` is FLOP per second. */
static void print_row(const char *kernel, const struct target *target, const char *shape,
                      double difference, double seconds, double flop)
{
    struct table *table = target->table;
    table_text(table, "kernel", kernel);
    table_text(table, "instruction_set", target->kernels->name);
    table_text(table, "shape", shape);
    if (difference >= 0) table_number(table, "difference", "%.1e", difference);
    else table_none(table, "difference");
    if (seconds > 0) table_number(table, "microseconds", "%.2f", 1e6 * seconds);
    else table_none(table, "microseconds");
    if (flop > 0) {
        double flops = seconds > 0 ? flop / seconds : flop;
        table_number(table, "gflops", "%.1f", 1e-9 * flops);
        table_number(table, "share_of_roof", "%.3f", flops / target->flops);
    } else {
        table_none(table, "gflops");
        table_none(table, "share_of_roof");
    }
    table_end_row(table);
}

static void bench_linear(const struct target *target, size_t N, size_t O, size_t I,
                         enum activation activation)
{
    const struct cpu_kernels *k = target->kernels;
    float *x = random_floats(N * I), *w = random_floats(O * I), *expected = random_floats(N * O);
    float *bias = random_floats(k->linear_bias_size(O));
    void *input = elements(k, x, N * I), *got = memory(N * O * k->element_bytes);
    void *packed = memory(k->linear_weight_bytes(O, I));
    void *scratch = memory(k->linear_scratch_bytes(I));
    k->linear_pack(packed, w, O, I);
    double best;
    BEST_TIME(best, k->linear(got, input, packed, bias, N, O, I, 0, O, activation, scratch));
    size_t some = N < 13 ? N : 13; /* rows to check; the naive kernel is slow */
    cpu_kernels_reference.linear(expected, x, w, bias, some, O, I, 0, O, activation, NULL);
    char shape[64];
    snprintf(shape, sizeof shape, "N=%zu O=%zu I=%zu", N, O, I);
    print_row(activation == ACTIVATION_GELU ? "linear+gelu" : "linear", target, shape,
              largest_difference(k, got, expected, some * O), best, 2.0 * (double)(N * O * I));
    free(x), free(w), free(got), free(bias), free(expected), free(packed), free(input);
    free(scratch);
}

static void bench_attention(const struct target *target, size_t T, size_t HS)
{
    const struct cpu_kernels *k = target->kernels;
    size_t bytes = k->element_bytes;
    float *qkv = random_floats(3 * T * HS + 64), *naive = random_floats(T);
    char *input = elements(k, qkv, 3 * T * HS + 64), *got = memory(T * HS * bytes);
    void *scratch = memory(k->attention_scratch_bytes(T, HS));
    float *expected = random_floats(T * HS), scale = 1 / sqrtf((float)HS);
    double best;
    BEST_TIME(best, k->attention(got, input, input + HS * bytes, input + 2 * HS * bytes, NULL, T,
                                 HS, 3 * HS, HS, scale, scratch));
    cpu_kernels_reference.attention(expected, qkv, qkv + HS, qkv + 2 * HS, NULL, T, HS, 3 * HS, HS,
                                    scale, naive);
    char shape[64];
    snprintf(shape, sizeof shape, "T=%zu HS=%zu", T, HS);
    print_row("attention", target, shape, largest_difference(k, got, expected, T * HS), best,
              4.0 * (double)(T * T * HS));
    free(qkv), free(got), free(scratch), free(naive), free(expected), free(input);
}

/* Counts 8 FLOP a number: two additions, a difference and a square, a difference, two products and
 * a sum. */
static void bench_add_layernorm(const struct target *target, size_t N, size_t C)
{
    const struct cpu_kernels *k = target->kernels;
    float *x = random_floats(N * C), *r = random_floats(N * C), *expected = random_floats(N * C);
    float *w = random_floats(C), *b = random_floats(C);
    void *a = elements(k, x, N * C), *c = elements(k, r, N * C);
    void *got = memory(N * C * k->element_bytes), *scratch = memory(k->layernorm_scratch_bytes(C));
    double best;
    BEST_TIME(best, k->add_layernorm(got, a, c, w, b, N, C, 1e-12f, scratch));
    cpu_kernels_reference.add_layernorm(expected, x, r, w, b, N, C, 1e-12f, NULL);
    char shape[64];
    snprintf(shape, sizeof shape, "N=%zu C=%zu", N, C);
    print_row("add_layernorm", target, shape, largest_difference(k, got, expected, N * C), best,
              8.0 * (double)(N * C));
    free(x), free(r), free(expected), free(w), free(b), free(a), free(c), free(got), free(scratch);
}

/* ---- data that a decoder reads once a step ------------------------------------------------- */

#define COPIES 32 /* of 16 MiB in FP32: larger than the caches */

/* Sets mean to the mean over all copies of the best time of `body`, which reads the copy at
 * `copy`. */
#define TIME_FROM_MEMORY(mean, copies, bytes, body)                                              \
    do {                                                                                         \
        double least[COPIES], begin;                                                             \
        mean = 0;                                                                                \
        for (size_t n = 0; n < COPIES; n++) least[n] = INFINITY;                                 \
        for (size_t n = 0; n < 5 * COPIES; n++) {                                                \
            const char *copy = (copies) + n % COPIES * (bytes);                                  \
            begin = now();                                                                       \
            body;                                                                                \
            least[n % COPIES] = fmin(least[n % COPIES], now() - begin);                          \
        }                                                                                        \
        for (size_t n = 0; n < COPIES; n++) mean += least[n] / COPIES;                           \
    } while (0)

static char *copies_of(const void *block, size_t bytes)
{
    char *copies = memory(COPIES * bytes);
    for (size_t n = 0; n < COPIES; n++) memcpy(copies + n * bytes, block, bytes);
    return copies;
}

/* Reads in four streams, so that the others continue when one reaches a new page. */
static void read_all(const char *block, size_t bytes)
{
    uint64_t sums[4] = {0}, number;
    for (size_t i = 0; i < bytes / 4; i += sizeof number) {
        for (size_t j = 0; j < 4; j++) {
            memcpy(&number, block + j * (bytes / 4) + i, sizeof number);
            sums[j] += number;
        }
    }
    volatile uint64_t sink = sums[0] + sums[1] + sums[2] + sums[3];
    (void)sink;
}

/* A linear layer of few rows whose weights are in no cache, and a plain read of as many bytes. */
static void bench_linear_from_memory(const struct target *target)
{
    const struct cpu_kernels *k = target->kernels;
    enum { O = 4096, I = 1024 };
    static const size_t rows[] = {1, 4, 8, 12, 16};
    size_t bytes = k->linear_weight_bytes(O, I);
    float *w = random_floats(O * I), *x = random_floats(16 * I), *bias = random_floats(O);
    float *expected = random_floats(16 * O);
    void *packed = memory(bytes), *input = elements(k, x, 16 * I);
    void *got = memory(16 * O * sizeof *x);
    void *scratch = memory(k->linear_scratch_bytes(I));
    k->linear_pack(packed, w, O, I);
    char *copies = copies_of(packed, bytes), shape[64];
    double mean;
    TIME_FROM_MEMORY(mean, copies, bytes, read_all(copy, bytes));
    snprintf(shape, sizeof shape, "%zu bytes from memory", bytes);
    print_row("read", target, shape, NO_DIFFERENCE, mean, 0);
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        size_t N = rows[r];
        TIME_FROM_MEMORY(mean, copies, bytes,
                         k->linear(got, input, copy, bias, N, O, I, 0, O, ACTIVATION_NONE,
                                   scratch));
        cpu_kernels_reference.linear(expected, x, w, bias, N, O, I, 0, O, ACTIVATION_NONE, NULL);
        snprintf(shape, sizeof shape, "N=%zu O=%d I=%d from memory", N, O, I);
        print_row("linear", target, shape, largest_difference(k, got, expected, N * O), mean,
                  2.0 * (double)(N * O * I));
    }
    free(w), free(x), free(bias), free(expected), free(packed), free(input), free(got);
    free(scratch), free(copies);
}

/* All heads of a layer: Q beams of a document attend to T tokens of keys and values that are in no
 * CPU cache. */
static void bench_decode_attention(const struct target *target, size_t Q, size_t T)
{
    const struct cpu_kernels *k = target->kernels;
    enum { NH = 16, HS = 64, C = NH * HS };
    size_t each = k->element_bytes, bytes = T * 2 * C * each;
    float *q = random_floats(Q * C), *cache = random_floats(T * 2 * C), scale = 0.125f;
    float *expected = random_floats(Q * C);
    char *queries = elements(k, q, Q * C), *stored = elements(k, cache, T * 2 * C);
    char *copies = copies_of(stored, bytes), *got = memory(Q * C * each), shape[64];
    void *scratch = memory(k->decode_attention_scratch_bytes(Q, T, HS));
    void *naive = memory(cpu_kernels_reference.decode_attention_scratch_bytes(Q, T, HS));
    double mean;
    TIME_FROM_MEMORY(mean, copies, bytes, {
        for (size_t head = 0; head < C * each; head += HS * each)
            k->decode_attention(got + head, queries + head, copy + head, copy + C * each + head,
                                NULL, 0, Q, T, HS, C, 2 * C, C, scale, scratch);
    });
    for (size_t i = 0; i < C; i += HS)
        cpu_kernels_reference.decode_attention(expected + i, q + i, cache + i, cache + C + i, NULL,
                                               0, Q, T, HS, C, 2 * C, C, scale, naive);
    snprintf(shape, sizeof shape, "Q=%zu T=%zu HS=%d NH=%d from memory", Q, T, HS, NH);
    print_row("decode_attention", target, shape, largest_difference(k, got, expected, Q * C), mean,
              4.0 * (double)(Q * T * C));
    free(q), free(cache), free(expected), free(queries), free(stored), free(copies), free(got);
    free(scratch), free(naive);
}

/* Counts 20 FLOP a number for log-softmax, 16 of them for the exponential, and 1 for the largest
 * numbers. */
static void bench_choice(const struct target *target)
{
    const struct cpu_kernels *k = target->kernels;
    enum { V = 50264, COUNT = 8 };
    float *x = random_floats(V), largest, sum, expected, values[COUNT], best_values[COUNT];
    int32_t indices[COUNT];
    double best;
    for (size_t i = 0; i < V; i++) x[i] = (float)rand() / (float)RAND_MAX * 10;
    BEST_TIME(best, k->log_softmax_sums(&largest, &sum, x, V));
    cpu_kernels_reference.log_softmax_sums(&largest, &expected, x, V);
    print_row("log_softmax_sums", target, "V=50264", fabs((double)sum - expected), best, 20.0 * V);
    BEST_TIME(best, k->largest(values, indices, COUNT, x, V));
    cpu_kernels_reference.largest(best_values, indices, COUNT, x, V);
    double difference = 0;
    for (size_t i = 0; i < COUNT; i++)
        difference = fmax(difference, fabs((double)values[i] - best_values[i]));
    print_row("largest", target, "count=8 V=50264", difference, best, V);
    free(x);
}

static void bench_target(struct target *target)
{
    static const size_t shapes[][2] = {{1152, 384}, {384, 384}, {384, 1536}, /* MiniLM */
                                       {2304, 768}, {768, 768}, {768, 3072}}; /* MPNet */
    static const size_t rows[] = {1, 12, 512};
    for (int i = 0; i < 4; i++)
        target->flops = fmax(target->flops, roof_flops(target->kernels->name, 1));
    print_row("roof", target, "registers only", NO_DIFFERENCE, 0, target->flops);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            bench_linear(target, rows[r], shapes[s][0], shapes[s][1], ACTIVATION_NONE);
    }
    bench_linear(target, 512, 1536, 384, ACTIVATION_GELU);
    bench_linear(target, 512, 3072, 768, ACTIVATION_GELU);
    static const size_t lengths[] = {12, 34, 128, 256, 512};
    for (size_t t = 0; t < sizeof lengths / sizeof *lengths; t++) {
        bench_attention(target, lengths[t], 32);
        bench_attention(target, lengths[t], 64);
    }
    bench_add_layernorm(target, 256, 384);
    bench_add_layernorm(target, 256, 768);
    bench_linear_from_memory(target);
    bench_decode_attention(target, 1, 142);
    bench_decode_attention(target, 4, 142);
    bench_decode_attention(target, 4, 1024);
    bench_choice(target);
}

/* Lists the kernels that this processor supports, best first, followed by NULL. */
static void list_kernels(const struct cpu_kernels **list)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) {
        if (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni"))
            *list++ = &cpu_kernels_avx512_vnni;
        if (__builtin_cpu_supports("avx512bf16")) *list++ = &cpu_kernels_avx512_bf16;
        *list++ = &cpu_kernels_avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        *list++ = &cpu_kernels_avx2;
#endif
    *list++ = &cpu_kernels_scalar;
    *list = NULL;
}

int command_kernels(const struct settings *settings)
{
    const char *wanted = settings->operand_count > 0 ? settings->operands[0] : NULL;
    const struct cpu_kernels *list[8];
    struct table table;
    bool found = wanted == NULL;
    list_kernels(list);
    for (size_t i = 0; list[i] != NULL; i++)
        if (!found) found = strcmp(wanted, list[i]->name) == 0;
    if (!found) return wrong_call("kernels: this processor has no instruction set '%s'", wanted);
    table_start(&table, stdout, settings->json);
    for (size_t i = 0; list[i] != NULL; i++) {
        struct target target = {list[i], 0, &table};
        if (wanted == NULL || strcmp(wanted, list[i]->name) == 0) bench_target(&target);
    }
    return 0;
}
