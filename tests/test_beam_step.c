/* test_beam_step.c - beam search and greedy search against transformers' generate()
 *
 * beam-search.txt has hundreds of settings with their results; make_beam_vectors.py made it over a
 * model whose logits are a hash, which is here again.
 */
#include "test_vectors.h"

#include "kernels/beam_step.h"

enum { MOST_TOKENS = 64, FEWEST_VECTORS = 700 };

/* ---- vectors ---------------------------------------------------------------------------- */

struct search {
    struct generation_rules rules;
    int32_t vocabulary, memory, end_bonus;
    uint32_t seed;
    int possible;
    double score;
    size_t count;
    int32_t tokens[MOST_TOKENS];
};

static void search_parse(struct search *search, const char *line)
{
    struct generation_rules *r = &search->rules;
    int at = 0;
    int parsed = sscanf(
        line, "%d %d %d %d %d %f %d %d %d %d %d %u %d %d :%n", &search->vocabulary, &r->num_beams,
        &r->min_length, &r->max_length, &r->no_repeat_ngram_size, &r->length_penalty,
        &r->early_stopping, &r->start_token, &r->end_token, &r->forced_first_token,
        &r->forced_end_token, &search->seed, &search->memory, &search->end_bonus, &at);
    if (parsed != 14 || at == 0) fail_msg("beam-search.txt: \"%s\"", line);
    line += at;
    search->possible = strncmp(line, " impossible", 11) != 0;
    search->count = 0;
    if (!search->possible) return;
    char *next;
    search->score = strtod(line, &next);
    assert_ptr_not_equal(next, line);
    while (*next == ' ') {
        assert_true(search->count < MOST_TOKENS);
        search->tokens[search->count++] = (int32_t)strtol(next, &next, 10);
    }
}

/* All of them, once. */
static struct search *searches;
static size_t search_count;

static int load_searches(void **state)
{
    (void)state;
    size_t size;
    char *text = vectors_read(VECTORS "beam-search.txt", &size);
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (line[0] == '#') continue;
        searches = realloc(searches, (search_count + 1) * sizeof *searches);
        search_parse(&searches[search_count++], line);
    }
    free(text);
    return 0;
}

static int free_searches(void **state)
{
    (void)state;
    free(searches);
    return 0;
}

/* ---- the model -------------------------------------------------------------------------- */

static uint32_t mix(uint32_t h)
{
    h = (h ^ h >> 16) * 0x85EBCA6Bu;
    h = (h ^ h >> 13) * 0xC2B2AE35u;
    return h ^ h >> 16;
}

static float hash_logit(const struct search *search, uint32_t h, int32_t token)
{
    float logit = (float)(mix(h + (uint32_t)(token + 1) * 0x9E3779B9u) >> 12) / 131072;
    return token == search->rules.end_token ? logit + (float)search->end_bonus / 4 : logit;
}

static int by_score(const void *a, const void *b)
{
    const struct beam_candidate *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->token - y->token;
}

/* The candidates of beam k, as beam_search.h wants them; those of -infinity are left out if asked
 * to. */
static void find_candidates(struct beam_candidate *candidates, const struct search *search,
                            const struct beam_slots *beams, size_t slot, size_t k, int leave_out)
{
    const struct generation_rules *rules = &search->rules;
    size_t V = (size_t)search->vocabulary, count = BEAM_CANDIDATES((size_t)rules->num_beams);
    int32_t length = beams->lengths[slot], n = rules->no_repeat_ngram_size;
    struct beam_candidate row[MOST_TOKENS];
    uint32_t h = mix(search->seed);
    double sum = 0;
    assert_true(V <= MOST_TOKENS);
    for (int32_t t = length > search->memory ? length - search->memory : 0; t < length; t++)
        h = mix(h + (uint32_t)beam_token(beams, slot, length, k, (size_t)t) + 1);
    assert_in_range(beam_token(beams, slot, length, k, (size_t)length - 1), 0, V - 1);
    for (size_t v = 0; v < V; v++) sum += exp(hash_logit(search, h, (int32_t)v));
    for (size_t v = 0; v < V; v++) {
        row[v].token = (int32_t)v;
        row[v].score = (float)(hash_logit(search, h, (int32_t)v) - log(sum));
    }
    for (int32_t t = 0; n > 0 && t + n <= length; t++) {
        int32_t banned = beam_repeated(beams, slot, length, k, (size_t)t, (size_t)n);
        if (banned != NO_TOKEN) row[banned].score = -INFINITY;
    }
    if (length < rules->min_length) row[rules->end_token].score = -INFINITY;
    int32_t forced = beam_forced_token(rules, length);
    for (size_t v = 0; v < V; v++) {
        if (forced != NO_TOKEN) row[v].score = (int32_t)v == forced ? 0 : -INFINITY;
        row[v].score += beams->scores[slot * beams->K + k];
    }
    qsort(row, V, sizeof *row, by_score);
    for (size_t i = 0; i < count; i++) {
        candidates[i].score = i < V ? row[i].score : -INFINITY;
        candidates[i].token = i < V ? row[i].token : NO_TOKEN;
        if (leave_out && candidates[i].score == -INFINITY) candidates[i].token = NO_TOKEN;
    }
}

