/* warp_operations.cpp - shuffles, votes, ldmatrix and mma, for all lanes of a warp at once
 *
 * Fragments are laid out exactly as in kernels/cuda/ptx.cuh, with g = l / 4 and t = l % 4 for lane
 * l. Products are exact in FP32. Sums ascend along k, one product at a time, so that two steps of 8
 * equal one of 16.
 */
#include "block.h"

#include <string.h>

static float half_in(uint32_t pair, unsigned which)
{
    return __half2float(__ushort_as_half((unsigned short)(pair >> 16 * which)));
}

void emulated_do_nothing(void *const[EMULATED_WARP], unsigned)
{
}

void emulated_do_shuffle(void *const operands[EMULATED_WARP], unsigned mask)
{
    uint64_t bits[EMULATED_WARP];
    for (unsigned l = 0; l < EMULATED_WARP; l++)
        if (mask >> l & 1) bits[l] = ((struct emulated_shuffle *)operands[l])->bits;
    for (unsigned l = 0; l < EMULATED_WARP; l++) {
        if ((mask >> l & 1) == 0) continue;
        struct emulated_shuffle *shuffle = (struct emulated_shuffle *)operands[l];
        if ((mask >> shuffle->source & 1) == 0)
            fault(cudaErrorLaunchFailure,
                  "a shuffle with mask 0x%08x: lane %u takes from lane %u, which is not in it",
                  mask, l, shuffle->source);
        shuffle->bits = bits[shuffle->source];
    }
}

void emulated_do_vote(void *const operands[EMULATED_WARP], unsigned mask)
{
    unsigned ballot = 0;
    for (unsigned l = 0; l < EMULATED_WARP; l++)
        if ((mask >> l & 1) && ((struct emulated_vote *)operands[l])->predicate) ballot |= 1u << l;
    for (unsigned l = 0; l < EMULATED_WARP; l++)
        if (mask >> l & 1) ((struct emulated_vote *)operands[l])->ballot = ballot;
}

/* ---- ldmatrix ------------------------------------------------------------------------------ */

/* Loads four 8 x 8 matrices: row r of matrix i is at the address given by lane 8i + r. */
static void load_matrices(uint16_t matrices[4][8][8], void *const operands[EMULATED_WARP])
{
    for (unsigned l = 0; l < EMULATED_WARP; l++) {
        const uint16_t *row = (const uint16_t *)((struct emulated_ldmatrix *)operands[l])->row;
        for (unsigned c = 0; c < 8; c++) matrices[l / 8][l % 8][c] = row[c];
    }
}

void emulated_do_ldmatrix(void *const operands[EMULATED_WARP], unsigned)
{
    uint16_t m[4][8][8];
    load_matrices(m, operands);
    for (unsigned l = 0; l < EMULATED_WARP; l++) {
        unsigned g = l / 4, t = l % 4;
        for (unsigned i = 0; i < 4; i++)
            ((struct emulated_ldmatrix *)operands[l])->r[i] =
                m[i][g][2 * t] | (uint32_t)m[i][g][2 * t + 1] << 16;
    }
}

void emulated_do_ldmatrix_trans(void *const operands[EMULATED_WARP], unsigned)
{
    uint16_t m[4][8][8];
    load_matrices(m, operands);
    for (unsigned l = 0; l < EMULATED_WARP; l++) {
        unsigned g = l / 4, t = l % 4;
        for (unsigned i = 0; i < 4; i++)
            ((struct emulated_ldmatrix *)operands[l])->r[i] =
                m[i][2 * t][g] | (uint32_t)m[i][2 * t + 1][g] << 16;
    }
}

/* ---- mma ----------------------------------------------------------------------------------- */

/* Element i of the four in a lane's D is at (g + i / 2 * 8, 2t + i % 2). */
static float read_sum(const struct emulated_mma *mma, unsigned i)
{
    return mma->d != NULL ? mma->d[i] : half_in(mma->d_pairs[i / 2], i % 2);
}

static void write_sum(const struct emulated_mma *mma, unsigned i, float sum)
{
    if (mma->d != NULL) {
        mma->d[i] = sum;
        return;
    }
    uint32_t *pair = &mma->d_pairs[i / 2], shift = 16 * (i % 2);
    uint32_t half = __half_as_ushort(__float2half_rn(sum));
    *pair = (*pair & ~(0xFFFFu << shift)) | half << shift;
}

/* Collects the elements of A (16, K) and B (K, 8) from the fragments, in steps of 8 along K: step s
 * is in registers 2s and 2s + 1 of a, and s of b. */
static void collect(uint16_t a[16][16], uint16_t b[16][8], void *const operands[EMULATED_WARP],
                    unsigned steps)
{
    for (unsigned l = 0; l < EMULATED_WARP; l++) {
        const struct emulated_mma *mma = (const struct emulated_mma *)operands[l];
        unsigned g = l / 4, t = l % 4;
        for (unsigned s = 0; s < steps; s++) {
            for (unsigned i = 0; i < 2; i++) { /* the two halves of a register */
                unsigned k = 8 * s + 2 * t + i;
                a[g][k] = (uint16_t)(mma->a[2 * s] >> 16 * i);
                a[g + 8][k] = (uint16_t)(mma->a[2 * s + 1] >> 16 * i);
                b[k][g] = (uint16_t)(mma->b[s] >> 16 * i);
            }
        }
    }
}

static void to_floats(float *to, const uint16_t *halves, unsigned count)
{
    for (unsigned i = 0; i < count; i++) to[i] = __half2float(__ushort_as_half(halves[i]));
}

typedef float vec4 __attribute__((vector_size(16), may_alias));

/* Computes d (16, 8) += a b. FP16 sums are rounded once, at the end. */
static void multiply(void *const operands[EMULATED_WARP], unsigned steps)
{
    uint16_t a_halves[16][16] = {}, b_halves[16][8] = {};
    float a[16][16];
    alignas(16) float b[16][8], d[16][8];
    collect(a_halves, b_halves, operands, steps);
    to_floats(a[0], a_halves[0], 16 * 16);
    to_floats(b[0], b_halves[0], 16 * 8);
    for (unsigned l = 0; l < EMULATED_WARP; l++)
        for (unsigned i = 0; i < 4; i++)
            d[l / 4 + i / 2 * 8][2 * (l % 4) + i % 2] =
                read_sum((const struct emulated_mma *)operands[l], i);
    for (unsigned row = 0; row < 16; row++) {
        vec4 *sums = (vec4 *)d[row], left = sums[0], right = sums[1];
        for (unsigned k = 0; k < 8 * steps; k++) {
            left += a[row][k] * ((const vec4 *)b[k])[0];
            right += a[row][k] * ((const vec4 *)b[k])[1];
        }
        sums[0] = left;
        sums[1] = right;
    }
    for (unsigned l = 0; l < EMULATED_WARP; l++)
        for (unsigned i = 0; i < 4; i++)
            write_sum((const struct emulated_mma *)operands[l], i,
                      d[l / 4 + i / 2 * 8][2 * (l % 4) + i % 2]);
}

void emulated_do_mma_k8(void *const operands[EMULATED_WARP], unsigned)
{
    multiply(operands, 1);
}

void emulated_do_mma_k16(void *const operands[EMULATED_WARP], unsigned)
{
    multiply(operands, 2);
}
