/* test_beam_search.c - beam search and greedy search compared with transformers' generate()
 *
 * beam-search.txt has hundreds of settings with their results. make_beam_vectors.py made it with a
 * model whose logits are a hash, which this file computes too.
 */
#include "test_vectors.h"

#include "beam_test.h"

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

/* all of them, read once */
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

/* Finds the candidates of beam k as beam_search.h expects them; optionally without those of
 * -infinity. */
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

/* ---- searches --------------------------------------------------------------------------- */

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
    /* Compared as sums of log-probabilities: length^-12 would amplify their last bits. */
    double penalty = pow((double)search->count - 1, search->rules.length_penalty);
    double difference = fabs(result_score(beams, slot) - search->score) * penalty;
    if (!(difference <= 1e-5 * (1 + fabs(search->score * penalty))))
        fail_msg("search %zu: score %.9g, expected %.9g", number, result_score(beams, slot),
                 search->score);
}

/* ---- tests of the vectors --------------------------------------------------------------- */

/* Searches one after another, in slots with no room to spare. */
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

/* Five searches at a time with different numbers of beams, in larger slots that are reused. */
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

/* The phases, run by several threads in any order, give the same as a step by one. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_after_another),
        cmocka_unit_test(test_side_by_side),
        cmocka_unit_test(test_phases),
    };
    return cmocka_run_group_tests(tests, load_searches, free_searches);
}
