/* test_cuda_decoder.c - the CUDA kernels of a decoder's layers, of both tables, compared with naive
 * code
 *
 * Shapes are awkward on purpose. Slots come in scrambled order, and some of them do not run: their
 * rows are poison and must stay so. For tolerances, see test_cuda_kernels.c and
 * test_cuda_attention.c.
 */
#include "decoder_cases.h"

#define ABSOLUTE 1e-5
#define RELATIVE(k) ((k)->element_bytes == 2 ? 0x1p-11 : 0)

static const struct cpu_kernels *const reference = &cpu_kernels_reference;

/* Checks that the rows of a document are as expected if it runs, and unchanged if it does not. */
static void check_rows(const char *what, const struct batch *batch, const float *got,
                       const float *expected, size_t C, double absolute, double relative)
{
    size_t K = batch->device.K;
    for (size_t d = 0; d < batch->device.D; d++) {
        const float *rows = got + d * K * C;
        if (is_running(batch, d)) {
            assert_close(what, rows, expected + d * K * C, K, C, absolute, relative);
            continue;
        }
        for (size_t i = 0; i < K * C; i++)
            if (!isnan(rows[i])) fail_msg("%s: wrote a row of document %zu", what, d);
    }
}

/* ---- the residual stream ------------------------------------------------------------------- */

enum { WORDS = 11, POSITIONS = 40, FIRST_POSITION = 2 };

static void check_embed_beams(const struct cuda_kernels *k, size_t K, size_t C)
{
    enum { D = 4, P = 7, T = 33 };
    struct batch batch = batch_make(D, K, P, K + 1, T);
    int32_t ids[D * MOST_BEAMS], positions[D * MOST_BEAMS];
    for (size_t d = 0; d < D; d++) {
        size_t slot = (size_t)batch.order[d], length = d == 3 ? T : 1 + 7 * d;
        slots_run(&batch.slots, slot, K, length, 1, WORDS);
        for (size_t i = 0; i < K; i++) {
            ids[d * K + i] = batch.slots.host.tokens[(slot * (K + 1) + i) * T + length - 1];
            positions[d * K + i] = (int32_t)(FIRST_POSITION + length - 1);
        }
    }
    batch.slots.host.states[batch.order[1]] = BEAM_DONE;
    slots_upload(&batch.slots);

    size_t N = D * K;
    float *word = random_elements(WORDS * C, k->element_bytes), *expected = zeros(N * C);
    float *position = random_elements(POSITIONS * C, k->element_bytes);
    float *weight = random_floats(C), *bias = random_floats(C);
    reference->embed_layernorm(expected, NULL, ids, positions, word, position, NULL, weight, bias,
                               N, C, 1e-5f, NULL);
    struct device_buffer buffers[] = {device_output(N * C, k->element_bytes),
                                      device_input(word, WORDS * C, k->element_bytes),
                                      device_input(position, POSITIONS * C, k->element_bytes),
                                      device_input(weight, C, sizeof(float)),
                                      device_input(bias, C, sizeof(float)),
                                      device_output(N * C, sizeof(float))};
    const char *what = shape_name("embed_beams %s K %zu C %zu", k->name, K, C);
    for (int i = 0; i < 2; i++) {
        float *residual = i == 0 ? NULL : buffers[5].data;
        CHECK_CUDA(k->embed_beams(buffers[0].data, residual, &batch.device, buffers[1].data,
                                  buffers[2].data, buffers[3].data, buffers[4].data,
                                  FIRST_POSITION, C, 1e-5f, NULL));
        float *got = device_read(what, buffers[0]);
        check_rows(what, &batch, got, expected, C, ABSOLUTE, RELATIVE(k));
        free(got);
    }
    float *residual = device_read(what, buffers[5]);
    check_rows(what, &batch, residual, expected, C, ABSOLUTE, 0);
    for (size_t i = 0; i < COUNT(buffers); i++) device_free(buffers[i]);
    batch_free(&batch);
    free(word); free(position); free(weight); free(bias); free(expected); free(residual);
}

static void test_embed_beams(void **state)
{
    (void)state;
    static const size_t widths[] = {24, 36, 768, 1024}, beams[] = {1, 3, 4};
    FOR_EACH_TABLE(k)
    {
        for (size_t c = 0; c < COUNT(widths); c++)
            for (size_t i = 0; i < COUNT(beams); i++) check_embed_beams(k, beams[i], widths[c]);
    }
}

/* The residual stays unrounded, the next product's input is rounded once, and a row of NaN does not
 * affect others. */
