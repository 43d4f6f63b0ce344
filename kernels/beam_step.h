/* beam_step.h - how beams become one token longer
 *
 * The rules are those of transformers' generate(): of its beam search, and of its greedy search
 * where there is one beam. A step has three phases:
 *
 *     beam_decide   one thread reads the slot and the candidates, and writes the decision
 *                   -- a barrier: all threads of beam_copy must see the decision --
 *     beam_copy     any number of threads: the tables of ancestors, tokens, the result
 *     beam_settle   one thread: scores, lengths, hypotheses, the state
 *
 * beam_copy and beam_settle read nothing that the other writes: they may run in any order, or
 * together. Whoever reads the slot next must wait for both.
 */
#ifndef KERNELS_BEAM_STEP_H
#define KERNELS_BEAM_STEP_H

#include "kernels/beam_search.h"

#include <math.h>
#include <string.h>

/* What transformers takes for minus infinity: the score of beams that are copies of the first
 * when a document begins, of places that no hypothesis has yet, and what is added to that of a
 * beam that ended. */
#define BEAM_NEVER_CHOSEN (-1.0e9f)

/* One of the best 2K candidates of all beams. */
struct beam_continuation {
    float score;
    int32_t token; /* NO_TOKEN: fewer than 2K are possible; the score is -infinity */
    int32_t beam;
};

/* What one document's step does. On a GPU it belongs in shared memory. */
struct beam_decision {
    int32_t length; /* before the step; 0: the slot is not running, and nothing happens */
    int32_t state;  /* an enum beam_state, after it */
    /* The beams after the step, where they go on. */
    int32_t parents[MOST_BEAMS]; /* beam k is that beam of before */
    int32_t tokens[MOST_BEAMS];  /* and this token */
    float scores[MOST_BEAMS];
    /* The hypotheses after it. They are in no order, and none changes its place. */
    int32_t finished;
    int32_t best;                /* where the state is BEAM_DONE */
    int32_t endings[MOST_BEAMS]; /* place k gets the continuation of that rank; -1: stays */
    float finished_scores[MOST_BEAMS];
    int32_t finished_lengths[MOST_BEAMS];
    /* On the way there. */
    int32_t taken[MOST_BEAMS]; /* candidates of each row that are among the best */
    struct beam_continuation best_ones[BEAM_CANDIDATES(MOST_BEAMS)]; /* by rank */
};

/* ---- the beginning of a document ---- */

/* One thread: the slot of the document runs, with the start token in all beams. */
BEAM_FUNCTION void beam_begin(const struct beam_slots *beams,
                              const struct beam_document *document)
{
    size_t slot = (size_t)document->slot, K = (size_t)document->rules.num_beams;
    int32_t *ancestors = beam_ancestors(beams, slot, 1);
    for (size_t k = 0; k < K; k++) {
        beams->scores[slot * beams->K + k] = k == 0 ? 0.0f : BEAM_NEVER_CHOSEN;
        beams->finished_scores[slot * beams->K + k] = K == 1 ? 0.0f : BEAM_NEVER_CHOSEN;
        beams->finished_lengths[slot * beams->K + k] = 0;
        beams->tokens[(slot * beams->K + k) * beams->T] = document->rules.start_token;
        ancestors[k * beams->T] = (int32_t)k;
    }
    beams->rules[slot] = document->rules;
    beams->sources[slot] = document->source;
    beams->lengths[slot] = 1;
    beams->finished[slot] = 0;
    beams->states[slot] = BEAM_RUNNING;
    beams->results[slot * (BEAM_RESULT_HEADER + beams->T)] = BEAM_RUNNING;
}

/* ---- the decision ---- */

/* Whether a beam that gets this token ends. */
BEAM_FUNCTION int beam_ends(const struct beam_decision *decision,
                            const struct generation_rules *rules, int32_t token)
{
    return token == rules->end_token || decision->length + 1 >= rules->max_length;
}

/* What sums of log-probabilities are divided by, so that sequences of different lengths
 * compare. The start token does not count. */
BEAM_FUNCTION float beam_length_penalty(const struct generation_rules *rules, int32_t length)
{
    return powf((float)(length - 1), rules->length_penalty);
}

/* Merges K rows of 2K candidates; of equal ones that of the lower beam comes first. 0 where a
 * score is NaN. */
