/* gpu_table.c - gpu-table: what every launch of the forward pass should take on three GPUs
 *
 *   gpu-table REPORT...      CSV; what nvcc -Xptxas -v said of each source of kernels/cuda
 *
 * Nothing is measured and no GPU is needed. Kernel, grid, block and dynamic shared memory are
 * what the launchers launch, registers and static shared memory what the compiler reports,
 * blocks a multiprocessor what NVIDIA's cuda_occupancy.h computes from these.
 *
 * floor_us is the most of: bytes (each input read once, each output written once), FLOP of
 * matrix products, and operations of the special function units (an exponential is one, a GELU
 * two), each at the card's rate. predicted_us rests on the assumptions below besides. A forward
 * pass is a chunk that goes through all layers, one kernel after another; copies, tokenizing
 * and the CPU are not in it.
 */
#include "gpu_table_launch.h"

#include "kernels/kernels_cuda.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the cards -----------------------------------------------------------------------------
 */

struct card {
    const char *name;
    struct multiprocessor multiprocessor;
    double count;              /* of multiprocessors */
    double clock;              /* Hz */
    double tensor, tensor_f16; /* FLOP/s of FP16 products with FP32 sums, with FP16 sums */
    double sustained;          /* share of it that lasts */
    double mma;                /* share of it that mma.sync reaches */
    double memory, l2;         /* bytes/s */
    double l2_bytes;
    double boundary; /* seconds from one kernel to the next in a graph */
};

/* Multiprocessors, L2, peak rates: NVIDIA's data sheets. The others:
 *
 * H200    790 TFLOP/s is 80 % of the data sheet's 989, as large products reach. Memory 4.3
 * of 4.8, L2 up to 37 MB and the boundary: RRZE's gpu-benches. The clock under load: an
 * assumption. mma.sync at 60 % of Hopper's own wgmma: an assumption, often repeated, not seen.
 * T4      memory 0.30 of 0.32 TB/s, as other cards reach. L2: an L40's measured 5.2 TB/s
 * are 14.7 bytes a clock and multiprocessor (gpu-benches); the same here. 55 % sustained: its
 * 70 W allow TensorRT's BERT-base 22 of 65 TFLOP/s in all (NVIDIA's own table), which is this
 *         share in linear layers. Boundary: an A100's.
 * 5060 Ti both tensor rates measured (QuantumDrizzy/BLACKWALL). Memory 0.42 of 0.448 TB/s. L2
 * as for the T4. Boundary: an L40's. */
static const struct card cards[] = {
    {.name = "H200",
     .multiprocessor = {9, 0, 2048, 228 << 10, 227 << 10, 1 << 10},
     .count = 132,
     .clock = 1.85e9,
     .tensor = 790e12,
     .tensor_f16 = 790e12,
     .sustained = 1,
     .mma = 0.6,
     .memory = 4.3e12,
     .l2 = 9.5e12,
     .l2_bytes = 50e6,
     .boundary = 1.3e-6},
    {.name = "T4",
     .multiprocessor = {7, 5, 1024, 64 << 10, 64 << 10, 0},
     .count = 40,
     .clock = 1.59e9,
     .tensor = 65e12,
     .tensor_f16 = 65e12,
     .sustained = 0.55,
     .mma = 1,
     .memory = 0.30e12,
     .l2 = 0.93e12,
     .l2_bytes = 4e6,
     .boundary = 1.4e-6},
    {.name = "RTX 5060 Ti",
     .multiprocessor = {12, 0, 1536, 100 << 10, 99 << 10, 1 << 10},
     .count = 36,
     .clock = 2.57e9,
     .tensor = 47.0e12,
     .tensor_f16 = 87.9e12,
     .sustained = 1,
     .mma = 1,
     .memory = 0.42e12,
     .l2 = 1.36e12,
     .l2_bytes = 32e6,
     .boundary = 1.0e-6},
};

/* Per clock and multiprocessor: lanes of the special function units, and bytes from L2, the
 * width of the path. */
#define SPECIAL_LANES 16
#define DRAWN_BYTES   64

