/* kernel_times.c - how long each step of the forward pass takes on this GPU, next to its floor
 *
 *   usage: kernel_times f16|f32
 *
 * Prints CSV, one row for each step, model, number of tokens and length of the texts. A time is the
 * median of 7 replays of a graph that repeats the step 20 times, after one replay that is not
 * counted; CPU time is excluded. The buffers are the same each time, as in a forward pass, where a
 * chunk stays in L2.
 *
 * A step's floor is the larger of two times: its operations at the rate of a large matrix product,
 * and its bytes (each input read once, each output written once) at the rate of a copy. Both rates
 * are in the first rows; if the bytes fit in L2, the rate of a copy within L2 applies.
 */
#include "device_numbers.h"

#include "cuda/matmul.h"
#include "kernels/kernels_cuda.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define REPEATS 20
#define REPLAYS 7

enum { LENGTHS = 4 };
static const size_t lengths[LENGTHS] = {16, 32, 128, 256}; /* tokens of a text */
static const size_t numbers[] = {16, 128, 8448};           /* tokens of a chunk */

static const struct shape {
    const char *name;
    size_t L, C, F, NH, V, P;
    bool relative; /* attention with a bias by distance */
} shapes[] = {{"minilm", 6, 384, 1536, 12, 30522, 512, false},
              {"mpnet", 12, 768, 3072, 12, 30527, 514, true}};

/* One model, and a chunk of N tokens in texts of T tokens. */
struct bench {
    const struct cuda_kernels *kernels;
    const struct shape *shape;
    size_t N, T;
    int capability; /* 90 for 9.0 */
    struct matmul *matmul;
    cudaStream_t stream;
    struct linear qkv, attention_output, feed_forward_in, feed_forward_out;
    void *word, *position, *x, *wide, *context, *inner, *y; /* wide: q, k and v */
    float *vector, *relative, *rows;
    int32_t *ids, *positions, *offsets;
};

/* What this GPU achieves per second. */
struct rates {
    double flops, memory, l2;
    size_t l2_bytes; /* up to which the L2 rate applies */
};

/* ---- the steps --------------------------------------------------------------------------- */

static const struct matmul_kind with_bias = {.rows = MATMUL_ROWS, .add_bias = true};
static const struct matmul_kind without_bias = {.rows = MATMUL_ROWS};

static void embed_layernorm(struct bench *b)
{
    CHECK(b->kernels->embed_layernorm(b->x, b->ids, b->positions, b->word, b->position,
                                      b->vector, b->vector, b->vector, b->N, b->shape->C,
                                      1e-12f, b->stream));
}

static void qkv(struct bench *b)
{
    check(matmul_run(b->matmul, b->wide, b->x, &b->qkv, b->N, with_bias, b->stream));
}

static void attention(struct bench *b)
{
    size_t HS = b->shape->C / b->shape->NH;
    CHECK(b->kernels->attention(b->context, b->wide, b->relative, 2 * b->T - 1, b->T - 1,
                                b->offsets, b->N / b->T, b->T, b->shape->NH, HS,
                                1.0f / sqrtf((float)HS), b->stream));
}

static void attention_output(struct bench *b)
{
    check(matmul_run(b->matmul, b->y, b->context, &b->attention_output, b->N, with_bias, b->stream));
}

static void add_layernorm(struct bench *b)
{
    CHECK(b->kernels->add_layernorm(b->x, b->y, b->x, b->vector, b->vector, b->N, b->shape->C,
                                    1e-12f, b->stream));
}

static void feed_forward_in(struct bench *b)
{
    check(matmul_run(b->matmul, b->inner, b->x, &b->feed_forward_in, b->N, without_bias, b->stream));
}

static void bias_gelu(struct bench *b)
{
    CHECK(
        b->kernels->bias_gelu(b->inner, b->feed_forward_in.bias, b->N, b->shape->F, b->stream));
}

static void feed_forward_out(struct bench *b)
{
    check(matmul_run(b->matmul, b->y, b->inner, &b->feed_forward_out, b->N, with_bias, b->stream));
}

static void pool(struct bench *b)
{
    CHECK(b->kernels->pool(b->rows, b->shape->C, b->x, b->offsets, NULL, b->N / b->T, b->shape->C,
                           POOLING_MEAN, b->shape->C, true, b->stream));
}

/* Our own linear layers, next to cuBLASLt's. The one for feed_forward_in includes bias and GELU. */
static void own_linear(struct bench *b, void *y, const void *x, const struct linear *w,
                       enum activation activation)
{
    CHECK(cuda_linear_f16(y, x, w->weight, w->bias, b->N, w->O, w->I, activation, CUDA_SUMS_F32,
                          b->stream));
}