BEAM_FUNCTION int beam_merge(struct beam_decision *decision, size_t K,
                             const struct beam_candidate *candidates)
{
    size_t count = BEAM_CANDIDATES(K);
    for (size_t k = 0; k < K; k++) decision->taken[k] = 0;
    for (size_t rank = 0; rank < count; rank++) {
        struct beam_continuation best = {-INFINITY, NO_TOKEN, 0};
        for (size_t k = 0; k < K; k++) {
            const struct beam_candidate *next =
                &candidates[k * count + (size_t)decision->taken[k]];
            if (next->score != next->score) return 0;
            if (next->score > best.score) {
                best.score = next->score;
                best.token = next->token;
                best.beam = (int32_t)k;
            }
        }
        if (best.token != NO_TOKEN) decision->taken[best.beam]++;
        decision->best_ones[rank] = best;
    }
    return 1;
}

/* The K beams that go on: the best that do not end. Where fewer than K of these are possible,
 * some that ended go on, too, far behind, as they do in transformers. Both kinds are in order
 * already. Equal are one that ended and a copy of the first beam, which comes after it, or two
 * that are impossible. */
BEAM_FUNCTION void beam_choose_running(struct beam_decision *decision,
                                       const struct generation_rules *rules, size_t K)
{
    const struct beam_continuation *best_ones = decision->best_ones;
    size_t count = BEAM_CANDIDATES(K), going = 0, ended = 0;
    for (size_t k = 0; k < K; k++) {
        while (going < count && beam_ends(decision, rules, best_ones[going].token)) going++;
        while (ended < count && !beam_ends(decision, rules, best_ones[ended].token)) ended++;
        float going_score = going < count ? best_ones[going].score : -INFINITY;
        float ended_score =
            ended < count ? best_ones[ended].score + BEAM_NEVER_CHOSEN : -INFINITY;
        int goes_on = ended == count || going_score > ended_score;
        const struct beam_continuation *chosen = &best_ones[goes_on ? going++ : ended++];
        decision->scores[k] = goes_on ? going_score : ended_score;
        decision->parents[k] = chosen->beam;
        /* Any token does for a beam that is impossible, as long as it is one. */
        decision->tokens[k] = chosen->token == NO_TOKEN ? rules->start_token : chosen->token;
    }
}

/* The place that the next better hypothesis gets: of the worst among those of before this step.
 * -1: there is none. */
BEAM_FUNCTION int32_t beam_worst_place(const struct beam_decision *decision, size_t K,
                                       uint32_t filled)
{
    const float *scores = decision->finished_scores;
    int32_t worst = -1;
    for (int32_t place = 0; place < (int32_t)K; place++)
        if (!(filled >> place & 1) && (worst < 0 || scores[place] < scores[worst]))
            worst = place;
    return worst;
}

/* The places, as bits, for the ended ones among the best K. Later ones are never better than
 * those before them, so where one gets none the rest do not either. */
BEAM_FUNCTION uint32_t beam_places_to_fill(const struct beam_decision *decision,
                                           const struct generation_rules *rules, size_t K,
                                           float penalty)
{
    uint32_t places = 0;
    for (size_t rank = 0; rank < K; rank++) {
        if (!beam_ends(decision, rules, decision->best_ones[rank].token)) continue;
        int32_t place = beam_worst_place(decision, K, places);
        float score = decision->best_ones[rank].score / penalty;
        if (place < 0 || !(score > decision->finished_scores[place])) break;
        places |= (uint32_t)1 << place;
    }
    return places;
}

/* The hypotheses after the step. What ended and is not among the best K is lost. Of the new
 * ones the better has the lower place. */
BEAM_FUNCTION void beam_choose_finished(struct beam_decision *decision,
                                        const struct beam_slots *beams, size_t slot,
                                        const struct generation_rules *rules, size_t K)
{
    float penalty = beam_length_penalty(rules, decision->length + 1);
    int32_t rank = 0;
    for (size_t k = 0; k < K; k++) {
        decision->finished_scores[k] = beams->finished_scores[slot * beams->K + k];
        decision->finished_lengths[k] = beams->finished_lengths[slot * beams->K + k];
    }
    uint32_t places = beam_places_to_fill(decision, rules, K, penalty);
    decision->finished = 0;
    for (size_t k = 0; k < K; k++) {
        decision->endings[k] = -1;
        if (places >> k & 1) {
            while (!beam_ends(decision, rules, decision->best_ones[rank].token)) rank++;
            decision->finished_scores[k] = decision->best_ones[rank].score / penalty;
            decision->finished_lengths[k] = decision->length + 1;
            decision->endings[k] = rank++;
        }
        if (decision->finished_scores[k] > BEAM_NEVER_CHOSEN) decision->finished++;
    }
}