/* ---- slots ------------------------------------------------------------------------------ */

#define SLOT_ARRAYS(X)                                                                           \
    X(rules, 1) X(sources, 1) X(states, 1) X(lengths, 1) X(scores, K) X(tokens, K * T)           \
    X(ancestors, 2 * K * T) X(finished, 1) X(finished_scores, K) X(finished_lengths, K)          \
    X(finished_tokens, K * T) X(results, BEAM_RESULT_HEADER + T)

/* Each array is a block of its own, so that the sanitizers see its end, and full of garbage. */
static struct beam_slots slots_new(size_t P, size_t K, size_t T)
{
    struct beam_slots beams = {.P = P, .K = K, .T = T};
#define X(array, each)                                                                           \
    beams.array = malloc(P * (each) * sizeof *beams.array);                                      \
    assert_non_null(beams.array);                                                                \
    memset(beams.array, 0x5A, P * (each) * sizeof *beams.array);
    SLOT_ARRAYS(X)
#undef X
    for (size_t p = 0; p < P; p++) beams.states[p] = BEAM_EMPTY;
    return beams;
}

static void slots_free(struct beam_slots *beams)
{
#define X(array, each) free(beams->array);
    SLOT_ARRAYS(X)
#undef X
}

/* Whether slot p of both is the same, byte for byte. */
static int slots_equal(const struct beam_slots *a, const struct beam_slots *b, size_t p)
{
    size_t K = a->K, T = a->T;
    int equal = 1;
#define X(array, each)                                                                           \
    equal &= memcmp(a->array + p * (each), b->array + p * (each), (each) * sizeof *a->array) == 0;
    SLOT_ARRAYS(X)
#undef X
    return equal;
}

static void begin(const struct beam_slots *beams, size_t slot, const struct generation_rules *rules)
{
    struct beam_document document = {.slot = (int32_t)slot, .source = 7, .rules = *rules};
    beam_begin(beams, &document);
    assert_int_equal(beams->states[slot], BEAM_RUNNING);
    assert_int_equal(beams->sources[slot], 7);
}

static const int32_t *result_of(const struct beam_slots *beams, size_t slot)
{
    return beams->results + slot * (BEAM_RESULT_HEADER + beams->T);
}

static float result_score(const struct beam_slots *beams, size_t slot)
{
    float score;
    memcpy(&score, result_of(beams, slot) + 2, sizeof score);
    return score;
}

static void step(const struct beam_slots *beams, size_t slot, const struct search *search,
                 int leave_out)
{
    struct beam_candidate candidates[MOST_BEAMS * BEAM_CANDIDATES(MOST_BEAMS)];
    size_t K = (size_t)search->rules.num_beams;
    for (size_t k = 0; k < K; k++)
        find_candidates(candidates + k * BEAM_CANDIDATES(K), search, beams, slot, k, leave_out);
    beam_step(beams, slot, K, candidates);
}

static void check_result(const struct beam_slots *beams, size_t slot, const struct search *search)
{
    const int32_t *result = result_of(beams, slot);
    size_t number = (size_t)(search - searches);
    assert_int_equal(result[0], beams->states[slot]);
    if (result[0] != (search->possible ? BEAM_DONE : BEAM_NOT_FINITE))
        fail_msg("search %zu: state %d", number, result[0]);
    if (!search->possible) return;
    int equal = (size_t)result[1] == search->count;
    for (size_t t = 0; equal && t < search->count; t++)
        equal = result[BEAM_RESULT_HEADER + t] == search->tokens[t];
    if (!equal) fail_msg("search %zu: %d other tokens", number, result[1]);
    /* As sums of log-probabilities: length^-12 makes much of their last bits. */
    double penalty = pow((double)search->count - 1, search->rules.length_penalty);
    double difference = fabs(result_score(beams, slot) - search->score) * penalty;
    if (!(difference <= 1e-5 * (1 + fabs(search->score * penalty))))
        fail_msg("search %zu: score %.9g, expected %.9g", number, result_score(beams, slot),
                 search->score);
}

/* ---- tests of the vectors --------------------------------------------------------------- */

/* Each alone, in slots that have no place to spare. */
static void test_one_after_another(void **state)
{
    (void)state;
    assert_true(search_count >= FEWEST_VECTORS);
    for (size_t i = 0; i < 2 * search_count; i++) {
        const struct search *search = &searches[i / 2];
        struct beam_slots beams =
            slots_new(1, (size_t)search->rules.num_beams, (size_t)search->rules.max_length);
        begin(&beams, 0, &search->rules);
        while (beams.states[0] == BEAM_RUNNING) {
            assert_in_range(beams.lengths[0], 1, search->rules.max_length - 1);
            step(&beams, 0, search, i % 2);
        }
        check_result(&beams, 0, search);
        slots_free(&beams);
    }
}