/* ---- assumptions ---------------------------------------------------------------------------
 */

/* What is used again is found in L2 up to this share of it: above, an H200's rate falls. */
#define L2_SHARE 0.6

/* Of the rate of a plain copy: a row kernel reads two streams and waits for its sums. */
#define MEMORY_SHARE 0.8

/* Of the tensor rate in the middle of a large product. */
#define LINEAR_SHARE 0.9

/* Beginning and end of a tile, in steps of k that tensor cores could have done: on an H200
 * 1,000 clocks to fill the pipeline and 1,500 to store, where a tile of 128 x 256 takes 16 a
 * step of k. */
#define TILE_OVERHEAD 160.0

/* Attention's products have 32 or 64 steps of k between one softmax and the next. */
#define ATTENTION_SHARE 0.5

/* Each special function comes with some 8 other instructions (scale, maximum, sum, conversion;
 * the polynomial of GELU), which alone would take as long: they overlap in part. */
#define SPECIAL_SHARE 0.5

/* The side of cuBLASLt's tile, for the number of blocks of a single text. */
#define CUBLASLT_TILE 128

/* A load that misses the first cache level: 0.3 us within L2, 0.8 us from busy memory. */
#define LOAD_LATENCY 0.5e-6

/* No kernel is shorter: a few loads one after another, and barriers. */
#define SHORTEST_KERNEL 1.2e-6

/* ---- what is computed ----------------------------------------------------------------------
 */

static const struct model {
    const char *name;
    size_t layers, C, F, NH;
    bool relative; /* attention with a bias by distance */
} models[] = {{"MiniLM-L6", 6, 384, 1536, 12, false}, {"mpnet-base", 12, 768, 3072, 12, true}};

enum path { CUBLASLT, OWN, TWO_LEVEL, PATHS };
static const char *const path_names[PATHS] = {"cublaslt", "own", "two-level"};

enum { LENGTHS = 3 };
static const size_t lengths[LENGTHS] = {16, 32, 128}; /* tokens of a text */

/* The throughput of large chunks, and one text alone. */
static const struct {
    size_t N;
    int first_length, last_length;
} chunks[] = {{8448, 0, LENGTHS - 1}, {32, 1, 1}};

struct pass {
    const struct card *card;
    const struct model *model;
    size_t N, T;
    enum path path;
};

/* A launch, with what it has to do. */
struct work {
    struct launch launch;
    double activations, weights; /* bytes, each once */
    double drawn;                /* bytes by all blocks together, some more than once */
    double flops, special;
    double tensor, tensor_expected; /* FLOP/s: the card's, and what this kernel should reach */
    bool in_tiles;                  /* equal blocks, operands in dynamic shared memory */
};

static void check(cudaError_t error)
{
    if (error == cudaSuccess) return;
    fputs("gpu-table: a launcher refuses\n", stderr);
    exit(1);
}

/* ---- the steps of the forward pass ---------------------------------------------------------
 */

/* Word rows lie anywhere in a large table: they count as weights. */
static struct work embed_layernorm(const struct pass *p)
{
    const double row = 2.0 * (double)p->model->C;
    check(cuda_kernels_f16.embed_layernorm(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, p->N,
                                           p->model->C, 1e-12f, NULL));
    return (struct work){.activations = 2 * row * (double)p->N, .weights = row * (double)p->N};
}