/* The best hypothesis, and of equal ones the oldest. */
BEAM_FUNCTION int32_t beam_best_place(const struct beam_decision *decision, size_t K)
{
    const float *scores = decision->finished_scores;
    const int32_t *lengths = decision->finished_lengths;
    int32_t best = 0;
    for (int32_t place = 1; place < (int32_t)K; place++)
        if (scores[place] > scores[best] ||
            (scores[place] == scores[best] && lengths[place] < lengths[best]))
            best = place;
    return best;
}

/* Whether the best running beam may still become one of the best K hypotheses. */
BEAM_FUNCTION int beam_may_improve(const struct beam_decision *decision,
                                   const struct generation_rules *rules, size_t K)
{
    int longest = rules->early_stopping == STOP_NEVER && rules->length_penalty > 0.0f;
    int32_t length = longest ? rules->max_length : decision->length + 1;
    int32_t worst = beam_worst_place(decision, K, 0);
    return decision->scores[0] / beam_length_penalty(rules, length) >
           decision->finished_scores[worst];
}

/* Whether the document goes on. Without any hypothesis, because nothing was possible or because
 * a negative length_penalty made all scores too low, transformers gives what its sort of equal
 * scores leaves. */
BEAM_FUNCTION int32_t beam_next_state(const struct beam_decision *decision,
                                      const struct generation_rules *rules, size_t K)
{
    int goes_on = 0;
    for (size_t rank = 0; rank < BEAM_CANDIDATES(K); rank++)
        if (!beam_ends(decision, rules, decision->best_ones[rank].token)) goes_on = 1;
    if (rules->early_stopping == STOP_EARLY && decision->finished == (int32_t)K) goes_on = 0;
    if (!beam_may_improve(decision, rules, K)) goes_on = 0;
    if (goes_on) return BEAM_RUNNING;
    return decision->finished > 0 ? BEAM_DONE : BEAM_NOT_FINITE;
}

/* One beam takes the best candidate until it ends. Its score stays 0: beside a long sum,
 * candidates that are nearly equal would become equal. The sum is finished_scores[0]. */
BEAM_FUNCTION void beam_decide_greedy(struct beam_decision *decision,
                                      const struct beam_slots *beams, size_t slot,
                                      const struct beam_candidate *candidates)
{
    const struct generation_rules *rules = &beams->rules[slot];
    if (!(candidates[0].score > -INFINITY) || candidates[0].token == NO_TOKEN) {
        decision->state = BEAM_NOT_FINITE;
        return;
    }
    int ends = beam_ends(decision, rules, candidates[0].token);
    float sum = beams->finished_scores[slot * beams->K] + candidates[0].score;
    decision->best_ones[0].token = decision->tokens[0] = candidates[0].token;
    decision->best_ones[0].beam = decision->parents[0] = 0;
    decision->scores[0] = 0.0f;
    decision->finished = ends;
    decision->best = 0;
    decision->endings[0] = ends ? 0 : -1;
    decision->finished_scores[0] =
        ends ? sum / beam_length_penalty(rules, decision->length + 1) : sum;
    decision->finished_lengths[0] = decision->length + 1;
    decision->state = ends ? BEAM_DONE : BEAM_RUNNING;
}

/* One thread: what the step of a slot's K = num_beams beams is, from their candidates (K, 2K).
 */
BEAM_FUNCTION void beam_decide(struct beam_decision *decision, const struct beam_slots *beams,
                               size_t slot, size_t K, const struct beam_candidate *candidates)
{
    const struct generation_rules *rules = &beams->rules[slot];
    decision->length = 0;
    if (beams->states[slot] != BEAM_RUNNING) return;
    decision->length = beams->lengths[slot];
    if (K == 1) {
        beam_decide_greedy(decision, beams, slot, candidates);
    } else if (!beam_merge(decision, K, candidates)) {
        decision->state = BEAM_NOT_FINITE;
    } else {
        beam_choose_running(decision, rules, K);
        beam_choose_finished(decision, beams, slot, rules, K);
        decision->best = beam_best_place(decision, K);
        decision->state = beam_next_state(decision, rules, K);
    }
}

/* ---- what follows from it ---- */

/* Token t <= length of the continuation of that rank. */
BEAM_FUNCTION int32_t beam_continuation_token(const struct beam_decision *decision,
                                              const struct beam_slots *beams, size_t slot,
                                              int32_t rank, size_t t)
{
    const struct beam_continuation *continuation = &decision->best_ones[rank];
    if (t == (size_t)decision->length) return continuation->token;
    return beam_token(beams, slot, decision->length, (size_t)continuation->beam, t);
}

