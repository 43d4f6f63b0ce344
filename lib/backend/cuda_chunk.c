/* cuda_chunk.c - how many tokens a GPU computes at a time, by the card and the model's shape
 *
 * A chunk's activations pass from kernel to kernel through L2 where it is small enough, else
 * through memory: on an H200 at 9.5 or at 4.3 TB/s, and on cards without HBM the difference is
 * larger. Of the sizes that fit, one is taken whose products end evenly: their last tiles keep all
 * multiprocessors busy. Nothing of this has been measured yet; tests/gpu/run sweeps sizes.
 */
#include "backend/cuda_chunk.h"

/* Of L2, for a chunk's activations and a layer's weights. An H200 reads 37 MB of its 52 at the full
 * rate, and 48 at 7.5 TB/s (RRZE's gpu-benches). */
#define L2_SHARE 0.85

/* Above, a chunk of the narrowest models only takes longer: a card is full. */
#define MOST_TOKENS 16384

/* Rows (tokens) and least columns of the tile of a product that a block computes. */
#define TILE 128

/* Columns of the widest. Hopper and Blackwell's data center cards, whose tensor cores read operands
 * from shared memory, have larger tiles. */
static size_t widest_tile(const struct cuda_card *card)
{
    return card->capability >= 90 && card->capability < 120 ? 2 * TILE : TILE;
}

/* Of the time that so many tiles take, the part in which all multiprocessors have one. */
static double evenness(size_t tiles, size_t multiprocessors)
{
    size_t waves = (tiles + multiprocessors - 1) / multiprocessors;
    return (double)tiles / (double)(waves * multiprocessors);
}

/* Of the layers with C outputs: those with 3C and 4C end at least as evenly. */
static double chunk_evenness(size_t rows, size_t C, const struct cuda_card *card)
{
    double best = 0;
    for (size_t width = TILE; width <= widest_tile(card); width += TILE / 2) {
        if (width > TILE && C % width != 0) continue;
        double even = evenness(rows * ((C + width - 1) / width), card->multiprocessors);
        if (even > best) best = even;
    }
    return best;
}

/* L2 is worth a small chunk where it has room for as many activations as weights: each chunk reads
 * the weights once more, but writes and reads what its activations take four times a layer. */
size_t cuda_chunk_tokens(const struct cuda_card *card, size_t C, size_t F, size_t element_bytes)
{
    if (card->multiprocessors == 0) return CUDA_CHUNK_TOKENS;
    size_t wide = F > 3 * C ? F : 3 * C; /* of a token: x, context, and qkv or the inner layer */
    double token = (double)(element_bytes * (2 * C + wide));
    double weights = (double)element_bytes * (double)C * (double)(4 * C + 2 * F);
    double room = L2_SHARE * (double)card->l2_bytes - weights;
    double tokens = room < weights              ? CUDA_CHUNK_TOKENS
                    : room < MOST_TOKENS * token ? room / token
                                                 : MOST_TOKENS;

    size_t most = (size_t)tokens / TILE, best = most / 2 + 1; /* rows of tiles */
    for (size_t rows = best; rows <= most; rows++)
        if (chunk_evenness(rows, C, card) >= chunk_evenness(best, C, card)) best = rows;
    return best * TILE;
}