static struct work linear(const struct pass *p, size_t O, size_t I, enum activation activation)
{
    const struct card *card = p->card;
    const bool own = p->path != CUBLASLT, two_level = p->path == TWO_LEVEL;
    const double N = (double)p->N, share = (double)I / ((double)I + TILE_OVERHEAD);
    size_t tile = CUBLASLT_TILE;
    struct work work = {.activations = 2 * N * (double)(I + O),
                        .weights = 2.0 * (double)(O * I),
                        .flops = 2 * N * (double)(O * I),
                        .special = own && activation == ACTIVATION_GELU ? 2 * N * (double)O : 0,
                        .tensor = two_level ? card->tensor_f16 : card->tensor,
                        .in_tiles = own};
    if (own) {
        enum cuda_sums sums = two_level ? CUDA_SUMS_TWO_LEVEL : CUDA_SUMS_F32;
        check(cuda_linear_f16(NULL, NULL, NULL, NULL, p->N, O, I, activation, sums, NULL));
        work.launch = launch_last(&card->multiprocessor);
        for (tile = 32;
             (p->N + tile - 1) / tile * ((O + tile - 1) / tile) > work.launch.blocks;)
            tile *= 2;
    } else {
        const size_t across = (O + tile - 1) / tile;
        work.launch = (struct launch){.kernel = "cuBLASLt's",
                                      .blocks = (p->N + tile - 1) / tile * across};
    }
    /* Each block reads its rows of x and of the weights. Of many blocks, cuBLASLt's tiles are
     * others than assumed here: larger, or with operands that a cluster of blocks shares. */
    const double blocks = (double)work.launch.blocks, rows = fmin(N, (double)tile);
    if (own || blocks < card->count)
        work.drawn = 2 * (blocks * (rows + (double)tile) * (double)I + N * (double)O);
    work.tensor_expected =
        work.tensor * card->sustained * LINEAR_SHARE * share * (own ? card->mma : 1);
    return work;
}

static struct work qkv(const struct pass *p)
{
    return linear(p, 3 * p->model->C, p->model->C, ACTIVATION_NONE);
}

static struct work attention(const struct pass *p)
{
    const size_t C = p->model->C, NH = p->model->NH, T = p->T, B = p->N / T;
    static const float bias;
    check(cuda_kernels_f16.attention(NULL, NULL, p->model->relative ? &bias : NULL, 2 * T - 1,
                                     T - 1, NULL, B, T, NH, C / NH, 1, NULL));
    struct work work = {.launch = launch_last(&p->card->multiprocessor)};
    /* Each block of queries reads all keys and values of its sequence. */
    const double blocks = (double)work.launch.blocks / (double)(B * NH), row = 2.0 * (double)C;
    work.activations = 4 * row * (double)p->N;
    work.drawn = (2 + 2 * blocks) * row * (double)p->N;
    work.flops = 4.0 * (double)(p->N * T * C);
    work.special = (double)(p->N * T * NH);
    work.tensor = p->card->tensor;
    work.tensor_expected = work.tensor * p->card->sustained * ATTENTION_SHARE * p->card->mma;
    return work;
}

static struct work attention_output(const struct pass *p)
{
    return linear(p, p->model->C, p->model->C, ACTIVATION_NONE);
}

static struct work add_layernorm(const struct pass *p)
{
    check(cuda_kernels_f16.add_layernorm(NULL, NULL, NULL, NULL, NULL, p->N, p->model->C,
                                         1e-12f, NULL));
    return (struct work){.activations = 3 * 2.0 * (double)(p->N * p->model->C)};
}

static struct work feed_forward_in(const struct pass *p)
{
    return linear(p, p->model->F, p->model->C, ACTIVATION_GELU);
}

static struct work bias_gelu(const struct pass *p)
{
    const double numbers = (double)(p->N * p->model->F);
    check(cuda_kernels_f16.bias_gelu(NULL, NULL, p->N, p->model->F, NULL));
    return (struct work){.activations = 2 * 2 * numbers, .special = 2 * numbers};
}

static struct work feed_forward_out(const struct pass *p)
{
    return linear(p, p->model->C, p->model->F, ACTIVATION_NONE);
}

static struct work pool(const struct pass *p)
{
    const size_t C = p->model->C, B = p->N / p->T;
    check(cuda_kernels_f16.pool(NULL, NULL, NULL, B, C, POOLING_MEAN, C, true, NULL));
    return (struct work){.activations = 2.0 * (double)(p->N * C) + 4.0 * (double)(B * C)};
}

