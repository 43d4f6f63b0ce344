/* kernels.h - every operation of the forward pass: formula, shapes, layout
 *
 * Dimensions, here and in every kernel:
 *
 *   B   sequences in a batch          C   width of a hidden state
 *   N   packed tokens in a batch      F   width of the feed-forward layer
 *   T   tokens of one sequence        NH  attention heads
 *   V   rows of the vocabulary        HS  size of a head; C = NH * HS
 *   I   inputs of a linear layer      O   outputs of a linear layer
 *
 * Batches are packed: the tokens of all sequences are N consecutive rows, without padding. Row-wise
 * operations ignore sequence boundaries; only attention and pooling see them. `x (N, C)` is a
 * row-major matrix. Argument order: outputs, inputs, weights, dimensions, scalars. An output may
 * alias an input only if the comment says so. Statistics and sums are in FP32.
 *
 * `void *` is a matrix of elements: FP32, or in a BF16 table BF16, the upper half of an FP32,
 * rounded to nearest, ties to even. Strides count elements. `float *` is FP32 in every table. In
 * an INT8 table the elements are BF16, and linear layers quantize their inputs and weights to 8
 * bits, in groups of INT8_GROUP inputs: kernels/reference/reference_int8.c.
 *
 * There is one table of operations per instruction set: the same sources in kernels/cpu/, compiled
 * with that set's flags. kernels/reference/ has the same table in naive C, against which all others
 * are tested. A row of a result has the same bits whatever other rows are computed with it and
 * however the work is split: each element is summed in one fixed order.
 */
#ifndef KERNELS_H
#define KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum activation {
    ACTIVATION_NONE,
    ACTIVATION_GELU, /* x * Phi(x) = x / 2 * (1 + erf(x / sqrt(2))); not the tanh approximation */
    /* For `dense` only: */
    ACTIVATION_TANH,
    ACTIVATION_RELU,   /* max(x, 0) */
    ACTIVATION_SIGMOID /* 1 / (1 + e^-x) */
};

enum pooling {
    POOLING_MEAN,             /* (sum of the T rows) / T */
    POOLING_MEAN_SQRT_LENGTH, /* (sum of the T rows) / sqrt(T) */
    POOLING_WEIGHTED_MEAN,    /* (sum over t of (t + 1) * row t) / (sum over t of t + 1) */
    POOLING_MAX,
    POOLING_CLS, /* the first row */
    POOLING_LAST /* the last row */
};

#define INT8_GROUP       128      /* inputs that share a weight scale and a least input */
#define INT8_HALF        64       /* inputs that share an input step */
#define INT8_LEAST_SCALE 0x1p-60f /* of weights: the ratio of two scales cannot overflow */

struct cpu_kernels {
    const char *name; /* "reference", "scalar", "avx2", "avx512", "avx512_bf16",
                        * "avx512_vnni" */
    size_t element_bytes; /* 4: FP32, 2: BF16 */
    size_t matrix_bytes;  /* per weight of a linear layer; 1: INT8, with elements in BF16 */

    /* Linear layers compute their outputs in groups of `panel` columns: threads that split the O
     * outputs begin at multiples of it. */
    size_t panel;

    /* Converts `count` floats to elements, for embedding tables. */
    void (*store)(void *elements, const float *x, size_t count);

    /* Return the bytes of a linear layer's packed weights, and the floats of its packed bias. */
    size_t (*linear_weight_bytes)(size_t O, size_t I);
    size_t (*linear_bias_size)(size_t O);

    /* Returns the bytes of scratch that `linear` and `logits` need; each thread has its own. */
    size_t (*linear_scratch_bytes)(size_t I);

    /* Packs w (O, I), as PyTorch stores it, into the layout that `linear` reads. */
    void (*linear_pack)(void *packed, const float *w, size_t O, size_t I);

    /* y (N, O) = activation(x (N, I) @ w (O, I)^T + bias (O)), columns [first, last) only. `first`
     * is a multiple of panel, and so is `last` unless it is O. w is packed; bias has
     * linear_bias_size(O) floats. */
    void (*linear)(void *y, const void *x, const void *w, const float *bias, size_t N, size_t O,
                   size_t I, size_t first, size_t last, enum activation activation, void *scratch);

    /* Returns the bytes of scratch that the next three operations need for rows of C. */
    size_t (*layernorm_scratch_bytes)(size_t C);

    /* y (N, C) = layernorm(word (V, C)[ids] + position (., C)[positions] + type (C))
     * type is the row of the token type table that single texts use; NULL: none.
     * layernorm(h) = (h - mean(h)) / sqrt(var(h) + eps) * weight + bias, per row.
     * residual (N, C) receives the same in FP32; NULL: not wanted. It may be y if y is FP32. */
    void (*embed_layernorm)(void *y, float *residual, const int32_t *ids, const int32_t *positions,
                            const void *word, const void *position, const float *type,
                            const float *weight, const float *bias, size_t N, size_t C, float eps,
                            void *scratch);

