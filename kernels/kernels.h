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
 * A batch is packed: the tokens of all sequences stand one after another, without padding, as N
 * rows. Row-wise operations see rows; only attention and pooling see where a sequence begins.
 * `x (N, C)` is a row-major matrix. Arguments: outputs, inputs, weights, dimensions, scalars.
 * An output may be an input where the comment says so. Statistics and sums are in FP32.
 *
 * `void *` is a matrix of elements, which are FP32 or, in a table made for it, BF16: the upper half
 * of an FP32, rounded to nearest, ties to even. Strides count elements. `float *` is FP32 in any
 * table. In a table made for INT8 the elements are BF16, and a linear layer rounds its inputs and
 * weights to 8 bits, in groups of INT8_GROUP inputs: kernels/reference/reference_int8.c.
 *
 * The operations come as a table, once for every instruction set: the same sources in
 * kernels/cpu/, compiled with that set's flags. kernels/reference/ has the same table in naive C,
 * against which all others are tested. A row of a result has the same bits whatever other rows
 * are computed with it, and however the work is split: each element is summed in one fixed order.
 */
#ifndef KERNELS_H
#define KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum activation {
    ACTIVATION_NONE,
    ACTIVATION_GELU, /* x * Phi(x) = x / 2 * (1 + erf(x / sqrt(2))); not the tanh approximation */
    /* Of `dense` alone: */
    ACTIVATION_TANH,
    ACTIVATION_RELU,   /* max(x, 0) */
    ACTIVATION_SIGMOID /* 1 / (1 + e^-x) */
};

enum pooling {
    POOLING_MEAN,             /* sum over the T rows / T */
    POOLING_MEAN_SQRT_LENGTH, /* sum over the T rows / sqrt(T) */
    POOLING_WEIGHTED_MEAN,    /* sum over the T rows of (t + 1) * row t / sum of t + 1 */
    POOLING_MAX,
    POOLING_CLS, /* the first row */
    POOLING_LAST /* the last row */
};

#define INT8_GROUP       128      /* inputs with one scale of weights and one least input */
#define INT8_HALF        64       /* with one step of inputs */
#define INT8_LEAST_SCALE 0x1p-60f /* of weights: that of one group over another's is a number */

struct cpu_kernels {
    const char *name; /* "reference", "scalar", "avx2", "avx512", "avx512_bf16",
                        * "avx512_vnni" */
    size_t element_bytes; /* 4: FP32, 2: BF16 */
    size_t matrix_bytes;  /* of a weight of a linear layer; 1: INT8, where elements are BF16 */

    /* Columns of a linear layer are computed in groups of `panel`: a split of its O outputs among
     * threads begins at multiples of it. */
    size_t panel;

    /* Elements from as many floats: the rows of a table. */
    void (*store)(void *elements, const float *x, size_t count);

    /* Bytes of a linear layer's packed weights, and floats of its packed bias. */
    size_t (*linear_weight_bytes)(size_t O, size_t I);
    size_t (*linear_bias_size)(size_t O);

    /* Bytes of scratch that `linear` needs; each thread has its own. */
    size_t (*linear_scratch_bytes)(size_t I);

    /* w (O, I), as PyTorch stores it, into the layout `linear` reads. */
    void (*linear_pack)(void *packed, const float *w, size_t O, size_t I);

    /* y (N, O) = activation(x (N, I) @ w (O, I)^T + bias (O)), columns [first, last) of it, both
     * multiples of panel or last = O. w is packed; bias has linear_bias_size(O) floats. */
    void (*linear)(void *y, const void *x, const void *w, const float *bias, size_t N, size_t O,
                   size_t I, size_t first, size_t last, enum activation activation, void *scratch);

    /* Bytes of scratch that the next three need for rows of C. */
    size_t (*layernorm_scratch_bytes)(size_t C);