static const struct step {
    const char *name;
    struct work (*work)(const struct pass *);
    unsigned times; /* in a layer, or in all */
    bool every_layer, has_length, is_linear, is_cublaslts;
} steps[] = {
    {"embed_layernorm", embed_layernorm, 1, false, false, false, false},
    {"linear qkv", qkv, 1, true, false, true, false},
    {"attention", attention, 1, true, true, false, false},
    {"linear attention output", attention_output, 1, true, false, true, false},
    {"add_layernorm", add_layernorm, 2, true, false, false, false},
    {"linear feed forward in", feed_forward_in, 1, true, false, true, false},
    {"bias_gelu", bias_gelu, 1, true, false, false, true}, /* our own have it inside */
    {"linear feed forward out", feed_forward_out, 1, true, false, true, false},
    {"pool", pool, 1, false, true, false, false},
};

/* ---- times ---------------------------------------------------------------------------------
 */

struct times {
    double floor, predicted;
    const char *bound; /* what the floor is of */
};

/* Weights are read again after all other layers: do they and a chunk's activations stay in L2?
 */
static bool weights_stay(const struct pass *p)
{
    const struct model *m = p->model;
    const double weights = 2.0 * (double)(m->layers * (4 * m->C * m->C + 2 * m->C * m->F));
    return weights + 2.0 * (double)(p->N * (2 * m->C + m->F)) <= L2_SHARE * p->card->l2_bytes;
}

/* Bytes/s that the blocks can fetch: so much a clock for each busy multiprocessor, and for our
 * own linear layers no more in a load's latency than shared memory holds. (Turing, whose copies
 * wait in registers, has less under way.) */
static double draw_rate(const struct work *work, const struct card *card)
{
    const struct launch *launch = &work->launch;
    const double busy = fmin((double)launch->blocks, card->count);
    double each = DRAWN_BYTES * card->clock;
    if (work->in_tiles) {
        double resident = fmin(launch->resident, ceil((double)launch->blocks / card->count));
        each = fmin(each, resident * (double)launch->dynamic_shared / LOAD_LATENCY);
    }
    return fmin(busy * each, card->l2);
}

static struct times times_of(const struct work *work, const struct pass *p)
{
    const struct card *card = p->card;
    const double blocks = (double)work->launch.blocks;
    const double special_rate = SPECIAL_LANES * card->count * card->clock;
    const double bytes = work->activations + work->weights;
    const double rate = bytes <= L2_SHARE * card->l2_bytes ? card->l2 : card->memory;
    const double memory =
        work->activations / rate + work->weights / (weights_stay(p) ? card->l2 : card->memory);
    const double tensor = work->flops > 0 ? work->flops / work->tensor : 0;
    const double special = work->special / special_rate;

    struct times times = {.floor = fmax(memory, fmax(tensor, special))};
    times.bound = times.floor == memory   ? "memory"
                  : times.floor == tensor ? "tensor"
                                          : "special";

    /* Multiprocessors without a block do not help; and where blocks are equal, all wait for the
     * multiprocessors that have one more. */
    double uneven = 1;
    if (blocks < card->count || work->in_tiles)
        uneven = ceil(blocks / card->count) * card->count / blocks;
    /* Within a block, special functions wait for products. */
    double compute = special / SPECIAL_SHARE * uneven;
    if (work->flops > 0) compute += work->flops / work->tensor_expected * uneven;
    const double drawn = fmax(work->drawn, bytes) / draw_rate(work, card);
    const double fetch = fmax(memory / MEMORY_SHARE, drawn);
    times.predicted = card->boundary + fmax(SHORTEST_KERNEL, fmax(compute, fetch));
    return times;
}

/* ---- rows ----------------------------------------------------------------------------------
 */

static void print_begin(const struct pass *p, bool has_length, bool has_path, const char *step)
{
    printf("%s,%s,%zu,", p->card->name, p->model->name, p->N);
    if (has_length) printf("%zu", p->T);
    printf(",%s,%s,", has_path ? path_names[p->path] : "", step);
}