    /* y (N, C) = layernorm(x (N, C) + residual (N, C)); y may be x or residual. */
    void (*add_layernorm)(void *y, const void *x, const void *residual, const float *weight,
                          const float *bias, size_t N, size_t C, float eps, void *scratch);

    /* residual (N, C) = layernorm(more (N, C) + residual (N, C)), all in FP32 in every table;
     * y (N, C) receives the same as elements. y may be residual if y is FP32. */
    void (*residual_layernorm)(void *y, float *residual, const float *more, const float *weight,
                               const float *bias, size_t N, size_t C, float eps, void *scratch);

    /* Returns the bytes of scratch that `attention` needs for a sequence of T tokens. */
    size_t (*attention_scratch_bytes)(size_t T, size_t HS);

    /* One head of one sequence: context (T, HS) = softmax(q k^T * scale + bias) v, with q, k, v
     * (T, HS). Row t of q is at q + t * stride, and likewise for k and v; row t of context is at
     * context + t * context_stride. bias[t, s] = relative[s - t], so relative points at distance 0
     * of the distances -(T - 1) to T - 1; NULL: no bias. scale > 0. v and relative must be readable
     * for 256 bytes past their last element. */
    void (*attention)(void *context, const void *q, const void *k, const void *v,
                      const float *relative, size_t T, size_t HS, size_t stride,
                      size_t context_stride, float scale, void *scratch);

    /* Returns the bytes of scratch that `decode_attention` needs for Q queries and T keys. */
    size_t (*decode_attention_scratch_bytes)(size_t Q, size_t T, size_t HS);

    /* One head of Q queries that attend to the same T cached keys and values: context (Q, HS) =
     * softmax(q (Q, HS) k^T * scale) v. Row i of q is at q + i * q_stride, of context at context +
     * i * context_stride. Key t is at k + (rows[t] * row_tokens + t) * stride, and value t likewise
     * at v; rows = NULL means rows[t] = 0. Q is at most MOST_BEAMS. Nothing is read past the HS
     * elements of a key or value. */
    void (*decode_attention)(void *context, const void *q, const void *k, const void *v,
                             const int32_t *rows, size_t row_tokens, size_t Q, size_t T, size_t HS,
                             size_t q_stride, size_t stride, size_t context_stride, float scale,
                             void *scratch);

    /* y (N, O) = x @ w^T + bias, columns [first, last): `linear` without an activation and with y
     * in FP32 in every table. bias may be NULL: none. */
    void (*logits)(float *y, const void *x, const void *w, const float *bias, size_t N, size_t O,
                   size_t I, size_t first, size_t last, void *scratch);

    /* *largest = max of x (V), and *log_sum = log(sum of e^(x - largest)), so that
     * log(softmax(x)[i]) = x[i] - largest - log_sum. log_sum is NaN if x contains NaN or +infinity,
     * or nothing but -infinity. */
    void (*log_softmax_sums)(float *largest, float *log_sum, const float *x, size_t V);

    /* Finds the `count` largest values of x (V) and their indices, largest first; of equal values
     * the one with the lower index comes first. count <= V and <= 2 * MOST_BEAMS. x contains no
     * NaN; -infinity is a value like any other. */
    void (*largest)(float *values, int32_t *indices, size_t count, const float *x, size_t V);

    /* Pools rows [first, T) of one sequence, x (T, C), into y (C). POOLING_WEIGHTED_MEAN weights
     * row t by its position among all T rows. If first >= T, POOLING_CLS gives row 0 of x,
     * POOLING_MAX -infinity, and the others 0. */
    void (*pool)(float *y, const void *x, size_t first, size_t T, size_t C, enum pooling pooling);

    /* y (B, O) = activation(x (B, I) @ w (O, I)^T + bias (O)), columns [first, last) only; one row
     * per sequence. All FP32 in every table, w as PyTorch stores it; bias may be NULL: none. */
    void (*dense)(float *y, const float *x, const float *w, const float *bias, size_t B, size_t O,
                  size_t I, size_t first, size_t last, enum activation activation);

    /* y (C) = x (C) / max(|x|, 1e-12), as torch.nn.functional.normalize; y may be x. */
    void (*l2_normalize)(float *y, const float *x, size_t C);
};

extern const struct cpu_kernels cpu_kernels_reference; /* in tests only */
extern const struct cpu_kernels cpu_kernels_scalar;
#if defined(__x86_64__)
extern const struct cpu_kernels cpu_kernels_avx2;
extern const struct cpu_kernels cpu_kernels_avx512;
extern const struct cpu_kernels cpu_kernels_avx512_bf16; /* in BF16 */
extern const struct cpu_kernels cpu_kernels_avx512_vnni; /* in INT8 */
#endif

#endif
