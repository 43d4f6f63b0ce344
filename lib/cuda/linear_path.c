/* linear_path.c - the table of which code computes linear layers on which card
 *
 * None of it was measured. The figures are predictions of bench/results/gpu-table.csv: the speed of
 * our kernel relative to cuBLASLt for a pass of MiniLM and one of mpnet-base, if both keep the
 * tensor cores 90% busy in the middle of a product. That ours does is the least certain.
 */
#include "cuda/linear_path.h"

#include "base/status.h"

#include <stdlib.h>
#include <string.h>

/* The first row whose `card` is part of the card's name applies. */
static const struct row {
    const char *card;
    enum linear_path path;
} rows[] = {
    /* Tensor cores add in FP32 at half the rate of FP16: 47.0 and 87.9 TFLOP/s on an RTX 5060 Ti,
     * and by NVIDIA's data sheets from the RTX 20 on. On the RTX 5060 Ti two-level is 2.0 and 1.8
     * times as fast for large chunks, 1.6 and 1.2 for one text, 1.2 for 16 summaries. On the
     * emulated device the worst of 24 lines with MiniLM has a cosine of 0.9999994 to FP32, against
     * 0.9999995 with FP32 sums. */
    {"GeForce RTX", LINEAR_TWO_LEVEL},
    /* All others add in FP32 at the full rate. On Hopper and the large Blackwell, mma.sync, which
     * our kernel uses, reaches 60% of it: own is 0.76 and 0.68 times as fast on an H200. On a T4 it
     * is 1.2 and 1.1 times as fast, thanks to fewer passes through memory: too little to rely on
     * unmeasured. */
    {"", LINEAR_CUBLASLT},
};

static const char *const words[] = {
    [LINEAR_CUBLASLT] = "cublaslt", [LINEAR_OWN] = "own", [LINEAR_TWO_LEVEL] = "two-level"};

const char *linear_path_word(enum linear_path path)
{
    return words[path];
}

embed_status linear_path_choose(enum linear_path *path, const char *card)
{
    const char *word = getenv("EMBED_CUDA_LINEAR");
    if (word == NULL || *word == '\0') {
        const struct row *row = rows;
        while (strstr(card, row->card) == NULL) row++;
        *path = row->path;
        return EMBED_OK;
    }
    for (int i = LINEAR_CUBLASLT; i <= LINEAR_TWO_LEVEL; i++) {
        if (strcmp(word, words[i]) != 0) continue;
        *path = (enum linear_path)i;
        return EMBED_OK;
    }
    return fail(EMBED_INVALID_ARGUMENT,
                "EMBED_CUDA_LINEAR is \"%s\", must be cublaslt, own or two-level", word);
}