    /* y (N, C) = layernorm(word (V, C)[ids] + position (., C)[positions] + type (C))
     * type is the one row of the token type table that a single text uses; NULL: none.
     * layernorm(h) = (h - mean(h)) / sqrt(var(h) + eps) * weight + bias, per row.
     * residual (N, C) is the same in FP32; NULL: not wanted. Where y is in FP32, it may be y. */
    void (*embed_layernorm)(void *y, float *residual, const int32_t *ids, const int32_t *positions,
                            const void *word, const void *position, const float *type,
                            const float *weight, const float *bias, size_t N, size_t C, float eps,
                            void *scratch);

    /* y (N, C) = layernorm(x (N, C) + residual (N, C)); y may be x or residual. */
    void (*add_layernorm)(void *y, const void *x, const void *residual, const float *weight,
                          const float *bias, size_t N, size_t C, float eps, void *scratch);

    /* residual (N, C) = layernorm(more (N, C) + residual (N, C)), all in FP32 in any table;
     * y (N, C) is the same as elements. Where y is in FP32, it may be residual. */
    void (*residual_layernorm)(void *y, float *residual, const float *more, const float *weight,
                               const float *bias, size_t N, size_t C, float eps, void *scratch);

    /* Bytes of scratch that `attention` needs for a sequence of T tokens. */
    size_t (*attention_scratch_bytes)(size_t T, size_t HS);

    /* One head of one sequence: context (T, HS) = softmax(q k^T * scale + bias) v, with q, k, v
     * (T, HS). Row t of q, k and v stands at q + t * stride; of context at context + t *
     * context_stride. bias[t, s] = relative[s - t], for distances from -(T - 1) to T - 1; NULL:
     * none. v and relative must be readable for 256 bytes past their last. */
    void (*attention)(void *context, const void *q, const void *k, const void *v,
                      const float *relative, size_t T, size_t HS, size_t stride,
                      size_t context_stride, float scale, void *scratch);

    /* Bytes of scratch that `decode_attention` needs for T keys and Q queries. */
    size_t (*decode_attention_scratch_bytes)(size_t Q, size_t T, size_t HS);

    /* One head of Q rows that attend to the same T keys and values, of a cache: context (Q, HS) =
     * softmax(q (Q, HS) k^T * scale) v. Row i of q stands at q + i * q_stride, of context at context
     * + i * context_stride; key t at k + (rows[t] * row_tokens + t) * stride, where row 0 is the same
     * as rows = NULL, and v likewise. Q is at most MOST_BEAMS. Nothing is read past the HS elements
     * of a key or value. */
    void (*decode_attention)(void *context, const void *q, const void *k, const void *v,
                             const int32_t *rows, size_t row_tokens, size_t Q, size_t T, size_t HS,
                             size_t q_stride, size_t stride, size_t context_stride, float scale,
                             void *scratch);

    /* As `linear` without an activation, but y is in FP32 in any table: y (N, O), columns [first,
     * last). bias may be NULL: none. */
    void (*logits)(float *y, const void *x, const void *w, const float *bias, size_t N, size_t O,
                   size_t I, size_t first, size_t last, void *scratch);

    /* *largest of x (V), and *log_sum = log(sum of e^(x - largest)): so that x[i] - largest - log_sum
     * is the logarithm of softmax(x)[i]. NaN or +infinity in x make log_sum NaN, and so does nothing
     * but -infinity. */
    void (*log_softmax_sums)(float *largest, float *log_sum, const float *x, size_t V);

    /* The `count` largest of x (V), count <= 2 * MOST_BEAMS and <= V, best first, and where they are:
     * of equal ones the first come first. x holds no NaN; -infinity is a value like any other. */
    void (*largest)(float *values, int32_t *indices, size_t count, const float *x, size_t V);

    /* y (C) from rows [first, T) of one sequence, x (T, C); a row's weight is that of its place
     * among all T. Where there are none, sums are 0, the largest is -infinity, and the first is
     * row 0 of x. */
    void (*pool)(float *y, const void *x, size_t first, size_t T, size_t C, enum pooling pooling);

    /* y (B, O) = activation(x (B, I) @ w (O, I)^T + bias (O)), columns [first, last) of it: one row
     * a sequence. All in FP32 in any table, w as PyTorch stores it; bias may be NULL: none. */
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
