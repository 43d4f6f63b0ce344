/* test_cuda_decoder.c - the CUDA kernels of a decoder's step, of both tables, against naive ones
 *
 * Shapes are awkward on purpose; slots come in an odd order, and some of them do not run: their rows
 * are poison before, and are left so. Of the tolerances, see test_cuda_kernels.c and
 * test_cuda_attention.c.
 */
#include "decoder_cases.h"

#define ABSOLUTE 1e-5
#define RELATIVE(k) ((k)->element_bytes == 2 ? 0x1p-11 : 0)

static const struct cpu_kernels *const reference = &cpu_kernels_reference;

/* Rows of document d of a step are untouched where it does not run, and as expected where it does. */
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

/* ---- the first kernel of a step ------------------------------------------------------------ */

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
    reference->embed_layernorm(expected, ids, positions, word, position, NULL, weight, bias, N, C,
                               1e-5f);
    struct device_buffer buffers[] = {device_output(N * C, k->element_bytes),
                                      device_input(word, WORDS * C, k->element_bytes),
                                      device_input(position, POSITIONS * C, k->element_bytes),
                                      device_input(weight, C, sizeof(float)),
                                      device_input(bias, C, sizeof(float))};
    CHECK_CUDA(k->embed_beams(buffers[0].data, &batch.device, buffers[1].data, buffers[2].data,
                              buffers[3].data, buffers[4].data, FIRST_POSITION, C, 1e-5f, NULL));
    const char *what = shape_name("embed_beams %s K %zu C %zu", k->name, K, C);
    float *got = device_read(what, buffers[0]);
    check_rows(what, &batch, got, expected, C, ABSOLUTE, RELATIVE(k));
    for (size_t i = 0; i < COUNT(buffers); i++) device_free(buffers[i]);
    batch_free(&batch);
    free(word); free(position); free(weight); free(bias); free(expected); free(got);
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

/* ---- attention ----------------------------------------------------------------------------- */

/* Weights and context are rounded: in FP16 attention.cu's tolerance, in FP32 some roundings of 1e-7. */
static double attention_tolerance(const struct cuda_kernels *k)
{
    return k->element_bytes == 2 ? 1.5e-3 : 2e-5;
}

/* A cache in which only what documents have is not NaN. */
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

/* The device's result for q; to be freed. */
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

/* A document has the same bits in any company, and NaN stays in the head and beam, or source, it is of. */
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
    double absolute =
        sums == CUDA_SUMS_F32 ? 1e-6 * (double)I : 0x1p-7 * sqrt((double)I / 8); /* test_cuda_linear */
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

/* ---- candidates ---------------------------------------------------------------------------- */

/* Runs the kernel over logits (D * K, V); candidates to be freed. */
static struct beam_candidate *run_candidates(const struct batch *batch, const float *logits,
                                             size_t V)
{
    size_t rows = batch->device.D * batch->device.K, count = rows * BEAM_CANDIDATES(batch->device.K);
    struct device_buffer device_logits = device_output(rows * V, sizeof(float));
    struct device_buffer candidates = device_output(2 * count, sizeof(float));
    device_write(device_logits, logits);
    CHECK_CUDA(cuda_beam_candidates(candidates.data, device_logits.data, &batch->device, V, NULL));
    void *got = device_read(shape_name("beam_candidates V %zu", V), candidates);
    free(device_read(shape_name("the logits of beam_candidates V %zu", V), device_logits));
    device_free(device_logits);
    device_free(candidates);
    return got;
}

static void assert_same_candidates(const char *what, const struct beam_candidate *got,
                                   const struct beam_candidate *expected, size_t count)
{
    for (size_t j = 0; j < count; j++) {
        bool both_nan = isnan(got[j].score) && isnan(expected[j].score);
        bool equal = got[j].score == expected[j].score;
        bool close = fabsf(got[j].score - expected[j].score) <= 4e-6f * (8 + fabsf(got[j].score));
        if (!both_nan && !equal && !close)
            fail_msg("%s: candidate %zu scores %.9g, not %.9g", what, j, got[j].score,
                     expected[j].score);
        if (!both_nan && got[j].token != expected[j].token)
            fail_msg("%s: candidate %zu is token %d, not %d", what, j, got[j].token,
                     expected[j].token);
    }
}