static void own_qkv(struct bench *b)
{
    own_linear(b, b->wide, b->x, &b->qkv, ACTIVATION_NONE);
}

static void own_attention_output(struct bench *b)
{
    own_linear(b, b->y, b->context, &b->attention_output, ACTIVATION_NONE);
}

static void own_feed_forward_in(struct bench *b)
{
    own_linear(b, b->inner, b->x, &b->feed_forward_in, ACTIVATION_GELU);
}

static void own_feed_forward_out(struct bench *b)
{
    own_linear(b, b->y, b->inner, &b->feed_forward_out, ACTIVATION_NONE);
}

/* Also includes the residual and LayerNorm; only for C = 384. */
static void own_linear_add_layernorm(struct bench *b, const void *x, const struct linear *w)
{
    CHECK(cuda_linear_add_layernorm_f16(b->x, x, w->weight, w->bias, b->x, b->vector, b->vector,
                                        b->N, w->O, w->I, 1e-12f, CUDA_SUMS_F32, b->capability,
                                        b->stream));
}

static void own_attention_output_add_layernorm(struct bench *b)
{
    own_linear_add_layernorm(b, b->context, &b->attention_output);
}

static void own_feed_forward_out_add_layernorm(struct bench *b)
{
    own_linear_add_layernorm(b, b->inner, &b->feed_forward_out);
}

/* A step reads and writes c * C + f * F elements per token, and w_c * C * C + w_f * C * F
 * weights. */
static const struct step {
    const char *name;
    void (*run)(struct bench *);
    bool has_length, every_layer;
    unsigned times; /* per layer, or in all; 0: for comparison only, and only in FP16 */
    unsigned c, f, w_c, w_f;
} steps[] = {
    {"embed_layernorm", embed_layernorm, false, false, 1, 3, 0, 0, 0},
    {"linear qkv", qkv, false, true, 1, 4, 0, 3, 0},
    {"attention", attention, true, true, 1, 4, 0, 0, 0},
    {"linear attention output", attention_output, false, true, 1, 2, 0, 1, 0},
    {"add_layernorm", add_layernorm, false, true, 2, 3, 0, 0, 0},
    {"linear feed forward in", feed_forward_in, false, true, 1, 1, 1, 0, 1},
    {"bias_gelu", bias_gelu, false, true, 1, 0, 2, 0, 0},
    {"linear feed forward out", feed_forward_out, false, true, 1, 1, 1, 0, 1},
    {"pool", pool, true, false, 1, 1, 0, 0, 0},
    {"own linear qkv", own_qkv, false, true, 0, 4, 0, 3, 0},
    {"own linear attention output", own_attention_output, false, true, 0, 2, 0, 1, 0},
    {"own linear feed forward in", own_feed_forward_in, false, true, 0, 1, 1, 0, 1},
    {"own linear feed forward out", own_feed_forward_out, false, true, 0, 1, 1, 0, 1},
    {"own linear attention output add_layernorm", own_attention_output_add_layernorm, false, true,
     0, 3, 0, 1, 0},
    {"own linear feed forward out add_layernorm", own_feed_forward_out_add_layernorm, false, true,
     0, 2, 1, 0, 1},
};

static bool is_there(const struct step *step, const struct bench *b)
{
    if (step->times == 0 && b->kernels != &cuda_kernels_f16) return false;
    return b->shape->C == 384 || (step->run != own_attention_output_add_layernorm &&
                                  step->run != own_feed_forward_out_add_layernorm);
}

static double floor_us(const struct step *step, const struct bench *b,
                       const struct rates *rates)
{
    double N = (double)b->N, C = (double)b->shape->C, F = (double)b->shape->F;
    double weights = step->w_c * C * C + step->w_f * C * F;
    double flops = 2 * N * weights + (step->run == attention ? 4 * N * (double)b->T * C : 0);
    double bytes =
        (double)b->kernels->element_bytes * (N * (step->c * C + step->f * F) + weights);
    double rate = bytes <= (double)rates->l2_bytes ? rates->l2 : rates->memory;
    return 1e6 * fmax(flops / rates->flops, bytes / rate);
}