static void print_step(const struct step *step, const struct pass *p, const struct work *work,
                       const struct times *times)
{
    const struct launch *l = &work->launch;
    const struct card *card = p->card;
    const double N = (double)p->N;
    print_begin(p, step->has_length, step->is_linear || step->is_cublaslts, step->name);
    printf("%zu,%s,", step->times * (step->every_layer ? p->model->layers : 1), l->kernel);
    if (l->registers > 0)
        printf("%d,%zu,%zu,%u,%zu,%d,%.2f,%.2f,", l->registers, l->static_shared,
               l->dynamic_shared, l->threads, l->blocks, l->resident,
               (double)l->resident * l->threads / card->multiprocessor.threads,
               (double)l->blocks / (l->resident * card->count));
    else
        printf(",,,,,,,,");
    printf("%.0f,%.0f,%.0f,%.3f,%s,%.2f,%.2f,,\n", (work->activations + work->weights) / N,
           work->flops / N, work->special / N, 1e6 * times->floor, times->bound,
           1e6 * times->predicted, times->floor / times->predicted);
}

/* `total` of a layer, or of all. */
static void print_total(const struct pass *p, const char *name, const struct times *total,
                        bool is_all)
{
    print_begin(p, true, true, name);
    printf(",,,,,,,,,,,,,%.3f,,%.2f,%.2f,", 1e6 * total->floor, 1e6 * total->predicted,
           total->floor / total->predicted);
    if (is_all)
        printf("%.0f,%.0f", (double)p->N / total->predicted,
               (double)(p->N / p->T) / total->predicted);
    else
        printf(",");
    printf("\n");
}

static void add(struct times *total, const struct times *times, double count)
{
    total->floor += count * times->floor;
    total->predicted += count * times->predicted;
}

/* One launch. Its row is printed once, though several paths or lengths may have it. */
static struct times one_step(const struct step *step, const struct pass *p, bool print)
{
    struct work work = step->work(p);
    if (work.launch.blocks == 0) work.launch = launch_last(&p->card->multiprocessor);
    struct times times = times_of(&work, p);
    if (print) print_step(step, p, &work, &times);
    return times;
}

/* All steps of a chunk in every way, then what they add up to. */
static void chunk_rows(const struct card *card, const struct model *model, size_t N, int first,
                       int last)
{
    struct times layer[PATHS][LENGTHS] = {0}, all[PATHS][LENGTHS] = {0};
    const int paths = card->tensor_f16 > card->tensor ? PATHS : TWO_LEVEL;
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
        const struct step *step = &steps[s];
        for (int path = 0; path < (step->is_cublaslts ? 1 : paths); path++)
            for (int i = first; i <= last; i++) {
                struct pass p = {card, model, N, lengths[i], (enum path)path};
                bool print = (step->has_length || i == first) && (step->is_linear || path == 0);
                struct times times = one_step(step, &p, print);
                if (step->every_layer) add(&layer[path][i], &times, step->times);
                add(&all[path][i], &times,
                    step->times * (step->every_layer ? (double)model->layers : 1));
            }
    }
    for (int path = 0; path < paths; path++)
        for (int i = first; i <= last; i++) {
            struct pass p = {card, model, N, lengths[i], (enum path)path};
            print_total(&p, "layer", &layer[path][i], false);
            print_total(&p, "forward pass", &all[path][i], true);
        }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("usage: gpu-table REPORT...\n", stderr);
        return 2;
    }
    launch_read_reports(argc - 1, argv + 1);
    printf("card,model,tokens,tokens_per_text,linear,step,times,kernel,registers,static_shared,"
           "dynamic_shared,threads,blocks,blocks_per_multiprocessor,occupancy,waves,"
           "bytes_per_token,flops_per_token,special_functions_per_token,floor_us,floor_is_of,"
           "predicted_us,share_of_floor,tokens_per_second,texts_per_second\n");
    for (size_t c = 0; c < sizeof cards / sizeof *cards; c++)
        for (size_t m = 0; m < sizeof models / sizeof *models; m++)
            for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++)
                chunk_rows(&cards[c], &models[m], chunks[i].N, chunks[i].first_length,
                           chunks[i].last_length);
    /* By another program, with models and lengths unknown: what is to be beaten. */
    printf("RTX 5060 Ti,,,,,sweep to beat: PyTorch 2.9,,,,,,,,,,,,,,,,,,,15026\n");
    return fflush(stdout) == 0 ? 0 : 1;
}
