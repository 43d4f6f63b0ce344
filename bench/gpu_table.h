/* gpu_table.h - declarations shared by the files of gpu-table
 *
 *   gpu_table.c           the rows
 *   gpu_table_encoder.c   the launches of a forward pass
 *   gpu_table_decoder.c   the launches of one decoding step
 *   gpu_table_linear.c    linear layers, used by both
 *   gpu_table_times.c     the cards, the assumptions, and the times that follow from them
 *   gpu_table_launch.c    the launches that a launcher would make
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
    double count;              /* multiprocessors */
    double clock;              /* Hz */
    double tensor, tensor_f16; /* FLOP/s of FP16 products with FP32 sums, with FP16 sums */
    double sustained;          /* share of the tensor rate under sustained load */
    double mma;                /* share of it that mma.sync reaches */
    double lanes;              /* for FP32 multiply-adds, per multiprocessor */
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
    bool relative;  /* attention has a relative position bias */
    /* Decoders only: vocabulary, beams of a document, tokens so far, most tokens. */
    size_t V, K, past, longest;
};

enum path { CUBLASLT, OWN, TWO_LEVEL, PATHS };

struct pass {
    const struct card *card;
    const struct model *model;
    size_t N; /* tokens of the chunk; for a decoder, beams of the step */
    size_t T; /* tokens of each text; for a decoder, of each source */
    enum path path;
};

/* A launch and the work it does. */
struct work {
    struct launch launch;
    double activations, weights; /* bytes, each counted once */
    double drawn;                /* bytes fetched by all blocks, some more than once */
    double flops, special;
    double rate, rate_expected; /* FLOP/s: the card's, and what this kernel should reach */
    bool on_lanes;              /* rather than on tensor cores */
    bool in_tiles;              /* equal blocks, operands in dynamic shared memory */
};

struct step {
    const char *name;
    struct work (*work)(const struct pass *);
    unsigned times; /* per layer, or per pass; 0: only in models with a Dense module */
    bool every_layer, has_length, is_linear;
    bool (*applies)(const struct pass *); /* NULL: always */
};

/* Each ends with an element whose name is NULL. */
extern const struct step encoder_steps[], decoder_steps[];

/* ---- linear layers ------------------------------------------------------------------------- */

struct work linear(const struct pass *p, size_t O, size_t I, enum activation activation);
struct work linear_to_f32(const struct pass *p, size_t O, size_t I); /* without activation */

/* A linear layer fused with the residual and LayerNorm after it, and whether it is used. */
struct work linear_add_layernorm(const struct pass *p, size_t I);
bool is_fused(const struct pass *p);
bool is_not_fused(const struct pass *p);

struct work bias_gelu(const struct pass *p); /* part of the kernel in our own linear layers */
bool is_cublaslt(const struct pass *p);

/* ---- times --------------------------------------------------------------------------------- */

struct times {
    double floor, predicted;
    const char *bound; /* the resource that determines the floor */
};

struct times times_of(const struct work *work, const struct pass *p);

size_t chunk_of(const struct card *card, const struct model *model);

/* Expected FLOP/s of attention; peak and expected FLOP/s of kernels without tensor cores. */
double attention_rate(const struct card *card);
double lanes_rate(const struct card *card);
double lanes_rate_expected(const struct card *card);

/* Ends the program if a launcher returns an error. */
void check_launcher(cudaError_t error);

#endif
