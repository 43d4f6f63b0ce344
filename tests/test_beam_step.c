/* test_beam_step.c - beam search steps with input that no model should give, and with equal scores
 *
 * test_beam_search.c compares whole searches with transformers.
 */
#include "beam_test.h"

/* ---- input that no model should give ------------------------------------------------------- */

static const struct generation_rules plain_rules = {
    .num_beams = 2,
    .max_length = 6,
    .length_penalty = 1,
    .start_token = 2,
    .end_token = 2,
    .forced_first_token = NO_TOKEN,
    .forced_end_token = NO_TOKEN,
};

/* Makes a step of two beams with four candidates each. */
static void step_two(const struct beam_slots *beams, size_t slot,
                     const struct beam_candidate first[4], const struct beam_candidate second[4])
{
    struct beam_candidate candidates[8];
    memcpy(candidates, first, 4 * sizeof *first);
    memcpy(candidates + 4, second, 4 * sizeof *second);
    beam_step(beams, slot, 2, candidates);
}

static const struct beam_candidate far_behind[4] = {{-1e9f, 0}, {-1e9f, 1}, {-1e9f, 3}, {-1e9f, 4}};
static const struct beam_candidate nothing[4] = {
    {-INFINITY, 0}, {-INFINITY, 2}, {-INFINITY, NO_TOKEN}, {-INFINITY, NO_TOKEN}};

static void test_nan(void **state)
{
    (void)state;
    static const struct beam_candidate good[4] = {{-1, 3}, {-2, 4}, {-3, 5}, {-4, 6}};
    static const struct beam_candidate bad[4] = {{NAN, 0}, {NAN, 1}, {NAN, 3}, {NAN, 4}};
    struct beam_slots beams = slots_new(3, 2, 6), before = slots_new(3, 2, 6);
    for (size_t p = 0; p < 3; p++) {
        begin(&beams, p, &plain_rules);
        begin(&before, p, &plain_rules);
    }
    step_two(&beams, 0, bad, far_behind);
    step_two(&beams, 2, good, bad);
    for (size_t p = 0; p < 3; p += 2) {
        assert_int_equal(beams.states[p], BEAM_NOT_FINITE);
        assert_int_equal(result_of(&beams, p)[0], BEAM_NOT_FINITE);
        assert_int_equal(result_of(&beams, p)[1], 0);
    }
    assert_true(slots_equal(&beams, &before, 1));

    struct generation_rules greedy = plain_rules;
    greedy.num_beams = 1;
    begin(&beams, 0, &greedy);
    beam_step(&beams, 0, 1, bad);
    assert_int_equal(beams.states[0], BEAM_NOT_FINITE);
    slots_free(&beams);
    slots_free(&before);
}

/* A slot without a document, or whose document is done, stays unchanged, whatever its rows hold. */
static void test_not_running(void **state)
{
    (void)state;
    struct beam_candidate garbage[8];
    memset(garbage, 0x5A, sizeof garbage);
    for (int32_t not_running = BEAM_EMPTY; not_running <= BEAM_NOT_FINITE; not_running++) {
        if (not_running == BEAM_RUNNING) continue;
        struct beam_slots beams = slots_new(1, 2, 6), before = slots_new(1, 2, 6);
        beams.states[0] = before.states[0] = not_running;
        step_two(&beams, 0, garbage, garbage);
        assert_true(slots_equal(&beams, &before, 0));
        slots_free(&beams);
        slots_free(&before);
    }
}

static void test_nothing_possible(void **state)
{
    (void)state;
    struct beam_slots beams = slots_new(1, 2, 6);
    begin(&beams, 0, &plain_rules);
    step_two(&beams, 0, nothing, nothing);
    assert_int_equal(beams.states[0], BEAM_NOT_FINITE);

    struct generation_rules greedy = plain_rules;
    greedy.num_beams = 1;
    begin(&beams, 0, &greedy);
    beam_step(&beams, 0, 1, nothing);
    assert_int_equal(beams.states[0], BEAM_NOT_FINITE);
    slots_free(&beams);
}

/* One beam continues and one is impossible; then the first ends, and nothing can follow; or there
 * is a hypothesis already, and nothing is possible. */
