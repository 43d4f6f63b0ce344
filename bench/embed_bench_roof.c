/* embed_bench_roof.c - measures the processor's peak rate of multiply-adds
 *
 * A loop of multiply-adds (in BF16 and INT8, of dot products of pairs and quads) that touches only
 * registers. It runs on the given number of threads, each of which keeps its best rate: no kernel
 * on them is faster. Compiled with contraction to fused multiply-adds.
 */
#include "embed_bench.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#define STEPS        100000 /* a third of a millisecond */
#define TIMES        100
#define MOST_THREADS 1024

/* Runs ten independent chains of multiply-adds, enough to hide a latency of 4 to 5 cycles at two
 * per cycle. Returns FLOP per second. */
#define DEFINE_ROOF(name, bytes, attribute)                                                      \
    attribute static double name(void)                                                           \
    {                                                                                            \
        typedef float vec __attribute__((vector_size(bytes)));                                   \
        vec x = {0}, y = {0}, sum[10];                                                           \
        for (size_t i = 0; i < bytes / 4; i++) x[i] = 0.999f, y[i] = 0.001f;                     \
        for (int i = 0; i < 10; i++) sum[i] = x * (float)i;                                      \
        double start = now();                                                                    \
        for (long n = 0; n < STEPS; n++) {                                                       \
            _Pragma("GCC unroll 10") for (int i = 0; i < 10; i++) sum[i] = sum[i] * x + y;       \
        }                                                                                        \
        double seconds = now() - start;                                                          \
        for (int i = 1; i < 10; i++) sum[0] += sum[i];                                           \
        volatile float sink = sum[0][0];                                                         \
        (void)sink;                                                                              \
        return 2.0 * 10 * (bytes / 4) * STEPS / seconds;                                         \
    }

DEFINE_ROOF(roof_scalar, 16, )
#if defined(__x86_64__)
DEFINE_ROOF(roof_avx2, 32, __attribute__((target("avx2,fma"))))
DEFINE_ROOF(roof_avx512, 64, __attribute__((target("avx512f"))))

/* The same with dot products of pairs (BF16) and quads (INT8), whose latency is at most 6 cycles.
 * Each adds two or four products to 16 lanes. */
#define DOT(n, instruction) instruction " %%zmm12, %%zmm12, %%zmm" #n "\n\t"

#define DEFINE_DOT_ROOF(name, instruction, products)                                             \
    __attribute__((target("avx512f"))) static double name(void)                                  \
    {                                                                                            \
        double start = now();                                                                    \
        for (long n = 0; n < STEPS; n++)                                                         \
            __asm__ volatile(                                                                    \
                DOT(0, instruction) DOT(1, instruction) DOT(2, instruction) DOT(3, instruction)  \
                    DOT(4, instruction) DOT(5, instruction) DOT(6, instruction)                  \
                        DOT(7, instruction) DOT(8, instruction) DOT(9, instruction)              \
                            DOT(10, instruction) DOT(11, instruction)                            \
                :                                                                                \
                :                                                                                \
                : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",        \
                  "xmm9", "xmm10", "xmm11");                                                     \
        return 2.0 * products * 12 * 16 * STEPS / (now() - start);                               \
    }

DEFINE_DOT_ROOF(roof_avx512_bf16, "vdpbf16ps", 2)
DEFINE_DOT_ROOF(roof_avx512_vnni, "vpdpbusd", 4)
#endif

static const struct {
    const char *instruction_set;
    double (*measure)(void);
} roofs[] = {
    {"scalar", roof_scalar},
#if defined(__x86_64__)
    {"avx2", roof_avx2},
    {"avx512", roof_avx512},
    {"avx512_bf16", roof_avx512_bf16},
    {"avx512_vnni", roof_avx512_vnni},
#endif
};

struct roof_thread {
    pthread_t thread;
    double (*measure)(void);
    double best;
};

static void *run(void *argument)
{
    struct roof_thread *own = argument;
    for (int i = 0; i < TIMES; i++) own->best = fmax(own->best, own->measure());
    return NULL;
}

double roof_flops(const char *instruction_set, unsigned threads)
{
    static struct roof_thread all[MOST_THREADS];
    double (*measure)(void) = NULL, sum = 0;
    for (size_t i = 0; i < sizeof roofs / sizeof *roofs; i++) {
        if (strcmp(roofs[i].instruction_set, instruction_set) == 0) measure = roofs[i].measure;
    }
    if (measure == NULL) return 0;
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    for (unsigned t = 0; t < threads; t++) {
        all[t] = (struct roof_thread){.measure = measure};
        if (pthread_create(&all[t].thread, NULL, run, &all[t]) != 0)
            die("cannot start a thread");
    }
    for (unsigned t = 0; t < threads; t++) {
        pthread_join(all[t].thread, NULL);
        sum += all[t].best;
    }
    return sum;
}
