/* beam_step.h - extends beams by one token
 *
 * The rules are those of transformers' generate(): of its beam search, or of its greedy search if
 * there is one beam. A step has three phases:
 *
 *     beam_decide   one thread reads the slot and the candidates, and writes the decision
 *                   -- barrier: all threads of beam_copy must see the decision --
 *     beam_copy     any number of threads write ancestor tables, tokens and the result
 *     beam_settle   one thread writes scores, lengths, hypotheses and the state
 *
 * beam_copy and beam_settle read nothing that the other writes, so they may run in any order or
 * concurrently. The next reader of the slot must wait for both.
 */
#ifndef KERNELS_BEAM_STEP_H
#define KERNELS_BEAM_STEP_H

#include "kernels/beam_search.h"

#include <math.h>
#include <string.h>

/* Minus infinity, as transformers represents it: the initial score of all beams but the first, the
 * score of places without a hypothesis, and the penalty added to the score of a running beam that
 * has ended. */
#define BEAM_NEVER_CHOSEN (-1.0e9f)

/* One of the best 2K candidates over all beams. */
struct beam_continuation {
    float score;
    int32_t token; /* NO_TOKEN: fewer than 2K are possible; then the score is -infinity */
    int32_t beam;
};

/* The outcome of one document's step. On a GPU it belongs in shared memory. */
struct beam_decision {
    int32_t length; /* before the step; 0: the slot is not running, and nothing is done */
    int32_t state;  /* enum beam_state after the step */
    /* The running beams after the step; valid only if the state is BEAM_RUNNING. */
    int32_t parents[MOST_BEAMS]; /* beam k extends this beam */
    int32_t tokens[MOST_BEAMS];  /* by this token */
    float scores[MOST_BEAMS];
    /* The hypotheses after the step. They are unordered, and none moves to another place. */
    int32_t finished;
    int32_t best;                /* place of the best one, if the state is BEAM_DONE */
    int32_t endings[MOST_BEAMS]; /* rank of the continuation that place k gets; -1: unchanged */
    float finished_scores[MOST_BEAMS];
    int32_t finished_lengths[MOST_BEAMS];
    /* Intermediate results. */
    int32_t taken[MOST_BEAMS]; /* candidates taken from each row by beam_merge */
    struct beam_continuation best_ones[BEAM_CANDIDATES(MOST_BEAMS)]; /* by rank */
};

/* ---- the beginning of a document ---- */

/* Starts the document's slot, with the start token in all beams. One thread. */
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

/* Returns whether a beam ends if it is extended by this token. */
BEAM_FUNCTION int beam_ends(const struct beam_decision *decision,
                            const struct generation_rules *rules, int32_t token)
{
    return token == rules->end_token || decision->length + 1 >= rules->max_length;
}

/* Returns the divisor that makes log-probability sums of sequences of different lengths comparable.
 * The start token does not count. */
BEAM_FUNCTION float beam_length_penalty(const struct generation_rules *rules, int32_t length)
{
    return powf((float)(length - 1), rules->length_penalty);
}

/* Merges K sorted rows of 2K candidates into best_ones; of equal scores the lower beam comes first.
 * Returns 0 if a score is NaN, else 1. */
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

/* Chooses the K beams that continue: the best continuations that do not end. If fewer than K of
 * these are possible, ended ones fill up the rest with BEAM_NEVER_CHOSEN added to their scores, as
 * in transformers. Both kinds are sorted already. Ties occur only between an ended continuation and
 * one of a copy of the first beam, which comes after it, or between two impossible ones. */
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
        /* An impossible beam may get any valid token. */
        decision->tokens[k] = chosen->token == NO_TOKEN ? rules->start_token : chosen->token;
    }
}

/* Returns the place of the worst hypothesis, which the next better one replaces, not counting the
 * places in the bit mask `filled`. Returns -1 if no place is left. */
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

/* Returns a bit mask of the places that the ended continuations among the best K get. They are
 * sorted, so once one gets no place, neither do the rest. */
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

/* Updates the hypotheses. Continuations that ended but are not among the best K are dropped. Of the
 * new hypotheses, better ones get lower places. */
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

/* Returns the place of the best hypothesis; of equal ones, that of the shortest, which is the
 * oldest. */
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

/* Returns whether the best running beam may still become one of the best K hypotheses. */
BEAM_FUNCTION int beam_may_improve(const struct beam_decision *decision,
                                   const struct generation_rules *rules, size_t K)
{
    int longest = rules->early_stopping == STOP_NEVER && rules->length_penalty > 0.0f;
    int32_t length = longest ? rules->max_length : decision->length + 1;
    int32_t worst = beam_worst_place(decision, K, 0);
    return decision->scores[0] / beam_length_penalty(rules, length) >
           decision->finished_scores[worst];
}

/* Returns the state after the step. A document can end without any hypothesis, if no continuation
 * was possible or a negative length_penalty made all scores too low: there transformers' result
 * depends on how its sort orders equal scores, and here the state is BEAM_NOT_FINITE. */
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

/* Greedy search: the only beam takes its best candidate until it ends. scores[0] stays 0, since
 * nearly equal candidates would become equal when added to a large sum; the sum is kept in
 * finished_scores[0]. */
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

/* Decides the step of a slot's K = num_beams beams from their candidates (K, 2K). One thread. */
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

/* ---- carrying out the decision ---- */

/* Returns token t <= length of the continuation of this rank. */
BEAM_FUNCTION int32_t beam_continuation_token(const struct beam_decision *decision,
                                              const struct beam_slots *beams, size_t slot,
                                              int32_t rank, size_t t)
{
    const struct beam_continuation *continuation = &decision->best_ones[rank];
    if (t == (size_t)decision->length) return continuation->token;
    return beam_token(beams, slot, decision->length, (size_t)continuation->beam, t);
}

/* Writes the running beams' ancestor tables for length + 1 tokens, and their last tokens. */
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

/* Writes the tokens of new hypotheses, using the ancestor table from before the step. */
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

/* Returns the number of tokens of the result. */
BEAM_FUNCTION int32_t beam_result_length(const struct beam_decision *decision)
{
    return decision->state == BEAM_DONE ? decision->finished_lengths[decision->best] : 0;
}

/* Writes the tokens of the best hypothesis. If it ended in this step, they are looked up through
 * the ancestor table from before the step. */
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

/* Called by each of `threads` threads, with its own `thread` < threads. */
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

/* Called by one thread. */
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

/* Runs all phases of a step in one thread. */
BEAM_FUNCTION void beam_step(const struct beam_slots *beams, size_t slot, size_t K,
                             const struct beam_candidate *candidates)
{
    struct beam_decision decision;
    memset(&decision, 0, sizeof decision); /* gcc -O1 warns of uninitialized reads, wrongly */
    beam_decide(&decision, beams, slot, K, candidates);
    beam_copy(&decision, beams, slot, K, 0, 1);
    beam_settle(&decision, beams, slot, K);
}

#endif
