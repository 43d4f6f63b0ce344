/* gpu_table.h - what the files of gpu-table share
 *
 *   gpu_table.c           the rows
 *   gpu_table_encoder.c   the launches of a forward pass
 *   gpu_table_decoder.c   the launches of one step of decoding
 *   gpu_table_linear.c    linear layers, which both have
 *   gpu_table_times.c     the cards, the assumptions, and times by these
 *   gpu_table_launch.c    what a launcher would launch
 */
#ifndef BENCH_GPU_TABLE_H
#define BENCH_GPU_TABLE_H

#include "gpu_table_launch.h"

#include "kernels/kernels_cuda.h"

#include <stdbool.h>
#include <stddef.h>

struct card {
    const char *name;
    struct multiprocessor multiprocessor;
    double count;              /* of multiprocessors */
    double clock;              /* Hz */
    double tensor, tensor_f16; /* FLOP/s of FP16 products with FP32 sums, with FP16 sums */
    double sustained;          /* share of it that lasts */
    double mma;                /* share of it that mma.sync reaches */
    double lanes;              /* for FP32 multiply-adds, of a multiprocessor */
    double memory, l2;         /* bytes/s */
    size_t l2_bytes;
    double boundary; /* seconds from one kernel to the next in a graph */
};

enum { CARDS = 3 };
extern const struct card cards[CARDS];

struct model {
    const char *name;
    size_t layers, C, F, NH;
    size_t squares; /* C x C matrices in a layer */
    bool relative;  /* attention with a bias by distance */
    /* Of a decoder: vocabulary, beams of a document, tokens so far, and at most. */
    size_t V, K, past, longest;
};

enum path { CUBLASLT, OWN, TWO_LEVEL, PATHS };

struct pass {
    const struct card *card;
    const struct model *model;
    size_t N; /* tokens of the chunk; of a decoder, beams of the step */
    size_t T; /* tokens of each text; of a decoder, of each source */
    enum path path;
};

/* A launch, with what it has to do. */
struct work {
    struct launch launch;
    double activations, weights; /* bytes, each once */
    double drawn;                /* bytes by all blocks together, some more than once */
    double flops, special;
    double rate, rate_expected; /* FLOP/s: the card's, and what this kernel should reach */
    bool on_lanes;              /* and not on tensor cores */
    bool in_tiles;              /* equal blocks, operands in dynamic shared memory */
};

struct step {
    const char *name;
    struct work (*work)(const struct pass *);
    unsigned times; /* in a layer, or in all; 0: only models with a Dense module have it */
    bool every_layer, has_length, is_linear;
    bool (*applies)(const struct pass *); /* NULL: with every path */
};

/* They end with a name of NULL. */
extern const struct step encoder_steps[], decoder_steps[];

/* ---- linear layers ------------------------------------------------------------------------- */

struct work linear(const struct pass *p, size_t O, size_t I, enum activation activation);
struct work linear_to_f32(const struct pass *p, size_t O, size_t I); /* and without activation */

/* With residual and LayerNorm after it in one kernel, and whether that is taken. */
struct work linear_add_layernorm(const struct pass *p, size_t I);
bool is_fused(const struct pass *p);
bool is_not_fused(const struct pass *p);

struct work bias_gelu(const struct pass *p); /* our own linear layers have it inside */
bool is_cublaslt(const struct pass *p);

/* ---- times --------------------------------------------------------------------------------- */

struct times {
    double floor, predicted;
    const char *bound; /* what the floor is of */
};

struct times times_of(const struct work *work, const struct pass *p);

size_t chunk_of(const struct card *card, const struct model *model);

/* FLOP/s that attention, and kernels that multiply without tensor cores, should reach. */
double attention_rate(const struct card *card);
double lanes_rate(const struct card *card);
double lanes_rate_expected(const struct card *card);

/* Ends the program where a launcher refuses. */
void check_launcher(cudaError_t error);

#endif