/* ---- timing ------------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Returns the microseconds of one run(b), which enqueues on the stream. */
static double time_us(void (*run)(struct bench *), struct bench *b)
{
    cudaGraph_t graph;
    cudaGraphExec_t replay;
    cudaEvent_t events[REPLAYS + 1];
    float ms[REPLAYS];
    run(b); /* loads the kernel and chooses the algorithm, neither of which a graph may do */
    CHECK(cudaStreamSynchronize(b->stream));
    CHECK(cudaStreamBeginCapture(b->stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < REPEATS; i++) run(b);
    CHECK(cudaStreamEndCapture(b->stream, &graph));
    CHECK(cudaGraphInstantiate(&replay, graph, 0));

    for (int i = 0; i <= REPLAYS; i++) { /* the first ends before the first event */
        CHECK(cudaEventCreate(&events[i]));
        CHECK(cudaGraphLaunch(replay, b->stream));
        CHECK(cudaEventRecord(events[i], b->stream));
    }
    CHECK(cudaStreamSynchronize(b->stream));
    for (int i = 0; i < REPLAYS; i++)
        CHECK(cudaEventElapsedTime(&ms[i], events[i], events[i + 1]));
    for (int i = 0; i <= REPLAYS; i++) CHECK(cudaEventDestroy(events[i]));
    CHECK(cudaGraphExecDestroy(replay));
    CHECK(cudaGraphDestroy(graph));
    qsort(ms, REPLAYS, sizeof *ms, by_value);
    return 1e3 * (double)ms[REPLAYS / 2] / REPEATS;
}

/* ---- rates ------------------------------------------------------------------------------- */

#define LARGE_PRODUCT 8192
#define LARGE_COPY    ((size_t)512 << 20) /* four times the largest L2; a multiple of a matrix */
#define SMALL_COPY    ((size_t)16 << 20)  /* fits in an L2 of 50 MB together with its copy */

static void large_product(struct bench *b)
{
    check(matmul_run(b->matmul, b->y, b->x, &b->qkv, b->N, with_bias, b->stream));
}

static void copy(struct bench *b)
{
    CHECK(cudaMemcpyAsync(b->y, b->x, b->N, cudaMemcpyDeviceToDevice, b->stream));
}

static struct rates measure_rates(const struct cuda_kernels *kernels, cublasLtHandle_t cublas,
                                  cudaStream_t stream)
{
    struct cudaDeviceProp properties;
    CHECK(cudaGetDeviceProperties(&properties, 0));
    size_t size = LARGE_PRODUCT, element = kernels->element_bytes;
    struct bench b = {.kernels = kernels, .N = size, .stream = stream};
    check(matmul_create(&b.matmul, 0, cublas, element == sizeof(float)));
    b.qkv = (struct linear){random_numbers(size * size, element), random_numbers(size, element),
                            size, size};
    b.x = device_memory(LARGE_COPY);
    b.y = device_memory(LARGE_COPY);
    for (size_t at = 0; at < LARGE_COPY; at += size * size * element)
        CHECK(cudaMemcpy((char *)b.x + at, b.qkv.weight, size * size * element,
                         cudaMemcpyDeviceToDevice));
    CHECK(cudaDeviceSynchronize());
    struct rates rates = {.l2_bytes = (size_t)properties.l2CacheSize / 5 * 3};
    double us = time_us(large_product, &b);
    rates.flops = 2e6 * (double)(size * size * size) / us;
    printf("product of 8192 x 8192 x 8192,,%s,,,%.2f,,,%.1f TFLOP/s\n", kernels->name, us,
           rates.flops * 1e-12);
    b.N = LARGE_COPY;
    us = time_us(copy, &b);
    rates.memory = 2e6 * (double)LARGE_COPY / us;
    printf("copy of 512 MiB,,,,,%.2f,,,%.2f TB/s\n", us, rates.memory * 1e-12);
    b.N = SMALL_COPY;
    us = time_us(copy, &b);
    rates.l2 = fmax(rates.memory, 2e6 * (double)SMALL_COPY / us);
    printf("copy of 16 MiB,,,,,%.2f,,,%.2f TB/s\n", us, rates.l2 * 1e-12);

    matmul_destroy(b.matmul);
    void *blocks[] = {b.qkv.weight, b.qkv.bias, b.x, b.y};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) CHECK(cudaFree(blocks[i]));
    return rates;
}

/* ---- one model --------------------------------------------------------------------------- */

static struct linear linear(size_t O, size_t I, size_t element)
{
    return (struct linear){random_numbers(O * I, element), random_numbers(O, element), O, I};
}

/* Sets up texts of T tokens each, N tokens in all, with ids from the whole vocabulary. */
static void place_texts(struct bench *b, size_t N, size_t T)
{
    int32_t *host = host_memory((N + 1) * sizeof *host);
    b->N = N;
    b->T = T;
    for (size_t i = 0; i < N; i++) host[i] = (int32_t)(i * 7919 % b->shape->V);
    copy_to_device(b->ids, host, N * sizeof *host);
    for (size_t i = 0; i < N; i++) host[i] = (int32_t)(i % T);
    copy_to_device(b->positions, host, N * sizeof *host);
    for (size_t i = 0; i <= N / T; i++) host[i] = (int32_t)(i * T);
    copy_to_device(b->offsets, host, (N / T + 1) * sizeof *host);
    free(host);
}