static void check_candidates(const struct batch *batch, float *logits, size_t V)
{
    size_t D = batch->device.D, K = batch->device.K, count = BEAM_CANDIDATES(K);
    struct beam_candidate *got = run_candidates(batch, logits, V);
    struct beam_candidate expected[BEAM_CANDIDATES(MOST_BEAMS)];
    for (size_t row = 0; row < D * K; row++) {
        const char *what = shape_name("beam_candidates V %zu K %zu row %zu", V, K, row);
        const struct beam_candidate *own = got + row * count;
        if (is_running(batch, row / K)) {
            naive_candidates(expected, logits + row * V, V, &batch->slots.host,
                             (size_t)batch->order[row / K], row % K, K);
            assert_same_candidates(what, own, expected, count);
            continue;
        }
        for (size_t j = 0; j < count; j++)
            if (!isnan(own[j].score) || own[j].token != -1) fail_msg("%s: was written", what);
    }
    free(got);
}

static float *random_logits(size_t rows, size_t V)
{
    float *logits = random_floats(rows * V);
    for (size_t i = 0; i < rows * V; i++) logits[i] *= 12;
    return logits;
}

static void test_candidates(void **state)
{
    (void)state;
    static const size_t vocabularies[] = {32, 33, 1000, 4096, 4099}, beams[] = {1, 4, 6, 16};
    enum { D = 4, T = 20 };
    for (size_t v = 0; v < COUNT(vocabularies); v++) {
        for (size_t i = 0; i < COUNT(beams); i++) {
            size_t K = beams[i], V = vocabularies[v];
            struct batch batch = batch_make(D, K, 7, K, T);
            for (size_t d = 0; d < D; d++) {
                size_t slot = (size_t)batch.order[d];
                slots_run(&batch.slots, slot, K, 1 + 6 * d, 1, 6);
                batch.slots.host.rules[slot].no_repeat_ngram_size = (int32_t)d;
                batch.slots.host.rules[slot].min_length = (int32_t)(1 + 6 * d + d % 2);
            }
            batch.slots.host.states[batch.order[0]] = BEAM_NOT_FINITE;
            slots_upload(&batch.slots);
            float *logits = random_logits(D * K, V);
            for (size_t row = 0; row < D * K; row++) { /* among the best, what will be forbidden */
                for (size_t t = 0; t < 6; t++) logits[row * V + t] += 16;
                logits[row * V + 10] = logits[row * V + V - 1] = logits[row * V + 20] = 20;
                logits[row * V + 11] = -INFINITY;
            }
            check_candidates(&batch, logits, V);
            batch_free(&batch);
            free(logits);
        }
    }
}

/* After 50 60 70 50 60, 70 may not follow where n is 2 or 3, and where n is 1 none of these. */
static void test_candidates_repeat_no_ngram(void **state)
{
    (void)state;
    enum { V = 100, T = 9, LENGTH = 6 };
    static const int32_t tokens[LENGTH] = {2, 50, 60, 70, 50, 60};
    static const int32_t best[][2] = {{70, 60}, {30, 0}, {60, 30}, {60, 30}, {70, 60}};
    for (int32_t n = 0; n < (int32_t)COUNT(best); n++) {
        struct batch batch = batch_make(1, 1, 2, 1, T);
        size_t slot = (size_t)batch.order[0];
        slots_run(&batch.slots, slot, 1, LENGTH, 1, V);
        memcpy(batch.slots.host.tokens + slot * T, tokens, sizeof tokens);
        batch.slots.host.rules[slot].no_repeat_ngram_size = n;
        slots_upload(&batch.slots);
        float *logits = zeros(V);
        logits[70] = 3;
        logits[60] = 2;
        logits[30] = 1;
        struct beam_candidate *got = run_candidates(&batch, logits, V);
        assert_int_equal(got[0].token, best[n][0]);
        assert_int_equal(got[1].token, best[n][1]);
        batch_free(&batch);
        free(logits);
        free(got);
    }
}

static void test_candidates_of_a_large_vocabulary(void **state)
{
    (void)state;
    enum { V = 50265, K = 4 };
    struct batch batch = batch_make(1, K, 1, K, 60);
    slots_run(&batch.slots, 0, K, 50, 1, V);
    batch.slots.host.rules[0].no_repeat_ngram_size = 3;
    slots_upload(&batch.slots);
    float *logits = random_logits(K, V);
    logits[0] = logits[V - 1] = 13; /* the first and the last token of the first row */
    check_candidates(&batch, logits, V);
    batch_free(&batch);
    free(logits);
}

