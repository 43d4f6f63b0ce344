/* test_backend_candidates.c - candidates of beams on the CPU, compared with a sort of all tokens,
 * on one thread and on three */
#include "backend_decoder_test.h"

enum { COUNT = BEAM_CANDIDATES(K), MOST_V = 203 };

/* Returns whether a rule forbids the token after beam k. Compares n-grams as lists. */
static bool is_forbidden(const struct beam_slots *slots, size_t slot, size_t k, int32_t token)
{
    const struct generation_rules *r = &slots->rules[slot];
    int32_t tokens[T + 1], length = slots->lengths[slot], n = r->no_repeat_ngram_size;
    for (int32_t t = 0; t < length; t++) {
        int32_t row = beam_ancestors(slots, slot, length)[k * T + (size_t)t];
        tokens[t] = slots->tokens[(slot * MOST_K + (size_t)row) * T + (size_t)t];
    }
    tokens[length] = token;
    for (int32_t t = 0; n > 0 && t + n <= length; t++)
        if (memcmp(tokens + t, tokens + length + 1 - n, (size_t)n * sizeof *tokens) == 0)
            return true;
    return token == r->end_token && length < r->min_length;
}

/* Finds the candidates of one row by sorting all tokens that may follow. */
static void candidates_naive(struct beam_candidate *best, const struct beam_slots *slots,
                             size_t row, const float *x, size_t V)
{
    struct beam_candidate sorted[COUNT + 1]; /* one more than needed */
    size_t slot = slot_of(row), k = row % K, have = 0;
    double sum = 0, score = slots->scores[slot * MOST_K + k];
    int32_t forced = beam_forced_token(&slots->rules[slot], slots->lengths[slot]);
    for (size_t i = 0; i < V; i++) sum += exp(x[i]);
    for (size_t i = 0; i < COUNT; i++) sorted[i] = (struct beam_candidate){-INFINITY, NO_TOKEN};
    for (int32_t i = 0; i < (int32_t)V; i++) {
        float s = (float)(score + (forced == NO_TOKEN ? x[i] - log(sum) : 0));
        if (forced != NO_TOKEN ? i != forced : is_forbidden(slots, slot, k, i)) continue;
        size_t place = have;
        for (; place > 0 && s > sorted[place - 1].score; place--) sorted[place] = sorted[place - 1];
        sorted[place] = (struct beam_candidate){s, i};
        if (have < COUNT) have++;
    }
    memcpy(best, sorted, COUNT * sizeof *best);
}

static void choose(struct step *step, const struct backend *op, struct execution *execution)
{
    assert_int_equal(
        op->beam_candidates(step->out, step->cache, &step->batch, step->size, execution), EMBED_OK);
}

/* Computes the candidates of all rows. Those of the slot that is done must not change. */
static struct beam_candidate *candidates_of(const struct device *device,
                                            const struct beam_slots *slots, const float *x,
                                            size_t V)
{
    struct beam_candidate *got = zero_bytes(R * COUNT * sizeof *got);
    float *copy = zeros(R * V);
    memcpy(copy, x, R * V * sizeof *x);
    for (size_t i = 0; i < R * COUNT; i++) got[i] = (struct beam_candidate){7, 7};
    struct step step = step_of(device, slots);
    step.operation = choose, step.out = got, step.cache = copy, step.size = V;
    step_run(&step);
    for (size_t i = 0; i < R * COUNT; i++) {
        if (slot_of(i / COUNT) == DONE) assert_true(got[i].score == 7 && got[i].token == 7);
    }
    free(copy);
    return got;
}

static void assert_candidates(const char *what, const struct beam_slots *slots,
                              const struct beam_candidate *got, const float *x, size_t V)
{
    for (size_t row = 0; row < R; row++) {
        struct beam_candidate expected[COUNT];
        if (slot_of(row) == DONE) continue;
        candidates_naive(expected, slots, row, x + row * V, V);
        for (size_t i = 0; i < COUNT; i++) {
            struct beam_candidate g = got[row * COUNT + i], e = expected[i];
            bool is_same = e.score == -INFINITY /* its token may be given or not */
                               ? g.score == -INFINITY
                               : g.token == e.token && fabsf(g.score - e.score) <= 1e-5f;
            if (!is_same)
                fail_msg("%s, row %zu, candidate %zu: token %d with %.9g; it is %d with %.9g", what,
                         row, i, g.token, g.score, e.token, e.score);
        }
    }
}

