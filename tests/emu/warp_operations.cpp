/* warp_operations.cpp - shuffles, votes, ldmatrix and mma, for all lanes of a warp at once
 *
 * Fragments to the letter of kernels/cuda/ptx.cuh: with g = l / 4 and t = l % 4 for lane l. Products
 * are exact in FP32; sums go up along k, one by one, so that two steps of 8 are one of 16.
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
                  "a shuffle with mask 0x%08x: lane %u takes from lane %u, which is not in it", mask,
                  l, shuffle->source);
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

/* Four matrices of 8 x 8: row r of matrix i begins where lane 8i + r says. */
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

/* Element i of a lane's four of D is (g + i / 2 * 8, 2t + i % 2). */
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
    *pair = (*pair & ~(0xFFFFu << shift)) | (uint32_t)__half_as_ushort(__float2half_rn(sum)) << shift;
}

/* d (16, 8) += a (16, K) b (K, 8), in steps of 8 of K: registers 2s and 2s + 1 of a, and s of b, are
 * step s. Sums of FP16 are rounded once, at the end. */
static void multiply(void *const operands[EMULATED_WARP], unsigned steps)
{
    float a[16][16], b[16][8], d[16][8];
    for (unsigned l = 0; l < EMULATED_WARP; l++) {
        const struct emulated_mma *mma = (const struct emulated_mma *)operands[l];
        unsigned g = l / 4, t = l % 4;
        for (unsigned s = 0; s < steps; s++) {
            for (unsigned i = 0; i < 2; i++) { /* the first and the second of a register */
                a[g][8 * s + 2 * t + i] = half_in(mma->a[2 * s], i);
                a[g + 8][8 * s + 2 * t + i] = half_in(mma->a[2 * s + 1], i);
                b[8 * s + 2 * t + i][g] = half_in(mma->b[s], i);
            }
        }
        for (unsigned i = 0; i < 4; i++) d[g + i / 2 * 8][2 * t + i % 2] = read_sum(mma, i);
    }
    for (unsigned row = 0; row < 16; row++)
        for (unsigned k = 0; k < 8 * steps; k++)
            for (unsigned n = 0; n < 8; n++) d[row][n] += a[row][k] * b[k][n];
    for (unsigned l = 0; l < EMULATED_WARP; l++) {
        unsigned g = l / 4, t = l % 4;
        for (unsigned i = 0; i < 4; i++)
            write_sum((const struct emulated_mma *)operands[l], i, d[g + i / 2 * 8][2 * t + i % 2]);
    }
}

void emulated_do_mma_k8(void *const operands[EMULATED_WARP], unsigned)
{
    multiply(operands, 1);
}

void emulated_do_mma_k16(void *const operands[EMULATED_WARP], unsigned)
{
    multiply(operands, 2);
}