/* Beams that go on: their tables of `length` + 1 tokens, and their last token. */
BEAM_FUNCTION void beam_copy_running(const struct beam_decision *decision,
                                     const struct beam_slots *beams, size_t slot, size_t K,
                                     size_t thread, size_t threads)
{
    size_t T = beams->T, length = (size_t)decision->length;
    const int32_t *old_table = beam_ancestors(beams, slot, decision->length);
    int32_t *new_table = beam_ancestors(beams, slot, decision->length + 1);
    for (size_t k = 0; k < K; k++)
        for (size_t t = thread; t < length; t += threads)
            new_table[k * T + t] = old_table[(size_t)decision->parents[k] * T + t];
    for (size_t k = thread; k < K; k += threads) {
        new_table[k * T + length] = (int32_t)k;
        beams->tokens[(slot * beams->K + k) * T + length] = decision->tokens[k];
    }
}

/* New hypotheses, by the tables of before. */
BEAM_FUNCTION void beam_copy_finished(const struct beam_decision *decision,
                                      const struct beam_slots *beams, size_t slot, size_t K,
                                      size_t thread, size_t threads)
{
    for (size_t k = 0; k < K; k++) {
        int32_t *tokens = beams->finished_tokens + (slot * beams->K + k) * beams->T;
        if (decision->endings[k] < 0) continue;
        for (size_t t = thread; t <= (size_t)decision->length; t += threads)
            tokens[t] = beam_continuation_token(decision, beams, slot, decision->endings[k], t);
    }
}

/* Tokens of the result. */
BEAM_FUNCTION int32_t beam_result_length(const struct beam_decision *decision)
{
    return decision->state == BEAM_DONE ? decision->finished_lengths[decision->best] : 0;
}

/* The tokens of the best hypothesis; those of one that ended in this step by the tables of
 * before. */
BEAM_FUNCTION void beam_copy_result(const struct beam_decision *decision,
                                    const struct beam_slots *beams, size_t slot, size_t thread,
                                    size_t threads)
{
    size_t T = beams->T, count = (size_t)beam_result_length(decision);
    int32_t *result = beams->results + slot * (BEAM_RESULT_HEADER + T) + BEAM_RESULT_HEADER;
    size_t best = (size_t)decision->best;
    for (size_t t = thread; t < count; t += threads)
        result[t] =
            decision->endings[best] < 0
                ? beams->finished_tokens[(slot * beams->K + best) * T + t]
                : beam_continuation_token(decision, beams, slot, decision->endings[best], t);
}

/* Each of `threads` threads, with its own `thread` < threads. */
BEAM_FUNCTION void beam_copy(const struct beam_decision *decision,
                             const struct beam_slots *beams, size_t slot, size_t K,
                             size_t thread, size_t threads)
{
    if (decision->length == 0) return;
    if (decision->state == BEAM_DONE) {
        beam_copy_result(decision, beams, slot, thread, threads);
    } else if (decision->state == BEAM_RUNNING) {
        beam_copy_running(decision, beams, slot, K, thread, threads);
        beam_copy_finished(decision, beams, slot, K, thread, threads);
    }
}

/* One thread. */
BEAM_FUNCTION void beam_settle(const struct beam_decision *decision,
                               const struct beam_slots *beams, size_t slot, size_t K)
{
    int32_t *header = beams->results + slot * (BEAM_RESULT_HEADER + beams->T);
    float score = 0.0f;
    if (decision->length == 0) return;
    if (decision->state == BEAM_RUNNING) {
        for (size_t k = 0; k < K; k++) {
            beams->scores[slot * beams->K + k] = decision->scores[k];
            beams->finished_scores[slot * beams->K + k] = decision->finished_scores[k];
            beams->finished_lengths[slot * beams->K + k] = decision->finished_lengths[k];
        }
        beams->finished[slot] = decision->finished;
        beams->lengths[slot] = decision->length + 1;
        return;
    }
    if (decision->state == BEAM_DONE) score = decision->finished_scores[decision->best];
    beams->states[slot] = header[0] = decision->state;
    header[1] = beam_result_length(decision);
    memcpy(&header[2], &score, sizeof score);
}

/* All phases of a step, by one thread. */
BEAM_FUNCTION void beam_step(const struct beam_slots *beams, size_t slot, size_t K,
                             const struct beam_candidate *candidates)
{
    struct beam_decision decision;
    memset(&decision, 0, sizeof decision); /* gcc -O1 takes what is not set for what is read */
    beam_decide(&decision, beams, slot, K, candidates);
    beam_copy(&decision, beams, slot, K, 0, 1);
    beam_settle(&decision, beams, slot, K);
}

#endif