static void *check_candidates(const struct device *device, size_t *bytes)
{
    static const struct {
        const char *name;
        size_t V;
        int32_t ngram, min_length, forced_first, forced_end;
    } cases[] = {
        {"no rules", MOST_V, 0, 0, NO_TOKEN, NO_TOKEN},
        {"as many tokens as candidates", COUNT, 0, 0, NO_TOKEN, NO_TOKEN},
        {"fewer tokens than candidates", COUNT - 2, 0, 0, NO_TOKEN, NO_TOKEN},
        {"no token twice", 10, 1, 0, NO_TOKEN, NO_TOKEN},
        {"no pair twice", 4, 2, 0, NO_TOKEN, NO_TOKEN},
        {"no three twice", 3, 3, 0, NO_TOKEN, NO_TOKEN},
        {"n-grams longer than a beam", 20, 8, 0, NO_TOKEN, NO_TOKEN},
        {"no end", 10, 0, 8, NO_TOKEN, NO_TOKEN},
        {"an end that just may come", 10, 0, 7, NO_TOKEN, NO_TOKEN},
        {"a first token", 20, 2, 8, 17, NO_TOKEN},
        {"an end that must not come yet", 20, 0, 0, NO_TOKEN, 1},
    };
    struct beam_candidate *got = NULL;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        for (int round = 0; round < 20; round++) {
            size_t slots_bytes, V = cases[c].V;
            struct beam_slots slots = slots_of_test(&slots_bytes, (int32_t)V);
            float *x = random_floats(R * V);
            for (size_t s = YOUNG; s <= LONG; s++) {
                slots.rules[s].no_repeat_ngram_size = cases[c].ngram;
                slots.rules[s].min_length = cases[c].min_length;
                slots.rules[s].forced_first_token = cases[c].forced_first;
                slots.rules[s].forced_end_token = cases[c].forced_end;
                /* In even rounds, the longer beams are one token short of the end. */
                if (round % 2 == 0) slots.rules[s].max_length = 8;
            }
            for (size_t i = 0; i < R * V; i++) x[i] *= 10;
            free(got);
            got = candidates_of(device, &slots, x, V);
            assert_candidates(cases[c].name, &slots, got, x, V);
            free(x);
            slots_free(&slots);
        }
    }
    *bytes = R * COUNT * sizeof *got;
    return got;
}

/* Of equal scores, the lower token comes first, even if the logits differ slightly. A row with NaN
 * or infinity has only NaN; other rows are unaffected. */
static void *check_special_candidates(const struct device *device, size_t *bytes)
{
    enum { V = 30 };
    size_t slots_bytes;
    struct beam_slots slots = slots_of_test(&slots_bytes, V);
    float *x = zeros(R * V); /* rows 0 to 2 are slot LONG's, 6 to 8 YOUNG's */
    slots.scores[LONG * MOST_K] = -1000;
    for (size_t i = 0; i < V; i++) x[i] = 1e-6f * (float)i;
    x[1 * V + 29] = NAN;
    x[2 * V + 3] = INFINITY;
    for (size_t i = 0; i < V; i++) x[6 * V + i] = i % 2 == 0 ? -INFINITY : 1;
    for (size_t i = 0; i < V; i++) x[7 * V + i] = -INFINITY;
    struct beam_candidate *got = candidates_of(device, &slots, x, V);
    for (size_t i = 0; i < COUNT; i++) {
        /* The best six by logits are 24 to 29; added to -1000, their 1e-6 is lost. */
        assert_int_equal(got[i].token, 24 + i);
        assert_true(got[i].score == got[0].score);
        assert_int_equal(got[6 * COUNT + i].token, 1 + 2 * i);
        assert_int_equal(got[8 * COUNT + i].token, i);
        assert_true(isfinite(got[8 * COUNT + i].score));
        for (size_t row = 1; row <= 7; row += row == 2 ? 5 : 1)
            assert_true(isnan(got[row * COUNT + i].score));
    }
    free(x);
    slots_free(&slots);
    *bytes = 0; /* the bits of NaN may differ */
    return got;
}

TEST(test_candidates, check_candidates, EMBED_DTYPE_F32)
TEST(test_special_candidates, check_special_candidates, EMBED_DTYPE_F32)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_candidates),
        cmocka_unit_test(test_special_candidates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