static struct bench open_bench(const struct shape *shape, const struct cuda_kernels *kernels,
                               cublasLtHandle_t cublas, cudaStream_t stream, size_t most)
{
    size_t C = shape->C, F = shape->F, element = kernels->element_bytes;
    struct cudaDeviceProp properties;
    CHECK(cudaGetDeviceProperties(&properties, 0));
    struct bench b = {.kernels = kernels, .shape = shape, .stream = stream};
    b.capability = properties.major * 10 + properties.minor;
    check(matmul_create(&b.matmul, 0, cublas, element == sizeof(float)));
    b.qkv = linear(3 * C, C, element);
    b.attention_output = linear(C, C, element);
    b.feed_forward_in = linear(F, C, element);
    b.feed_forward_out = linear(C, F, element);
    b.word = random_numbers(shape->V * C, element);
    b.position = random_numbers(shape->P * C, element);
    b.x = random_numbers(most * C, element);
    b.wide = random_numbers(most * 3 * C, element);
    b.context = random_numbers(most * C, element);
    b.inner = random_numbers(most * F, element);
    b.y = random_numbers(most * C, element);
    b.vector = random_numbers(C, sizeof(float));
    if (shape->relative) /* for the longest texts; each step starts at its first rows */
        b.relative = random_numbers(shape->NH * 2 * lengths[LENGTHS - 1], sizeof(float));
    b.rows = device_memory(most * C * sizeof(float));
    b.ids = device_memory(most * sizeof *b.ids);
    b.positions = device_memory(most * sizeof *b.positions);
    b.offsets = device_memory((most + 1) * sizeof *b.offsets);
    return b;
}

static void close_bench(struct bench *b)
{
    matmul_destroy(b->matmul);
    const struct linear layers[] = {b->qkv, b->attention_output, b->feed_forward_in,
                                    b->feed_forward_out};
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        CHECK(cudaFree(layers[i].weight));
        CHECK(cudaFree(layers[i].bias));
    }
    void *blocks[] = {b->word, b->position, b->x,        b->wide, b->context, b->inner,    b->y,
                      b->ids,  b->vector,   b->relative, b->rows, b->offsets, b->positions};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) CHECK(cudaFree(blocks[i]));
}

static void print_row(const char *name, const struct bench *b, size_t T, double us,
                      double floor)
{
    printf("%s,%s,%s,%zu,", name, b->shape->name, b->kernels->name, b->N);
    if (T > 0) printf("%zu", T);
    printf(",%.2f,%.2f,%.3f,\n", us, floor, floor / us);
}

/* Times all steps with N tokens, then prints their sums over a forward pass, for each length. */
static void time_steps(struct bench *b, size_t N, const struct rates *rates)
{
    double us[LENGTHS] = {0}, floors[LENGTHS] = {0};
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
        const struct step *step = &steps[s];
        if (!is_there(step, b)) continue;
        double times = step->times * (step->every_layer ? (double)b->shape->L : 1);
        double last_us = 0, last_floor = 0;
        for (int i = 0; i < LENGTHS && lengths[i] <= N; i++) {
            if (i == 0 || step->has_length) {
                place_texts(b, N, lengths[i]);
                last_us = time_us(step->run, b);
                last_floor = floor_us(step, b, rates);
                print_row(step->name, b, step->has_length ? b->T : 0, last_us, last_floor);
            }
            us[i] += times * last_us;
            floors[i] += times * last_floor;
        }
    }
    for (int i = 0; i < LENGTHS && lengths[i] <= N; i++)
        print_row("forward pass", b, lengths[i], us[i], floors[i]);
}

int main(int argc, char **argv)
{
    bool f32 = argc == 2 && strcmp(argv[1], "f32") == 0;
    if (argc != 2 || (!f32 && strcmp(argv[1], "f16") != 0)) {
        fputs("usage: kernel_times f16|f32\n", stderr);
        return 2;
    }
    const struct cuda_kernels *kernels = f32 ? &cuda_kernels_f32 : &cuda_kernels_f16;
    size_t count = sizeof numbers / sizeof *numbers;
    cublasLtHandle_t cublas;
    cudaStream_t stream;
    setvbuf(stdout, NULL, _IOLBF, 0);
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    printf(
        "step,model,dtype,tokens,tokens_per_text,microseconds,floor_us,share_of_floor,rate\n");
    check(matmul_open(&cublas, 0));
    struct rates rates = measure_rates(kernels, cublas, stream);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct bench bench =
            open_bench(&shapes[i], kernels, cublas, stream, numbers[count - 1]);
        for (size_t n = 0; n < count; n++) time_steps(&bench, numbers[n], &rates);
        close_bench(&bench);
    }
    matmul_close(cublas, 0);
    CHECK(cudaStreamDestroy(stream));
    return 0;
}