static void test_impossible_beam(void **state)
{
    (void)state;
    static const struct beam_candidate only[4] = {
        {-1, 3}, {-INFINITY, 0}, {-INFINITY, 1}, {-INFINITY, 4}};
    static const struct beam_candidate end[4] = {
        {-1.5f, 2}, {-INFINITY, 0}, {-INFINITY, 1}, {-INFINITY, 4}};
    struct generation_rules rules = plain_rules;
    rules.length_penalty = 0;
    struct beam_slots beams = slots_new(1, 2, 6);
    begin(&beams, 0, &rules);
    step_two(&beams, 0, only, nothing);
    assert_int_equal(beams.states[0], BEAM_RUNNING);
    assert_float_equal(beams.scores[0], -1, 0);
    assert_true(beams.scores[1] == -INFINITY);
    step_two(&beams, 0, end, nothing);
    assert_int_equal(beams.states[0], BEAM_DONE);
    assert_int_equal(result_of(&beams, 0)[1], 3);
    assert_float_equal(result_score(&beams, 0), -1.5, 0);

    static const struct beam_candidate end_or_not[4] = {
        {-1, 2}, {-2, 3}, {-INFINITY, 1}, {-INFINITY, 4}};
    begin(&beams, 0, &rules);
    step_two(&beams, 0, end_or_not, nothing);
    assert_int_equal(beams.states[0], BEAM_RUNNING);
    step_two(&beams, 0, nothing, nothing);
    assert_int_equal(beams.states[0], BEAM_DONE);
    assert_int_equal(result_of(&beams, 0)[1], 2);
    assert_float_equal(result_score(&beams, 0), -1, 0);
    slots_free(&beams);
}

/* If nothing else is possible, a beam that ended continues, and ranks before a copy with the same
 * score. */
static void test_ended_beam_goes_on(void **state)
{
    (void)state;
    static const struct beam_candidate first[4] = {{-1, 3}, {-2, 4}, {-3, 5}, {-4, 6}};
    static const struct beam_candidate end[4] = {
        {-1.5f, 2}, {-INFINITY, 3}, {-INFINITY, 4}, {-INFINITY, 5}};
    struct beam_slots beams = slots_new(1, 2, 6);
    begin(&beams, 0, &plain_rules);
    step_two(&beams, 0, first, far_behind);
    step_two(&beams, 0, end, far_behind);
    assert_int_equal(beams.states[0], BEAM_RUNNING);
    assert_int_equal(beams.finished[0], 1);
    assert_int_equal(beam_token(&beams, 0, 3, 0, 2), 2);
    assert_int_equal(beam_token(&beams, 0, 3, 1, 2), 0);
    assert_float_equal(beams.scores[0], -1e9f, 0);
    assert_float_equal(beams.scores[1], -1e9f, 0);
    slots_free(&beams);
}

/* ---- the order of equal scores ------------------------------------------------------------- */

/* Of equal candidates, those of the lower beam come first, and within a beam the lower token. */
static void test_equal_candidates(void **state)
{
    (void)state;
    static const struct beam_candidate rows[2][4] = {{{-1, 7}, {-2, 0}, {-2, 1}, {-3, 4}},
                                                     {{-1, 3}, {-1, 5}, {-2, 6}, {-2, 8}}};
    struct beam_slots beams = slots_new(1, 2, 6);
    begin(&beams, 0, &plain_rules);
    step_two(&beams, 0, rows[0], rows[1]);
    assert_int_equal(beam_token(&beams, 0, 2, 0, 1), 7);
    assert_int_equal(beam_token(&beams, 0, 2, 1, 1), 3);
    assert_int_equal(beam_ancestors(&beams, 0, 2)[0], 0);
    assert_int_equal(beam_ancestors(&beams, 0, 2)[beams.T], 1);
    slots_free(&beams);
}

/* Of equal hypotheses, the older one is the result; a newer one does not replace it. */
static void test_equal_hypotheses(void **state)
{
    (void)state;
    static const struct beam_candidate rows[3][4] = {{{-1, 2}, {-1, 3}, {-2, 4}, {-3, 5}},
                                                     {{-1, 2}, {-2, 4}, {-3, 5}, {-4, 6}},
                                                     {{-1, 2}, {-1, 6}, {-3, 5}, {-4, 4}}};
    struct generation_rules rules = plain_rules;
    rules.length_penalty = 0;
    rules.early_stopping = STOP_NEVER;
    struct beam_slots beams = slots_new(1, 2, 6);
    begin(&beams, 0, &rules);
    step_two(&beams, 0, rows[0], far_behind);
    assert_int_equal(beams.finished[0], 1);
    step_two(&beams, 0, rows[1], rows[2]);
    assert_int_equal(beams.states[0], BEAM_DONE); /* -1 is no better than the worst */
    assert_int_equal(result_of(&beams, 0)[1], 2);
    slots_free(&beams);
}