static void check_residual_layernorm(size_t N, size_t C)
{
    float *x = random_floats(N * C), *residual = random_floats(N * C), *expected = zeros(N * C);
    float *weight = random_floats(C), *bias = random_floats(C);
    x[(N - 1) * C] = N > 1 ? NAN : x[0];
    reference->add_layernorm(expected, x, residual, weight, bias, N, C, 1e-5f, NULL);
    struct device_buffer y = device_output(N * C, 2);
    struct device_buffer stream = device_output(N * C, sizeof(float));
    struct device_buffer buffers[] = {device_input(x, N * C, sizeof(float)),
                                      device_input(weight, C, sizeof(float)),
                                      device_input(bias, C, sizeof(float))};
    device_write(stream, residual);
    CHECK_CUDA(cuda_residual_layernorm_f16(y.data, stream.data, buffers[0].data, buffers[1].data,
                                           buffers[2].data, N, C, 1e-5f, NULL));
    const char *what = shape_name("residual_layernorm N %zu C %zu", N, C);
    float *got = device_read(what, stream), *rounded = device_read(what, y);
    size_t finite = N > 1 ? N - 1 : 1;
    assert_close(what, got, expected, finite, C, ABSOLUTE, 0);
    assert_close(what, rounded, got, finite, C, 0x1p-25, 0x1p-11); /* nearest FP16 number */
    for (size_t i = finite * C; i < N * C; i++) assert_true(isnan(got[i]) && isnan(rounded[i]));

    for (size_t i = 0; i < COUNT(buffers); i++) device_free(buffers[i]);
    device_free(y);
    device_free(stream);
    free(x); free(residual); free(expected); free(weight); free(bias); free(got); free(rounded);
}

static void test_residual_layernorm(void **state)
{
    (void)state;
    static const size_t widths[] = {1, 24, 36, 768, 1000, 1024}, rows[] = {1, 3, 4, 65};
    for (size_t c = 0; c < COUNT(widths); c++)
        for (size_t n = 0; n < COUNT(rows); n++) check_residual_layernorm(rows[n], widths[c]);
}

/* ---- attention ----------------------------------------------------------------------------- */

/* Weights and context are rounded: attention.cu's tolerance in FP16, several roundings of 1e-7 in
 * FP32. */
static double attention_tolerance(const struct cuda_kernels *k)
{
    return k->element_bytes == 2 ? 1.5e-3 : 2e-5;
}

/* Makes a cache that is all NaN, to be filled where documents have data. */
static float *poison(size_t count)
{
    float *floats = malloc(count * sizeof *floats);
    assert_non_null(floats);
    for (size_t i = 0; i < count; i++) floats[i] = NAN;
    return floats;
}

static void fill(float *floats, size_t count, size_t element_bytes)
{
    for (size_t i = 0; i < count; i++) floats[i] = 2 * random_float();
    round_floats(floats, count, element_bytes);
}

struct attention_shape {
    size_t D, K, NH, HS, T; /* or S */
};

static void check_self_attention(const struct cuda_kernels *k, const struct attention_shape *s)
{
    size_t D = s->D, K = s->K, C = s->NH * s->HS, P = 6, slots_K = K == MOST_BEAMS ? K : K + 1;
    size_t T = s->T + 2, size = P * slots_K * T * 2 * C;
    struct batch batch = batch_make(D, K, P, slots_K, T);
    const struct beam_slots *beams = &batch.slots.host;
    float *qkv = poison(D * K * 3 * C), *cache = poison(size), *expected = zeros(D * K * C);
    for (size_t d = 0; d < D; d++) {
        size_t slot = (size_t)batch.order[d], length = d == 0 ? s->T : (s->T + d - 1) / d;
        slots_run(&batch.slots, slot, K, length, 1, 100);
        if (d == 2) batch.slots.host.states[slot] = BEAM_DONE;
        if (d == 2) continue;
        for (size_t row = 0; row < K; row++)
            fill(cache + (slot * slots_K + row) * T * 2 * C, (length - 1) * 2 * C,
                 k->element_bytes);
        fill(qkv + d * K * 3 * C, K * 3 * C, k->element_bytes);
    }
    slots_upload(&batch.slots);
    struct device_buffer context = device_output(D * K * C, k->element_bytes);
    struct device_buffer device_qkv = device_input(qkv, D * K * 3 * C, k->element_bytes);
    struct device_buffer device_cache = device_output(size, k->element_bytes);
    device_write(device_cache, cache);
    CHECK_CUDA(k->self_attention(context.data, device_qkv.data, device_cache.data, &batch.device,
                                 s->NH, s->HS, 1 / sqrtf((float)s->HS), NULL));
    for (size_t d = 0; d < D; d++) {
        size_t slot = (size_t)batch.order[d];
        if (!is_running(&batch, d)) continue;
        naive_append(cache, qkv + d * K * 3 * C, beams, slot, K, C);
        naive_self_attention(expected + d * K * C, qkv + d * K * 3 * C, cache, beams, slot, K,
                             s->NH, s->HS);
    }
    const char *what = shape_name("self_attention %s K %zu NH %zu HS %zu T %zu", k->name, K, s->NH,
                                  s->HS, s->T);
    float *got = device_read(what, context), *cache_after = device_read(what, device_cache);
    check_rows(what, &batch, got, expected, C, attention_tolerance(k), RELATIVE(k));
    for (size_t i = 0; i < size; i++)
        if (!(cache_after[i] == cache[i] || (isnan(cache_after[i]) && isnan(cache[i]))))
            fail_msg("%s: the cache has %g, not %g, at %zu", what, cache_after[i], cache[i], i);

    device_free(context);
    device_free(device_qkv);
    device_free(device_cache);
    batch_free(&batch);
    free(qkv); free(cache); free(expected); free(got); free(cache_after);
}

