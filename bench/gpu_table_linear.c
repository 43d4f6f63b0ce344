/* gpu_table_linear.c - linear layers of encoder and decoder */
#include "gpu_table.h"

#include <math.h>

/* ---- assumptions --------------------------------------------------------------------------- */

/* Share of the tensor rate in the middle of a large product. */
#define LINEAR_SHARE 0.9

/* Start and end of a tile, in steps of k that tensor cores could have done meanwhile: on an H200
 * 1,000 clocks to fill the pipeline and 1,500 to store, where a tile of 128 x 256 takes 16 a
 * step. */
#define TILE_OVERHEAD 160.0

/* The side of cuBLASLt's tile, for the number of blocks of small products. */
#define CUBLASLT_TILE 128

/* ---- works --------------------------------------------------------------------------------- */

static enum cuda_sums sums_of(const struct pass *p)
{
    return p->path == TWO_LEVEL ? CUDA_SUMS_TWO_LEVEL : CUDA_SUMS_F32;
}

/* Returns the work of a product as far as it does not depend on its tiles. */
static struct work product(const struct pass *p, size_t O, size_t I, size_t output_bytes)
{
    const struct card *card = p->card;
    const double N = (double)p->N;
    const double rate = p->path == TWO_LEVEL ? card->tensor_f16 : card->tensor;
    const double share = (double)I / ((double)I + TILE_OVERHEAD);
    return (struct work){
        .activations = N * (2 * (double)I + (double)(output_bytes * O)),
        .weights = 2.0 * (double)(O * I),
        .flops = 2 * N * (double)(O * I),
        .rate = rate,
        .rate_expected =
            rate * card->sustained * LINEAR_SHARE * share * (p->path == CUBLASLT ? 1 : card->mma),
        .in_tiles = p->path != CUBLASLT};
}

/* Returns the bytes that all blocks fetch and write: each reads its rows of x and of the
 * weights. */
static double drawn_by_tiles(const struct pass *p, size_t blocks, size_t tile, size_t O, size_t I,
                             size_t output_bytes)
{
    const double rows = fmin((double)p->N, (double)tile);
    return 2 * (double)blocks * (rows + (double)tile) * (double)I +
           (double)(output_bytes * p->N * O);
}

/* With many blocks, cuBLASLt's tiles differ from those assumed here: they are larger, or a cluster
 * of blocks shares operands. */
static struct work by_cublaslt(const struct pass *p, size_t O, size_t I, size_t output_bytes)
{
    struct work work = product(p, O, I, output_bytes);
    const size_t tile = CUBLASLT_TILE;
    work.launch = (struct launch){.kernel = "cuBLASLt's",
                                  .blocks = (p->N + tile - 1) / tile * ((O + tile - 1) / tile)};
    if ((double)work.launch.blocks < p->card->count)
        work.drawn = drawn_by_tiles(p, work.launch.blocks, tile, O, I, output_bytes);
    return work;
}

/* Call after the launcher: the number of blocks determines its tile. */
static struct work by_tiles(const struct pass *p, size_t O, size_t I, size_t output_bytes)
{
    struct work work = product(p, O, I, output_bytes);
    work.launch = launch_last(&p->card->multiprocessor);
    size_t tile = 32;
    while ((p->N + tile - 1) / tile * ((O + tile - 1) / tile) > work.launch.blocks) tile *= 2;
    work.drawn = drawn_by_tiles(p, work.launch.blocks, tile, O, I, output_bytes);
    return work;
}

struct work linear(const struct pass *p, size_t O, size_t I, enum activation activation)
{
    if (p->path == CUBLASLT) return by_cublaslt(p, O, I, 2);
    check_launcher(
        cuda_linear_f16(NULL, NULL, NULL, NULL, p->N, O, I, activation, sums_of(p), NULL));
    struct work work = by_tiles(p, O, I, 2);
    if (activation == ACTIVATION_GELU) work.special = 2 * (double)(p->N * O);
    return work;
}

struct work linear_to_f32(const struct pass *p, size_t O, size_t I)
{
    if (p->path == CUBLASLT) return by_cublaslt(p, O, I, 4);
    check_launcher(cuda_logits_f16(NULL, NULL, NULL, NULL, p->N, O, I, sums_of(p), NULL));
    return by_tiles(p, O, I, 4);
}

bool is_fused(const struct pass *p)
{
    return p->path != CUBLASLT && cuda_linear_add_layernorm_pays(p->N, p->model->C,
                                                                 (size_t)p->card->count);
}

bool is_not_fused(const struct pass *p)
{
    return !is_fused(p);
}

/* Each block computes all outputs of its rows, and reads all weights. */
struct work linear_add_layernorm(const struct pass *p, size_t I)
{
    const struct multiprocessor *m = &p->card->multiprocessor;
    const size_t C = p->model->C;
    check_launcher(cuda_linear_add_layernorm_f16(NULL, NULL, NULL, NULL, NULL, NULL, NULL, p->N, C,
                                                 I, 1e-12f, sums_of(p), m->major * 10 + m->minor,
                                                 NULL));
    struct work work = product(p, C, I, 2);
    work.launch = launch_last(m);
    work.activations += 2.0 * (double)(p->N * C); /* the residual */
    work.drawn = work.activations + (double)work.launch.blocks * work.weights;
    return work;
}

bool is_cublaslt(const struct pass *p)
{
    return p->path == CUBLASLT;
}

struct work bias_gelu(const struct pass *p)
{
    const double numbers = (double)(p->N * p->model->F);
    check_launcher(cuda_kernels_f16.bias_gelu(NULL, NULL, p->N, p->model->F, NULL));
    return (struct work){.activations = 2 * 2 * numbers, .special = 2 * numbers};
}
