/* test_cuda_beams.c - the CUDA kernels of beam search, compared with naive code and with the same C
 * code
 *
 * Candidates are compared with an exact search; scores may differ by the roundings of exponentials
 * and sums. The beam step is kernels/beam_step.h on the CPU as well; the test is that the threads
 * of a block together do the same.
 */
#include "decoder_cases.h"

/* ---- candidates ---------------------------------------------------------------------------- */

/* Runs the kernel on logits (D * K, V) and returns the candidates; the caller frees them. */
static struct beam_candidate *run_candidates(const struct batch *batch, const float *logits,
                                             size_t V)
{
    size_t K = batch->device.K, rows = batch->device.D * K, count = rows * BEAM_CANDIDATES(K);
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
            for (size_t row = 0; row < D * K; row++) { /* raise tokens that will be forbidden */
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

/* After 50 60 70 50 60, 70 may not follow if n is 2 or 3; if n is 1, none of these may. */
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
    struct batch batch = batch_make(1, 1, 1, 1, 9); /* nothing is possible */
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

/* Compares the slots. Floats may differ by roundings of powf. */
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

/* Makes random candidates of few tokens and close scores, so that beams end, swap and meet. */
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