static void test_self_attention(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 2, 15, 16, 17, 63, 64, 65};
    static const size_t heads[] = {4, 8, 12, 64, 80, 100, 256};
    static const size_t beams[] = {1, 4, 6, 16};
    FOR_EACH_TABLE(k)
    {
        for (size_t t = 0; t < COUNT(lengths); t++)
            for (size_t i = 0; i < COUNT(beams); i++)
                check_self_attention(k, &(struct attention_shape){3, beams[i], 2, 64, lengths[t]});
        for (size_t h = 0; h < COUNT(heads); h++)
            check_self_attention(k, &(struct attention_shape){3, 4, 3, heads[h], 21});
        check_self_attention(k, &(struct attention_shape){1, 4, 1, 64, 300});
    }
}

/* Returns the device's result for q; the caller frees it. */
static float *run_cross_attention(const struct cuda_kernels *k, const struct batch *batch,
                                  const float *q, const float *cache, size_t most_sources,
                                  size_t NH, size_t HS)
{
    size_t rows = batch->device.D * batch->device.K, C = NH * HS;
    struct device_buffer context = device_output(rows * C, k->element_bytes);
    struct device_buffer device_q = device_input(q, rows * C, k->element_bytes);
    struct device_buffer device_cache =
        device_input(cache, batch->slots.host.P * most_sources * 2 * C, k->element_bytes);
    CHECK_CUDA(k->cross_attention(context.data, device_q.data, device_cache.data, most_sources,
                                  &batch->device, NH, HS, 1 / sqrtf((float)HS), NULL));
    float *got = device_read("cross_attention", context);
    device_free(context);
    device_free(device_q);
    device_free(device_cache);
    return got;
}

static void check_cross_attention(const struct cuda_kernels *k, const struct attention_shape *s)
{
    size_t D = s->D, K = s->K, C = s->NH * s->HS, P = D, S = s->T, size = P * S * 2 * C;
    struct batch batch = batch_make(D, K, P, MOST_BEAMS, 5);
    float *q = poison(D * K * C), *cache = poison(size), *expected = zeros(D * K * C);
    for (size_t d = 0; d < D; d++) {
        size_t slot = (size_t)batch.order[d], source = d == 0 ? S : (S + d) / (d + 1);
        slots_run(&batch.slots, slot, K, 3, source, 100);
        if (d == 2) batch.slots.host.states[slot] = BEAM_EMPTY;
        if (d == 2) continue;
        fill(cache + slot * S * 2 * C, source * 2 * C, k->element_bytes);
        fill(q + d * K * C, K * C, k->element_bytes);
        naive_cross_attention(expected + d * K * C, q + d * K * C, cache, S, &batch.slots.host,
                              slot, K, s->NH, s->HS);
    }
    slots_upload(&batch.slots);
    float *got = run_cross_attention(k, &batch, q, cache, S, s->NH, s->HS);
    const char *what = shape_name("cross_attention %s K %zu NH %zu HS %zu S %zu", k->name, K,
                                  s->NH, s->HS, S);
    check_rows(what, &batch, got, expected, C, attention_tolerance(k), RELATIVE(k));
    batch_free(&batch);
    free(q); free(cache); free(expected); free(got);
}

static void test_cross_attention(void **state)
{
    (void)state;
    static const size_t sources[] = {1, 2, 15, 16, 17, 127, 128, 129, 130};
    static const size_t heads[] = {4, 8, 12, 80, 100, 128, 256}, beams[] = {1, 4, 6, 16};
    FOR_EACH_TABLE(k)
    {
        for (size_t t = 0; t < COUNT(sources); t++)
            for (size_t i = 0; i < COUNT(beams); i++)
                check_cross_attention(k, &(struct attention_shape){4, beams[i], 2, 64, sources[t]});
        for (size_t h = 0; h < COUNT(heads); h++)
            check_cross_attention(k, &(struct attention_shape){3, 4, 3, heads[h], 37});
        check_cross_attention(k, &(struct attention_shape){1, 4, 1, 64, 1024});
    }
}