/* Five at a time, of different numbers of beams, in slots that are larger and are used again. */
static void test_side_by_side(void **state)
{
    (void)state;
    enum { P = 5 };
    struct beam_slots beams = slots_new(P, MOST_BEAMS, MOST_TOKENS);
    const struct search *under_way[P] = {NULL};
    size_t next = 0, done = 0;
    while (done < search_count) {
        for (size_t p = 0; p < P; p++) {
            if (under_way[p] == NULL && next < search_count) {
                under_way[p] = &searches[next++];
                begin(&beams, p, &under_way[p]->rules);
            }
            if (under_way[p] == NULL) continue;
            step(&beams, p, under_way[p], 0);
            if (beams.states[p] == BEAM_RUNNING) continue;
            check_result(&beams, p, under_way[p]);
            under_way[p] = NULL;
            done++;
        }
    }
    slots_free(&beams);
}

/* The phases by several threads in any order, beside a step by one. */
static void test_phases(void **state)
{
    (void)state;
    uint32_t random = 1;
    for (size_t i = 0; i < search_count; i++) {
        const struct search *search = &searches[i];
        size_t K = (size_t)search->rules.num_beams, threads = 1 + i % 9;
        struct beam_slots one = slots_new(1, K, MOST_TOKENS), many = slots_new(1, K, MOST_TOKENS);
        begin(&one, 0, &search->rules);
        begin(&many, 0, &search->rules);
        while (one.states[0] == BEAM_RUNNING) {
            struct beam_candidate candidates[MOST_BEAMS * BEAM_CANDIDATES(MOST_BEAMS)];
            struct beam_decision decision;
            memset(&decision, 0x5A, sizeof decision);
            for (size_t k = 0; k < K; k++)
                find_candidates(candidates + k * BEAM_CANDIDATES(K), search, &many, 0, k, 0);
            beam_decide(&decision, &many, 0, K, candidates);
            size_t first = (random = mix(random + 1)) % threads, settle = random / 16 % threads;
            for (size_t thread = 0; thread < threads; thread++) {
                if (thread == settle) beam_settle(&decision, &many, 0, K);
                beam_copy(&decision, &many, 0, K, (threads + first - thread) % threads, threads);
            }
            step(&one, 0, search, 0);
            if (!slots_equal(&one, &many, 0)) fail_msg("search %zu: threads differ", i);
        }
        check_result(&many, 0, search);
        slots_free(&one);
        slots_free(&many);
    }
}

/* ---- what no model should give ---------------------------------------------------------- */

static const struct generation_rules plain_rules = {
    .num_beams = 2,
    .max_length = 6,
    .length_penalty = 1,
    .start_token = 2,
    .end_token = 2,
    .forced_first_token = NO_TOKEN,
    .forced_end_token = NO_TOKEN,
};

/* Two beams, their four candidates each. */
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

/* A slot without a document, or with one that is done, stays as it is, whatever its rows hold. */
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

/* One beam goes on and one is impossible; then the first ends, and there is no more to come; or
 * there is a hypothesis already, and nothing is possible. */
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

/* Where no other is possible, a beam that ended goes on, and comes before a copy that is as far
 * behind. */
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

/* ---- the order of equal ones ------------------------------------------------------------ */

/* Of equal candidates those of the lower beam, and in it of the lower token, come first. */
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

/* Of equal hypotheses the older one is the result, and a newer one does not take its place. */
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
    assert_int_equal(beams.states[0], BEAM_DONE); /* -1 is not better than the worst */
    assert_int_equal(result_of(&beams, 0)[1], 2);
    slots_free(&beams);
}

/* Two equal ones end in one step, in places of two that are worse: that of the lower beam is the
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
        /* Hypotheses worth -9 and -8, as if of before: in which place is the worse one? */
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

/* Two logarithms of probabilities that differ less than the sum's last bit are different all the
 * same, so the sum is not what the next ones are added to. */
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
        cmocka_unit_test(test_one_after_another), cmocka_unit_test(test_side_by_side),
        cmocka_unit_test(test_phases),            cmocka_unit_test(test_nan),
        cmocka_unit_test(test_not_running),       cmocka_unit_test(test_nothing_possible),
        cmocka_unit_test(test_impossible_beam),   cmocka_unit_test(test_ended_beam_goes_on),
        cmocka_unit_test(test_equal_candidates),  cmocka_unit_test(test_equal_hypotheses),
        cmocka_unit_test(test_equal_endings),     cmocka_unit_test(test_greedy_sum),
        cmocka_unit_test(test_places),
    };
    return cmocka_run_group_tests(tests, load_searches, free_searches);
}