static void test_candidates_that_are_forced(void **state)
{
    (void)state;
    enum { V = 64, K = 4, T = 30 };
    struct batch batch = batch_make(3, K, 3, K, T);
    for (size_t d = 0; d < 3; d++) {
        size_t slot = (size_t)batch.order[d];
        slots_run(&batch.slots, slot, K, d == 0 ? 1 : d == 1 ? T - 1 : 5, 1, V);
        batch.slots.host.rules[slot].forced_first_token = 0;
        batch.slots.host.rules[slot].forced_end_token = 3;
        batch.slots.host.rules[slot].min_length = T;
    }
    slots_upload(&batch.slots);
    float *logits = random_logits(3 * K, V);
    check_candidates(&batch, logits, V);
    batch_free(&batch);
    free(logits);
}

static void test_candidates_of_what_is_not_finite(void **state)
{
    (void)state;
    enum { V = 3000, K = 2, D = 2, ROW = 1 };
    static const float broken[] = {NAN, INFINITY};
    for (int forced = 0; forced < 2; forced++) {
        for (size_t i = 0; i < COUNT(broken); i++) {
            for (size_t at = 0; at < V; at += V - 1) {
                struct batch batch = batch_make(D, K, 3, K, 9);
                for (size_t d = 0; d < D; d++) {
                    size_t slot = (size_t)batch.order[d];
                    slots_run(&batch.slots, slot, K, 1, 1, V);
                    if (forced) batch.slots.host.rules[slot].forced_first_token = 5;
                }
                slots_upload(&batch.slots);
                float *logits = random_logits(D * K, V);
                logits[ROW * V + at] = broken[i];
                check_candidates(&batch, logits, V);
                batch_free(&batch);
                free(logits);
            }
        }
    }
    struct batch batch = batch_make(1, 1, 1, 1, 9); /* nothing is possible at all */
    slots_run(&batch.slots, 0, 1, 1, 1, V);
    slots_upload(&batch.slots);
    float *logits = zeros(V);
    for (size_t i = 0; i < V; i++) logits[i] = -INFINITY;
    struct beam_candidate *got = run_candidates(&batch, logits, V);
    assert_true(!(got[0].score > -INFINITY));
    batch_free(&batch);
    free(logits);
    free(got);
}

/* ---- beams --------------------------------------------------------------------------------- */

/* Numbers of type float in the slots' memory may be off by roundings of powf. */
static void assert_same_slots(const char *what, const struct slots *s)
{
    struct beam_slots got;
    const struct beam_slots *expected = &s->host;
    void *memory = slots_download(s, &got);
    size_t P = got.P, K = got.K, T = got.T;
    assert_memory_equal(got.rules, expected->rules, P * sizeof *got.rules);
    assert_memory_equal(got.sources, expected->sources, P * sizeof(int32_t));
    assert_memory_equal(got.states, expected->states, P * sizeof(int32_t));
    assert_memory_equal(got.lengths, expected->lengths, P * sizeof(int32_t));
    assert_memory_equal(got.tokens, expected->tokens, P * K * T * sizeof(int32_t));
    assert_memory_equal(got.ancestors, expected->ancestors, 2 * P * K * T * sizeof(int32_t));
    assert_memory_equal(got.finished, expected->finished, P * sizeof(int32_t));
    assert_memory_equal(got.finished_lengths, expected->finished_lengths, P * K * sizeof(int32_t));
    assert_memory_equal(got.finished_tokens, expected->finished_tokens,
                        P * K * T * sizeof(int32_t));
    for (size_t i = 0; i < P * K; i++) {
        const float pairs[2][2] = {{got.scores[i], expected->scores[i]},
                                   {got.finished_scores[i], expected->finished_scores[i]}};
        for (int j = 0; j < 2; j++) {
            bool both_nan = isnan(pairs[j][0]) && isnan(pairs[j][1]);
            if (!both_nan && !(fabsf(pairs[j][0] - pairs[j][1]) <= 1e-5f * fabsf(pairs[j][1])))
                fail_msg("%s: a score is %.9g, not %.9g", what, pairs[j][0], pairs[j][1]);
        }
    }
    for (size_t p = 0; p < P; p++) {
        const int32_t *a = got.results + p * (BEAM_RESULT_HEADER + T);
        const int32_t *b = expected->results + p * (BEAM_RESULT_HEADER + T);
        assert_memory_equal(a, b, 2 * sizeof *a);
        assert_memory_equal(a + BEAM_RESULT_HEADER, b + BEAM_RESULT_HEADER, T * sizeof *a);
        assert_true(abs(a[2] - b[2]) <= 4); /* bits of a float */
    }
    free(memory);
}