/* A document has the same bits in any company, and NaN stays in its head and beam, or source. */
static void test_documents_are_apart(void **state)
{
    (void)state;
    enum { D = 3, K = 4, NH = 2, HS = 64, C = NH * HS, S = 70 };
    FOR_EACH_TABLE(k)
    {
        struct batch batch = batch_make(D, K, D, K, 5), alone;
        float *q = zeros(D * K * C), *cache = zeros(D * S * 2 * C);
        fill(q, D * K * C, k->element_bytes);
        fill(cache, D * S * 2 * C, k->element_bytes);
        for (size_t d = 0; d < D; d++)
            slots_run(&batch.slots, (size_t)batch.order[d], K, 3, S - 20 * d, 100);
        slots_upload(&batch.slots);
        float *all = run_cross_attention(k, &batch, q, cache, S, NH, HS);
        for (size_t d = 0; d < D; d++) {
            alone = batch;
            alone.device.D = 1;
            alone.device.slots += d;
            float *got = run_cross_attention(k, &alone, q + d * K * C, cache, S, NH, HS);
            assert_same_bits("cross_attention", got, all + d * K * C, K, C);
            free(got);
        }
        const size_t broken = (1 * K + 2) * C + HS + 5; /* document 1, beam 2, head 1 */
        q[broken] = NAN;
        float *got = run_cross_attention(k, &batch, q, cache, S, NH, HS);
        for (size_t i = 0; i < D * K * C; i++)
            assert_true(i / HS == broken / HS ? isnan(got[i]) : got[i] == all[i]);
        batch_free(&batch);
        free(q); free(cache); free(all); free(got);
    }
}

/* ---- logits -------------------------------------------------------------------------------- */

static float *run_logits(const float *x, struct device_buffer weight, const float *bias, size_t N,
                         size_t O, size_t I, enum cuda_sums sums)
{
    struct device_buffer device_x = device_input(x, N * I, 2);
    struct device_buffer y = device_output(N * O, sizeof(float));
    struct device_buffer device_bias = device_input(bias, bias == NULL ? 0 : O, sizeof(float));
    CHECK_CUDA(cuda_logits_f16(y.data, device_x.data, weight.data,
                               bias == NULL ? NULL : device_bias.data, N, O, I, sums, NULL));
    float *got = device_read(shape_name("logits N %zu O %zu I %zu", N, O, I), y);
    device_free(device_x);
    device_free(y);
    device_free(device_bias);
    return got;
}

static void check_logits(size_t N, size_t O, size_t I, enum cuda_sums sums)
{
    float *x = random_elements(N * I, 2), *w = random_elements(O * I, 2), *bias = random_floats(O);
    float *none = zeros(O), *expected = zeros(N * O);
    struct device_buffer weight = device_input(w, O * I, 2);
    double absolute = sums == CUDA_SUMS_F32 ? 1e-6 * (double)I /* as in test_cuda_linear.c */
                                            : 0x1p-7 * sqrt((double)I / 8);
    for (int with_bias = 0; with_bias < 2; with_bias++) {
        reference->linear(expected, x, w, with_bias ? bias : none, N, O, I, 0, O, ACTIVATION_NONE,
                          NULL);
        float *got = run_logits(x, weight, with_bias ? bias : NULL, N, O, I, sums);
        const char *what = shape_name("logits N %zu O %zu I %zu", N, O, I);
        assert_close(what, got, expected, N, O, absolute, 0);
        float *one = run_logits(x + (N - 1) * I, weight, with_bias ? bias : NULL, 1, O, I, sums);
        assert_same_bits(what, one, got + (N - 1) * O, 1, O);
        free(got);
        free(one);
    }
    device_free(weight);
    free(x); free(w); free(bias); free(none); free(expected);
}

static void test_logits(void **state)
{
    (void)state;
    static const size_t Ns[] = {1, 4, 33, 65}, Os[] = {1, 31, 64, 129, 202};
    for (size_t n = 0; n < COUNT(Ns); n++) {
        for (size_t o = 0; o < COUNT(Os); o++) {
            check_logits(Ns[n], Os[o], 64, CUDA_SUMS_F32);
            check_logits(Ns[n], Os[o], 40, CUDA_SUMS_TWO_LEVEL);
        }
    }
    check_logits(2, 50265, 8, CUDA_SUMS_F32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embed_beams),
        cmocka_unit_test(test_residual_layernorm),
        cmocka_unit_test(test_self_attention),
        cmocka_unit_test(test_cross_attention),
        cmocka_unit_test(test_documents_are_apart),
        cmocka_unit_test(test_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
