/* gpu_table_times.c - the cards, the assumptions, and the times that follow from them */
#include "gpu_table.h"

#include "backend/cuda_chunk.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the cards ----------------------------------------------------------------------------- */

/* Multiprocessors, L2 sizes and peak rates are from NVIDIA's data sheets. The others:
 *
 * H200      790 TFLOP/s is 80% of the data sheet's 989, as large products reach. Memory (4.3 of 4.8
 *           TB/s), L2 up to 37 MB and the boundary: RRZE's gpu-benches. The clock under load is an
 *           assumption. So is mma.sync at 60% of Hopper's own wgmma: often repeated, not verified.
 * T4        Memory is 0.30 of 0.32 TB/s, as other cards reach. L2: the measured 5.2 TB/s of an L40
 *           are 14.7 bytes per clock and multiprocessor (gpu-benches); assumed to be the same here.
 *           55% sustained: its 70 W allow TensorRT's BERT-base 22 of 65 TFLOP/s in all (NVIDIA's
 *           own table), which is this share in linear layers. Boundary: that of an A100.
 * 5060 Ti   Both tensor rates are measured (QuantumDrizzy/BLACKWALL). Memory is 0.42 of 0.448 TB/s.
 *           L2 as for the T4. Boundary: that of an L40. */
const struct card cards[CARDS] = {
    {.name = "H200",
     .multiprocessor = {9, 0, 2048, 228 << 10, 227 << 10, 1 << 10},
     .count = 132,
     .clock = 1.85e9,
     .tensor = 790e12,
     .tensor_f16 = 790e12,
     .sustained = 1,
     .mma = 0.6,
     .lanes = 128,
     .memory = 4.3e12,
     .l2 = 9.5e12,
     .l2_bytes = (size_t)50 << 20,
     .boundary = 1.3e-6},
    {.name = "T4",
     .multiprocessor = {7, 5, 1024, 64 << 10, 64 << 10, 0},
     .count = 40,
     .clock = 1.59e9,
     .tensor = 65e12,
     .tensor_f16 = 65e12,
     .sustained = 0.55,
     .mma = 1,
     .lanes = 64,
     .memory = 0.30e12,
     .l2 = 0.93e12,
     .l2_bytes = (size_t)4 << 20,
     .boundary = 1.4e-6},
    {.name = "RTX 5060 Ti",
     .multiprocessor = {12, 0, 1536, 100 << 10, 99 << 10, 1 << 10},
     .count = 36,
     .clock = 2.57e9,
     .tensor = 47.0e12,
     .tensor_f16 = 87.9e12,
     .sustained = 1,
     .mma = 1,
     .lanes = 128,
     .memory = 0.42e12,
     .l2 = 1.36e12,
     .l2_bytes = (size_t)32 << 20,
     .boundary = 1.0e-6},
};

/* Returns the chunk that the library chooses on the card. */
size_t chunk_of(const struct card *card, const struct model *model)
{
    const struct cuda_card known = {
        .capability = card->multiprocessor.major * 10 + card->multiprocessor.minor,
        .multiprocessors = (unsigned)card->count,
        .l2_bytes = card->l2_bytes};
    return cuda_chunk_tokens(&known, model->C, model->F, 2);
}

/* ---- assumptions --------------------------------------------------------------------------- */

/* Per clock and multiprocessor: lanes of the special function units, and bytes from L2 (the width
 * of the path). */
#define SPECIAL_LANES 16
#define DRAWN_BYTES   64

/* Data that is reused stays in L2 up to this share of its size; above, an H200's rate falls. */
#define L2_SHARE 0.6

/* Share of a plain copy's rate: a row kernel reads two streams and waits for its sums. */
#define MEMORY_SHARE 0.8

/* Share of the tensor rate: attention's products have 32 or 64 steps of k between one softmax and
 * the next. */
#define ATTENTION_SHARE 0.5

/* Share of the rate of multiply-adds without tensor cores: each needs an operand from shared memory
 * or the first cache level, which deliver a quarter as many per clock. */
#define LANES_SHARE 0.25

/* Each special function comes with about 8 other instructions (scale, maximum, sum, conversion; the
 * polynomial of GELU), which alone would take as long. They overlap in part. */
#define SPECIAL_SHARE 0.5

/* A load that misses the first cache level: 0.3 us within L2, 0.8 us from busy memory. */
#define LOAD_LATENCY 0.5e-6

/* No kernel is shorter than a few consecutive loads, and barriers. */
#define SHORTEST_KERNEL 1.2e-6

/* ---- times --------------------------------------------------------------------------------- */

void check_launcher(cudaError_t error)
{
    if (error == cudaSuccess) return;
    fputs("gpu-table: a launcher refuses\n", stderr);
    exit(1);
}

double attention_rate(const struct card *card)
{
    return card->tensor * card->sustained * ATTENTION_SHARE * card->mma;
}

double lanes_rate(const struct card *card)
{
    return 2 * card->lanes * card->count * card->clock;
}

double lanes_rate_expected(const struct card *card)
{
    return LANES_SHARE * lanes_rate(card);
}

/* Returns whether the weights of all layers and a chunk's activations stay in L2: a weight is read
 * again after all other layers. */
static bool weights_stay(const struct pass *p)
{
    const struct model *m = p->model;
    const double weights =
        2.0 * (double)(m->layers * (m->squares * m->C * m->C + 2 * m->C * m->F) + m->V * m->C);
    return weights + 2.0 * (double)(p->N * (2 * m->C + m->F)) <=
           L2_SHARE * (double)p->card->l2_bytes;
}

/* Returns the bytes/s that the blocks can fetch: DRAWN_BYTES per clock and busy multiprocessor, and
 * for our own linear layers no more per load latency than shared memory holds. (Turing, whose
 * copies wait in registers, has less in flight.) */
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

struct times times_of(const struct work *work, const struct pass *p)
{
    const struct card *card = p->card;
    const double blocks = (double)work->launch.blocks;
    const double special_rate = SPECIAL_LANES * card->count * card->clock;
    const double bytes = work->activations + work->weights;
    const double rate = bytes <= L2_SHARE * (double)card->l2_bytes ? card->l2 : card->memory;
    const double memory =
        work->activations / rate + work->weights / (weights_stay(p) ? card->l2 : card->memory);
    const double products = work->flops > 0 ? work->flops / work->rate : 0;
    const double special = work->special / special_rate;

    struct times times = {.floor = fmax(memory, fmax(products, special))};
    times.bound = times.floor == memory     ? "memory"
                  : times.floor == special  ? "special"
                  : work->on_lanes          ? "fma"
                                            : "tensor";

    /* Multiprocessors without a block do not help; if blocks are equal, all wait for the
     * multiprocessors that have one more. */
    double uneven = 1;
    if (blocks < card->count || work->in_tiles)
        uneven = ceil(blocks / card->count) * card->count / blocks;
    /* Within a block, special functions wait for products, so the times add up. */
    double compute = special / SPECIAL_SHARE * uneven;
    if (work->flops > 0) compute += work->flops / work->rate_expected * uneven;
    const double drawn = fmax(work->drawn, bytes) / draw_rate(work, card);
    const double fetch = fmax(memory / MEMORY_SHARE, drawn);
    times.predicted = card->boundary + fmax(SHORTEST_KERNEL, fmax(compute, fetch));
    return times;
}