static void test_beam_start(void **state)
{
    (void)state;
    enum { D = 35, P = 40, K = 4, T = 10 };
    struct slots s = slots_make(P, K, T);
    struct beam_document documents[D];
    for (size_t d = 0; d < D; d++) {
        documents[d] = (struct beam_document){(int32_t)((d * 7 + 3) % P), (int32_t)d + 1,
                                              plain_rules};
        documents[d].rules.num_beams = 1 + (int32_t)d % K;
    }
    slots_upload(&s);
    struct device_buffer device = device_buffer(D * sizeof *documents / 4, 4, 0);
    CHECK_CUDA(cudaMemcpy(device.data, documents, sizeof documents, cudaMemcpyHostToDevice));
    CHECK_CUDA(cuda_beam_start(&s.device, device.data, D, NULL));
    for (size_t d = 0; d < D; d++) beam_begin(&s.host, &documents[d]);
    assert_same_slots("beam_start", &s);
    device_free(device);
    slots_free(&s);
}

/* Random candidates of few tokens and close scores, so that beams end, change places and meet. */
static void random_candidates(struct beam_candidate *candidates, const struct beam_slots *beams,
                              size_t slot, size_t K)
{
    size_t count = BEAM_CANDIDATES(K);
    for (size_t k = 0; k < K; k++) {
        float score = beams->scores[slot * beams->K + k];
        size_t token = random_below(4);
        for (size_t j = 0; j < count; j++) {
            score -= 0.25f * (random_float() + 1) + (j == 0 ? 0.5f : 0);
            candidates[k * count + j] = (struct beam_candidate){score, (int32_t)(token + j)};
        }
    }
}

static void check_beam_steps(size_t K, int early_stopping, float length_penalty)
{
    enum { D = 4, P = 6, T = 24 };
    struct batch batch = batch_make(D, K, P, K == MOST_BEAMS ? K : K + 1, T);
    size_t count = D * K * BEAM_CANDIDATES(K);
    struct beam_candidate *candidates = calloc(count, sizeof *candidates);
    assert_non_null(candidates);
    for (size_t d = 0; d < D; d++) {
        struct beam_document document = {batch.order[d], 1, plain_rules};
        document.rules.num_beams = (int32_t)K;
        document.rules.max_length = T - (int32_t)d * 3;
        document.rules.early_stopping = early_stopping;
        document.rules.length_penalty = length_penalty;
        if (d > 0) beam_begin(&batch.slots.host, &document);
    }
    slots_upload(&batch.slots);
    struct device_buffer device = device_buffer(2 * count, 4, 0);
    for (size_t step = 0; step < T; step++) {
        for (size_t d = 0; d < D; d++)
            random_candidates(candidates + d * K * BEAM_CANDIDATES(K), &batch.slots.host,
                              (size_t)batch.order[d], K);
        if (step == 5) candidates[count - 1].score = NAN;
        if (step == 5 && K == 1) candidates[count - 2].score = NAN;
        CHECK_CUDA(cudaMemcpy(device.data, candidates, count * sizeof *candidates,
                              cudaMemcpyHostToDevice));
        CHECK_CUDA(cuda_beam_step(&batch.device, device.data, NULL));
        for (size_t d = 0; d < D; d++)
            beam_step(&batch.slots.host, (size_t)batch.order[d], K,
                      candidates + d * K * BEAM_CANDIDATES(K));
        assert_same_slots(shape_name("beam_step K %zu, step %zu", K, step), &batch.slots);
    }
    for (size_t d = 1; d < D; d++) assert_false(is_running(&batch, d));
    device_free(device);
    batch_free(&batch);
    free(candidates);
}

static void test_beam_step(void **state)
{
    (void)state;
    static const size_t beams[] = {1, 2, 4, 6, 16};
    for (size_t i = 0; i < COUNT(beams); i++) {
        check_beam_steps(beams[i], STOP_EARLY, 2);
        check_beam_steps(beams[i], STOP_BY_HEURISTIC, 1);
        check_beam_steps(beams[i], STOP_NEVER, 0.5f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embed_beams),
        cmocka_unit_test(test_self_attention),
        cmocka_unit_test(test_cross_attention),
        cmocka_unit_test(test_documents_are_apart),
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_candidates),
        cmocka_unit_test(test_candidates_repeat_no_ngram),
        cmocka_unit_test(test_candidates_of_a_large_vocabulary),
        cmocka_unit_test(test_candidates_that_are_forced),
        cmocka_unit_test(test_candidates_of_what_is_not_finite),
        cmocka_unit_test(test_beam_start),
        cmocka_unit_test(test_beam_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