/* Two equal hypotheses end in one step and replace two worse ones: that of the lower beam is the
 * result. */
static void test_equal_endings(void **state)
{
    (void)state;
    static const struct beam_candidate rows[2][4] = {{{-1, 3}, {-2, 2}, {-4, 4}, {-5, 5}},
                                                     {{-1, 4}, {-6, 2}, {-7, 5}, {-8, 6}}};
    static const struct beam_candidate end[4] = {{-0.5f, 2}, {-0.75f, 5}, {-3, 6}, {-3, 7}};
    struct generation_rules rules = plain_rules;
    rules.length_penalty = 0;
    for (int swapped = 0; swapped < 2; swapped++) {
        struct beam_slots beams = slots_new(1, 2, 6);
        begin(&beams, 0, &rules);
        step_two(&beams, 0, rows[0], rows[1]);
        /* Earlier hypotheses score -9 and -8; which place is the worse one in? */
        for (size_t k = 0; k < 2; k++) {
            beams.finished_scores[k] = k == (size_t)swapped ? -9 : -8;
            beams.finished_lengths[k] = 2;
        }
        step_two(&beams, 0, end, end);
        assert_int_equal(beams.states[0], BEAM_DONE);
        assert_int_equal(result_of(&beams, 0)[1], 3);
        assert_int_equal(result_of(&beams, 0)[BEAM_RESULT_HEADER + 1], 3);
        slots_free(&beams);
    }
}

/* ---- greedy search ---------------------------------------------------------------------- */

/* With one beam, log-probabilities that differ by less than the sum's last bit must still compare
 * as different, so they are compared before they are added to the sum. */
static void test_greedy_sum(void **state)
{
    (void)state;
    static const struct beam_candidate rows[3][2] = {
        {{-1000, 3}, {-2000, 1}}, {{-0.25f, 4}, {-0.5f, 1}}, {{-1.75f, 2}, {-8, 1}}};
    struct generation_rules rules = plain_rules;
    rules.num_beams = 1;
    struct beam_slots beams = slots_new(1, 2, 6);
    begin(&beams, 0, &rules);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(beams.states[0], BEAM_RUNNING);
        assert_float_equal(beams.scores[0], 0, 0);
        beam_step(&beams, 0, 1, rows[i]);
    }
    assert_int_equal(beams.states[0], BEAM_DONE);
    assert_float_equal(result_score(&beams, 0), -334, 0);
    slots_free(&beams);
}

/* ---- places ----------------------------------------------------------------------------- */

static void test_places(void **state)
{
    (void)state;
    struct beam_slots beams;
    size_t bytes = beam_slots_place(&beams, NULL, 3, 2, 50), end = 0;
    char *base = malloc(bytes);
    assert_non_null(base);
    assert_int_equal(beam_slots_place(&beams, base, 3, 2, 50), bytes);
    size_t P = beams.P, K = beams.K, T = beams.T;
#define X(array, each)                                                                           \
    assert_true((size_t)((char *)beams.array - base) >= end);                                    \
    end = (size_t)((char *)beams.array - base) + P * (each) * sizeof *beams.array;
    SLOT_ARRAYS(X)
#undef X
    assert_true(end <= bytes);
    free(base);
    assert_true(beam_slots_place(&beams, NULL, SIZE_MAX / 64, 4, 142) == SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nan),
        cmocka_unit_test(test_not_running),
        cmocka_unit_test(test_nothing_possible),
        cmocka_unit_test(test_impossible_beam),
        cmocka_unit_test(test_ended_beam_goes_on),
        cmocka_unit_test(test_equal_candidates),
        cmocka_unit_test(test_equal_hypotheses),
        cmocka_unit_test(test_equal_endings),
        cmocka_unit_test(test_greedy_sum),
        cmocka_unit_test(test_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
