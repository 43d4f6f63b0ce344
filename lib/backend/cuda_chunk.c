/* cuda_chunk.c - how many tokens a GPU computes at a time, by card and model shape
 *
 * A chunk's activations pass from kernel to kernel through L2 if it is small enough, else through
 * memory: on an H200 at 9.5 or 4.3 TB/s, and on cards without HBM the difference is larger. Among
 * the sizes that fit, one is chosen whose products end evenly: their last tiles keep all
 * multiprocessors busy. None of this has been measured yet; tests/gpu/run sweeps sizes.
 */
#include "backend/cuda_chunk.h"

#include <stdbool.h>

/* The share of L2 for a chunk's activations and a layer's weights. An H200 reads 37 MB of its 52 at
 * the full rate, and 48 at 7.5 TB/s (RRZE's gpu-benches). */
#define L2_SHARE 0.85

/* Above MOST_TOKENS, a chunk of a narrow model only takes longer: the card is full. Below
 * LEAST_TOKENS, kernels are short compared with the gaps between them, and weights, which each
 * chunk reads, are most of the memory traffic. */
#define MOST_TOKENS  16384
#define LEAST_TOKENS 2048

/* Rows (tokens) and minimum columns of the tile of a product that one block computes. */
#define TILE 128

/* Returns the columns of the widest tile for C outputs. Hopper and Blackwell data center cards,
 * whose tensor cores read operands from shared memory, have tiles of up to 256. */
static size_t widest_tile(const struct cuda_card *card, size_t C)
{
    size_t width = card->capability >= 90 && card->capability < 120 ? 2 * TILE : TILE;
    while (width > TILE && C % width != 0) width -= TILE / 2;
    return width;
}

static size_t divide_up(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

/* Returns the fraction of the multiprocessors' time that is busy while they compute `rows` rows of
 * tiles for C outputs, with the best tile width. Layers with more outputs end at least as
 * evenly. */
static double evenness(const struct cuda_card *card, size_t C, size_t rows)
{
    double best = 0;
    for (size_t width = TILE; width <= widest_tile(card, C); width += TILE / 2) {
        if (C % width != 0 && width > TILE) continue;
        size_t tiles = rows * divide_up(C, width), all = card->multiprocessors;
        double even = (double)tiles / (double)(divide_up(tiles, all) * all);
        if (even > best) best = even;
    }
    return best;
}

/* A chunk that stays in L2 must have one of the widest tiles for each multiprocessor: smaller tiles
 * read more. If it has fewer, it may as well exceed L2. */
size_t cuda_chunk_tokens(const struct cuda_card *card, size_t C, size_t F, size_t element_bytes)
{
    if (card->multiprocessors == 0) return CUDA_CHUNK_TOKENS;
    size_t wide = F > 3 * C ? F : 3 * C; /* per token: x, context, and qkv or the inner layer */
    double token = (double)(element_bytes * (2 * C + wide));
    double weights = (double)element_bytes * (double)C * (double)(4 * C + 2 * F);
    double tokens = (L2_SHARE * (double)card->l2_bytes - weights) / token;
    if (tokens > MOST_TOKENS) tokens = MOST_TOKENS;

    /* In rows of tiles. */
    size_t least = divide_up(card->multiprocessors, divide_up(C, widest_tile(card, C)));
    if (least < LEAST_TOKENS / TILE) least = LEAST_TOKENS / TILE;
    bool in_l2 = tokens >= (double)(least * TILE);
    size_t most = in_l2 ? (size_t)tokens / TILE : CUDA_CHUNK_TOKENS / TILE;
    size_t best = in_l2 && least > most / 2 ? least : most / 2 + 1;
    for (size_t rows = best; rows <= most; rows++)
        if (evenness(card, C, rows) >= evenness(card, C, best)) best = rows;
    return best * TILE;
}
